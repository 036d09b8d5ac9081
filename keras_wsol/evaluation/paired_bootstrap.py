"""How sure the difference between two methods is that saw the same images.

The interval comes from a bootstrap. In each of many draws as many images as there are
are drawn with replacement, the same for both methods. Where a method was trained
several times, its runs are drawn, too, each method's on its own and with replacement:
one fewer than there are, since the mean of that many drawn varies as the mean of all
runs does, while the mean of as many varies too little (Rao and Wu, 1988). The
difference of the mean shares is taken, and the interval holds the middle 95 % of the
draws.

With one run of each, it says how sure the difference between these two trained models
is, and nothing about training them again. With two or three runs, how much they vary is
itself known badly.
"""

import numpy as np

# Numbers drawn at once.
_CHUNK = 2_000_000


def difference_interval(
    hits: np.ndarray, others: np.ndarray, draws: int = 10_000, seed: int = 0
) -> tuple[float, float]:
    """Bootstrap 95 % interval of the difference of two methods' shares.

    Args:
        hits: `(runs, N)`, which images each run of a method has right: boolean, or
            one of few shares in [0, 1].
        others: The same of the method that it is compared with, on the same images;
            it may have another number of runs.
        draws: How often images and runs are drawn.
        seed: Integer, fixes the draws.

    Returns:
        The ends of the interval, in [-1, 1].

    Example:
    >>> hits = np.arange(200)[None] < 120
    >>> others = np.arange(200)[None] < 100  # right on no other image
    >>> low, high = difference_interval(hits, others, 10_000, seed=0)
    >>> round(low, 2), round(high, 2)  # 0.1 and twice its standard error of 0.021
    (0.06, 0.14)
    """
    # Images on which all runs do the same cannot be told apart, so it is enough to
    # draw how many of each kind come: a multinomial number.
    random = np.random.default_rng(seed)
    kinds, counts = np.unique(
        np.concatenate([hits, others]).T, axis=0, return_counts=True
    )
    size = max(1, _CHUNK // len(kinds))
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
