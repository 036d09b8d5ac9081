"""The images of a data set, decoded once, as they go into record files."""

import io
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import PurePath
from typing import Any

import numpy as np

from keras_wsol.data.dataset import ImageDataset
from keras_wsol.data.numpy_pipeline import decode_image
from keras_wsol.data.progress_line import ProgressLine

_JPEG_QUALITY = 95


@dataclass(frozen=True, kw_only=True)
class Entry:
    """What a record holds of an image, or why there is none.

    Attributes:
        path: The end of its path.
        class_id: Integer.
        boxes: x0, y0, x1, y1 of each box.
        content: The encoded image.
        size: Height and width.
        problem: Why it cannot be read; empty if it can.
    """

    path: str
    class_id: int
    boxes: list[list[float]]
    content: bytes = b""
    size: tuple[int, int] = (0, 0)
    problem: str = ""


def entries_of(
    dataset: ImageDataset, max_side: int | None, indices: range, num_threads: int
) -> Iterator[Entry]:
    """Reads images in threads."""
    with ThreadPoolExecutor(num_threads) as threads:
        # In blocks: a pool reads ahead as far as it is let.
        for start in range(0, len(indices), 4 * num_threads):
            block = indices[start : start + 4 * num_threads]
            yield from threads.map(partial(_entry, dataset, max_side), block)


def told(
    entries: Iterable[Entry], line: ProgressLine, start: int, total: int
) -> Iterator[Entry]:
    """Gives entries on, and says how many of all are done."""
    for done, entry in enumerate(entries, start):
        line(done, total)
        yield entry


def _entry(dataset: ImageDataset, max_side: int | None, index: int) -> Entry:
    boxes = np.zeros((0, 4)) if dataset.boxes is None else dataset.boxes[index]
    boxes = boxes[~(boxes == -1).all(axis=-1)]
    about = {"path": _portable(dataset.paths[index])}
    about["class_id"] = int(dataset.class_ids[index])
    try:
        content = dataset.encoded(index)
        image = decode_image(io.BytesIO(content), dataset.orientation)
    except (OSError, ValueError) as error:
        return Entry(boxes=[], problem=_reason(error), **about)
    height, width = size = image.shape[:2]
    if max_side is not None and max(size) > max_side:
        content, size = _smaller(image, max_side)
        boxes = boxes * np.tile([size[1] / width, size[0] / height], 2)
    return Entry(boxes=boxes.tolist(), content=content, size=size, **about)


def _reason(error: Exception) -> str:
    """Why an image cannot be read, without a path: lists name no one's computer."""
    if isinstance(error, OSError):
        return error.strerror or type(error).__name__
    # Else a `ValueError` of the decoder, which saw bytes only.
    words = str(error)
    return "no known kind of image" if "cannot identify" in words else words


def _smaller(image: np.ndarray, max_side: int) -> tuple[bytes, tuple[int, int]]:
    from PIL import Image

    height, width = image.shape[:2]
    scale = max_side / max(height, width)
    size = max(1, round(height * scale)), max(1, round(width * scale))
    buffer = io.BytesIO()
    smaller = Image.fromarray(image).resize(size[::-1], Image.Resampling.BILINEAR)
    smaller.save(buffer, "JPEG", quality=_JPEG_QUALITY)
    return buffer.getvalue(), size


def _portable(path: Any) -> str:
    """The end of a path, which names an image among others and no one's computer."""
    parts = PurePath(str(path)).parts
    return "/".join(parts[-3:] if len(parts) > 3 else parts)
