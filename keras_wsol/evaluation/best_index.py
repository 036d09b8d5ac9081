"""Which threshold is the best of a curve."""

import numpy as np


def best_index(accuracy: np.ndarray) -> int:
    """Returns where the accuracy is highest; of equal places the middle one.

    Args:
        accuracy: float `(T,)`.

    Returns:
        An index into it.

    Example:
    >>> best_index(np.array([0.5, 0.9, 0.9, 0.9]))
    2
    """
    best = np.flatnonzero(accuracy == accuracy.max())
    return int(best[len(best) // 2])
