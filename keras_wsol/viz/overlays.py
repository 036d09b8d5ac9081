"""A score map laid over its image."""

from typing import Any

import numpy as np

from keras_wsol.viz.colors import heat_map
from keras_wsol.viz.pixels import resize_map, to_rgb


def overlay(image: Any, score_map: Any, alpha: float = 0.5) -> np.ndarray:
    """Lays the colours of a score map over the image it was computed from.

    Args:
        image: Array `(H, W, 3)`, `(H, W, 1)` or `(H, W)` in [0, 255], `uint8` or
            float.
        score_map: Array `(h, w)` in [0, 1] of any size; it covers the whole
            image and is resized to it (bilinear, half-pixel centres, antialiased
            where it shrinks).
        alpha: Float in [0, 1]. Share of the colours: 0 shows the image only, 1
            the map only. Defaults to 0.5.

    Returns:
        `uint8` array `(H, W, 3)`.

    Raises:
        ValueError: If `alpha` or the map is out of its range, or a shape is not
            as above.

    Example:
    >>> overlay([[100.0, 200.0]], [[0.0, 1.0]], alpha=0.5).tolist()
    [[[74, 59, 80], [161, 102, 102]]]
    """
    if not 0.0 <= alpha <= 1.0:
        raise ValueError(
            f"`alpha` must be a number in [0, 1]. Received: alpha={alpha}."
        )
    pixels = to_rgb(image)
    colors = heat_map(resize_map(score_map, *pixels.shape[:2]))
    mixed = (1.0 - alpha) * pixels.astype(np.float64) + alpha * colors
    return np.rint(mixed).astype(np.uint8)
