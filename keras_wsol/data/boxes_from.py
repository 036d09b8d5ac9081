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


class ImagePaths:
    """Finds images of a data set by the last parts of their paths."""

    def __init__(
        self, dataset: ImageDataset, names: set[str], with_suffix: bool = True
    ) -> None:
        """Prepares the search."""
        self._parts = defaultdict(list)
        for index, path in enumerate(dataset.paths.tolist()):
            path = path if with_suffix else without_suffix(path)
            # Only these are ever asked for; a data set may have millions.
            if last_part(path) in names:
                self._parts[last_part(path)].append((index, _split(path)))

    def find(self, path: str | None) -> int:
        """Returns which image a path names: that whose path it is, or ends with."""
        wanted = _split(path)
        found = [
            (index, parts)
            for index, parts in self._parts[last_part(path)]
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


def last_part(path: str | None) -> str:
    r"""Returns the part of a path behind its last separator."""
    return _plain(path).rpartition("/")[2]


def without_suffix(path: str) -> str:
    """Returns a path without what its name ends in."""
    folder, slash, name = path.rpartition("/")
    return folder + slash + (name.rpartition(".")[0] or name)


def with_boxes(
    dataset: ImageDataset, boxes: Mapping[int, Sequence[Sequence[float]]], source: str
) -> ImageDataset:
    """Takes the images that have boxes."""
    indices = sorted(boxes)
    some = replace(dataset, boxes=None).take(np.array(indices, int), "boxes")
    found = padded_boxes([boxes[index] for index in indices])
    return replace(some, boxes=found, notes={**dataset.notes, "boxes": source})


def check_box(box: Sequence[float]) -> None:
    """Raises unless a box can be one in pixels."""
    x0, y0, x1, y1 = box
    # Written so that a NaN fails as well.
    # What crosses the border of the image is clipped when it is read.
    if not (np.isfinite(box).all() and x0 < x1 > 0 and y0 < y1 > 0):
        raise ValueError(
            "a box must have x0 < x1 and y0 < y1, and a part in the image. "
            f"Received: {list(box)}."
        )
    if max(box) <= 1:
        raise ValueError(
            f"a box must be in pixels, not in shares. Received: {list(box)}."
        )


def _plain(path: str | None) -> str:
    # The same name may be composed or not, by the system that wrote it; and a
    # spreadsheet on Windows writes its own separator.
    return unicodedata.normalize("NFC", (path or "").strip()).replace("\\", "/")


def _split(path: str | None) -> tuple[str, ...]:
    plain = _plain(path)
    parts = [part for part in plain.split("/") if part not in ("", ".")]
    return tuple(["/", *parts] if plain.startswith("/") else parts)


# A detector's labels name every object of an image; an image of a folder by class has
# one class, and the boxes that count are those of its objects.


@dataclass(frozen=True, kw_only=True)
class Annotated:
    """The objects of one image.

    Attributes:
        where: Where this stands, for messages.
        path: Path of the image, or the end of it.
        size: Height and width of the image that was annotated; `(0, 0)` if not known.
        objects: For each object its class and x0, y0, x1, y1, far edge exclusive.
    """

    where: str
    path: str
    size: tuple[int, int]
    objects: tuple[tuple[str, tuple[float, ...]], ...]


def join(
    dataset: ImageDataset,
    annotated: Sequence[Annotated],
    source: str,
    with_suffix: bool = True,
) -> ImageDataset:
    """Takes the images that have objects of their own class."""
    annotated = [image for image in annotated if image.objects]
    if not annotated:
        raise ValueError(f"{source} must have at least one box. Received: none.")
    names = {last_part(image.path) for image in annotated}
    index_of = ImagePaths(dataset, names, with_suffix)
    boxes: dict[int, list[tuple[float, ...]]] = defaultdict(list)
    others = 0
    for image in annotated:
        try:
            index = index_of.find(image.path)
            own = _own_boxes(image, dataset, index)
        except ValueError as error:
            raise ValueError(f"{image.where}: {error}") from error
        boxes[index] += own
        others += len(image.objects) - len(own)
    if others:
        source = f"{source}, without {others} boxes of other classes"
    return with_boxes(dataset, boxes, source)


def _own_boxes(
    image: Annotated, dataset: ImageDataset, index: int
) -> list[tuple[float, ...]]:
    own = dataset.class_names[dataset.class_ids[index]]
    boxes = [box for name, box in image.objects if name.strip() == own.strip()]
    if not boxes:
        names = sorted({name for name, _ in image.objects})
        raise ValueError(
            f"an object must be of the class of its image, {own!r}. Received: {names}."
        )
    for box in boxes:
        check_box(box)
    size = _size(dataset, index)
    if min(image.size) > 0 and image.size != size:
        raise ValueError(
            f"the image must have the annotated size, {_words(image.size)}. Received: "
            f"{_words(size)}, with images read as orientation={dataset.orientation!r}."
        )
    return boxes


def _size(dataset: ImageDataset, index: int) -> tuple[int, int]:
    if dataset.images is not None:
        return dataset.images[index].shape[:2]
    return read_size(dataset.paths[index], dataset.orientation)


def _words(size: tuple[int, int]) -> str:
    return f"{size[1]} wide and {size[0]} high"


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


def boxes_from_coco(dataset: ImageDataset, path: str | Path) -> ImageDataset:
    """Gives the images of a data set that a COCO file has boxes for, with the boxes.

    Of each image the objects of its own class count: categories are matched with
    `class_names` by name, and `notes` says how many boxes of other classes were left
    out. Crowds (`iscrowd`) are left out as well. `file_name` names an image as the
    paths of `boxes_from_csv` do; `width` and `height` must be those of the image as the
    data set reads it (`orientation`), so that no box lands on a turned photograph.

    Args:
        dataset: The images, such as those of `image_folder`.
        path: The file. `bbox` is x, y, width, height in pixels.

    Returns:
        The images with boxes, in the order of `dataset`; `split` is `"boxes"`.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is no such JSON, has no box, or an annotation does not fit: no
            image or several have its path, none of its objects is of the image's
            class, or its image has another size. The message names the image.

    Example:
        some = data.boxes_from_coco(data.image_folder("pets"), "instances.json")

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
    return join(dataset, annotated, path.name)


def _read_coco(content: Mapping[str, Any], path: Path) -> list[Annotated]:
    names = {category["id"]: category["name"] for category in content["categories"]}
    objects: dict[Any, list[tuple[str, tuple[float, ...]]]] = defaultdict(list)
    for entry in content["annotations"]:
        x, y, width, height = map(float, entry["bbox"])
        name = names[entry["category_id"]]
        # An object of an image that does not exist is an error below.
        found = objects[entry["image_id"]]
        if not entry.get("iscrowd"):
            found.append((name, (x, y, x + width, y + height)))
    images = {image["id"]: image for image in content["images"]}
    unknown = sorted(set(objects) - set(images), key=str)
    if unknown:
        raise ValueError(f"annotations of images that are not listed: {unknown[:8]}")
    return [
        Annotated(
            where=f"{path}, image {image['file_name']!r}",
            path=image["file_name"],
            size=(int(image.get("height", 0)), int(image.get("width", 0))),
            objects=tuple(objects.get(key, ())),
        )
        for key, image in images.items()
    ]


_SIDES = ("height", "width")
_CORNERS = ("xmin", "ymin", "xmax", "ymax")


@dataclass(frozen=True)
class VocFile:
    """What an annotation says, its numbers as they stand in the file.

    Attributes:
        size: Height and width of the image that boxes were drawn in; `(0, 0)` if the
            file does not say.
        objects: For each object its name and xmin, ymin, xmax, ymax.
    """

    size: tuple[int, int]
    objects: tuple[tuple[str, tuple[float, float, float, float]], ...]


def read_voc_file(path: str | Path) -> VocFile:
    """Reads an annotation."""
    try:
        root = ElementTree.parse(path).getroot()
        size = tuple(int(float(_text(root, f"size/{x}", "0"))) for x in _SIDES)
        found = tuple(map(_object, root.iter("object")))
    except (ElementTree.ParseError, OSError, ValueError, OverflowError) as error:
        raise ValueError(f"Cannot read the annotation: {path} ({error}).") from error
    return VocFile(size, found)


def _object(
    node: ElementTree.Element,
) -> tuple[str, tuple[float, float, float, float]]:
    box = tuple(float(_text(node, f"bndbox/{corner}")) for corner in _CORNERS)
    if not np.isfinite(box).all():
        raise ValueError(f"a corner must be a number. Received: {box}")
    return _text(node, "name"), box


def _text(node: ElementTree.Element, path: str, default: str | None = None) -> str:
    text = node.findtext(path, default)
    if text is None or not text.strip():
        raise ValueError(f"an element {path!r} is missing")
    return text.strip()


def boxes_from_voc(dataset: ImageDataset, root: str | Path) -> ImageDataset:
    """Gives the images of a data set that VOC files have boxes for, with the boxes.

    An XML file belongs to the image of its name: `cat/1.xml` to the one whose path is,
    or ends with, `cat/1` but for `.jpg` and the like. Of each image the objects of its
    own class count, and `notes` says how many boxes of other classes were left out.
    Corners are pixels counted from 1 that belong to the box, as in VOC's development
    kit: `xmin=1, ymin=1, xmax=10, ymax=5` is the box 0, 0, 10, 5. `width` and `height`
    must be those of the image as the data set reads it (`orientation`).

    ImageNet's files count from 0, and are often of images of another size: see
    `data.ilsvrc2012`.

    Args:
        dataset: The images, such as those of `image_folder`.
        root: The folder of annotations, or the one that holds it as `Annotations`.

    Returns:
        The images with boxes, in the order of `dataset`; `split` is `"boxes"`.

    Raises:
        FileNotFoundError: There is no such folder.
        ValueError: A file cannot be read, there is no box, or a file does not fit: no
            image or several have its name, none of its objects is of the image's
            class, or its image has another size. The message names the file.

    Example:
        some = data.boxes_from_voc(data.image_folder("pets"), "VOCdevkit/Annotations")

    Reference:
        - [Development kit](http://host.robots.ox.ac.uk/pascal/VOC/voc2012/)
    """
    root = existing_folder(root)
    if (root / "Annotations").is_dir():
        root = root / "Annotations"
    annotated = [_read_voc(path, root) for path in sorted(root.rglob("*.xml"))]
    return join(dataset, annotated, root.name, with_suffix=False)


def _read_voc(path: Path, root: Path) -> Annotated:
    file = read_voc_file(path)
    return Annotated(
        where=str(path),
        path=without_suffix(path.relative_to(root).as_posix()),
        size=file.size,
        objects=tuple(
            (name, (xmin - 1, ymin - 1, xmax, ymax))
            for name, (xmin, ymin, xmax, ymax) in file.objects
        ),
    )
