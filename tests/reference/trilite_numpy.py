"""TriLite's head and losses, from its formulae, one image and one cell at a time."""

import numpy as np


def regions_of(features, kernel, scale, offset, mean, variance):
    """Shares `(h, w, 3)` of the cells of one map, by a 3x3 kernel with zeros around."""
    height, width, _ = features.shape
    shares = np.zeros((height, width, 3))
    for y in range(height):
        for x in range(width):
            values = np.zeros(3)
            for i in range(3):
                for j in range(3):
                    row, column = y + i - 1, x + j - 1
                    if 0 <= row < height and 0 <= column < width:
                        values += features[row, column] @ kernel[i, j]
            values = scale * (values - mean) / np.sqrt(variance + 1e-3) + offset
            shares[y, x] = shares_of(values)
    return shares


def shares_of(logits):
    powers = np.exp(logits - logits.max())
    return powers / powers.sum()


def weighed_mean(features, weights):
    total = np.zeros(features.shape[-1])
    for y in range(features.shape[0]):
        for x in range(features.shape[1]):
            total += weights[y, x] * features[y, x]
    return total / (weights.sum() + 1e-6)


def loss_of(foreground_logits, background_logits, class_id, weight):
    seen = -np.log(shares_of(foreground_logits)[class_id])
    adverse = -np.log(1 - shares_of(background_logits)[class_id] + 1e-7)
    return seen + weight * adverse
