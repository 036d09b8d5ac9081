"""What metrics that look at many thresholds are given."""

from typing import Any

import numpy as np

from keras_wsol.metrics.concrete import concrete


def boxes_and_maps(true_boxes: Any, score_maps: Any) -> tuple[np.ndarray, np.ndarray]:
    """Turns a batch into arrays, and checks shapes and values.

    Args:
        true_boxes: `(B, M, 4)`, padded with -1.
        score_maps: `(B, H, W)`.

    Returns:
        Both, of their own dtypes.

    Raises:
        ValueError: A shape does not fit, a true box is not finite or has its far
            edge before its near one, a score is outside [0, 1], or a value is
            symbolic. A score of NaN is left to the caller.

    Example:
    >>> boxes_and_maps([[[3.0, 0.0, 1.0, 2.0]]], np.ones((1, 4, 5)))
    Traceback (most recent call last):
    ValueError: True boxes must be finite x0, y0, x1, y1 with x0 <= x1 and y0 <= y1,
    or padding of -1. Received: true_boxes[0, 0]=[3.0, 0.0, 1.0, 2.0].
    """
    true_boxes, score_maps = concrete(true_boxes, score_maps)
    if (
        true_boxes.ndim != 3
        or true_boxes.shape[2] != 4
        or score_maps.ndim != 3
        or len(true_boxes) != len(score_maps)
    ):
        raise ValueError(
            "`true_boxes` must have shape (B, M, 4) and `score_maps` (B, H, W). "
            f"Received: {true_boxes.shape} and {score_maps.shape}."
        )
    in_order = (true_boxes[..., :2] <= true_boxes[..., 2:]).all(axis=-1)
    good = in_order & np.isfinite(true_boxes).all(axis=-1)
    if not good.all():
        row, place = np.argwhere(~good)[0].tolist()
        raise ValueError(
            "True boxes must be finite x0, y0, x1, y1 with x0 <= x1 and y0 <= y1, or "
            f"padding of -1. Received: true_boxes[{row}, {place}]="
            f"{true_boxes[row, place].tolist()}."
        )
    outside = ((score_maps < 0) | (score_maps > 1)).any(axis=(1, 2))
    if outside.any():
        row = int(outside.argmax())
        raise ValueError(
            "`score_maps` must be in [0, 1]. Received: values from "
            f"{float(np.nanmin(score_maps[row]))} to "
            f"{float(np.nanmax(score_maps[row]))} in score_maps[{row}]."
        )
    return true_boxes, score_maps
