"""DropBlock in loops, from Ghiasi, Lin and Le (2018), Algorithm 1, in float64.

The Bernoulli draws are an argument: a cell is a seed where its uniform number lies
below gamma. The paper has square maps; its `feat_size^2` is `H W` here, its
`(feat_size - block_size + 1)^2` is `(H - rows + 1) (W - columns + 1)`. Blocks are
those of SAGD, so an even block lies as it does there.
"""

import numpy as np


def block_shape(block_size, height, width):
    """Rows and columns of a block, cut to the map.

    >>> block_shape(3, 2, 5)
    (2, 3)
    """
    return min(block_size, height), min(block_size, width)


def seed_probability(rate, block_size, height, width):
    """Gamma, Eq. 1.

    >>> seed_probability(0.3, 1, 4, 7)
    0.3
    >>> round(seed_probability(0.3, 2, 4, 10), 6)  # 0.3 / 4 x 40 / (3 x 9)
    0.111111
    >>> seed_probability(0.3, 9, 4, 7)  # the block is the map
    0.3
    """
    rows, columns = block_shape(block_size, height, width)
    valid = (height - rows + 1) * (width - columns + 1)
    return rate / (rows * columns) * (height * width) / valid


def block_cells(i, j, block_size, height, width):
    """Cells of the block of seed (i, j), or none if it does not fit.

    >>> block_cells(1, 2, 2, 3, 4)
    [(0, 1), (0, 2), (1, 1), (1, 2)]
    >>> block_cells(0, 2, 2, 3, 4)
    []
    """
    rows, columns = block_shape(block_size, height, width)
    top, left = i - rows // 2, j - columns // 2
    if top < 0 or left < 0 or top + rows > height or left + columns > width:
        return []
    return [
        (row, column)
        for row in range(top, top + rows)
        for column in range(left, left + columns)
    ]


def random_mask(uniforms, rate, block_size):
    """1 keeps, 0 drops, (B, H, W, C) -> (B, H, W, C)."""
    batch, height, width, channels = uniforms.shape
    gamma = seed_probability(rate, block_size, height, width)
    mask = np.ones(uniforms.shape)
    for b, i, j, c in np.ndindex(batch, height, width, channels):
        if uniforms[b, i, j, c] < gamma:
            for row, column in block_cells(i, j, block_size, height, width):
                mask[b, row, column, c] = 0.0
    return mask


def expected_share(rate, block_size, height, width):
    """Probability that a cell is dropped: that one of its seeds is, (H, W)."""
    gamma = seed_probability(rate, block_size, height, width)
    seeds = np.zeros((height, width))
    for i, j in np.ndindex(height, width):
        for cell in block_cells(i, j, block_size, height, width):
            seeds[cell] += 1
    return 1.0 - (1.0 - gamma) ** seeds


def normalized(mask):
    """The mask times count(M) / count_ones(M); zeros stay zeros."""
    ones = sum(1 for value in mask.ravel() if value == 1.0)
    return mask * (mask.size / ones) if ones else mask


def drop_block(features, uniforms, rate=0.1, block_size=7, rescale=True):
    """DropBlock's output in training, (B, H, W, C) float64."""
    mask = random_mask(np.asarray(uniforms, np.float64), rate, block_size)
    return np.asarray(features, np.float64) * (normalized(mask) if rescale else mask)
