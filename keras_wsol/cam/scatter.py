"""Mean and scatter of cells that come in parts."""

import numpy as np

Scatter = tuple[int, np.ndarray, np.ndarray]
NOTHING: Scatter = (0, np.zeros(1), np.zeros((1, 1)))


def joined(before: Scatter, cells: np.ndarray) -> Scatter:
    """Adds cells to the number, mean and scatter of those before.

    Each part about its own mean (Chan et al., 1979): the squares of far-off means do
    not cancel.

    Args:
        before: Number, mean `(C,)` and scatter `(C, C)`, the sum of the outer products
            about the mean; `NOTHING` at first.
        cells: float64 `(n, C)`; n may be 0.

    Returns:
        Those of all.

    Example:
    >>> count, mean, scatter = joined(NOTHING, np.array([[1.0], [3.0]]))
    >>> count, mean.tolist(), scatter.tolist()
    (2, [2.0], [[2.0]])
    """
    count, mean, scatter = before
    if not len(cells):
        return before
    total = count + len(cells)
    centre = cells.mean(axis=0)
    shift = centre - mean
    cells = cells - centre
    apart = np.outer(shift, shift) * (count * (total - count) / total)
    return (
        total,
        mean + shift * ((total - count) / total),
        scatter + cells.T @ cells + apart,
    )
