"""Inputs of the contract tests."""

import numpy as np


def relu_features(*shape, seed=0):
    """Activations as after a ReLU, with a few exact zeros."""
    values = np.random.default_rng(seed).normal(0.6, 1.0, shape)
    return np.maximum(values, 0.0).astype("float32")


def spaced_features(*shape, seed=0):
    """Positive numbers in random order, each 0.05 from the next.

    A maximum stays the same one when an entry moves by less than half of that, so
    that finite differences meet no kink there.
    """
    size = int(np.prod(shape))
    order = np.random.default_rng(seed).permutation(size)
    return (0.05 * order + 0.1).reshape(shape).astype("float32")
