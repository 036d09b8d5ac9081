"""Features to attention, masks and maps: pure functions of tensors."""

from keras_wsol.masks.attention import (
    channel_attention,
    importance_map,
    multiply,
    spatial_attention,
)
from keras_wsol.masks.blocks import focus_neighbours, grow_blocks, window_count
from keras_wsol.masks.channels import (
    channels_below_min_multiple,
    channels_outside_top_k,
)
from keras_wsol.masks.fusion import dfm_maps, fuse
from keras_wsol.masks.magnitude import channel_rms, smallest_channels
from keras_wsol.masks.maxima import channel_maxima, position_maxima
from keras_wsol.masks.random_blocks import random_blocks, rescale
from keras_wsol.masks.squares import random_square
from keras_wsol.masks.threshold import background_mask, drop_mask, dropped_share

__all__ = [
    "background_mask",
    "channel_attention",
    "channel_maxima",
    "channel_rms",
    "channels_below_min_multiple",
    "channels_outside_top_k",
    "dfm_maps",
    "drop_mask",
    "dropped_share",
    "focus_neighbours",
    "fuse",
    "grow_blocks",
    "importance_map",
    "multiply",
    "position_maxima",
    "random_blocks",
    "random_square",
    "rescale",
    "smallest_channels",
    "spatial_attention",
    "window_count",
]
