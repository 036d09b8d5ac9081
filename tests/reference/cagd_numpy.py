"""CAGD in loops, from Yin et al. (2020), section 3.2, in float64.

The Bernoulli draws are an argument: an eligible channel is dropped where its
uniform number, one a sample and channel, lies below `drop_probability`.
"""

import math

import numpy as np


def channel_attention(features):
    """Mean over height and width, (B, H, W, C) -> (B, C)."""
    batch, height, width, channels = features.shape
    attention = np.zeros((batch, channels))
    for b in range(batch):
        for c in range(channels):
            total = 0.0
            for i in range(height):
                for j in range(width):
                    total += float(features[b, i, j, c])
            attention[b, c] = total / (height * width)
    return attention


def below_min_multiple(magnitudes, min_multiple):
    """Smaller than a multiple of the smallest live magnitude, (C,) -> bool.

    Live is a magnitude above zero: after a ReLU the mean of a channel is often
    exactly 0, and then a multiple of the minimum would drop nothing.

    >>> below_min_multiple([0.0, 1.0, 2.0, 3.0, 4.0], 3.0)
    [True, True, True, False, False]
    >>> below_min_multiple([0.0, 0.0], 3.0)
    [False, False]
    """
    smallest = math.inf
    for magnitude in magnitudes:
        if magnitude > 0.0:
            smallest = min(smallest, magnitude)
    if smallest == math.inf:
        return [False for _ in magnitudes]
    return [magnitude < min_multiple * smallest for magnitude in magnitudes]


def below_top_k(magnitudes, keep_fraction):
    """Not among the `keep_fraction` largest magnitudes, (C,) -> bool.

    At least that share is kept: the count is rounded up, and channels that tie
    with the last one kept are kept too.

    >>> below_top_k([4.0, 1.0, 3.0, 2.0], 0.5)
    [False, True, False, True]
    >>> below_top_k([4.0, 1.0, 1.0], 0.5)  # two are kept, and the tie
    [False, False, False]
    """
    kept = math.ceil(keep_fraction * len(magnitudes))
    return [
        sum(other > magnitude for other in magnitudes) >= kept
        for magnitude in magnitudes
    ]


def eligible(features, selection="min_multiple", min_multiple=3.0, keep_fraction=0.75):
    """Channels that may be dropped, (B, H, W, C) -> (B, C) bool."""
    rows = []
    for sample in channel_attention(np.asarray(features, np.float64)):
        magnitudes = [abs(float(value)) for value in sample]
        if selection == "min_multiple":
            rows.append(below_min_multiple(magnitudes, min_multiple))
        else:
            rows.append(below_top_k(magnitudes, keep_fraction))
    return np.array(rows)


def channel_mask(features, uniforms, drop_probability=0.5, **selection_arguments):
    """1 keeps, 0 drops, (B, H, W, C) and uniforms (B, C) -> (B, C)."""
    candidates = eligible(features, **selection_arguments)
    mask = np.ones(candidates.shape)
    for b, c in np.ndindex(*mask.shape):
        if candidates[b, c] and uniforms[b][c] < drop_probability:
            mask[b, c] = 0.0
    return mask


def multiply_channels(features, mask):
    """Multiply channel c of sample b by mask[b, c]."""
    output = np.zeros(features.shape)
    for b, i, j, c in np.ndindex(*features.shape):
        output[b, i, j, c] = float(features[b, i, j, c]) * mask[b, c]
    return output


def cagd(features, uniforms, drop_probability=0.5, **selection_arguments):
    """CAGD's output in training for given draws, (B, H, W, C) float64."""
    features = np.asarray(features, np.float64)
    mask = channel_mask(features, uniforms, drop_probability, **selection_arguments)
    return multiply_channels(features, mask)
