"""How sure a figure of a split is: had other images come, as many.

The model and its threshold are held fixed. Where the threshold was chosen on the very
same images, as the oracle's and those of MaxBoxAccV2 are, an interval leaves that
choice out: it says how much the figure varies at this threshold, not that it is too
high.
"""

import numpy as np

from keras_wsol.evaluation.paired_bootstrap import difference_interval

_DRAWS = 10_000


def share_interval(share: float, count: int) -> tuple[float, float]:
    """Bootstrap 95 % interval of a share of `count` images.

    Drawing images with replacement makes the number of hits binomial, so the hits
    are drawn at once.

    Args:
        share: Float in [0, 1].
        count: Integer of at least 1.

    Returns:
        The ends of the interval.

    Example:
    >>> low, high = share_interval(0.6, 600)
    >>> round(low, 2), round(high, 2)  # twice the standard error of 0.02
    (0.56, 0.64)
    """
    random = np.random.default_rng(0)
    draws = random.binomial(count, min(float(share), 1.0), _DRAWS) / count
    low, high = np.quantile(draws, [0.025, 0.975])
    return float(low), float(high)


def mean_interval(values: np.ndarray) -> tuple[float, float]:
    """Bootstrap 95 % interval of the mean of few different values.

    Args:
        values: `(N,)` in [0, 1], a number an image.

    Returns:
        The ends of the interval.

    Example:
    >>> low, high = mean_interval(np.array([0, 1 / 3, 1]).repeat(200))
    >>> round(low, 2), round(high, 2)
    (0.41, 0.48)
    """
    values = np.asarray(values, float)[None]
    return difference_interval(values, np.zeros_like(values), _DRAWS, 0)
