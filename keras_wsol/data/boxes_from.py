"""Boxes from CSV, COCO and Pascal VOC files."""

import csv
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple
from xml.etree import ElementTree

import numpy as np

from keras_wsol.arguments import composed, once
from keras_wsol.data.dataset import ImageDataset, existing_folder, padded_boxes, reading
from keras_wsol.data.fine_grained import LARGEST, as_kind
from keras_wsol.data.numpy_pipeline import read_size

Box = tuple[float, float, float, float]
Parts = tuple[str, ...]  # of a path
_CSV_COLUMNS = ("path", "x0", "y0", "x1", "y1")
_VOC_CORNERS = ("xmin", "ymin", "xmax", "ymax")


class _Annotated(NamedTuple):
    """Class, or `None`, and box of each object; `size` is (0, 0) if not known."""

    where: str
    path: str
    objects: Sequence[tuple[str | None, Box]]
    size: tuple[int, int] = (0, 0)


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
        The images with boxes, in the order of `dataset`; to `split`, "-boxes" is added.

    Raises:
        ValueError: A column is missing, a line is wrong, or there is no box.

    Example:
        pets = data.image_folder("pets")
        localizer.tune(data.boxes_from_csv(pets, "thirty_boxes.csv"))
    """
    path = Path(path)
    with reading("the CSV file in UTF-8", path):
        lines = _read_csv(path)
    return _join(dataset, lines, path.name, several=True)


def _read_csv(path: Path) -> list[_Annotated]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        # Else a quote that is not closed would take all that follows into one field.
        rows = csv.DictReader(file, skipinitialspace=True, strict=True)
        missing = [name for name in _CSV_COLUMNS if name not in (rows.fieldnames or ())]
        columns = (*_CSV_COLUMNS, "class")
        known = [name for name in rows.fieldnames or () if name in columns]
        if missing or len(known) > len(set(known)):
            raise ValueError(
                f"{path} must have the columns {','.join(_CSV_COLUMNS)} in its first "
                f"line, and may have class, each once. Missing: {missing}. Received: "
                f"{rows.fieldnames}."
            )
        return [_csv_line(row, f"{path}, line {rows.line_num}") for row in rows]


def _csv_line(row: Mapping[str, str | None], where: str) -> _Annotated:
    texts = [row[name] for name in _CSV_COLUMNS[1:]]
    try:
        box = tuple(map(float, texts))
    except (TypeError, ValueError) as error:
        message = f"{where}: a box must be four numbers. Received: {texts}."
        raise ValueError(message) from error
    return _Annotated(where, row["path"] or "", [(row.get("class") or None, box)])


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
        The images with boxes, as `boxes_from_csv`.

    Raises:
        ValueError: It is no such JSON, or an image does not fit by path, class or size.

    Reference:
        - [Format](https://cocodataset.org/#format-data)
    """
    path = Path(path)
    with reading("the JSON of COCO's detection task", path):
        content = json.loads(path.read_text("utf-8-sig"), object_pairs_hook=once)
        annotated = _read_coco(content, path)
    return _join(dataset, annotated, path.name)


def _read_coco(content: Mapping[str, Any], path: Path) -> list[_Annotated]:
    # Files that were joined may have an id twice.
    categories = once((each["id"], each) for each in content["categories"])
    images = once((each["id"], each) for each in content["images"])
    objects: dict[Any, list[tuple[str, Box]]] = defaultdict(list)
    for number, entry in enumerate(content["annotations"]):
        # Also of a crowd: its image must be listed.
        found = objects[entry["image_id"]]
        if entry.get("iscrowd"):
            continue
        try:
            x, y, width, height = map(float, _of(list, entry, "bbox"))
            name = _of(str, categories[entry["category_id"]], "name")
        except (KeyError, TypeError, ValueError) as error:
            which = f"annotation {entry.get('id', f'number {number}')}"
            said = f"no {error}" if isinstance(error, KeyError) else error
            raise ValueError(f"{which}: {said}") from error
        found.append((name, (x, y, x + width, y + height)))
    unknown = sorted(objects.keys() - images.keys(), key=str)
    if unknown:
        raise ValueError(f"annotations of images that are not listed: {unknown[:8]}")
    return [
        _Annotated(
            f"{path}, image {image['file_name']!r}",
            _of(str, image, "file_name"),
            objects.get(key, ()),
            (int(image.get("height", 0)), int(image.get("width", 0))),
        )
        for key, image in images.items()
    ]


def _of(kind: type, entry: Mapping[str, Any], key: str) -> Any:
    if not isinstance(entry[key], kind):
        raise TypeError(f"{key!r} must be a {kind.__name__}, not {entry[key]!r:.200}")
    return entry[key]


def boxes_from_voc(dataset: ImageDataset, root: str | Path) -> ImageDataset:
    """Takes the images of a data set that VOC files have boxes for, with the boxes.

    An XML file belongs to the image of its name: `cat/1.xml` to `cat/1.jpg`. Objects
    and sizes count as in `boxes_from_coco`. Corners are pixels counted from 1 that
    belong to the box, as in VOC's development kit: `xmin=1, ymin=1, xmax=10, ymax=5`
    is the box 0, 0, 10, 5. For ImageNet's files see `data.ilsvrc2012`.

    Args:
        dataset: `ImageDataset`, such as that of `image_folder`.
        root: Path of the folder of annotations, or of one with it as `Annotations`.

    Returns:
        The images with boxes, as `boxes_from_csv`.

    Raises:
        ValueError: A file cannot be read, or as in `boxes_from_coco`.

    Reference:
        - [Development kit](http://host.robots.ox.ac.uk/pascal/VOC/voc2012/)
    """
    root = existing_folder(root)
    if (root / "Annotations").is_dir():
        root = root / "Annotations"
    annotated = []
    for path in xml_below(root):
        size, found = read_voc_file(path)
        objects = [(name, (x0 - 1, y0 - 1, x1, y1)) for name, (x0, y0, x1, y1) in found]
        name = path.relative_to(root).as_posix()
        annotated.append(_Annotated(str(path), name, objects, size))
    return _join(dataset, annotated, root.name, by_stem=True)


def read_voc_file(path: str | Path) -> tuple[tuple[int, int], list[tuple[str, Box]]]:
    """Reads height and width, (0, 0) if missing, and names with corners as they are."""
    with reading("the annotation", path):
        root = ElementTree.parse(path).getroot()
        sides = [_text(root, f"size/{side}", "0") for side in ("height", "width")]
        height, width = (int(as_kind(float, side)) for side in sides)
        found = []
        for node in root.iter("object"):
            corners = [_text(node, f"bndbox/{corner}") for corner in _VOC_CORNERS]
            box = tuple(as_kind(float, corner) for corner in corners)
            found.append((_text(node, "name"), box))
        return (height, width), found


def _text(node: ElementTree.Element, path: str, default: str = "") -> str:
    text = node.findtext(path, default).strip()
    if not text:
        raise ValueError(f"an element {path!r} is missing")
    return text


def _join(
    dataset: ImageDataset,
    annotated: Sequence[_Annotated],
    source: str,
    by_stem: bool = False,
    several: bool = False,
) -> ImageDataset:
    """Takes the images annotated, once or `several` times, with their own boxes."""
    annotated = [image for image in annotated if image.objects]
    wanted = [_parts(image.path, by_stem) for image in annotated]
    places = _places(dataset, set(wanted), by_stem)
    boxes: dict[int, list[Box]] = defaultdict(list)
    before: dict[int, str] = {}
    others = 0
    for image, parts in zip(annotated, wanted, strict=True):
        try:
            index = _find(dataset, image.path, parts, places[parts])
            if index in before and not several:
                raise ValueError(f"its image has boxes already, by {before[index]}.")
            if index is not None:
                before[index] = image.where
                own = _own_boxes(image, dataset, index)
                boxes[index] += own
                others += len(image.objects) - len(own)
        except ValueError as error:
            raise ValueError(f"{image.where}: {error}") from error
    if not boxes:
        raise ValueError(f"{source} must have at least one box. Received: none.")
    if others:
        source = f"{source}, without {others} boxes of other classes"
    indices = sorted(boxes)
    named = {whole for found in places.values() for _, whole in found}
    left_out = [x for x in dataset.left_out if _parts(x[0], by_stem) in named]
    some = replace(dataset, boxes=None, left_out=tuple(left_out)).take(
        np.array(indices, int), f"{dataset.split}-boxes"
    )
    found = padded_boxes([boxes[index] for index in indices])
    return replace(some, boxes=found, notes={**dataset.notes, "boxes": source})


def _own_boxes(image: _Annotated, dataset: ImageDataset, index: int) -> list[Box]:
    own = dataset.class_names[dataset.class_ids[index]].strip()
    named = [(name and composed(name).strip(), box) for name, box in image.objects]
    boxes = [box for name, box in named if name in (None, own)]
    if not boxes:
        names = sorted({name for name, _ in named})
        raise ValueError(
            f"an object must be of the class of its image, {own!r}. Received: {names}."
        )
    if min(image.size) > 0 and image.size != size_of(dataset, index):
        raise ValueError(
            f"the image must have the annotated height and width, {image.size}. "
            f"Received: {size_of(dataset, index)}, as it is read with "
            f"orientation={dataset.orientation!r}."
        )
    stored = np.clip(boxes, -LARGEST, LARGEST).astype("float32")
    near, far = stored.reshape(-1, 2, 2).transpose(1, 0, 2)
    # Written so that a NaN fails. What crosses the border is clipped by batches.
    right = (np.abs(boxes) < LARGEST).all(1) & ((near < far) & (far > 0)).all(1)
    right &= np.max(boxes, axis=1) > 1
    if dataset.sizes is not None or dataset.images is not None:
        right &= (near < size_of(dataset, index)[::-1]).all(1)
    if not right.all():
        raise ValueError(
            "a box must have x0 < x1 and y0 < y1, in pixels, not in shares, and a part "
            f"in the image. Received: {list(boxes[right.argmin()])}."
        )
    return boxes


def size_of(dataset: ImageDataset, index: int) -> tuple[int, int]:
    """Returns height and width of an image as it is read."""
    if dataset.sizes is not None:
        return tuple(dataset.sizes[index].tolist())
    if dataset.images is not None:
        return dataset.images[index].shape[:2]
    return read_size(dataset.paths[index], dataset.orientation)


def xml_below(root: Path) -> list[Path]:
    """XML files below a folder, without hidden ones and those in hidden folders."""
    found = sorted(root.rglob("*.[xX][mM][lL]"))
    hidden = [any(x[0] == "." for x in path.relative_to(root).parts) for path in found]
    return [
        path for path, is_hidden in zip(found, hidden, strict=True) if not is_hidden
    ]


def _places(
    dataset: ImageDataset, wanted: set[Parts], by_stem: bool
) -> dict[Parts, list[tuple[int | None, Parts]]]:
    """Index, `None` of a file left out, and path of the images with these ends."""
    lengths = {len(parts) for parts in wanted}
    places = defaultdict(list)
    left_out = [(None, path) for path, _ in dataset.left_out]
    for index, path in [*enumerate(dataset.paths.tolist()), *left_out]:
        parts = _parts(path, by_stem)
        for end in {parts[-length:] for length in lengths} & wanted:
            places[end].append((index, parts))
    return places


def _find(dataset: ImageDataset, path: str, wanted: Parts, places: list) -> Any:
    # The whole path of one image may be the end of another's.
    found = [place for place in places if place[1] == wanted] or places
    if len(found) != 1:
        fit = f"{len(found)} images fit" if found else "no image fits"
        raise ValueError(
            f"`path` must name one image, but {fit} {path!r:.200}. Images of the split "
            f"{dataset.split!r} have paths such as {dataset.paths[:1].tolist()}. For "
            "boxes of more images, give the data set with all of them."
        )
    return found[0][0]


def _parts(path: str, by_stem: bool) -> Parts:
    # Letters may be composed or not, and Windows has its own separator.
    plain = composed(path.strip()).replace("\\", "/")
    whole = PurePosixPath(plain)
    return whole.with_suffix("").parts if by_stem else whole.parts
