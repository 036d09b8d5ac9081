"""What may be asked of the batches of a data set."""

import os
from numbers import Integral
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_wsol.data.keras_boxes import CLASSES
from keras_wsol.data.views import check_view

if TYPE_CHECKING:
    from keras_wsol.data.dataset import ImageDataset

UNREADABLE = ("raise", "skip")
_MAX_THREADS = 16


def check_integer(name: str, value: Any, low: int | None = 1) -> None:
    """Raises unless `value` is an integer of at least `low`.

    Args:
        name: Name of the argument.
        value: What the caller passed.
        low: Smallest allowed value, or `None` for no limit.

    Raises:
        ValueError: It is a boolean, no integer, or too small.
    """
    whole = isinstance(value, Integral) and not isinstance(value, bool)
    if not whole or (low is not None and value < low):
        least = "" if low is None else f" of at least {low}"
        raise ValueError(
            f"`{name}` must be an integer{least}. Received: {name}={value!r}."
        )


def check_view_of_batches(
    batch_size: Any, image_size: Any, view: Any, unreadable: Any
) -> None:
    """Raises unless batches can be made so.

    Args:
        batch_size: Images in a batch.
        image_size: Height and width.
        view: Name of a view.
        unreadable: What to do with a file that cannot be read.

    Raises:
        ValueError: One of them is out of range.
    """
    check_integer("batch_size", batch_size)
    if np.shape(image_size) != (2,) or min(image_size) < 1:
        raise ValueError(
            "`image_size` must be (height, width), both at least 1. Received: "
            f"image_size={image_size!r}."
        )
    check_view(view)
    if unreadable not in UNREADABLE:
        raise ValueError(
            f"`unreadable` must be one of {list(UNREADABLE)}. Received: "
            f"unreadable={unreadable!r}."
        )


def check_boxes_of_batches(
    dataset: "ImageDataset", with_boxes: Any, training: bool
) -> None:
    """Raises if boxes are asked for that are not there or not given.

    Args:
        dataset: The data set.
        with_boxes: A boolean or the name of a layout.
        training: Whether the batches are for training.

    Raises:
        ValueError: There are no boxes, or the layout is unknown.
    """
    if with_boxes and dataset.boxes is None:
        raise ValueError(
            f"The split {dataset.split!r} of {dataset.name!r} has no boxes: use "
            "`with_boxes=False`."
        )
    if not isinstance(with_boxes, bool) and with_boxes not in CLASSES:
        raise ValueError(
            f"`with_boxes` must be a boolean or one of {list(CLASSES)}. Received: "
            f"with_boxes={with_boxes!r}."
        )
    if training and with_boxes:
        raise ValueError("Training sees no boxes: use `with_boxes=False`.")


def check_start(start_step: Any, steps: int, deterministic: bool) -> None:
    """Raises unless training can go on there.

    Args:
        start_step: The number of batches that came before.
        steps: Batches of a pass; 0 is found out later.
        deterministic: Whether batches come in a fixed order.

    Raises:
        ValueError: `start_step` is no such number, or is in the middle of a pass
            whose order nobody knows.
    """
    check_integer("start_step", start_step, low=0)
    if not deterministic and start_step % max(1, steps):
        raise ValueError(
            "Without a fixed order, training goes on at the end of a pass only: "
            f"`start_step` must be a multiple of {steps}, or `deterministic` true. "
            f"Received: start_step={start_step}."
        )


def check_threads(threads: Any) -> None:
    """Raises unless so many images can be read at once.

    Args:
        threads: A number, or `None`.

    Raises:
        ValueError: It is neither.
    """
    if threads is not None:
        check_integer("threads", threads)


def default_threads() -> int:
    """Returns how many images are read at once where nobody says so.

    Returns:
        One for each core, at most 16: an image of 50 megapixels takes 150 MB, and
        while it is decoded up to three times as much (a progressive JPEG).
    """
    return min(os.cpu_count() or 1, _MAX_THREADS)
