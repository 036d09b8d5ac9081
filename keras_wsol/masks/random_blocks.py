"""Blocks at random places (DropBlock), and the gain that makes up for them."""

from typing import Any

from keras import ops

from keras_wsol.masks.blocks import window_count


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
