"""Features to attention, masks and maps, in the order of the papers' equations.

A mask holds 1 where it keeps and 0 where it drops; its maxima and thresholds are those
of each sample. No gradient flows through a mask. All maps are float32.
"""

import math
from typing import Any, NamedTuple

from keras import ops

__all__ = [
    "background_mask",
    "dfm_maps",
    "drop_mask",
    "grow_blocks",
    "importance_map",
    "spatial_attention",
]


# Attention: ADL, and Eq. 1 and 2 of DFM


def spatial_attention(features: Any) -> Any:
    """Averages features `(B, H, W, C)` over channels, to float32 `(B, H, W, 1)`."""
    return _mean(features, axes=(3,))


def channel_attention(features: Any) -> Any:
    """Averages features `(B, H, W, C)` over cells, to float32 `(B, 1, 1, C)`.

    Example:
    >>> import numpy as np
    >>> features = np.array([[[[1.0, 3.0]], [[0.0, 0.5]]]], "float32")
    >>> ops.convert_to_numpy(spatial_attention(features)).ravel().tolist()
    [2.0, 0.25]
    >>> ops.convert_to_numpy(channel_attention(features)).ravel().tolist()
    [0.5, 1.75]
    """
    return _mean(features, axes=(1, 2))


def _mean(features: Any, axes: tuple[int, ...]) -> Any:
    """The mean in float32: in float16 the sum over some thousand channels overflows."""
    # The gradient of `ops.mean` divides a map of the size of the features, that of a
    # sum and a division one of the size of the attention: a fifth of ADL's cost.
    features = ops.cast(features, "float32")
    shape = ops.shape(features)
    count = math.prod(shape[axis] for axis in axes)
    return ops.sum(features, axis=axes, keepdims=True) / ops.cast(count, "float32")


def channel_rms(features: Any) -> Any:
    """Root mean square of each channel: its L2 norm over the map, up to its size."""
    squares = ops.square(ops.cast(features, "float32"))
    return ops.sqrt(ops.mean(squares, axis=(1, 2), keepdims=True))


# ADL and SAGD: masks and maps of cells


def importance_map(attention: Any) -> Any:
    """Sigmoid of the attention, in (0, 1). Gradients flow through it."""
    return ops.sigmoid(attention)


def drop_mask(attention: Any, threshold: float) -> Any:
    """Drops each cell, or channel, that reaches `threshold` times the maximum.

    The maximum itself is always dropped. A dead map, whose maximum is not above zero,
    drops nothing.

    Args:
        attention: float32 tensor `(B, ...)`, such as `(B, H, W, 1)` or `(B, 1, 1, C)`.
        threshold: Float in [0, 1]. Share of the maximum; lower drops more.

    Returns:
        float32 tensor of the shape of `attention`: 1 keeps, 0 drops.

    Example:
    >>> import numpy as np
    >>> attention = np.array([[1.0, 2.0, 3.0, 4.0], [0.0, 0.0, 0.0, 0.0]], "float32")
    >>> ops.convert_to_numpy(drop_mask(attention, 0.5)).tolist()
    [[1.0, 0.0, 0.0, 0.0], [1.0, 1.0, 1.0, 1.0]]
    """
    attention = ops.convert_to_tensor(attention)
    axes = tuple(range(1, len(attention.shape)))
    maximum = ops.max(attention, axis=axes, keepdims=True)
    kept = ops.logical_or(attention < threshold * maximum, maximum <= 0)
    return ops.cast(kept, "float32")


def background_mask(attention: Any, threshold: float) -> Any:
    """Drops each cell below `threshold` times the maximum (SAGD's second stage).

    Takes and returns float32 `(B, H, W, 1)`. A dead map has no background.

    Example:
    >>> import numpy as np
    >>> attention = np.array([[[[1.0], [2.0], [3.0], [4.0]]]], "float32")
    >>> ops.convert_to_numpy(background_mask(attention, 0.6)).ravel().tolist()
    [0.0, 0.0, 1.0, 1.0]
    """
    attention = ops.convert_to_tensor(attention)
    maximum = ops.max(attention, axis=(1, 2, 3), keepdims=True)
    kept = ops.logical_or(attention >= threshold * maximum, maximum <= 0)
    return ops.cast(kept, "float32")


def dropped_share(mask: Any) -> Any:
    """Share of a mask `(B, ...)` that is 0, for each sample: float32 `(B,)`."""
    mask = ops.convert_to_tensor(mask)
    axes = tuple(range(1, len(mask.shape)))
    return ops.mean(ops.cast(mask == 0, "float32"), axis=axes)


# An adaptive block is a 7th of the map's side (rounded up): 2 cells of 14.
ADAPTIVE_PARTS = 7


def grow_blocks(mask: Any, block_size: int | str) -> Any:
    """Drops the square block around each dropped cell, so regions hang together.

    Args:
        mask: float32 tensor `(B, H, W, C)`: 1 keeps, 0 drops; each
            channel on its own.
        block_size: Integer >= 1, side of the block in cells, cut at the border. For
            an even size `b` the cell `(i, j)` drops `i - b/2 .. i + b/2 - 1`. Or
            `"adaptive"`, `ceil(H / 7)` rows by `ceil(W / 7)` columns.

    Returns:
        float32 tensor `(B, H, W, C)`: 1 keeps, 0 drops.

    Example:
    >>> import numpy as np
    >>> mask = np.array([1, 1, 1, 0, 1, 1], "float32").reshape(1, 1, 6, 1)
    >>> ops.convert_to_numpy(grow_blocks(mask, 3)).ravel().tolist()
    [1.0, 1.0, 0.0, 0.0, 0.0, 1.0]
    >>> ops.convert_to_numpy(grow_blocks(mask, 2)).ravel().tolist()
    [1.0, 1.0, 0.0, 0.0, 1.0, 1.0]
    """
    if block_size == 1:
        return mask
    if block_size != "adaptive":
        return 1.0 - _window_maximum(1.0 - mask, block_size)
    _, rows, columns, _ = ops.shape(mask)
    height = (rows + ADAPTIVE_PARTS - 1) // ADAPTIVE_PARTS
    width = (columns + ADAPTIVE_PARTS - 1) // ADAPTIVE_PARTS
    return ops.cast(window_count(1.0 - mask, height, width) == 0, "float32")


def _window_maximum(cells: Any, size: int) -> Any:
    """`window_count(...) > 0` for a size known beforehand: one kernel, not twenty."""
    before, after = (size - 1) // 2, size // 2
    # A mask has no gradient, and that of a pooling fails in places under XLA.
    cells = ops.stop_gradient(ops.convert_to_tensor(cells))
    cells = ops.pad(cells, ((0, 0), (before, after), (before, after), (0, 0)))
    return ops.max_pool(
        cells, size, strides=1, padding="valid", data_format="channels_last"
    )


def window_count(cells: Any, height: Any, width: Any) -> Any:
    """Counts, for each cell, the set cells in the window around it, as int32.

    The window of row `i` is `i - (h - 1) // 2 .. i + h // 2`, cut at the border. Sizes
    may be tensors.
    """
    counts = ops.cast(cells, "int32")
    for axis, size in ((1, height), (2, width)):
        length = ops.shape(counts)[axis]
        sums = ops.cumsum(counts, axis=axis, dtype="int32")
        sums = ops.concatenate([ops.zeros_like(ops.take(sums, [0], axis)), sums], axis)
        cell = ops.arange(length, dtype="int32")
        first = ops.maximum(cell - (size - 1) // 2, 0)
        after_last = ops.minimum(cell + size // 2 + 1, length)
        counts = ops.take(sums, after_last, axis) - ops.take(sums, first, axis)
    return counts


# CAGD and targeted dropout: which channels may be dropped, (B, 1, 1, C)


def channels_below_min_multiple(attention: Any, multiple: float) -> Any:
    """Marks channels whose magnitude is below a multiple of the smallest live one."""
    # After a ReLU some means are exactly 0, and a multiple of 0 would mark nothing.
    magnitude = ops.abs(attention)
    live = magnitude > 0
    infinity = ops.full_like(magnitude, float("inf"))
    smallest = ops.min(ops.where(live, magnitude, infinity), axis=-1, keepdims=True)
    any_live = ops.any(live, axis=-1, keepdims=True)
    return ops.logical_and(magnitude < multiple * smallest, any_live)


def channels_outside_top_k(attention: Any, keep_fraction: float) -> Any:
    """Marks channels not among the `ceil(keep_fraction * C)` largest, or their ties."""
    magnitude = ops.abs(attention)
    # 1e-9 keeps 0.7 * 10 = 7.000000000000001 from becoming 8.
    k = max(1, math.ceil(keep_fraction * attention.shape[-1] - 1e-9))
    largest, _ = ops.top_k(magnitude, k)
    return magnitude < largest[..., -1:]


def smallest_channels(magnitude: Any, fraction: float) -> Any:
    """Marks the `floor(fraction * C)` smallest channels, without ties with others."""
    magnitude = ops.convert_to_tensor(magnitude)
    channels = magnitude.shape[-1]
    # 1e-9 keeps 0.29 * 100 = 28.999999999999996 from becoming 28.
    others = channels - math.floor(fraction * channels + 1e-9)
    if others == 0:
        return ops.ones_like(magnitude, dtype="bool")
    largest, _ = ops.top_k(magnitude, others)
    return magnitude < largest[..., -1:]


# DFM


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
        focus: Float >= 0, omega (Eq. 7): what kept cells beside dropped ones gain.
        accumulate_focus: Boolean. Gain it for each dropped neighbour, not once.

    Returns:
        Dictionary of float32 tensors: `"channel_enhancement"` and `"channel_mask"`
        `(B, 1, 1, C)`, `"position_enhancement"` and `"position_mask"` `(B, H, W, 1)`.
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


def focus_neighbours(mask: Any, focus: float, accumulate: bool = False) -> Any:
    """Raises kept cells beside a dropped one (Eq. 7 and 8); dropped ones stay 0."""
    mask = ops.convert_to_tensor(mask)
    if focus == 0:
        return mask
    if accumulate:
        dropped_near = ops.cast(window_count(1.0 - mask, 3, 3), "float32")
    else:
        dropped_near = _window_maximum(1.0 - mask, 3)
    return mask * (1.0 + focus * dropped_near)


class Parts(NamedTuple):
    """The two summands of a map. Kept apart, so that no (B, H, W, C) sum is made."""

    cells: Any  # (B, H, W, 1)
    channels: Any  # (B, 1, 1, C)


def fuse(
    maps: dict[str, Any],
    position_weight: float,
    channel_weight: float,
    branches: str = "fused",
) -> tuple[Parts, Parts]:
    """Adds enhancements to masks (Eq. 13 and 14), to P_ME and C_ME if `"fused"`."""
    for_position = channel_weight * maps["channel_enhancement"]
    for_channel = position_weight * maps["position_enhancement"]
    if branches == "fused":
        return (
            Parts(cells=maps["position_mask"], channels=for_position),
            Parts(cells=for_channel, channels=maps["channel_mask"]),
        )
    own_position = channel_weight * maps["position_enhancement"]
    own_channel = position_weight * maps["channel_enhancement"]
    return (
        Parts(own_position + maps["position_mask"], ops.zeros_like(for_position)),
        Parts(ops.zeros_like(for_channel), own_channel + maps["channel_mask"]),
    )


# DropBlock, MaxDrop, Cutout and CutMix


def random_blocks(uniform: Any, rate: float, block_size: int) -> Any:
    """Drops square blocks at random places, each of them whole.

    A cell is a seed where its uniform number lies below `rate / block_size^2 * H W /
    ((H - block_size + 1) (W - block_size + 1))` and where its block fits into the map.

    `uniform` `(B, H, W, C)` holds a draw from [0, 1) for each possible seed; `C` is 1
    for a mask that all channels share. About a share `rate` of the cells is dropped.

    Example:
    >>> import numpy as np
    >>> uniform = np.array([0.0, 0.9, 0.9, 0.0, 0.9], "float32").reshape(1, 1, 5, 1)
    >>> ops.convert_to_numpy(random_blocks(uniform, 0.3, 3)).ravel().tolist()
    [1.0, 1.0, 0.0, 0.0, 0.0]
    """
    uniform = ops.convert_to_tensor(uniform)
    _, height, width, _ = ops.shape(uniform)
    rows, columns = ops.minimum(block_size, height), ops.minimum(block_size, width)
    gamma = rate * _seed_share(height, rows) * _seed_share(width, columns)
    seeds = ops.logical_and(
        uniform < gamma,
        ops.logical_and(
            ops.reshape(_block_fits(height, rows), (1, -1, 1, 1)),
            ops.reshape(_block_fits(width, columns), (1, 1, -1, 1)),
        ),
    )
    return ops.cast(window_count(seeds, rows, columns) == 0, "float32")


def _seed_share(length: Any, block: Any) -> Any:
    """One side's part of gamma for a rate of 1; never above 1."""
    length, block = ops.cast(length, "float32"), ops.cast(block, "float32")
    return length / (block * (length - block + 1.0))


def _block_fits(length: Any, block: Any) -> Any:
    """Marks, along one side, the cells whose block lies inside."""
    first = ops.arange(length, dtype="int32") - block // 2
    return ops.logical_and(first >= 0, first + block <= length)


def rescale(mask: Any) -> Any:
    """Raises what a mask keeps, so that its mean over the batch is 1; zeros stay."""
    mask = ops.convert_to_tensor(mask)
    kept = ops.mean(mask)
    return mask / ops.where(kept > 0, kept, 1.0)


def channel_maxima(features: Any) -> Any:
    """Marks the first largest cell of each channel, if it is above zero; boolean."""
    features = ops.convert_to_tensor(features)
    _, height, width, channels = ops.shape(features)
    cells = ops.reshape(features, (-1, height * width, channels))
    return ops.reshape(_first_maximum(cells, 1), (-1, height, width, channels))


def position_maxima(features: Any) -> Any:
    """Marks the first largest channel at each position, if above zero; boolean."""
    return _first_maximum(ops.convert_to_tensor(features), -1)


def _first_maximum(values: Any, axis: int) -> Any:
    places = ops.arange(ops.shape(values)[axis], dtype="int32")
    if axis == 1:
        places = places[:, None]
    first = ops.cast(ops.argmax(values, axis=axis, keepdims=True), "int32")
    live = ops.max(values, axis=axis, keepdims=True) > 0
    return ops.logical_and(places == first, live)


def random_box(uniform: Any, height: Any, width: Any, rows: Any, columns: Any) -> Any:
    """Drops the box around one pixel, which `uniform` `(B, 2)` places in [0, 1)."""
    uniform = ops.convert_to_tensor(uniform)
    rows = _segment(uniform[:, 0:1], height, rows)
    columns = _segment(uniform[:, 1:2], width, columns)
    inside = ops.logical_and(rows[:, :, None, None], columns[:, None, :, None])
    return 1.0 - ops.cast(inside, "float32")


def _segment(uniform: Any, length: Any, size: Any) -> Any:
    """Marks `size` cells around a random one, `(B, 1)` to `(B, length)`."""
    centre = ops.floor(uniform * ops.cast(length, "float32"))
    # Rounding may lift a draw just below 1 to `length`.
    centre = ops.minimum(ops.cast(centre, "int32"), length - 1)
    cells = ops.arange(length, dtype="int32")[None, :]
    first = centre - size // 2
    return ops.logical_and(cells >= first, cells < first + size)
