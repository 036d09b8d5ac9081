"""MaxDrop in loops, from Park and Kwak (2016) and their Caffe layer, in float64.

The Bernoulli draws are an argument: a maximum is dropped where the uniform number of
its channel (feature-wise) or of its position (channel-wise) lies below the rate.
"""

import numpy as np


def largest(values):
    """Index of the first largest value above zero, or None.

    >>> largest([1.0, 4.0, 4.0]), largest([0.0, -1.0])
    (1, None)
    """
    found, maximum = None, 0.0
    for index, value in enumerate(values):
        if value > maximum:
            found, maximum = index, value
    return found


def channel_maxima(features):
    """One cell a channel, (B, H, W, C) -> bool."""
    batch, _, width, channels = features.shape
    marked = np.zeros(features.shape, bool)
    for b, c in np.ndindex(batch, channels):
        index = largest([float(v) for row in features[b, :, :, c] for v in row])
        if index is not None:
            marked[b, index // width, index % width, c] = True
    return marked


def position_maxima(features):
    """One channel a position, (B, H, W, C) -> bool."""
    marked = np.zeros(features.shape, bool)
    for b, i, j in np.ndindex(*features.shape[:3]):
        channel = largest([float(v) for v in features[b, i, j]])
        if channel is not None:
            marked[b, i, j, channel] = True
    return marked


def random_mask(features, uniforms, rate, variant, block_size):
    """1 keeps, 0 drops, (B, H, W, C) -> (B, H, W, C)."""
    _, height, width, _ = features.shape
    feature_wise = variant == "feature_wise"
    maxima = channel_maxima(features) if feature_wise else position_maxima(features)
    mask = np.ones(features.shape)
    for b, i, j, c in zip(*np.nonzero(maxima), strict=True):
        uniform = uniforms[b, 0, 0, c] if feature_wise else uniforms[b, i, j, 0]
        if uniform < rate:
            top, left = i - block_size // 2, j - block_size // 2
            for row in range(max(top, 0), min(top + block_size, height)):
                for column in range(max(left, 0), min(left + block_size, width)):
                    mask[b, row, column, c] = 0.0
    return mask


def max_drop(
    features,
    uniforms,
    rate=0.1,
    variant="feature_wise",
    block_size=1,
    rescale=False,
):
    """MaxDrop's output in training, (B, H, W, C) float64."""
    features = np.asarray(features, np.float64)
    mask = random_mask(features, uniforms, rate, variant, block_size)
    kept = mask.mean()
    return features * (mask / kept if rescale and kept > 0.0 else mask)
