"""Predicted boxes to files that trainers of detectors read."""

import csv
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path, PurePosixPath
from typing import Any, TextIO
from xml.etree import ElementTree

from keras_wsol.export.image_names import check_yolo_name

CSV_COLUMNS = (
    *("path", "x0", "y0", "x1", "y1", "class"),
    *("score", "class_id", "width", "height"),
)


@dataclass(frozen=True, kw_only=True)
class PseudoLabel:
    """One predicted box. Labels of the same image stand one after the other.

    Attributes:
        path: Path of the image below the folder of images, parted by `/`.
        width: Width of the image in pixels.
        height: Height of the image in pixels.
        class_id: Class, from 0 on.
        class_name: Its name.
        score: Probability of the class, in [0, 1].
        box: x0, y0, x1, y1 in pixels of the image, far edge exclusive, within it.
    """

    path: str
    width: int
    height: int
    class_id: int
    class_name: str
    score: float
    box: tuple[float, float, float, float]


def write_csv(
    labels: Iterable[PseudoLabel], path: Path, class_names: Sequence[str]
) -> None:
    """Writes one line a box, below a header."""
    del class_names
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(CSV_COLUMNS)
        for label in labels:
            row = [label.path, *label.box, label.class_name]
            writer.writerow(
                [*row, label.score, label.class_id, label.width, label.height]
            )


def write_coco(
    labels: Iterable[PseudoLabel], path: Path, class_names: Sequence[str]
) -> None:
    """Writes the JSON of COCO's detection task, with a `score` for each box."""
    categories = [
        {"id": class_id, "name": name, "supercategory": ""}
        for class_id, name in enumerate(class_names, start=1)
    ]
    info = {"description": "Boxes predicted by keras_wsol from image labels"}
    with path.open("w", encoding="utf-8") as file:
        # Piece by piece, so that memory does not grow with the data set.
        file.write(f'{{"info": {_json(info)},\n"licenses": [],\n')
        file.write(f'"categories": {_json(categories)},\n"images": ')
        _write_list(file, _coco_images(labels))
        file.write(',\n"annotations": ')
        _write_list(file, _coco_annotations(labels))
        file.write("}\n")


def write_yolo(
    labels: Iterable[PseudoLabel], path: Path, class_names: Sequence[str]
) -> None:
    """Writes a folder in the layout of Ultralytics' YOLO."""
    path.mkdir(parents=True)
    with (path / "train.txt").open("w", encoding="utf-8") as listed:
        for image, boxes in _by_image(labels):
            listed.write(f"./images/{image.path}\n")
            file = _beside(path / "labels", image.path, ".txt")
            file.write_text("".join(map(_yolo_line, boxes)), "utf-8")
    # A JSON string is a YAML string, whatever the name holds.
    names = "".join(f"  {n}: {_json(name)}\n" for n, name in enumerate(class_names))
    (path / "data.yaml").write_text(
        f"train: train.txt\nval: train.txt\nnames:\n{names}", "utf-8"
    )
    write_csv(labels, path / "labels.csv", class_names)


def write_voc(
    labels: Iterable[PseudoLabel], path: Path, class_names: Sequence[str]
) -> None:
    """Writes a folder in the layout of Pascal VOC."""
    del class_names
    (path / "ImageSets" / "Main").mkdir(parents=True)
    train = path / "ImageSets" / "Main" / "train.txt"
    with train.open("w", encoding="utf-8") as listed:
        for image, boxes in _by_image(labels):
            listed.write(f"{PurePosixPath(image.path).with_suffix('')}\n")
            tree = ElementTree.ElementTree(_voc_image(image, boxes))
            ElementTree.indent(tree)
            tree.write(_beside(path / "Annotations", image.path, ".xml"), "utf-8")


@dataclass(frozen=True)
class LabelFormat:
    """A way to write labels.

    Attributes:
        write: Function of labels, path and class names.
        suffix: Suffix of the file; `None` for a folder.
        a_file_an_image: Whether each image has a file that is named like it, so that
            `1.jpg` and `1.png` cannot both have one.
        check_name: Function that raises `ValueError` for the name of an image that
            readers of the format would not find; `None` if they find all.
        entries: Names in the folder that are replaced with it.
    """

    write: Callable[[Iterable[PseudoLabel], Path, Sequence[str]], None]
    suffix: str | None = None
    a_file_an_image: bool = False
    check_name: Callable[[str], None] | None = None
    entries: frozenset[str] = frozenset()


_YOLO = frozenset({"labels", "train.txt", "data.yaml", "labels.csv", "left_out.csv"})
_VOC = frozenset({"Annotations", "ImageSets", "left_out.csv"})
FORMATS = {
    "coco": LabelFormat(write_coco, suffix=".json"),
    "yolo": LabelFormat(
        write_yolo, a_file_an_image=True, check_name=check_yolo_name, entries=_YOLO
    ),
    "voc": LabelFormat(write_voc, a_file_an_image=True, entries=_VOC),
    "csv": LabelFormat(write_csv, suffix=".csv"),
}


def _by_image(
    labels: Iterable[PseudoLabel],
) -> Iterator[tuple[PseudoLabel, list[PseudoLabel]]]:
    for _, group in groupby(labels, lambda label: label.path):
        boxes = list(group)
        yield boxes[0], boxes


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def _write_list(file: TextIO, entries: Iterable[Any]) -> None:
    separator = "["
    for entry in entries:
        file.write(f"{separator}\n{_json(entry)}")
        separator = ","
    file.write("[]" if separator == "[" else "\n]")


def _coco_images(labels: Iterable[PseudoLabel]) -> Iterator[dict[str, Any]]:
    for number, (image, _) in enumerate(_by_image(labels), start=1):
        yield {
            "id": number,
            "file_name": image.path,
            "width": image.width,
            "height": image.height,
        }


def _coco_annotations(labels: Iterable[PseudoLabel]) -> Iterator[dict[str, Any]]:
    number = 0
    for image_id, (_, boxes) in enumerate(_by_image(labels), start=1):
        for label in boxes:
            number += 1
            x0, y0, x1, y1 = label.box
            # Differences of hundredths, without the dust of binary fractions.
            width, height = round(x1 - x0, 2), round(y1 - y0, 2)
            yield {
                "id": number,
                "image_id": image_id,
                "category_id": label.class_id + 1,
                "bbox": [x0, y0, width, height],
                "area": round(width * height, 2),
                "iscrowd": 0,
                "segmentation": [],
                "score": label.score,
            }


def _yolo_line(label: PseudoLabel) -> str:
    x0, y0, x1, y1 = label.box
    shares = (
        (x0 + x1) / 2 / label.width,
        (y0 + y1) / 2 / label.height,
        (x1 - x0) / label.width,
        (y1 - y0) / label.height,
    )
    return f"{label.class_id} {' '.join(f'{share:.6f}' for share in shares)}\n"


def _voc_image(image: PseudoLabel, boxes: Sequence[PseudoLabel]) -> ElementTree.Element:
    root = ElementTree.Element("annotation")
    path = PurePosixPath(image.path)
    _elements(root, folder=path.parent.as_posix(), filename=path.name, path=image.path)
    _elements(ElementTree.SubElement(root, "source"), database="keras_wsol")
    size = ElementTree.SubElement(root, "size")
    _elements(size, width=image.width, height=image.height, depth=3)
    _elements(root, segmented=0)
    for label in boxes:
        found = ElementTree.SubElement(root, "object")
        _elements(found, name=label.class_name, pose="Unspecified")
        _elements(found, truncated=0, difficult=0, score=label.score)
        x0, y0, x1, y1 = (int(edge + 0.5) for edge in label.box)
        # A box that is less than a pixel keeps one, within the image.
        x0, y0 = min(x0, label.width - 1), min(y0, label.height - 1)
        corners = {"xmin": x0 + 1, "ymin": y0 + 1}
        corners |= {"xmax": max(x1, x0 + 1), "ymax": max(y1, y0 + 1)}
        _elements(ElementTree.SubElement(found, "bndbox"), **corners)
    return root


def _elements(parent: ElementTree.Element, **texts: Any) -> None:
    for name, text in texts.items():
        ElementTree.SubElement(parent, name).text = str(text)


def _beside(folder: Path, image: str, suffix: str) -> Path:
    path = folder / PurePosixPath(image).with_suffix(suffix)
    path.parent.mkdir(parents=True, exist_ok=True)
    return path
