"""SAGD in loops, from Yin et al. (2020), sections 3.1 and 3.3, in float64.

Both thresholds are shares of the sample's maximum. A cell that equals the high
threshold is dropped, as in ADL: otherwise `high_threshold=1` would drop nothing
and block size 1 would not give ADL's mask.
"""

import math

import numpy as np

from tests.reference.adl_numpy import (
    attention_map,
    importance_map,
    maximum_of,
    most_discriminative,
    multiply_cells,
    per_sample,
    select,
)


def background(features, low_threshold):
    """True where the attention stays below its share of the maximum."""
    attention = attention_map(features)
    below = np.zeros(attention.shape, bool)
    for b in range(len(attention)):
        maximum = maximum_of(attention[b])
        if maximum <= 0.0:  # dead: no foreground, so no background either
            continue
        for i, j in np.ndindex(*attention.shape[1:]):
            below[b, i, j] = attention[b, i, j] < low_threshold * maximum
    return below


def block_shape(block_size, height, width):
    """Rows and columns of a block."""
    if block_size == "adaptive":
        return math.ceil(height / 7), math.ceil(width / 7)
    return block_size, block_size


def reach(seed, block, size):
    """Cells along one axis that a seed drops.

    An odd block b drops seed-(b-1)/2 .. seed+(b-1)/2, an even one
    seed-b/2 .. seed+b/2-1; what leaves the map is cut off.

    >>> [list(reach(3, block, 6)) for block in (1, 2, 3, 4)]
    [[3], [2, 3], [2, 3, 4], [1, 2, 3, 4]]
    >>> list(reach(0, 4, 6)), list(reach(5, 20, 6))
    ([0, 1], [0, 1, 2, 3, 4, 5])
    """
    first = seed - block // 2
    return range(max(first, 0), min(first + block, size))


def grow(seeds, block_size):
    """Every seed drops the block around it, (B, H, W) bool -> bool.

    >>> seeds = np.zeros((1, 3, 4), bool)
    >>> seeds[0, 2, 1] = True
    >>> grow(seeds, 2)[0].astype(int).tolist()
    [[0, 0, 0, 0], [1, 1, 0, 0], [1, 1, 0, 0]]
    """
    _, height, width = seeds.shape
    rows, columns = block_shape(block_size, height, width)
    grown = np.zeros(seeds.shape, bool)
    for b, i, j in zip(*np.nonzero(seeds), strict=True):
        for row in reach(i, rows, height):
            for column in reach(j, columns, width):
                grown[b, row, column] = True
    return grown


def spatial_mask(
    features,
    high_threshold=0.95,
    low_threshold=0.1,
    block_size=3,
    grow_background=False,
):
    """1 keeps, 0 drops, (B, H, W, C) -> (B, H, W). No low threshold: stage 1."""
    dropped = grow(most_discriminative(features, high_threshold), block_size)
    if low_threshold is not None:
        below = background(features, low_threshold)
        dropped |= grow(below, block_size) if grow_background else below
    return np.where(dropped, 0.0, 1.0)


def sagd(
    features,
    use_drop_mask,
    with_importance_map=True,
    with_drop_mask=True,
    **mask_arguments,
):
    """SAGD's output in training for a given draw, (B, H, W, C) float64."""
    features = np.asarray(features, np.float64)
    return multiply_cells(
        features,
        spatial_factor(
            features,
            use_drop_mask,
            with_importance_map,
            with_drop_mask,
            **mask_arguments,
        ),
    )


def spatial_factor(
    features,
    use_drop_mask,
    with_importance_map=True,
    with_drop_mask=True,
    **mask_arguments,
):
    """What SAGD multiplies the features by, (B, H, W)."""
    if not (with_importance_map or with_drop_mask):
        return np.ones(features.shape[:3])
    return select(
        per_sample(use_drop_mask, len(features)),
        spatial_mask(features, **mask_arguments) if with_drop_mask else None,
        importance_map(features) if with_importance_map else None,
    )
