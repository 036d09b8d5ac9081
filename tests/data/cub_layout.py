"""A folder in the layout of CUB-200-2011, from a table that can be read by eye."""

import numpy as np
from PIL import Image

# Image id -> its row in each list. As in CUB-40, the lists are not in order and class
# labels have gaps.
IMAGES = {
    12: "009.Brewer_Blackbird/b1.png",
    3: "001.Black_footed_Albatross/a1.png",
    7: "009.Brewer_Blackbird/b2.png",
    4: "001.Black_footed_Albatross/a2.png",
    20: "002.St._Laysan/l1.png",
    5: "001.Black_footed_Albatross/a3.png",
}
LABELS = {12: 9, 3: 1, 7: 9, 4: 1, 20: 2, 5: 1}
IS_TRAIN = {12: 1, 3: 1, 7: 0, 4: 0, 20: 1, 5: 1}
BOXES = {  # x, y, width, height
    12: "1.5 2.0 10.0 20.0",
    3: "0.0 0.0 40.0 24.0",
    7: "3.0 4.0 5.0 6.0",
    4: "10.0 8.0 20.0 12.0",
    20: "7.0 1.0 2.5 3.0",
    5: "5.0 6.0 7.0 8.0",
}
CLASSES = {
    9: "009.Brewer_Blackbird",
    1: "001.Black_footed_Albatross",
    2: "002.St._Laysan",
}
NAMES = ("Black footed Albatross", "St. Laysan", "Brewer Blackbird")


def write_lists(folder, **tables):
    """Writes the lists; a keyword replaces the table of that file."""
    defaults = {
        "images": IMAGES,
        "image_class_labels": LABELS,
        "train_test_split": IS_TRAIN,
        "bounding_boxes": BOXES,
        "classes": CLASSES,
    }
    for name, table in {**defaults, **tables}.items():
        lines = [f"{key} {value}\n" for key, value in table.items()]
        (folder / f"{name}.txt").write_text("".join(lines))
    return folder


def write_cub(root, **tables):
    """Writes the lists and, for each image, 24 x 40 pixels of its id."""
    folder = root / "CUB_200_2011"
    for image_id, name in IMAGES.items():
        path = folder / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((24, 40, 3), image_id, "uint8")).save(path)
    return write_lists(folder, **tables)
