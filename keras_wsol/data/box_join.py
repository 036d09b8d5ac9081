"""Boxes that name their images by path, from a file to a data set."""

import unicodedata
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from keras_wsol.data.box_arrays import padded_boxes
from keras_wsol.data.dataset import ImageDataset


class ImagePaths:
    """Finds images of a data set by the last parts of their paths."""

    def __init__(
        self, dataset: ImageDataset, names: set[str], with_suffix: bool = True
    ) -> None:
        """Prepares the search.

        Args:
            dataset: The images.
            names: `last_part` of every path that will be asked for.
            with_suffix: Whether these paths end as those of images do, in `.jpg` say.
        """
        self._parts = defaultdict(list)
        for index, path in enumerate(dataset.paths.tolist()):
            path = path if with_suffix else without_suffix(path)
            # Only these are ever asked for; a data set may have millions.
            if last_part(path) in names:
                self._parts[last_part(path)].append((index, _split(path)))

    def find(self, path: str | None) -> int:
        """Returns which image a path names: that whose path it is, or ends with.

        Args:
            path: Path, or its end.

        Returns:
            Index of the image.

        Raises:
            ValueError: No image fits, or several do.
        """
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
    r"""Returns the part of a path behind its last separator.

    Args:
        path: A path with `/` or Windows' separators.

    Returns:
        The name, its letters composed.

    Example:
    >>> last_part("cat\\1.jpg")
    '1.jpg'
    """
    return _plain(path).rpartition("/")[2]


def without_suffix(path: str) -> str:
    """Returns a path without what its name ends in.

    Args:
        path: Such as `cat/1.old.jpg`.

    Returns:
        Such as `cat/1.old`.

    Example:
    >>> without_suffix("a.b/1.old.jpg"), without_suffix("a.b/1")
    ('a.b/1.old', 'a.b/1')
    """
    folder, slash, name = path.rpartition("/")
    return folder + slash + (name.rpartition(".")[0] or name)


def with_boxes(
    dataset: ImageDataset, boxes: Mapping[int, Sequence[Sequence[float]]], source: str
) -> ImageDataset:
    """Takes the images that have boxes.

    Args:
        dataset: The images.
        boxes: Index of an image to its boxes, at least one.
        source: Where they are from, for `notes`.

    Returns:
        These images with these boxes, in the order of `dataset`; the split is
        `"boxes"`.
    """
    indices = sorted(boxes)
    some = replace(dataset, boxes=None).take(np.array(indices, int), "boxes")
    found = padded_boxes([boxes[index] for index in indices])
    return replace(some, boxes=found, notes={**dataset.notes, "boxes": source})


def check_box(box: Sequence[float]) -> None:
    """Raises unless a box can be one in pixels.

    Args:
        box: x0, y0, x1, y1.

    Raises:
        ValueError: A number is not finite, the box has no area or no part in the
            image, or is within the unit square.
    """
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
