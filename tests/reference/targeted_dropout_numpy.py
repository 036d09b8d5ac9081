"""Targeted unit dropout of channels in loops, after Gomez et al. (2019), in float64.

The Bernoulli draws are an argument: an eligible channel is dropped where its uniform
number lies below the rate. As in the authors' code the magnitudes are sorted and what
lies strictly below number `floor(target_fraction * C)` is eligible.
"""

import math

import numpy as np


def magnitude(channel, kind):
    """Size of one channel, (H, W) -> float.

    >>> magnitude(np.array([[3.0, -4.0]]), "l2") == math.sqrt(12.5)
    True
    >>> magnitude(np.array([[3.0, -4.0]]), "mean")
    0.5
    """
    values = [float(value) for row in channel for value in row]
    if kind == "mean":
        return abs(math.fsum(values) / len(values))
    return math.sqrt(math.fsum(value * value for value in values) / len(values))


def below_target(magnitudes, target_fraction):
    """Which channels are eligible, (C,) -> bool.

    >>> below_target([4.0, 1.0, 3.0, 2.0, 5.0], 0.5)
    [False, True, False, True, False]
    >>> below_target([2.0, 1.0, 2.0, 2.0], 0.5)  # one of three equals would be next
    [False, True, False, False]
    >>> below_target([2.0, 1.0], 1.0)
    [True, True]
    """
    count = math.floor(target_fraction * len(magnitudes) + 1e-9)
    if count == len(magnitudes):
        return [True for _ in magnitudes]
    threshold = sorted(magnitudes)[count]
    return [value < threshold for value in magnitudes]


def eligible(features, target_fraction=0.5, kind="l2"):
    """Channels that may be dropped, (B, H, W, C) -> (B, C) bool."""
    features = np.asarray(features, np.float64)
    return np.array(
        [
            below_target(
                [magnitude(sample[:, :, c], kind) for c in range(sample.shape[-1])],
                target_fraction,
            )
            for sample in features
        ]
    )


def targeted_dropout(features, uniforms, target_fraction=0.5, rate=0.5, kind="l2"):
    """The layer's output in training, uniforms (B, C); (B, H, W, C) float64."""
    output = np.array(features, np.float64)
    candidates = eligible(features, target_fraction, kind)
    for b, c in np.ndindex(*candidates.shape):
        if candidates[b, c] and uniforms[b, c] < rate:
            output[b, :, :, c] = 0.0
    return output
