"""DFM's maps: enhancements and masks of its two branches, and their fusion."""

from typing import Any

from keras import ops

from keras_wsol.masks.attention import channel_attention, spatial_attention
from keras_wsol.masks.blocks import focus_neighbours
from keras_wsol.masks.threshold import drop_mask


def dfm_maps(
    features: Any,
    *,
    channel_threshold: float,
    position_threshold: float,
    focus: float,
    accumulate_focus: bool,
) -> dict[str, Any]:
    """Computes the four key maps of DFM (Eq. 1 to 8).

    Args:
        features: Float tensor `(B, H, W, C)`.
        channel_threshold: Float in [0, 1], alpha (Eq. 5).
        position_threshold: Float in [0, 1], beta (Eq. 6).
        focus: Float, omega (Eq. 7); 0 leaves the position mask as it is.
        accumulate_focus: Boolean; see `focus_neighbours`.

    Returns:
        Dictionary of float32 tensors: `"channel_enhancement"` and
        `"channel_mask"` `(B, 1, 1, C)`, `"position_enhancement"` and
        `"position_mask"` `(B, H, W, 1)`. Enhancements are the tanh of the
        attention; masks are 1 (and more near dropped cells) or 0.
    """
    channels = channel_attention(features)
    positions = spatial_attention(features)
    position_mask = drop_mask(positions, position_threshold)
    return {
        "channel_enhancement": ops.tanh(channels),
        "channel_mask": drop_mask(channels, channel_threshold),
        "position_enhancement": ops.tanh(positions),
        "position_mask": focus_neighbours(position_mask, focus, accumulate_focus),
    }


def fuse(
    maps: dict[str, Any],
    *,
    position_weight: float,
    channel_weight: float,
    branches: str = "fused",
) -> tuple[tuple[Any, Any], tuple[Any, Any]]:
    """Adds enhancements to masks: across branches (Eq. 13 and 14), or within.

    Each result is the sum of a map of cells and a map of channels, and is given as
    these two: their sum has the size of the features, which a draw between the two
    results does not need.

    Args:
        maps: The dictionary of `dfm_maps`.
        position_weight: Float, delta: weight of an enhancement that joins the
            channel mask.
        channel_weight: Float, gamma: weight of an enhancement that joins the
            position mask.
        branches: `"fused"` crosses the branches; any other value gives each
            mask the enhancement of its own branch.

    Returns:
        `(position_map, channel_map)`, the paper's P_ME and C_ME when fused, each a
        pair of float32 tensors `(B, H, W, 1)` and `(B, 1, 1, C)` to be added.

    Example:
    >>> import numpy as np
    >>> maps = {name: np.full((1, 1, 1, 1), value, "float32") for name, value in (
    ...     ("channel_enhancement", 0.5), ("channel_mask", 1.0),
    ...     ("position_enhancement", 0.25), ("position_mask", 0.0))}
    >>> position_map, channel_map = fuse(maps, position_weight=1.0, channel_weight=1.0)
    >>> [ops.convert_to_numpy(part).item() for part in (*position_map, *channel_map)]
    [0.0, 0.5, 0.25, 1.0]
    """
    for_position = channel_weight * maps["channel_enhancement"]
    for_channel = position_weight * maps["position_enhancement"]
    if branches == "fused":
        return (
            (maps["position_mask"], for_position),
            (for_channel, maps["channel_mask"]),
        )
    own_position = channel_weight * maps["position_enhancement"]
    own_channel = position_weight * maps["channel_enhancement"]
    return (
        (own_position + maps["position_mask"], ops.zeros_like(for_position)),
        (ops.zeros_like(for_channel), own_channel + maps["channel_mask"]),
    )
