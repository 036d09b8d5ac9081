"""Boxes to files that trainers of detectors read: COCO, YOLO, Pascal VOC, CSV."""

import csv
import functools
import hashlib
import json
import os
import re
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, TextIO
from xml.sax.saxutils import escape

from keras_wsol.data.image_folder import UNWRITABLE
from keras_wsol.files import delete, reading

# `img2label_paths` of Ultralytics puts `labels` in place of the last `/images/` of a
# path, and the folder of the list in place of each `./`.
LOST_BY_ULTRALYTICS = re.compile(r"(^|/)images/|\./")
OF_ULTRALYTICS = re.compile(r"labels(/.*)?\.cache")  # what it has read of labels
# In VOC's `labelmap.txt`, `#` begins a remark, and `:` ends the name of a class.
LOST_BY_VOC = re.compile(r"^#|:|^\s|\s$")
WRITTEN = ".keras_wsol.json"  # what we have written into a folder of labels
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
    source: str | None = None  # where the image is, if not at `path`


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
    """Writes COCO's JSON, with a `score` a box. All ids, classes too, begin with 1.

    Each `segmentation` is the box: without it, pycocotools makes no mask, and CVAT
    fails. CVAT makes a polygon of it; of our VOC it makes a box.
    """
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
    scores stand in `labels.csv`. Ultralytics passes over GIF files, and Label Studio
    takes names of classes from `classes.txt`.
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
    (path / "classes.txt").write_text("".join(f"{n}\n" for n in class_names), "utf-8")
    write_csv(images, path / "labels.csv", class_names)


def write_voc(images: Images, path: Path, class_names: Sequence[str]) -> None:
    """Writes the folder of Pascal VOC.

    Corners are whole pixels, counted from 1, that belong to the box: (0, 0, 10, 5) is
    `xmin=1, ymin=1, xmax=10, ymax=5`. The `score` of an `object` is not VOC's.
    Datumaro, and so CVAT, needs `labelmap.txt`. To find the images, Datumaro needs
    `flat` and files in place of links (`cp -rL`), too. It takes the corners for edges:
    its boxes begin a pixel too late.
    """
    for image in images:
        text = _voc_text(image, class_names[image.class_id])
        _write_beside(path / "Annotations", image.path, ".xml", text)
    splits = path / "ImageSets" / "Main"
    splits.mkdir(parents=True)
    _write_splits(images, splits, lambda name: str(PurePosixPath(name).with_suffix("")))
    lines = ("# label:color_rgb:parts:actions", *(f"{name}:::" for name in class_names))
    (path / "labelmap.txt").write_text("\n".join(lines) + "\n", "utf-8")


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
        link = _below(folder, image.path)
        _link_or_copy(os.symlink, root / (image.source or image.path), link)


def _link_or_copy(link: Callable[..., None], source: Path, target: Path) -> None:
    try:
        link(source, target)
    except FileExistsError:
        raise  # a copy would follow a link that is there, and replace its image
    except (OSError, NotImplementedError):
        shutil.copyfile(source, target)


@dataclass(frozen=True)
class LabelFormat:
    """A writer, and the suffix of its file, or where its folder links to images."""

    write: Callable[[Images, Path, Sequence[str]], None]
    suffix: str | None = None
    links: str | None = None


LABEL_FORMATS = {
    "coco": LabelFormat(write_coco, ".json"),
    "yolo": LabelFormat(write_yolo, links="images"),
    "voc": LabelFormat(write_voc, links="JPEGImages"),
    "csv": LabelFormat(write_csv, ".csv"),
}


def keep_others(old: Path, new: Path) -> None:
    """Has a new folder hold what others put into the old one, also in place of ours."""
    written = old / WRITTEN
    with reading(written, f"move {old} away"):
        text = written.read_text("utf-8") if written.is_file() else "{}"
        listed = dict(json.loads(text))
    # In place of a link, somebody may have put the image itself.
    ours = {name for name, link in listed.items() if link <= (old / name).is_symlink()}
    others = {n for n in _files_in(old) - ours if not OF_ULTRALYTICS.fullmatch(n)}
    # Not moved: after a kill, the old folder is as it was.
    link = functools.partial(os.link, follow_symlinks=False)
    for name in others:
        delete(new / name)
        _link_or_copy(link, old / name, _below(new, name))
    ours = {name: (new / name).is_symlink() for name in _files_in(new) - others}
    (new / WRITTEN).write_text(_json({**ours, WRITTEN: False}), "utf-8")


def placed(name: str, flat: bool) -> str:
    """Where an image lies in a folder of labels."""
    return PurePosixPath(name).name if flat else name


def names_below(
    paths: Sequence[str],
    root: str | Path | None,
    format: str,
    flat: bool = False,
    count: int | None = None,
) -> tuple[Path, list[str]]:
    """Returns a folder, and paths relative to it that the format can hold.

    Only the first `count`, by default all, get labels, and so need files of their own.
    """
    if any(".." in Path(path).parts for path in (*paths, root or "")):
        paths = [str(Path(p).parent.resolve() / Path(p).name) for p in paths]
        root = root and Path(root).resolve()
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
    in_folder, files = LABEL_FORMATS[format].suffix is None, names
    if in_folder:
        files = [str(PurePosixPath(placed(n, flat)).with_suffix("")) for n in names]
    counts = Counter(files[:count])
    placed_at = zip(names[:count], files[:count], strict=True)
    same = [name for name, file in placed_at if counts[file] > 1]
    if same:
        raise ValueError(
            "Images must have different names, for YOLO and VOC also without their "
            "suffixes, and with `flat` without their folders. Received: "
            f"{sorted(same)[:8]}."
        )
    lost = [name for name in names if LOST_BY_ULTRALYTICS.search(placed(name, flat))]
    if format == "yolo" and lost:
        raise ValueError(
            "For YOLO, no folder in the name of an image may be called 'images' or "
            f"end in a dot: its labels would not be found. Received: {lost[0]!r}. "
            "Choose `images_root` so that names begin below that folder."
        )
    return Path(root), names


def check_classes(names: Sequence[str], format: str) -> None:
    """Refuses names of classes that the format cannot hold."""
    way_out = "Give the model, or the images, other `class_names`."
    check_writable("The name of a class", names, way_out)
    lost = [name for name in names if LOST_BY_VOC.search(name)]
    if format == "voc" and lost:
        raise ValueError(
            "For VOC, the name of a class must have no ':', no '#' in front and no "
            f"space at an end. Received: {lost[:8]}. {way_out}"
        )


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
            "segmentation": [[x0, y0, x0, y1, x1, y1, x1, y0]],
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
    path = _below(folder, str(PurePosixPath(image).with_suffix(suffix)))
    with path.open("x", encoding="utf-8") as file:  # a disk may take two names for one
        file.write(text)


def _below(folder: Path, name: str) -> Path:
    """The path of each file that is named like an image: never out of the folder."""
    path = folder / name
    if not path.parent.resolve().is_relative_to(folder.resolve()):
        raise ValueError(f"{name!r} would be written outside of {folder}.")
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def _files_in(folder: Path) -> set[str]:
    """Names all files and links in a folder, at any depth."""
    paths = (p for p in folder.rglob("*") if p.is_symlink() or not p.is_dir())
    return {path.relative_to(folder).as_posix() for path in paths}


def _sha256(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()
