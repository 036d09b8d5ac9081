"""ADL in loops, from Choe and Shim (2019), section 3, in float64.

The draw is an argument: `use_drop_mask` is one boolean for the batch or one
boolean a sample. A switched-off component lets the raw input pass (Table 1).
"""

import math

import numpy as np


def attention_map(features):
    """Mean over channels, (B, H, W, C) -> (B, H, W)."""
    batch, height, width, channels = features.shape
    attention = np.zeros((batch, height, width))
    for b in range(batch):
        for i in range(height):
            for j in range(width):
                total = 0.0
                for c in range(channels):
                    total += float(features[b, i, j, c])
                attention[b, i, j] = total / channels
    return attention


def maximum_of(sample):
    """Largest value of one (H, W) map or one (C,) vector."""
    largest = -math.inf
    for value in np.asarray(sample).ravel():
        largest = max(largest, float(value))
    return largest


def importance_map(features):
    """Sigmoid of the attention, (B, H, W, C) -> (B, H, W)."""
    attention = attention_map(features)
    importance = np.zeros(attention.shape)
    for b, i, j in np.ndindex(*attention.shape):
        importance[b, i, j] = 1.0 / (1.0 + math.exp(-attention[b, i, j]))
    return importance


def most_discriminative(features, threshold):
    """True where the attention reaches its share of the sample's maximum."""
    attention = attention_map(features)
    reached = np.zeros(attention.shape, bool)
    for b in range(len(attention)):
        maximum = maximum_of(attention[b])
        if maximum <= 0.0:  # a dead map has no discriminative part
            continue
        for i, j in np.ndindex(*attention.shape[1:]):
            reached[b, i, j] = not attention[b, i, j] < threshold * maximum
    return reached


def drop_mask(features, drop_threshold):
    """1 keeps, 0 drops, (B, H, W, C) -> (B, H, W)."""
    return np.where(most_discriminative(features, drop_threshold), 0.0, 1.0)


def per_sample(draw, batch):
    """One boolean a sample, from one boolean or from (B,) booleans."""
    return [bool(flag) for flag in np.broadcast_to(draw, (batch,))]


def select(draws, mask, importance):
    """Per sample the mask or else the importance map; None means no change."""
    shape = (mask if mask is not None else importance).shape
    factor = np.ones(shape)
    for b, use_mask in enumerate(draws):
        chosen = mask if use_mask else importance
        if chosen is not None:
            factor[b] = chosen[b]
    return factor


def multiply_cells(features, factor):
    """Multiply all channels of cell (b, i, j) by factor[b, i, j]."""
    output = np.zeros(features.shape)
    for b, i, j in np.ndindex(*factor.shape):
        for c in range(features.shape[-1]):
            output[b, i, j, c] = float(features[b, i, j, c]) * factor[b, i, j]
    return output


def adl(
    features,
    use_drop_mask,
    drop_threshold=0.8,
    with_importance_map=True,
    with_drop_mask=True,
):
    """ADL's output in training for a given draw, (B, H, W, C) float64.

    >>> features = np.array([0.0, 1.0, 2.0, 4.0]).reshape(1, 2, 2, 1)
    >>> adl(features, True, drop_threshold=0.5).ravel().tolist()
    [0.0, 1.0, 0.0, 0.0]
    >>> adl(features, False).round(4).ravel().tolist()  # x / (1 + exp(-x))
    [0.0, 0.7311, 1.7616, 3.9281]
    """
    features = np.asarray(features, np.float64)
    if not (with_importance_map or with_drop_mask):
        return features
    factor = select(
        per_sample(use_drop_mask, len(features)),
        drop_mask(features, drop_threshold) if with_drop_mask else None,
        importance_map(features) if with_importance_map else None,
    )
    return multiply_cells(features, factor)
