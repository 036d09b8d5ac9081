"""A few boxes drawn by hand, from a CSV file to a data set."""

import csv
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

from keras_wsol.data.box_join import ImagePaths, check_box, last_part, with_boxes
from keras_wsol.data.dataset import ImageDataset

COLUMNS = ("path", "x0", "y0", "x1", "y1")


def boxes_from_csv(dataset: ImageDataset, path: str | Path) -> ImageDataset:
    """Gives the images of a data set that a CSV file has boxes for, with the boxes.

    The file has a header with at least the columns `path,x0,y0,x1,y1`, in any order,
    and one box a line, in pixels of the image as read, far edge exclusive. An
    image may have several lines. A column `class`, if there is one, must agree with
    the data set; other columns are left alone, so that a file of
    `export.write_pseudo_labels(format="csv")` can be corrected by hand and read.

    A path names the image whose own path it is, or ends with: for
    `pets/cat/1.jpg` one may write `1.jpg`, if no other image is called that, or
    `cat/1.jpg`.

    Args:
        dataset: The images, such as those of `image_folder`.
        path: The CSV file, in UTF-8, separated by commas.

    Returns:
        The images with boxes, in the order of `dataset`; `split` is `"boxes"`.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: A column is missing, there is no box, or a line is wrong: no
            image or several fit its path, its class is another, or its numbers are
            no box in pixels. The message names the line.

    Example:
        pets = data.image_folder("pets")
        some = data.boxes_from_csv(pets, "thirty_boxes.csv")
        evaluation.tune_threshold(localizer, some).cam_threshold
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"`path` must be a CSV file. Nothing is at: {path}.")
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = csv.DictReader(file, skipinitialspace=True)
        missing = [name for name in COLUMNS if name not in (rows.fieldnames or ())]
        if missing:
            raise ValueError(
                f"{path} must have the columns {','.join(COLUMNS)} in its first line. "
                f"Missing: {missing}. Received: {rows.fieldnames}."
            )
        lines = [(rows.line_num, row) for row in rows]
    if not lines:
        raise ValueError(f"{path} must have at least one box. It has a header alone.")
    index_of = ImagePaths(dataset, {last_part(row["path"]) for _, row in lines})
    boxes: dict[int, list[list[float]]] = defaultdict(list)
    for number, row in lines:
        try:
            index = index_of.find(row["path"])
            _check_class(row.get("class"), dataset, index)
            boxes[index].append(_box(row))
        except ValueError as error:
            raise ValueError(f"{path}, line {number}: {error}") from error
    return with_boxes(dataset, boxes, path.name)


def _check_class(name: str | None, dataset: ImageDataset, index: int) -> None:
    expected = dataset.class_names[dataset.class_ids[index]]
    if name and name.strip() != expected.strip():
        raise ValueError(
            f"`class` must be that of the image in the data set, {expected!r}. "
            f"Received: {name!r}."
        )


def _box(row: Mapping[str, str | None]) -> list[float]:
    texts = {name: row[name] for name in COLUMNS[1:]}
    try:
        box = [float(text) for text in texts.values()]
    except (TypeError, ValueError) as error:
        raise ValueError(f"a box must be four numbers. Received: {texts}.") from error
    check_box(box)
    return box
