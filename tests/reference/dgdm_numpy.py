"""DGDM in loops, from Yin et al. (2020), section 3.4, in float64.

The channel mask applies at every step; the draw is between importance map and
spatial mask. Both attentions are taken from the input of the whole module.
"""

import numpy as np

from tests.reference.adl_numpy import multiply_cells
from tests.reference.cagd_numpy import channel_mask, multiply_channels
from tests.reference.sagd_numpy import spatial_factor


def dgdm(features, uniforms, use_drop_mask, channel=None, spatial=None):
    """DGDM's output in training for given draws, (B, H, W, C) float64.

    `channel` and `spatial` are keyword arguments of `channel_mask` and
    `spatial_factor`.
    """
    features = np.asarray(features, np.float64)
    mask = channel_mask(features, uniforms, **(channel or {}))
    factor = spatial_factor(features, use_drop_mask, **(spatial or {}))
    return multiply_cells(multiply_channels(features, mask), factor)
