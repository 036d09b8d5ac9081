"""Boxes from CSV, COCO and Pascal VOC files."""

import csv
import json
import unicodedata
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np

from keras_wsol.data.dataset import ImageDataset, existing_folder, padded_boxes
from keras_wsol.data.images import read_size

Box = tuple[float, float, float, float]
_CSV_COLUMNS = ("path", "x0", "y0", "x1", "y1")
_VOC_CORNERS = ("xmin", "ymin", "xmax", "ymax")


def boxes_from_csv(dataset: ImageDataset, path: str | Path) -> ImageDataset:
    """Takes the images of a data set that a CSV file has boxes for, with the boxes.

    The file has a header with at least `path,x0,y0,x1,y1`, in any order, and one box a
    line, in pixels of the image as read, far edge exclusive. An image may have several
    lines. A column `class`, if there is one, must agree with the data set; others are
    ignored. The CSV of pseudo labels can be corrected by hand and read.

    A path names the image whose path it is, or ends with: `1.jpg`, or `cat/1.jpg` where
    that fits several. Files in `left_out` are passed over.

    Args:
        dataset: `ImageDataset`, such as that of `image_folder`.
        path: Path of the CSV file, in UTF-8, separated by commas.

    Returns:
        The images with boxes, in the order of `dataset`; `split` is `"boxes"`.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: A column is missing, there is no box, or a line is wrong: its path,
            its class or its box in pixels. The message names the line.

    Example:
        pets = data.image_folder("pets")
        localizer.tune(data.boxes_from_csv(pets, "thirty_boxes.csv"))
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"`path` must be a CSV file. Nothing is at: {path}.")
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = csv.DictReader(file, skipinitialspace=True)
        missing = [name for name in _CSV_COLUMNS if name not in (rows.fieldnames or ())]
        if missing:
            raise ValueError(
                f"{path} must have the columns {','.join(_CSV_COLUMNS)} in its first "
                f"line. Missing: {missing}. Received: {rows.fieldnames}."
            )
        lines = [_csv_line(row, f"{path}, line {rows.line_num}") for row in rows]
    return _join(dataset, lines, path.name)


def _csv_line(row: Mapping[str, str | None], where: str) -> "_Annotated":
    texts = {name: row[name] for name in _CSV_COLUMNS[1:]}
    try:
        box = tuple(map(float, texts.values()))
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{where}: a box must be four numbers. Received: {texts}."
        ) from error
    return _Annotated(where, row["path"] or "", ((row.get("class") or None, box),))


def boxes_from_coco(dataset: ImageDataset, path: str | Path) -> ImageDataset:
    """Takes the images of a data set that a COCO file has boxes for, with the boxes.

    Of each image the objects of its own class count, matched by name; `notes` says how
    many boxes of other classes were left out. Crowds (`iscrowd`) are left out.
    `file_name` names an image as in `boxes_from_csv`. `width` and `height` must be
    those of the image as read (`orientation`): no box lands on a turned photograph.

    Args:
        dataset: `ImageDataset`, such as that of `image_folder`.
        path: Path of the file. `bbox` is x, y, width, height in pixels.

    Returns:
        The images with boxes, in the order of `dataset`; `split` is `"boxes"`.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is no such JSON, has no box, or an image does not fit: by its
            path, its class or its size. The message names it.

    Reference:
        - [Format](https://cocodataset.org/#format-data)
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"`path` must be a JSON file. Nothing is at: {path}.")
    try:
        annotated = _read_coco(json.loads(path.read_text("utf-8-sig")), path)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{path} must be JSON of COCO's detection task. Received: "
            f"{type(error).__name__}: {error}."
        ) from error
    return _join(dataset, annotated, path.name)


def _read_coco(content: Mapping[str, Any], path: Path) -> list["_Annotated"]:
    names = {category["id"]: category["name"] for category in content["categories"]}
    objects: dict[Any, list[tuple[str, Box]]] = defaultdict(list)
    for entry in content["annotations"]:
        x, y, width, height = map(float, entry["bbox"])
        name = names[entry["category_id"]]
        found = objects[entry["image_id"]]  # also of a crowd: its image must be listed
        if not entry.get("iscrowd"):
            found.append((name, (x, y, x + width, y + height)))
    images = {image["id"]: image for image in content["images"]}
    unknown = sorted(set(objects) - set(images), key=str)
    if unknown:
        raise ValueError(f"annotations of images that are not listed: {unknown[:8]}")
    return [
        _Annotated(
            f"{path}, image {image['file_name']!r}",
            image["file_name"],
            tuple(objects.get(key, ())),
            (int(image.get("height", 0)), int(image.get("width", 0))),
        )
        for key, image in images.items()
    ]


def boxes_from_voc(dataset: ImageDataset, root: str | Path) -> ImageDataset:
    """Takes the images of a data set that VOC files have boxes for, with the boxes.

    An XML file belongs to the image of its name: `cat/1.xml` to `cat/1.jpg`. Objects
    and sizes count as in `boxes_from_coco`. Corners are pixels counted from 1 that
    belong to the box, as in VOC's development kit: `xmin=1, ymin=1, xmax=10, ymax=5`
    is the box 0, 0, 10, 5. For ImageNet's files see `data.ilsvrc2012`.

    Args:
        dataset: `ImageDataset`, such as that of `image_folder`.
        root: Path of the folder of annotations, or of the one that holds it as
            `Annotations`.

    Returns:
        The images with boxes, in the order of `dataset`; `split` is `"boxes"`.

    Raises:
        FileNotFoundError: There is no such folder.
        ValueError: A file cannot be read, there is no box, or an image does not fit:
            by its path, its class or its size. The message names the file.

    Reference:
        - [Development kit](http://host.robots.ox.ac.uk/pascal/VOC/voc2012/)
    """
    root = existing_folder(root)
    if (root / "Annotations").is_dir():
        root = root / "Annotations"
    annotated = []
    for path in sorted(root.rglob("*.xml")):
        size, found = read_voc_file(path)
        objects = [(name, (x0 - 1, y0 - 1, x1, y1)) for name, (x0, y0, x1, y1) in found]
        name = _without_suffix(path.relative_to(root).as_posix())
        annotated.append(_Annotated(str(path), name, tuple(objects), size))
    return _join(dataset, annotated, root.name, _without_suffix)


def read_voc_file(path: str | Path) -> tuple[tuple[int, int], list[tuple[str, Box]]]:
    """Reads height and width, (0, 0) if missing, and names with corners as they are."""
    try:
        root = ElementTree.parse(path).getroot()
        sides = [_text(root, f"size/{side}", "0") for side in ("height", "width")]
        height, width = (int(float(side)) for side in sides)
        return (height, width), list(map(_object, root.iter("object")))
    except (ElementTree.ParseError, OSError, ValueError, OverflowError) as error:
        raise ValueError(f"Cannot read the annotation: {path} ({error}).") from error


def _object(node: ElementTree.Element) -> tuple[str, Box]:
    box = tuple(float(_text(node, f"bndbox/{corner}")) for corner in _VOC_CORNERS)
    if not np.isfinite(box).all():
        raise ValueError(f"a corner must be a number. Received: {box}")
    return _text(node, "name"), box


def _text(node: ElementTree.Element, path: str, default: str | None = None) -> str:
    text = node.findtext(path, default)
    if text is None or not text.strip():
        raise ValueError(f"an element {path!r} is missing")
    return text.strip()


# --- Joining: a detector's labels name every object of an image, and the boxes that
# count are those of the one class that the image has.


@dataclass(frozen=True)
class _Annotated:
    """Class, or `None`, and box of each object; `size` is (0, 0) if not known."""

    where: str
    path: str
    objects: tuple[tuple[str | None, Box], ...]
    size: tuple[int, int] = (0, 0)


def _join(
    dataset: ImageDataset,
    annotated: Sequence[_Annotated],
    source: str,
    name_of: Any = str,
) -> ImageDataset:
    annotated = [image for image in annotated if image.objects]
    find = _Paths(dataset, {_last_part(image.path) for image in annotated}, name_of)
    boxes: dict[int, list[Box]] = defaultdict(list)
    others = 0
    for image in annotated:
        try:
            index = find(image.path)
            if index is None:
                continue
            own = _own_boxes(image, dataset, index)
        except ValueError as error:
            raise ValueError(f"{image.where}: {error}") from error
        boxes[index] += own
        others += len(image.objects) - len(own)
    if not boxes:
        raise ValueError(f"{source} must have at least one box. Received: none.")
    if others:
        source = f"{source}, without {others} boxes of other classes"
    indices = sorted(boxes)
    some = replace(dataset, boxes=None).take(np.array(indices, int), "boxes")
    found = padded_boxes([boxes[index] for index in indices])
    return replace(some, boxes=found, notes={**dataset.notes, "boxes": source})


def _own_boxes(image: _Annotated, dataset: ImageDataset, index: int) -> list[Box]:
    own = dataset.class_names[dataset.class_ids[index]].strip()
    boxes = [box for name, box in image.objects if name is None or name.strip() == own]
    if not boxes:
        names = sorted({name for name, _ in image.objects})
        raise ValueError(
            f"an object must be of the class of its image, {own!r}. Received: {names}."
        )
    for box in boxes:
        _check_box(box)
    if min(image.size) > 0 and image.size != size_of(dataset, index):
        (height, width), (rows, columns) = image.size, size_of(dataset, index)
        raise ValueError(
            f"the image must have the annotated size, {width} wide and {height} high. "
            f"Received: {columns} wide and {rows} high, with images read as "
            f"orientation={dataset.orientation!r}."
        )
    return boxes


def _check_box(box: Box) -> None:
    x0, y0, x1, y1 = box
    # Written so that a NaN fails. What crosses the border is clipped by batches.
    if not (np.isfinite(box).all() and x0 < x1 > 0 and y0 < y1 > 0):
        raise ValueError(
            "a box must have x0 < x1 and y0 < y1, and a part in the image. "
            f"Received: {list(box)}."
        )
    if max(box) <= 1:
        raise ValueError(
            f"a box must be in pixels, not in shares. Received: {list(box)}."
        )


def size_of(dataset: ImageDataset, index: int) -> tuple[int, int]:
    """Returns height and width of an image as it is read."""
    if dataset.sizes is not None:
        return tuple(dataset.sizes[index].tolist())
    if dataset.images is not None:
        return dataset.images[index].shape[:2]
    return read_size(dataset.paths[index], dataset.orientation)


class _Paths:
    """Finds images by the last parts of their paths; `None` if they are left out."""

    def __init__(self, dataset: ImageDataset, names: set[str], name_of: Any) -> None:
        self._parts = defaultdict(list)
        left_out = [(None, path) for path, _ in dataset.left_out]
        for index, path in [*enumerate(dataset.paths.tolist()), *left_out]:
            name = name_of(path)
            if _last_part(name) in names:  # a data set may have millions of others
                self._parts[_last_part(name)].append((index, _split(name)))

    def __call__(self, path: str) -> int | None:
        wanted = _split(path)
        found = [
            (index, parts)
            for index, parts in self._parts[_last_part(path)]
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


def _plain(path: str) -> str:
    # Letters may be composed or not, and Windows has its own separator.
    return unicodedata.normalize("NFC", path.strip()).replace("\\", "/")


def _last_part(path: str) -> str:
    return _plain(path).rpartition("/")[2]


def _without_suffix(path: str) -> str:
    folder, slash, name = path.rpartition("/")
    return folder + slash + (name.rpartition(".")[0] or name)


def _split(path: str) -> tuple[str, ...]:
    plain = _plain(path)
    parts = [part for part in plain.split("/") if part not in ("", ".")]
    return tuple(["/", *parts] if plain.startswith("/") else parts)
