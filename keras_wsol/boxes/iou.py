"""Overlap of boxes.

A box is x0, y0, x1, y1 and holds what lies from x0 up to but not including x1, and
likewise for y: the far edge does not belong to it. The box of a single cell at (2, 3)
is 2, 3, 3, 4; its area is 1. Sets of different sizes are padded with boxes of -1.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from keras import ops


def iou(boxes_a: Any, boxes_b: Any) -> Any:
    """Intersection over union of every box of one set with every box of another.

    A box without an area overlaps nothing: the zero box of an empty map and the -1 of
    padding get 0, also with themselves. A box overlaps itself by exactly 1.

    Args:
        boxes_a: Tensor `(..., A, 4)`: x0, y0, x1, y1, the far edge exclusive.
        boxes_b: Tensor `(..., B, 4)`. Leading dimensions broadcast.

    Returns:
        float32 tensor `(..., A, B)`, values in [0, 1].

    Example:
    >>> boxes = [[2.0, 0.0, 4.0, 2.0], [-1.0, -1.0, -1.0, -1.0]]
    >>> overlap = iou([[2.0, 0.0, 6.0, 2.0]], boxes)
    >>> ops.convert_to_numpy(overlap).tolist()
    [[0.5, 0.0]]
    """
    return pairwise_iou(_checked("boxes_a", boxes_a), _checked("boxes_b", boxes_b), ops)


def pairwise_iou(boxes: Any, others: Any, xp: Any = np) -> Any:
    """Overlap `(..., A, B)` of float boxes: `iou` on NumPy arrays or by `keras.ops`."""

    def area(near: Any, far: Any) -> Any:
        sides = xp.maximum(far - near, 0.0)
        return sides[..., 0] * sides[..., 1]

    a, b = xp.expand_dims(boxes, -2), xp.expand_dims(others, -3)
    near_a, far_a, near_b, far_b = a[..., :2], a[..., 2:], b[..., :2], b[..., 2:]
    intersection = area(xp.maximum(near_a, near_b), xp.minimum(far_a, far_b))
    union = area(near_a, far_a) + area(near_b, far_b) - intersection
    overlaps = intersection > 0
    return xp.where(overlaps, intersection / xp.where(overlaps, union, 1.0), 0.0)


def has_area(boxes: Any) -> Any:
    """Which boxes `(..., 4)` are boxes: not padding of -1, nor the zero box."""
    return (boxes[..., 2] > boxes[..., 0]) & (boxes[..., 3] > boxes[..., 1])


def _checked(name: str, boxes: Any) -> Any:
    boxes = ops.cast(ops.convert_to_tensor(boxes), "float32")
    shape = tuple(boxes.shape)
    if len(shape) < 2 or shape[-1] not in {4, None}:
        hint = f" For one box, use {name}[None]." if shape == (4,) else ""
        raise ValueError(
            f"`{name}` must have shape (N, 4), or (..., N, 4). "
            f"Received: {name}.shape={shape}.{hint}"
        )
    return boxes


def check_true_boxes(
    true_boxes: np.ndarray, names: Sequence[str] | None = None
) -> None:
    """Raises where a true box `(B, M, 4)` cannot be meant, with its image's name."""
    in_order = (true_boxes[..., :2] <= true_boxes[..., 2:]).all(axis=-1)
    wrong = np.argwhere(~(in_order & np.isfinite(true_boxes).all(axis=-1)))
    if len(wrong):
        image, place = wrong[0].tolist()
        name = f"image {image}" if names is None else names[image]
        raise ValueError(
            "True boxes must be finite x0, y0, x1, y1 with x0 <= x1 and y0 <= y1, or "
            f"padding of -1. Received: {true_boxes[image, place].tolist()} for {name}, "
            f"and {len(wrong) - 1} more such boxes."
        )
