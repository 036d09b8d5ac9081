"""The thresholds at which metrics look at score maps."""

from collections.abc import Sequence
from numbers import Integral

import numpy as np


def threshold_grid(num_thresholds: int, dtype: str = "float32") -> np.ndarray:
    """Returns `num_thresholds` thresholds from 0 up to, not including, 1.

    Args:
        num_thresholds: Integer, at least 1.
        dtype: `"float32"`, or `"float64"` as in the published evaluator, whose grid
            is `numpy.arange(0, 1, 0.001)`.

    Returns:
        `(num_thresholds,)` of that dtype, evenly spaced.

    Raises:
        ValueError: `num_thresholds` is no positive integer.

    Example:
    >>> threshold_grid(4).tolist()
    [0.0, 0.25, 0.5, 0.75]
    """
    if not isinstance(num_thresholds, Integral) or num_thresholds < 1:
        raise ValueError(
            "`num_thresholds` must be an integer of at least 1. Received: "
            f"num_thresholds={num_thresholds!r}."
        )
    return np.linspace(0, 1, num_thresholds, endpoint=False, dtype=dtype)


def grid_of(
    num_thresholds: int, thresholds: Sequence[float] | None, convention: str
) -> np.ndarray:
    """Returns the thresholds given, or an even grid.

    Args:
        num_thresholds: Size of the even grid.
        thresholds: Ascending floats in [0, 1), or `None` for the even grid.
        convention: `"default"` or `"wsolevaluation"`.

    Returns:
        `(T,)`, in float32, by the published evaluator's rules in float64.

    Raises:
        ValueError: There is no threshold, or they do not ascend in [0, 1).

    Example:
    >>> grid_of(1000, [0.2, 0.5], "wsolevaluation").tolist()
    [0.2, 0.5]
    """
    dtype = "float32" if convention == "default" else "float64"
    if thresholds is None:
        return threshold_grid(num_thresholds, dtype)
    grid = np.asarray(thresholds, dtype)
    if grid.ndim != 1 or not len(grid):
        raise ValueError(
            "`thresholds` must be a sequence of at least one number. Received: "
            f"thresholds={thresholds!r}."
        )
    if not np.all((grid >= 0) & (grid < 1)) or np.any(np.diff(grid) < 0):
        raise ValueError(
            f"`thresholds` must ascend in [0, 1). Received: thresholds={grid}."
        )
    return grid
