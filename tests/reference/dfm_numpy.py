"""DFM in loops, from Zhou et al., "Dual-Attention Focused Module", in float64.

Equation numbers are the paper's. The draw is an argument: `use_position` picks
the position mask (P_ME), otherwise the channel mask (C_ME); one boolean, or one
a sample. Single-branch and unfused modules are those of Table 1: each mask with
the enhancement of its own branch, without the neighbour focused matrix.
"""

import math

import numpy as np

from tests.reference.adl_numpy import (
    attention_map,
    maximum_of,
    most_discriminative,
    per_sample,
)
from tests.reference.cagd_numpy import channel_attention


def enhancement(attention):
    """Eq. 3 and 4: tanh of a map, any shape."""
    enhanced = np.zeros(attention.shape)
    for place in np.ndindex(*attention.shape):
        enhanced[place] = math.tanh(attention[place])
    return enhanced


def channel_mask(features, channel_threshold):
    """Eq. 5: 0 where a channel reaches its share of the largest, (B, C)."""
    attention = channel_attention(features)
    mask = np.ones(attention.shape)
    for b, c in np.ndindex(*attention.shape):
        maximum = maximum_of(attention[b])
        if maximum > 0.0 and attention[b, c] >= channel_threshold * maximum:
            mask[b, c] = 0.0
    return mask


def position_mask(features, position_threshold):
    """Eq. 6: 0 where the attention reaches its share of the largest, (B, H, W)."""
    return np.where(most_discriminative(features, position_threshold), 0.0, 1.0)


def neighbours(i, j, height, width):
    """The 3 x 3 square around a cell, inside the map, without the cell."""
    for s in range(max(i - 1, 0), min(i + 2, height)):
        for k in range(max(j - 1, 0), min(j + 2, width)):
            if (s, k) != (i, j):
                yield s, k


def focused(mask, focus, accumulate_focus):
    """Eq. 7 and 8: kept cells beside a dropped one rise, (B, H, W) -> (B, H, W).

    >>> mask = np.array([[[0.0, 0.0, 1.0, 1.0], [1.0, 1.0, 1.0, 1.0]]])
    >>> focused(mask, 0.25, accumulate_focus=False)[0].tolist()
    [[0.0, 0.0, 1.25, 1.0], [1.25, 1.25, 1.25, 1.0]]
    >>> focused(mask, 0.25, accumulate_focus=True)[0].tolist()
    [[0.0, 0.0, 1.25, 1.0], [1.5, 1.5, 1.25, 1.0]]
    """
    _, height, width = mask.shape
    raised = mask.copy()
    for b, i, j in zip(*np.nonzero(mask == 0.0), strict=True):
        for s, k in neighbours(i, j, height, width):
            if mask[b, s, k] == 0.0:
                continue
            if accumulate_focus:
                raised[b, s, k] += focus * mask[b, s, k]
            else:
                raised[b, s, k] = mask[b, s, k] + focus * mask[b, s, k]
    return raised


def expand(cells, channels):
    """Eq. 9 to 14: M[b,i,j,c] = cells[b,i,j] + channels[b,c]."""
    batch, height, width = cells.shape
    total = np.zeros((batch, height, width, channels.shape[1]))
    for b, i, j, c in np.ndindex(*total.shape):
        total[b, i, j, c] = cells[b, i, j] + channels[b, c]
    return total


def candidates(
    features,
    channel_threshold=0.85,
    position_threshold=0.95,
    focus=0.15,
    position_weight=0.6,
    channel_weight=0.4,
    accumulate_focus=False,
    branches="fused",
):
    """The position and the channel candidate for M, each (B, H, W, C)."""
    position_attention = attention_map(features)
    no_cells = np.zeros(position_attention.shape)
    no_channels = np.zeros((len(features), features.shape[-1]))
    position_enhancement = enhancement(position_attention)
    channel_enhancement = enhancement(channel_attention(features))
    hidden_channels = channel_mask(features, channel_threshold)
    hidden_cells = position_mask(features, position_threshold)
    if branches == "fused":
        raised = focused(hidden_cells, focus, accumulate_focus)
        return (
            expand(raised, channel_weight * channel_enhancement),
            expand(position_weight * position_enhancement, hidden_channels),
        )
    own_position = channel_weight * position_enhancement + hidden_cells
    own_channel = position_weight * channel_enhancement + hidden_channels
    return expand(own_position, no_channels), expand(no_cells, own_channel)


def feed_back(features, modulation, feedback="residual", rescale=True):
    """Eq. 16 in its three readings, element by element."""
    output = np.zeros(features.shape)
    for place in np.ndindex(*features.shape):
        value, weight = float(features[place]), modulation[place]
        if feedback == "add":
            output[place] = value + weight
        elif feedback == "scale":
            output[place] = value * weight
        elif rescale:
            output[place] = (value + value * weight) / 2.0
        else:
            output[place] = value + value * weight
    return output


def dfm(
    features,
    use_position,
    feedback="residual",
    rescale=True,
    branches="fused",
    **arguments,
):
    """DFM's output in training for a given draw, (B, H, W, C) float64."""
    features = np.asarray(features, np.float64)
    position, channel = candidates(features, branches=branches, **arguments)
    if branches in ("position", "channel"):
        use_position = branches == "position"
    modulation = np.zeros(features.shape)
    for b, draw in enumerate(per_sample(use_position, len(features))):
        modulation[b] = position[b] if draw else channel[b]
    return feed_back(features, modulation, feedback, rescale)


def dfm_expected(
    features,
    position_rate=0.7,
    feedback="residual",
    rescale=True,
    branches="fused",
    **arguments,
):
    """DFM's output at inference with the mean of both candidates."""
    features = np.asarray(features, np.float64)
    position, channel = candidates(features, branches=branches, **arguments)
    share = {"position": 1.0, "channel": 0.0}.get(branches, position_rate)
    modulation = np.zeros(features.shape)
    for place in np.ndindex(*features.shape):
        modulation[place] = share * position[place] + (1.0 - share) * channel[place]
    return feed_back(features, modulation, feedback, rescale)
