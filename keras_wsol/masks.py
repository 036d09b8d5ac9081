"""Features to attention, masks and maps, in the order of the papers' equations."""

import math
from typing import Any

from keras import ops

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


def spatial_attention(features: Any) -> Any:
    """Averages features over channels (`CAP`; ADL's self-attention map).

    Args:
        features: Float tensor `(B, H, W, C)`, after the activation.

    Returns:
        float32 tensor `(B, H, W, 1)`. The mean is taken in float32: in float16
        the sum over some thousand channels overflows.

    Example:
    >>> import numpy as np
    >>> features = np.array([[[[1.0, 3.0]], [[0.0, 0.5]]]], "float32")
    >>> ops.convert_to_numpy(spatial_attention(features)).ravel().tolist()
    [2.0, 0.25]
    """
    return _mean(features, axes=(3,))


def channel_attention(features: Any) -> Any:
    """Averages features over height and width (`GAP`; CAGD's and DFM's channels).

    Args:
        features: Float tensor `(B, H, W, C)`, after the activation.

    Returns:
        float32 tensor `(B, 1, 1, C)`, the mean taken in float32.

    Example:
    >>> import numpy as np
    >>> features = np.array([[[[1.0, 3.0]], [[0.0, 0.5]]]], "float32")
    >>> ops.convert_to_numpy(channel_attention(features)).ravel().tolist()
    [0.5, 1.75]
    """
    return _mean(features, axes=(1, 2))


def _mean(features: Any, axes: tuple[int, ...]) -> Any:
    """The mean in float32, divided after the sum.

    The gradient of `ops.mean` divides a map of the size of the features, that of a
    sum and a division one of the size of the attention: a fifth of ADL's cost.
    """
    features = ops.cast(features, "float32")
    shape = ops.shape(features)
    count = math.prod(shape[axis] for axis in axes)
    return ops.sum(features, axis=axes, keepdims=True) / ops.cast(count, "float32")


def importance_map(attention: Any) -> Any:
    """Sigmoid of the attention: near 1 where the network responds most.

    Gradients flow through it.

    Args:
        attention: float32 tensor `(B, H, W, 1)`.

    Returns:
        float32 tensor `(B, H, W, 1)` in (0, 1).

    Example:
    >>> import numpy as np
    >>> attention = np.zeros((1, 1, 1, 1), "float32")
    >>> ops.convert_to_numpy(importance_map(attention)).item()
    0.5
    """
    return ops.sigmoid(attention)


def multiply(features: Any, factor: Any) -> Any:
    """Multiplies features by a mask or map, in float32.

    Only the result is cast back: in float16 the gradient of the factor, a sum over
    channels, would overflow.

    Args:
        features: Float tensor `(B, H, W, C)`.
        factor: float32 tensor that broadcasts to it.

    Returns:
        Tensor of the shape and type of `features`.

    Example:
    >>> import keras
    >>> import numpy as np
    >>> features = np.array([[[[1.0, 3.0]]]], "float16")
    >>> product = multiply(features, np.full((1, 1, 1, 1), 0.5, "float32"))
    >>> ops.convert_to_numpy(product).ravel().tolist()
    [0.5, 1.5]
    >>> keras.backend.standardize_dtype(product.dtype)
    'float16'
    """
    features = ops.convert_to_tensor(features)
    return ops.cast(ops.cast(features, "float32") * factor, features.dtype)


def drop_mask(attention: Any, threshold: float) -> Any:
    """Drops each cell, or channel, that reaches `threshold` times the maximum.

    The maximum is that of each sample. Kept is what is strictly below the cut,
    so the maximum itself is always dropped. A dead map (maximum not above zero)
    drops nothing: its cut would lie at or above every value and erase it whole.

    Args:
        attention: float32 tensor `(B, ...)`, such as `(B, H, W, 1)` or
            `(B, 1, 1, C)`.
        threshold: Float in [0, 1]. Share of the maximum; lower drops more.

    Returns:
        float32 tensor of the shape of `attention`: 1 keeps, 0 drops. No gradient
        flows through it.

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

    Args:
        attention: float32 tensor `(B, H, W, 1)`.
        threshold: Float in [0, 1]. Share of each sample's maximum below which a
            cell counts as background. A dead map has no background.

    Returns:
        float32 tensor `(B, H, W, 1)`: 1 keeps, 0 drops.

    Example:
    >>> import numpy as np
    >>> attention = np.array([1.0, 2.0, 3.0, 4.0], "float32").reshape(1, 2, 2, 1)
    >>> ops.convert_to_numpy(background_mask(attention, 0.6)).ravel().tolist()
    [0.0, 0.0, 1.0, 1.0]
    """
    attention = ops.convert_to_tensor(attention)
    maximum = ops.max(attention, axis=(1, 2, 3), keepdims=True)
    kept = ops.logical_or(attention >= threshold * maximum, maximum <= 0)
    return ops.cast(kept, "float32")


def dropped_share(mask: Any) -> Any:
    """Share of a mask that is dropped, for each sample.

    Args:
        mask: Float tensor `(B, ...)`; 0 drops, anything else keeps.

    Returns:
        float32 tensor `(B,)` in [0, 1].

    Example:
    >>> import numpy as np
    >>> mask = np.array([[0.0, 1.0, 1.15, 1.0], [1.0, 1.0, 1.0, 1.0]], "float32")
    >>> ops.convert_to_numpy(dropped_share(mask)).tolist()
    [0.25, 0.0]
    """
    mask = ops.convert_to_tensor(mask)
    axes = tuple(range(1, len(mask.shape)))
    return ops.mean(ops.cast(mask == 0, "float32"), axis=axes)


# An adaptive block is a 7th of the map's side (rounded up): 2 cells of 14.
ADAPTIVE_PARTS = 7


def window_count(cells: Any, height: Any, width: Any) -> Any:
    """Counts, for each cell, the set cells in the window around it.

    The window of cell `(i, j)` holds rows `i - (h - 1) // 2 .. i + h // 2`, and
    columns likewise, cut at the border. For an odd size it is centred; for an
    even one it reaches further down and right, so that, seen from a set cell
    `s`, it is the cells `s - h / 2 .. s + h / 2 - 1` that count it. Sizes may
    be tensors, for maps whose height and width are unknown until the call.

    Args:
        cells: Tensor `(B, H, W, C)` of zeros and ones; channels are apart.
        height: Integer or scalar integer tensor, at least 1.
        width: Integer or scalar integer tensor, at least 1.

    Returns:
        int32 tensor `(B, H, W, C)`.

    Example:
    >>> import numpy as np
    >>> cells = np.array([1, 0, 0, 1], "float32").reshape(1, 1, 4, 1)
    >>> ops.convert_to_numpy(window_count(cells, 1, 3)).ravel().tolist()
    [1, 1, 1, 1]
    """
    counts = ops.cast(cells, "int32")
    for axis, size in ((1, height), (2, width)):
        counts = _running_count(counts, axis, size)
    return counts


def _running_count(counts: Any, axis: int, size: Any) -> Any:
    length = ops.shape(counts)[axis]
    sums = ops.cumsum(counts, axis=axis, dtype="int32")
    sums = ops.concatenate([ops.zeros_like(ops.take(sums, [0], axis)), sums], axis)
    cell = ops.arange(length, dtype="int32")
    first = ops.maximum(cell - (size - 1) // 2, 0)
    after_last = ops.minimum(cell + size // 2 + 1, length)
    return ops.take(sums, after_last, axis) - ops.take(sums, first, axis)


def grow_blocks(mask: Any, block_size: int | str) -> Any:
    """Drops the square block around each dropped cell, so regions hang together.

    Args:
        mask: float32 tensor `(B, H, W, C)`: 1 keeps, 0 drops; channels are apart.
        block_size: Side of the block in cells, at least 1; 1 leaves the mask as
            it is. What of a block lies outside the map is cut off. For an even
            size `b` a cell at `(i, j)` drops rows and columns
            `i - b/2 .. i + b/2 - 1`. `"adaptive"` is `ceil(H / 7)` rows by
            `ceil(W / 7)` columns.

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
    """Maximum of zeros and ones over the window of `window_count`.

    For a size that is known beforehand, one kernel does what takes a count some
    twenty.
    """
    before, after = (size - 1) // 2, size // 2
    # A mask has no gradient, and that of a pooling fails in places under XLA.
    cells = ops.stop_gradient(ops.convert_to_tensor(cells))
    cells = ops.pad(cells, ((0, 0), (before, after), (before, after), (0, 0)))
    return ops.max_pool(
        cells, size, strides=1, padding="valid", data_format="channels_last"
    )


def focus_neighbours(mask: Any, focus: float, accumulate: bool = False) -> Any:
    """Raises kept cells that touch a dropped cell (DFM's focused matrix).

    Neighbours are the eight cells around (Eq. 7: `s` in `i-1 .. i+1`, `k` in
    `j-1 .. j+1`). Dropped cells stay 0.

    Args:
        mask: float32 tensor `(B, H, W, 1)`: 1 keeps, 0 drops.
        focus: Float, the paper's omega: what a cell gains.
        accumulate: Boolean. Gain `focus` once for each dropped neighbour instead
            of once.

    Returns:
        float32 tensor `(B, H, W, 1)`.

    Example:
    >>> import numpy as np
    >>> mask = np.array([0, 1, 0, 1, 1], "float32").reshape(1, 1, 5, 1)
    >>> ops.convert_to_numpy(focus_neighbours(mask, 0.5)).ravel().tolist()
    [0.0, 1.5, 0.0, 1.5, 1.0]
    >>> focused = focus_neighbours(mask, 0.5, accumulate=True)
    >>> ops.convert_to_numpy(focused).ravel().tolist()
    [0.0, 2.0, 0.0, 1.5, 1.0]
    """
    mask = ops.convert_to_tensor(mask)
    if focus == 0:
        return mask
    if accumulate:
        dropped_near = ops.cast(window_count(1.0 - mask, 3, 3), "float32")
    else:
        dropped_near = _window_maximum(1.0 - mask, 3)
    return mask * (1.0 + focus * dropped_near)


def channels_below_min_multiple(attention: Any, multiple: float) -> Any:
    """Marks channels whose magnitude is below a multiple of the smallest one.

    The smallest one is looked for among the *live* channels (magnitude above
    zero): after a ReLU some channel means are often exactly 0, and a multiple of
    0 would mark nothing. Dead channels lie below the threshold and are marked; a
    sample whose channels are all dead has no threshold and marks nothing.

    Args:
        attention: float32 tensor `(B, 1, 1, C)`, from `channel_attention`.
        multiple: Float above 0, the paper's beta.

    Returns:
        Boolean tensor `(B, 1, 1, C)`.

    Example:
    >>> import numpy as np
    >>> attention = np.array([0.0, -1.0, 2.0, 3.0, 9.0], "float32")
    >>> marked = channels_below_min_multiple(attention.reshape(1, 1, 1, 5), 3.0)
    >>> ops.convert_to_numpy(marked).ravel().tolist()
    [True, True, True, False, False]
    """
    magnitude = ops.abs(attention)
    live = magnitude > 0
    infinity = ops.full_like(magnitude, float("inf"))
    smallest = ops.min(ops.where(live, magnitude, infinity), axis=-1, keepdims=True)
    any_live = ops.any(live, axis=-1, keepdims=True)
    return ops.logical_and(magnitude < multiple * smallest, any_live)


def channels_outside_top_k(attention: Any, keep_fraction: float) -> Any:
    """Marks the channels that are not among the largest by magnitude.

    Args:
        attention: float32 tensor `(B, 1, 1, C)`, from `channel_attention`.
        keep_fraction: Float in [0, 1]. `k = ceil(keep_fraction * C)` channels, at
            least one, are safe; channels that tie with the k-th are safe, too.

    Returns:
        Boolean tensor `(B, 1, 1, C)`.

    Example:
    >>> import numpy as np
    >>> attention = np.array([4.0, 1.0, -3.0, 2.0], "float32").reshape(1, 1, 1, 4)
    >>> marked = channels_outside_top_k(attention, 0.5)
    >>> ops.convert_to_numpy(marked).ravel().tolist()
    [False, True, False, True]
    """
    magnitude = ops.abs(attention)
    # 1e-9 keeps 0.7 * 10 = 7.000000000000001 from becoming 8.
    k = max(1, math.ceil(keep_fraction * attention.shape[-1] - 1e-9))
    largest, _ = ops.top_k(magnitude, k)
    return magnitude < largest[..., -1:]


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


def channel_maxima(features: Any) -> Any:
    """Marks the largest cell of each channel of each image.

    Among equal ones it is the first in row-major order; a channel without a
    value above zero has none.

    Args:
        features: Float tensor `(B, H, W, C)`, after the activation.

    Returns:
        Boolean tensor `(B, H, W, C)`, at most one true cell a channel.

    Example:
    >>> import numpy as np
    >>> features = np.array([[1, 0], [4, 0], [4, 0]], "float32").reshape(1, 1, 3, 2)
    >>> ops.convert_to_numpy(channel_maxima(features))[0, 0].T.tolist()
    [[False, True, False], [False, False, False]]
    """
    features = ops.convert_to_tensor(features)
    _, height, width, channels = ops.shape(features)
    cells = ops.reshape(features, (-1, height * width, channels))
    return ops.reshape(_first_maximum(cells, 1), (-1, height, width, channels))


def position_maxima(features: Any) -> Any:
    """Marks the largest channel at each position of each image.

    Among equal ones it is the first; a position without a value above zero has
    none.

    Args:
        features: Float tensor `(B, H, W, C)`, after the activation.

    Returns:
        Boolean tensor `(B, H, W, C)`, at most one true channel a position.

    Example:
    >>> import numpy as np
    >>> features = np.array([[1, 4], [0, 0], [4, 4]], "float32").reshape(1, 1, 3, 2)
    >>> ops.convert_to_numpy(position_maxima(features))[0, 0].tolist()
    [[False, True], [False, False], [True, False]]
    """
    return _first_maximum(ops.convert_to_tensor(features), -1)


def _first_maximum(values: Any, axis: int) -> Any:
    places = ops.arange(ops.shape(values)[axis], dtype="int32")
    if axis == 1:
        places = places[:, None]
    first = ops.cast(ops.argmax(values, axis=axis, keepdims=True), "int32")
    live = ops.max(values, axis=axis, keepdims=True) > 0
    return ops.logical_and(places == first, live)


def random_blocks(uniform: Any, drop_rate: float, block_size: int) -> Any:
    """Drops square blocks at random places, each of them whole.

    A cell is a seed where its uniform number lies below `gamma = drop_rate /
    block_size^2 * H W / ((H - block_size + 1) (W - block_size + 1))` and where
    its block fits into the map. About `drop_rate` of the cells are dropped: less
    where blocks overlap.

    Args:
        uniform: float32 tensor `(B, H, W, C)` of draws from [0, 1), one for each
            possible seed; `C` is 1 for a mask that all channels share.
        drop_rate: Float in [0, 1].
        block_size: Side of a block in cells, at least 1. A side that is longer
            than the map's is cut to it. The seed at `(i, j)` drops what it drops
            in `grow_blocks`: for an even size `b` rows `i - b/2 .. i + b/2 - 1`.

    Returns:
        float32 tensor of the shape of `uniform`: 1 keeps, 0 drops.

    Example:
    >>> import numpy as np
    >>> uniform = np.array([0.0, 0.9, 0.9, 0.0, 0.9], "float32").reshape(1, 1, 5, 1)
    >>> ops.convert_to_numpy(random_blocks(uniform, 0.3, 3)).ravel().tolist()
    [1.0, 1.0, 0.0, 0.0, 0.0]
    """
    uniform = ops.convert_to_tensor(uniform)
    _, height, width, _ = ops.shape(uniform)
    rows, columns = ops.minimum(block_size, height), ops.minimum(block_size, width)
    gamma = drop_rate * _seed_share(height, rows) * _seed_share(width, columns)
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
    """Raises what a mask keeps, so that the mean over the whole batch is 1.

    A mask that keeps nothing stays zero.

    Args:
        mask: float32 tensor: 1 keeps, 0 drops.

    Returns:
        float32 tensor: `mask * count(mask) / count_ones(mask)`.

    Example:
    >>> import numpy as np
    >>> mask = np.array([1.0, 0.0, 1.0, 0.0, 0.0, 0.0], "float32")
    >>> ops.convert_to_numpy(rescale(mask)).tolist()
    [3.0, 0.0, 3.0, 0.0, 0.0, 0.0]
    >>> ops.convert_to_numpy(rescale(np.zeros(2, "float32"))).tolist()
    [0.0, 0.0]
    """
    mask = ops.convert_to_tensor(mask)
    kept = ops.mean(mask)
    return mask / ops.where(kept > 0, kept, 1.0)


def channel_rms(features: Any) -> Any:
    """Root mean square of each channel: its L2 norm over the map, up to its size.

    Args:
        features: Float tensor `(B, H, W, C)`, after the activation.

    Returns:
        float32 tensor `(B, 1, 1, C)`, at least 0, the mean taken in float32.

    Example:
    >>> import numpy as np
    >>> features = np.array([[[[3.0, 1.0]], [[-3.0, 7.0]]]], "float32")
    >>> ops.convert_to_numpy(channel_rms(features)).ravel().tolist()
    [3.0, 5.0]
    """
    squares = ops.square(ops.cast(features, "float32"))
    return ops.sqrt(ops.mean(squares, axis=(1, 2), keepdims=True))


def smallest_channels(magnitude: Any, fraction: float) -> Any:
    """Marks the channels of least magnitude, a fraction of all.

    Args:
        magnitude: float32 tensor `(B, 1, 1, C)`, at least 0.
        fraction: Float in [0, 1]. `floor(fraction * C)` channels are marked, and
            fewer where the largest of them ties with the smallest of the others.

    Returns:
        Boolean tensor `(B, 1, 1, C)`.

    Example:
    >>> import numpy as np
    >>> magnitude = np.array([4.0, 1.0, 3.0, 2.0, 5.0], "float32")
    >>> marked = smallest_channels(magnitude.reshape(1, 1, 1, 5), 0.5)
    >>> ops.convert_to_numpy(marked).ravel().tolist()
    [False, True, False, True, False]
    """
    magnitude = ops.convert_to_tensor(magnitude)
    channels = magnitude.shape[-1]
    # 1e-9 keeps 0.29 * 100 = 28.999999999999996 from becoming 28.
    others = channels - math.floor(fraction * channels + 1e-9)
    if others == 0:
        return ops.ones_like(magnitude, dtype="bool")
    largest, _ = ops.top_k(magnitude, others)
    return magnitude < largest[..., -1:]


def random_square(uniform: Any, height: Any, width: Any, size: int) -> Any:
    """Drops the square around one pixel of each image.

    Every pixel is as likely a centre as any other, so a square near the border
    loses the part that lies outside. It holds rows `i - size // 2 .. i + (size - 1)
    // 2` around a centre in row `i`, and columns likewise, as in `grow_blocks`.

    Args:
        uniform: float32 tensor `(B, 2)` of draws from [0, 1): where the centre
            lies down and across the image.
        height: Integer or scalar integer tensor, rows of the image.
        width: Integer or scalar integer tensor, columns of the image.
        size: Side of the square in pixels, at least 1.

    Returns:
        float32 tensor `(B, H, W, 1)`: 1 keeps, 0 drops.

    Example:
    >>> import numpy as np
    >>> mask = random_square(np.array([[0.0, 0.7]], "float32"), 1, 5, 3)
    >>> ops.convert_to_numpy(mask).ravel().tolist()
    [1.0, 1.0, 0.0, 0.0, 0.0]
    """
    uniform = ops.convert_to_tensor(uniform)
    rows = _segment(uniform[:, 0:1], height, size)
    columns = _segment(uniform[:, 1:2], width, size)
    inside = ops.logical_and(rows[:, :, None, None], columns[:, None, :, None])
    return 1.0 - ops.cast(inside, "float32")


def _segment(uniform: Any, length: Any, size: int) -> Any:
    """Marks `size` cells around a random one, `(B, 1)` to `(B, length)`."""
    centre = ops.floor(uniform * ops.cast(length, "float32"))
    # Rounding may lift a draw just below 1 to `length`.
    centre = ops.minimum(ops.cast(centre, "int32"), length - 1)
    cells = ops.arange(length, dtype="int32")[None, :]
    first = centre - size // 2
    return ops.logical_and(cells >= first, cells < first + size)
