"""Boxes to files that trainers of detectors read: COCO, YOLO, Pascal VOC, CSV."""

import csv
import hashlib
import json
import os
import re
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, TextIO
from xml.sax.saxutils import escape

from keras_wsol.data.image_folder import UNWRITABLE

# `img2label_paths` of Ultralytics puts `labels` in place of the last `/images/` of a
# path, and the folder of the list in place of each `./`.
LOST_BY_ULTRALYTICS = re.compile(r"(^|/)images/|\./")
VAL_SHARE = 0.2  # of the images of each class, in "val.txt"
VOC_XML = """<?xml version="1.0" encoding="utf-8"?>
<annotation>
  <folder>{path.parent}</folder><filename>{path.name}</filename><path>{path}</path>
  <source><database>keras_wsol</database></source>
  <size><width>{0.width}</width><height>{0.height}</height><depth>3</depth></size>
  <segmented>0</segmented>{objects}
</annotation>
"""
VOC_OBJECT = """
  <object>
    <name>{name}</name><pose>Unspecified</pose><score>{score}</score>
    <truncated>0</truncated><difficult>0</difficult>
    <bndbox>
      <xmin>{}</xmin><ymin>{}</ymin><xmax>{}</xmax><ymax>{}</ymax>
    </bndbox>
  </object>"""


@dataclass(frozen=True, kw_only=True)
class LabelledImage:
    """The boxes of one class in an image, x0, y0, x1, y1 in its pixels."""

    path: str  # below the folder of images, parts separated by `/`
    width: int
    height: int
    class_id: int
    boxes: Sequence[Sequence[float]]
    scores: Sequence[float]  # of the boxes; the first is the probability of the class


Images = Iterable[LabelledImage]  # more than once, in the same order


def write_csv(images: Images, path: Path, class_names: Sequence[str]) -> None:
    """Writes a line a box; `data.boxes_from_csv` reads it."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        of_image = ("class", "score", "class_id", "width", "height")
        writer.writerow(["path", "x0", "y0", "x1", "y1", *of_image])
        for image in images:
            of_image = (image.class_id, image.width, image.height)
            for box, score in zip(image.boxes, image.scores, strict=True):
                name = class_names[image.class_id]
                writer.writerow([image.path, *box, name, score, *of_image])


def write_coco(images: Images, path: Path, class_names: Sequence[str]) -> None:
    """Writes COCO's JSON, with a `score` a box. All ids, classes too, begin with 1."""
    # COCO's own do, detectors keep class 0 for the background, and pycocotools takes
    # the annotation 0 for "no match".
    categories = [
        {"id": class_id, "name": name, "supercategory": ""}
        for class_id, name in enumerate(class_names, start=1)
    ]
    info = {"description": "Boxes predicted by keras_wsol from image labels"}
    listed = (
        {"id": n, "file_name": i.path, "width": i.width, "height": i.height}
        for n, i in enumerate(images, start=1)
    )
    with path.open("w", encoding="utf-8") as file:
        # Piece by piece, so that memory does not grow with the data set.
        file.write(f'{{"info": {_json(info)},\n"licenses": [],\n')
        file.write(f'"categories": {_json(categories)},\n"images": ')
        _write_array(file, listed)
        file.write(',\n"annotations": ')
        _write_array(file, _coco_annotations(images))
        file.write("}\n")


def write_yolo(images: Images, path: Path, class_names: Sequence[str]) -> None:
    """Writes the folder that Ultralytics reads, `data.yaml` for short.

    `labels/<path>.txt` has a line a box: class id from 0 on, centre x, centre y, width,
    height, in shares of the image. A sixth number would be read as an outline, so
    scores stand in `labels.csv`. Ultralytics passes over GIF files.
    """
    path.mkdir(parents=True)
    for image in images:
        lines = "".join(_yolo_line(image, *box) for box in image.boxes)
        _write_beside(path / "labels", image.path, ".txt", lines)
    _write_splits(images, path, lambda name: f"./images/{name}")
    # A JSON string is a YAML string, whatever the name holds. Without `path`, the
    # folder of the file is taken; with `.`, the one that Ultralytics is called in.
    names = "".join(f"  {n}: {_json(name)}\n" for n, name in enumerate(class_names))
    text = f"train: train.txt\nval: val.txt\nnames:\n{names}"
    (path / "data.yaml").write_text(text, "utf-8")
    write_csv(images, path / "labels.csv", class_names)


def write_voc(images: Images, path: Path, class_names: Sequence[str]) -> None:
    """Writes the folder of Pascal VOC.

    Corners are whole pixels, counted from 1, that belong to the box: (0, 0, 10, 5) is
    `xmin=1, ymin=1, xmax=10, ymax=5`. The `score` of an `object` is not VOC's.
    """
    for image in images:
        text = _voc_text(image, class_names[image.class_id])
        _write_beside(path / "Annotations", image.path, ".xml", text)
    splits = path / "ImageSets" / "Main"
    splits.mkdir(parents=True)
    _write_splits(images, splits, lambda name: str(PurePosixPath(name).with_suffix("")))


def _write_splits(images: Images, folder: Path, line: Callable[[str], str]) -> None:
    """Lists the images that are for training and, apart, those for validation."""
    val = validation_names(images)
    with (
        (folder / "train.txt").open("w", encoding="utf-8") as of_train,
        (folder / "val.txt").open("w", encoding="utf-8") as of_val,
    ):
        for image in images:
            file = of_val if image.path in val else of_train
            file.write(f"{line(image.path)}\n")


def validation_names(images: Images) -> set[str]:
    """Draws a fifth of each class by the SHA-256 of names; of several images, one."""
    classes: dict[int, list[str]] = {}
    for image in images:
        classes.setdefault(image.class_id, []).append(image.path)
    ordered = [sorted(names, key=_sha256) for names in classes.values()]
    drawn = [
        name for names in ordered for name in names[: round(VAL_SHARE * len(names))]
    ]
    everything = sorted((name for names in ordered for name in names), key=_sha256)
    return set(drawn or everything[: len(everything) > 1])


def link_images(images: Images, root: Path, folder: Path) -> None:
    """Links images below `root` into a folder, or copies them where it has no links."""
    root = root.absolute()
    for image in images:
        link = folder / image.path
        link.parent.mkdir(parents=True, exist_ok=True)
        try:
            link.symlink_to(root / image.path)
        except FileExistsError:
            raise  # a copy would follow a link that is there, and replace its image
        except (OSError, NotImplementedError):
            shutil.copyfile(root / image.path, link)


@dataclass(frozen=True)
class LabelFormat:
    """A writer, the suffix of its file, or else the entries of its folder.

    `links` is the entry that images are linked into.
    """

    write: Callable[[Images, Path, Sequence[str]], None]
    suffix: str | None = None
    entries: Set[str] = frozenset()
    links: str | None = None

    def others(self, path: Path) -> list[str]:
        """Names what is at `path` and is not of this format, such as real images."""
        if not path.is_dir():
            return [path.name] if path.exists() and self.suffix is None else []
        known = {*self.entries, self.links}
        found = [entry.name for entry in path.iterdir() if entry.name not in known]
        linked = (path / self.links).rglob("*") if self.links else ()
        found += [str(p.relative_to(path)) for p in linked if _is_real_file(p)]
        return sorted(found)


# Ultralytics keeps what it has read in files such as `labels.cache`.
_YOLO_ENTRIES = {"labels", "labels.cache", "train.txt", "val.txt", "data.yaml"}
LABEL_FORMATS = {
    "coco": LabelFormat(write_coco, ".json"),
    "yolo": LabelFormat(
        write_yolo, entries={*_YOLO_ENTRIES, "labels.csv"}, links="images"
    ),
    "voc": LabelFormat(
        write_voc, entries={"Annotations", "ImageSets"}, links="JPEGImages"
    ),
    "csv": LabelFormat(write_csv, ".csv"),
}


def names_below(
    paths: Sequence[str], root: str | Path | None, format: str
) -> tuple[Path, list[str]]:
    """Returns a folder, and paths relative to it that the format can hold."""
    try:
        if root is None:
            root = os.path.commonpath({str(Path(path).parent) for path in paths})
        names = [Path(path).relative_to(root).as_posix() for path in paths]
    except ValueError as error:
        raise ValueError(
            f"All images must be below one folder, `images_root`. {error}."
        ) from error
    check_writable("The name of an image", names, "Rename the file or its folder.")
    # In a folder, each image has a file of labels that is named like it.
    in_folder = LABEL_FORMATS[format].suffix is None
    files = [PurePosixPath(n).with_suffix("") for n in names] if in_folder else names
    twice = [str(name) for name, count in Counter(files).items() if count > 1]
    if twice:
        raise ValueError(
            "Images must have different names, for YOLO and VOC also without their "
            f"suffixes. Received several of: {twice[:8]}."
        )
    lost = [name for name in names if LOST_BY_ULTRALYTICS.search(name)]
    if format == "yolo" and lost:
        raise ValueError(
            "For YOLO, no folder in the name of an image may be called 'images' or "
            f"end in a dot: its labels would not be found. Received: {lost[0]!r}. "
            "Choose `images_root` so that names begin below that folder."
        )
    return Path(root), names


def check_writable(what: str, names: Sequence[str], way_out: str) -> None:
    """Refuses names that not every format can hold."""
    wrong = [name for name in names if UNWRITABLE.search(name)]
    if wrong:
        raise ValueError(
            f"{what} must be UTF-8 text without control characters. Received: "
            f"{', '.join(map(ascii, wrong[:8]))}. {way_out}"
        )


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def _write_array(file: TextIO, entries: Iterable[Any]) -> None:
    separator = "["
    for entry in entries:
        file.write(f"{separator}\n{_json(entry)}")
        separator = ","
    file.write("[]" if separator == "[" else "\n]")


def _coco_annotations(images: Images) -> Iterator[dict[str, Any]]:
    boxes = (
        (image_id, image, *found)
        for image_id, image in enumerate(images, start=1)
        for found in zip(image.boxes, image.scores, strict=True)
    )
    for number, (image_id, image, box, score) in enumerate(boxes, start=1):
        x0, y0, x1, y1 = box
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
            "score": score,
        }


def _yolo_line(image: LabelledImage, *box: float) -> str:
    x0, y0, x1, y1 = box
    x, width = (x0 + x1) / 2 / image.width, (x1 - x0) / image.width
    y, height = (y0 + y1) / 2 / image.height, (y1 - y0) / image.height
    return f"{image.class_id} {x:.6f} {y:.6f} {width:.6f} {height:.6f}\n"


def _voc_text(image: LabelledImage, class_name: str) -> str:
    name, objects = escape(class_name), ""
    for box, score in zip(image.boxes, image.scores, strict=True):
        x0, y0, x1, y1 = (int(edge + 0.5) for edge in box)
        # A box of less than a pixel keeps one, within the image.
        x0, y0 = min(x0, image.width - 1), min(y0, image.height - 1)
        corners = (x0 + 1, y0 + 1, max(x1, x0 + 1), max(y1, y0 + 1))
        objects += VOC_OBJECT.format(*corners, name=name, score=score)
    path = PurePosixPath(escape(image.path))
    return VOC_XML.format(image, path=path, objects=objects)


def _write_beside(folder: Path, image: str, suffix: str, text: str) -> None:
    path = folder / PurePosixPath(image).with_suffix(suffix)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")


def _is_real_file(path: Path) -> bool:
    return path.is_file() and not path.is_symlink()


def _sha256(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()
