"""Small data sets in the formats of the real ones, for `--smoke` runs and tests."""

from pathlib import Path

import numpy as np
from PIL import Image

from keras_wsol import data


def write_image_folder(root: Path, per_class: int = 6, num_classes: int = 3) -> Path:
    """Writes `root/<class name>/<number>.jpg`.

    Args:
        root: Folder to make.
        per_class: Images of each class.
        num_classes: Number of classes.

    Returns:
        `root`.
    """
    drawn = data.synthetic(
        num_images=per_class * num_classes, num_classes=num_classes, image_size=96
    )
    for index, class_id in enumerate(drawn.class_ids):
        folder = root / drawn.class_names[class_id]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(drawn.images[index]).save(folder / f"{index:03d}.jpg")
    return root


def write_cub(root: Path, per_class: int = 12, num_classes: int = 3) -> Path:
    """Writes a folder in the layout of CUB-200-2011's archive.

    Args:
        root: Folder to make; the data set lies in `root/CUB_200_2011`.
        per_class: Images of each class; every third is a test image.
        num_classes: Number of classes.

    Returns:
        `root`.
    """
    drawn = data.synthetic(
        num_images=per_class * num_classes,
        num_classes=num_classes,
        image_size=(96, 128),
    )
    top = root / "CUB_200_2011"
    files: dict[str, list[str]] = {}
    seen = np.zeros(num_classes, int)
    for index, class_id in enumerate(drawn.class_ids):
        number = index + 1
        folder = f"{class_id + 1:03d}.{drawn.class_names[class_id].replace(' ', '_')}"
        (top / "images" / folder).mkdir(parents=True, exist_ok=True)
        name = f"{folder}/{index:04d}.jpg"
        Image.fromarray(drawn.images[index]).save(top / "images" / name)
        x0, y0, x1, y1 = drawn.boxes[index, 0]
        lines = {
            "images.txt": name,
            "image_class_labels.txt": class_id + 1,
            "train_test_split.txt": int(seen[class_id] % 3 != 2),
            "bounding_boxes.txt": f"{x0} {y0} {x1 - x0} {y1 - y0}",
        }
        seen[class_id] += 1
        for file, value in lines.items():
            files.setdefault(file, []).append(f"{number} {value}\n")
    files["classes.txt"] = [
        f"{class_id + 1} {class_id + 1:03d}.{name.replace(' ', '_')}\n"
        for class_id, name in enumerate(drawn.class_names)
    ]
    for file, lines in files.items():
        (top / file).write_text("".join(lines))
    return root
