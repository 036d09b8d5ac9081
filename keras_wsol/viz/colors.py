"""The colours of a picture: a score map's, and those of boxes."""

from typing import Any

import numpy as np

TRUE_BOX_COLOR = (255, 0, 0)
"""Red: the box that a person drew."""

PREDICTED_BOX_COLOR = (0, 255, 0)
"""Green: the box that a model found."""

# Every 15th of the 256 colours of Turbo, a rainbow without the false edges of
# "jet" (Anton Mikhailov, 2019,
# https://research.google/blog/turbo-an-improved-rainbow-colormap-for-visualization).
# Straight lines in between are at most 6 levels off the full table; a test
# measures that against OpenCV's.
_TURBO = np.array(
    [
        (48, 18, 59),
        (63, 62, 156),
        (70, 102, 221),
        (69, 140, 253),
        (47, 178, 244),
        (26, 212, 208),
        (34, 235, 170),
        (82, 250, 122),
        (139, 255, 75),
        (183, 247, 53),
        (219, 226, 54),
        (245, 197, 58),
        (254, 161, 48),
        (249, 117, 29),
        (232, 75, 12),
        (206, 45, 4),
        (169, 22, 1),
        (122, 4, 3),
    ],
    dtype=np.float64,
)


def heat_map(score_map: Any) -> np.ndarray:
    """Paints a score map: dark blue for 0, green for a half, dark red for 1.

    The colours are those of Turbo, to within 6 of 255 levels.

    Args:
        score_map: Array `(h, w)` of numbers in [0, 1]. What lies outside by no
            more than 0.001 is taken for rounding and moved to the border.

    Returns:
        `uint8` array `(h, w, 3)`, red first.

    Raises:
        ValueError: If the map has another rank, no cell, or values that are
            not in [0, 1].

    Example:
    >>> heat_map([[0.0, 1.0]]).tolist()
    [[[48, 18, 59], [122, 4, 3]]]
    """
    scores = check_score_map(score_map)
    stops = np.linspace(0.0, 1.0, len(_TURBO))
    channels = [np.interp(scores, stops, _TURBO[:, i]) for i in range(3)]
    return np.rint(np.stack(channels, axis=-1)).astype(np.uint8)


def check_score_map(score_map: Any) -> np.ndarray:
    """Returns a score map as a `float32` array `(h, w)` in [0, 1], or raises."""
    scores = np.asarray(score_map, dtype=np.float32)
    if scores.ndim != 2 or scores.size == 0:
        raise ValueError(
            "`score_map` must have shape (h, w) and at least one cell. "
            f"Received: score_map.shape={scores.shape}."
        )
    low, high = float(scores.min()), float(scores.max())
    # Written so that a NaN fails as well.
    if not (low >= -1e-3 and high <= 1.0 + 1e-3):
        raise ValueError(
            "`score_map` must be in [0, 1]. Received values from "
            f"{low:g} to {high:g}. Divide by the range of the map first."
        )
    return np.clip(scores, 0.0, 1.0)
