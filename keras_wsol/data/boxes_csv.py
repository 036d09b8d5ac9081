"""A few boxes drawn by hand, from a CSV file to a data set."""

import csv
import unicodedata
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

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
    index_of = _Paths(dataset, {_name(row["path"]) for _, row in lines})
    boxes: dict[int, list[list[float]]] = defaultdict(list)
    for number, row in lines:
        try:
            index = index_of.find(row["path"])
            _check_class(row.get("class"), dataset, index)
            boxes[index].append(_box(row))
        except ValueError as error:
            raise ValueError(f"{path}, line {number}: {error}") from error
    indices = sorted(boxes)
    padded = np.full((len(indices), max(map(len, boxes.values())), 4), -1.0, "float32")
    for row, index in enumerate(indices):
        padded[row, : len(boxes[index])] = boxes[index]
    some = replace(dataset, boxes=None).take(indices, "boxes")
    return replace(some, boxes=padded, notes={**dataset.notes, "boxes": path.name})


class _Paths:
    """Finds images by the last parts of their paths."""

    def __init__(self, dataset: ImageDataset, names: set[str]) -> None:
        self._parts = defaultdict(list)
        for index, path in enumerate(dataset.paths.tolist()):
            # Only these are ever asked for; a data set may have millions.
            if _name(path) in names:
                self._parts[_name(path)].append((index, _split(path)))

    def find(self, path: str) -> int:
        wanted = _split(path)
        found = [
            (index, parts)
            for index, parts in self._parts[_name(path)]
            if parts[-len(wanted) :] == wanted
        ]
        # The whole path of one image may be the end of another's.
        exact = [index for index, parts in found if parts == wanted]
        indices = exact or [index for index, _ in found]
        if len(indices) != 1:
            fit = f"{len(indices)} images fit" if indices else "no image fits"
            raise ValueError(
                f"`path` must name one image of the data set, but {fit} {path!r}."
            )
        return indices[0]


def _plain(path: str | None) -> str:
    # The same name may be composed or not, by the system that wrote it; and a
    # spreadsheet on Windows writes its own separator.
    return unicodedata.normalize("NFC", (path or "").strip()).replace("\\", "/")


def _split(path: str | None) -> tuple[str, ...]:
    plain = _plain(path)
    parts = [part for part in plain.split("/") if part not in ("", ".")]
    return tuple(["/", *parts] if plain.startswith("/") else parts)


def _name(path: str | None) -> str:
    return _plain(path).rpartition("/")[2]


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
        x0, y0, x1, y1 = box = [float(text) for text in texts.values()]
    except (TypeError, ValueError) as error:
        raise ValueError(f"a box must be four numbers. Received: {texts}.") from error
    # Written so that a NaN fails as well.
    # What crosses the border of the image is clipped when it is read.
    if not (np.isfinite(box).all() and x0 < x1 > 0 and y0 < y1 > 0):
        raise ValueError(
            "a box must have x0 < x1 and y0 < y1, and a part in the image. "
            f"Received: {box}."
        )
    if max(box) <= 1:
        raise ValueError(f"a box must be in pixels, not in shares. Received: {box}.")
    return box
