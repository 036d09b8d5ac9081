"""One annotation in the XML of Pascal VOC, which ImageNet's boxes use, too."""

from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

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
    """Reads an annotation.

    Args:
        path: The XML file.

    Returns:
        Its size and objects.

    Raises:
        ValueError: The file is missing or no such XML, or an object lacks its name or
            a finite number; the message names the file.
    """
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
