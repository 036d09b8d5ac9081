"""Square neighbourhoods of cells: blocks around seeds, counts of neighbours."""

from typing import Any

from keras import ops

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
