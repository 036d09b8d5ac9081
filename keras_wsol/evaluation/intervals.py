"""How sure a figure is: bootstrap intervals, had other images come, as many.

Models and thresholds are held fixed. Where a threshold was chosen on the very same
images, as the oracle's and those of MaxBoxAccV2 are, an interval leaves that choice
out. The difference of two methods is drawn on the same images for both; with several
runs of a method, its runs are drawn, too: one fewer than there are, since the mean of
that many drawn varies as the mean of all runs does (Rao and Wu, 1988).
"""

import numpy as np

_BOOTSTRAP_DRAWS = 10_000
_NUMBERS_AT_ONCE = 2_000_000


def share_interval(share: float, count: int) -> tuple[float, float]:
    """Bootstrap 95 % interval of a share of `count` images."""
    random = np.random.default_rng(0)
    draws = random.binomial(count, min(float(share), 1.0), _BOOTSTRAP_DRAWS) / count
    low, high = np.quantile(draws, [0.025, 0.975])
    return float(low), float(high)


def mean_interval(values: np.ndarray) -> tuple[float, float]:
    """Bootstrap 95 % interval of the mean of few different values."""
    values = np.asarray(values, float)[None]
    return difference_interval(values, np.zeros_like(values))


def difference_interval(
    hits: np.ndarray,
    others: np.ndarray,
    draws: int = _BOOTSTRAP_DRAWS,
    seed: int = 0,
) -> tuple[float, float]:
    """Bootstrap 95 % interval of the difference of two methods' shares.

    `hits` and `others` are `(runs, N)` on the same images: boolean, or one of few
    shares in [0, 1].
    """
    # Images on which all runs do the same cannot be told apart, so it is enough to
    # draw how many of each kind come: a multinomial number.
    random = np.random.default_rng(seed)
    kinds, counts = np.unique(
        np.concatenate([hits, others]).T, axis=0, return_counts=True
    )
    size = max(1, _NUMBERS_AT_ONCE // len(kinds))
    found = []
    for start in range(0, draws, size):
        number = min(size, draws - start)
        drawn = random.multinomial(counts.sum(), counts / counts.sum(), number)
        shares = drawn @ kinds / counts.sum()  # (number, runs of both)
        mine, theirs = shares[:, : len(hits)], shares[:, len(hits) :]
        found.append(_mean_of_runs(random, mine) - _mean_of_runs(random, theirs))
    low, high = np.quantile(np.concatenate(found), [0.025, 0.975])
    return float(low), float(high)


def _mean_of_runs(random: np.random.Generator, shares: np.ndarray) -> np.ndarray:
    """Mean over drawn runs of `(draws, runs)`, one fewer than there are."""
    runs = shares.shape[1]
    if runs == 1:
        return shares[:, 0]
    drawn = random.multinomial(runs - 1, np.full(runs, 1 / runs), len(shares))
    return (shares * drawn).sum(axis=1) / (runs - 1)
