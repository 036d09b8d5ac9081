"""The interval of a difference once more: images and runs drawn one by one."""

import numpy as np


def intervals(hits, others, draws=3000, seed=7):
    """`hits` and `others` are lists of runs, each a list of booleans by image."""
    rng = np.random.default_rng(seed)
    hits, others = np.array(hits, float), np.array(others, float)
    differences = []
    for _ in range(draws):
        images = rng.integers(0, hits.shape[1], hits.shape[1])
        means = []
        for runs in (hits, others):
            drawn = [0] if len(runs) == 1 else rng.integers(0, len(runs), len(runs) - 1)
            means.append(np.mean([runs[run][images].mean() for run in drawn]))
        differences.append(means[0] - means[1])
    return np.quantile(differences, [0.025, 0.975])
