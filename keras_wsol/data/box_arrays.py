"""Boxes of images that have different numbers of them, in one array."""

from collections.abc import Sequence

import numpy as np


def padded_boxes(boxes: Sequence[Sequence[Sequence[float]]]) -> np.ndarray:
    """Puts lists of boxes into one array.

    Args:
        boxes: For each of N images, its boxes: x0, y0, x1, y1.

    Returns:
        float32 `(N, M, 4)`, M the largest number of boxes, at least 1; rows of -1
        where an image has fewer.

    Example:
    >>> padded_boxes([[(1, 2, 3, 4)], [(0, 0, 5, 6), (7, 7, 8, 9)]])[0].tolist()
    [[1.0, 2.0, 3.0, 4.0], [-1.0, -1.0, -1.0, -1.0]]
    """
    most = max(map(len, boxes), default=0)
    padded = np.full((len(boxes), max(most, 1), 4), -1.0, "float32")
    for row, some in enumerate(boxes):
        if len(some):
            padded[row, : len(some)] = some
    return padded
