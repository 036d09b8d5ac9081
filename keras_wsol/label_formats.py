"""Boxes to files that trainers of detectors read: COCO, YOLO, Pascal VOC, CSV."""

import csv
import json
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, TextIO
from xml.etree import ElementTree

# Control characters, which XML cannot hold or which end a line; halves of characters,
# which Python makes of file names that are not UTF-8; and what Unicode never assigns.
UNWRITABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufffe\uffff]")
CSV_COLUMNS = (
    *("path", "x0", "y0", "x1", "y1", "class"),
    *("score", "class_id", "width", "height"),
)


@dataclass(frozen=True, kw_only=True)
class LabelledImage:
    """The boxes of one class in an image, x0, y0, x1, y1 in its pixels."""

    path: str  # below the folder of images, parts separated by `/`
    width: int
    height: int
    class_id: int
    score: float  # probability of the class
    boxes: Sequence[Sequence[float]]


Images = Iterable[LabelledImage]  # more than once, in the same order


def write_csv(images: Images, path: Path, class_names: Sequence[str]) -> None:
    """Writes a line a box; `data.boxes_from_csv` reads it."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(CSV_COLUMNS)
        for image in images:
            of_class = (class_names[image.class_id], image.score, image.class_id)
            for box in image.boxes:
                row = [image.path, *box, *of_class, image.width, image.height]
                writer.writerow(row)


def write_coco(images: Images, path: Path, class_names: Sequence[str]) -> None:
    """Writes COCO's JSON, with a `score` a box. All ids, classes too, begin with 1."""
    # COCO's own do, detectors keep class 0 for the background, and pycocotools takes
    # the annotation 0 for "no match".
    categories = [
        {"id": class_id, "name": name, "supercategory": ""}
        for class_id, name in enumerate(class_names, start=1)
    ]
    info = {"description": "Boxes predicted by keras_wsol from image labels"}
    with path.open("w", encoding="utf-8") as file:
        # Piece by piece, so that memory does not grow with the data set.
        file.write(f'{{"info": {_json(info)},\n"licenses": [],\n')
        file.write(f'"categories": {_json(categories)},\n"images": ')
        _write_list(file, _coco_images(images))
        file.write(',\n"annotations": ')
        _write_list(file, _coco_annotations(images))
        file.write("}\n")


def write_yolo(images: Images, path: Path, class_names: Sequence[str]) -> None:
    """Writes the folder that Ultralytics reads; images belong into its `images/`.

    `labels/<path>.txt` has a line a box: class id from 0 on, centre x, centre y, width,
    height, in shares of the image. `train.txt` lists the images and `data.yaml` names
    the classes. A sixth number would be read as an outline, so scores stand in
    `labels.csv`.
    """
    path.mkdir(parents=True)
    with (path / "train.txt").open("w", encoding="utf-8") as listed:
        for image in images:
            listed.write(f"./images/{image.path}\n")
            lines = "".join(_yolo_line(image, box) for box in image.boxes)
            _beside(path / "labels", image.path, ".txt").write_text(lines, "utf-8")
    # A JSON string is a YAML string, whatever the name holds. Without `path`, the
    # folder of the file is taken; with `.`, the one that Ultralytics is called in.
    names = "".join(f"  {n}: {_json(name)}\n" for n, name in enumerate(class_names))
    (path / "data.yaml").write_text(
        f"train: train.txt\nval: train.txt\nnames:\n{names}", "utf-8"
    )
    write_csv(images, path / "labels.csv", class_names)


def write_voc(images: Images, path: Path, class_names: Sequence[str]) -> None:
    """Writes the folder of Pascal VOC; images belong into its `JPEGImages/`.

    Corners are whole pixels, counted from 1, that belong to the box: (0, 0, 10, 5) is
    `xmin=1, ymin=1, xmax=10, ymax=5`. The `score` of an `object` is not VOC's.
    """
    (path / "ImageSets" / "Main").mkdir(parents=True)
    train = path / "ImageSets" / "Main" / "train.txt"
    with train.open("w", encoding="utf-8") as listed:
        for image in images:
            listed.write(f"{PurePosixPath(image.path).with_suffix('')}\n")
            tree = ElementTree.ElementTree(_voc(image, class_names[image.class_id]))
            ElementTree.indent(tree)
            tree.write(_beside(path / "Annotations", image.path, ".xml"), "utf-8")


@dataclass(frozen=True)
class LabelFormat:
    """A writer, the suffix of its file, or else the entries of its folder."""

    write: Callable[[Images, Path, Sequence[str]], None]
    suffix: str | None = None
    entries: frozenset[str] = frozenset()


LABEL_FORMATS = {
    "coco": LabelFormat(write_coco, ".json"),
    "yolo": LabelFormat(
        write_yolo,
        entries=frozenset({"labels", "train.txt", "data.yaml", "labels.csv"}),
    ),
    "voc": LabelFormat(write_voc, entries=frozenset({"Annotations", "ImageSets"})),
    "csv": LabelFormat(write_csv, ".csv"),
}


def names_below(
    paths: Sequence[str], root: str | Path | None, format: str
) -> tuple[Path, list[str]]:
    """Returns a folder, and paths relative to it that each format can hold."""
    try:
        folders = {os.path.dirname(path) for path in paths}  # noqa: PTH120
        root = Path(os.path.commonpath(folders) if root is None else root)
        names = [Path(path).relative_to(root).as_posix() for path in paths]
    except ValueError as error:
        raise ValueError(
            f"All images must be below one folder, `images_root`. {error}."
        ) from error
    check_writable("The name of an image", names, "Rename the file or its folder.")
    files, without = names, ""
    if (
        LABEL_FORMATS[format].suffix is None
    ):  # each image has a file that is named like it
        files = [str(PurePosixPath(name).with_suffix("")) for name in names]
        without = ", also without its suffix"
    twice = [name for name, count in Counter(files).items() if count > 1]
    if twice:
        raise ValueError(
            f"Each image must have a name of its own in the labels{without}. "
            f"Several are called: {twice[:8]}."
        )
    if format == "yolo":
        _check_yolo_names(names)
    return root, names


def check_writable(what: str, names: Sequence[str], way_out: str) -> None:
    """Refuses names that not every format can hold."""
    wrong = [name for name in names if UNWRITABLE.search(name)]
    if wrong:
        raise ValueError(
            f"{what} must be UTF-8 text without control characters. Received: "
            f"{', '.join(map(ascii, wrong[:8]))}. {way_out}"
        )


def _check_yolo_names(names: Iterable[str]) -> None:
    """Refuses names whose labels Ultralytics looks for elsewhere.

    Its `img2label_paths` puts `labels` in place of the last `/images/` of a path, and
    the folder of the list in place of each `./`.
    """
    for name in names:
        folders = PurePosixPath(name).parent.parts
        if any(folder == "images" or folder.endswith(".") for folder in folders):
            raise ValueError(
                "For YOLO, no folder in the name of an image may be called 'images' or "
                f"end in a dot: its labels would not be found. Received: {name!r}. "
                "Choose `images_root` so that names begin below that folder, rename "
                "it, or write another format."
            )


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def _write_list(file: TextIO, entries: Iterable[Any]) -> None:
    separator = "["
    for entry in entries:
        file.write(f"{separator}\n{_json(entry)}")
        separator = ","
    file.write("[]" if separator == "[" else "\n]")


def _coco_images(images: Images) -> Iterator[dict[str, Any]]:
    for number, image in enumerate(images, start=1):
        size = {"width": image.width, "height": image.height}
        yield {"id": number, "file_name": image.path, **size}


def _coco_annotations(images: Images) -> Iterator[dict[str, Any]]:
    number = 0
    for image_id, image in enumerate(images, start=1):
        for x0, y0, x1, y1 in image.boxes:
            number += 1
            # Differences of hundredths, without the dust of binary fractions.
            width, height = round(x1 - x0, 2), round(y1 - y0, 2)
            yield {
                "id": number,
                "image_id": image_id,
                "category_id": image.class_id + 1,
                "bbox": [x0, y0, width, height],
                "area": round(width * height, 2),
                "iscrowd": 0,
                "segmentation": [],
                "score": image.score,
            }


def _yolo_line(image: LabelledImage, box: Sequence[float]) -> str:
    x0, y0, x1, y1 = box
    shares = (
        (x0 + x1) / 2 / image.width,
        (y0 + y1) / 2 / image.height,
        (x1 - x0) / image.width,
        (y1 - y0) / image.height,
    )
    return f"{image.class_id} {' '.join(f'{share:.6f}' for share in shares)}\n"


def _voc(image: LabelledImage, class_name: str) -> ElementTree.Element:
    root = ElementTree.Element("annotation")
    path = PurePosixPath(image.path)
    _elements(root, folder=path.parent.as_posix(), filename=path.name, path=image.path)
    _elements(ElementTree.SubElement(root, "source"), database="keras_wsol")
    size = ElementTree.SubElement(root, "size")
    _elements(size, width=image.width, height=image.height, depth=3)
    _elements(root, segmented=0)
    for box in image.boxes:
        found = ElementTree.SubElement(root, "object")
        _elements(found, name=class_name, pose="Unspecified")
        _elements(found, truncated=0, difficult=0, score=image.score)
        x0, y0, x1, y1 = (int(edge + 0.5) for edge in box)
        # A box of less than a pixel keeps one, within the image.
        x0, y0 = min(x0, image.width - 1), min(y0, image.height - 1)
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
