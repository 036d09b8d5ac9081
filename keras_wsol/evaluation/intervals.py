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
    """Bootstrap 95 % interval of a share of `count` images."""
    random = np.random.default_rng(0)
    draws = random.binomial(count, min(float(share), 1.0), _DRAWS) / count
    low, high = np.quantile(draws, [0.025, 0.975])
    return float(low), float(high)


def mean_interval(values: np.ndarray) -> tuple[float, float]:
    """Bootstrap 95 % interval of the mean of few different values."""
    values = np.asarray(values, float)[None]
    return difference_interval(values, np.zeros_like(values), _DRAWS, 0)
