from itertools import product

import numpy as np
import pytest
from keras import ops

from keras_wsol.masks import random_blocks, rescale
from tests.layers.feature_maps import ALL_SIZES
from tests.reference.drop_block_numpy import (
    block_cells,
    normalized,
    random_mask,
    seed_probability,
)


def blocks(uniform, rate, block_size):
    return ops.convert_to_numpy(random_blocks(uniform, rate, block_size))


def with_seeds(height, width, *seeds):
    """Draws of which only those of `seeds` lie below any rate."""
    uniform = np.full((1, height, width, 1), 0.999999, "float32")
    for i, j in seeds:
        uniform[0, i, j, 0] = 0.0
    return uniform


def drawn(mask):
    return ["".join(".#"[int(v)] for v in row) for row in mask[0, ..., 0]]


@pytest.mark.parametrize("block_size", [1, 2, 3, 4, 40])
def test_equals_the_reference(block_size):
    for size, rate in product(ALL_SIZES, (0.0, 0.2, 0.6, 1.0)):
        uniform = np.random.default_rng([block_size, *size]).random(
            (5, *size), "float32"
        )
        np.testing.assert_array_equal(
            blocks(uniform, rate, block_size), random_mask(uniform, rate, block_size)
        )


@pytest.mark.parametrize(
    ("block_size", "seeds", "kept"),
    [
        (1, [(0, 0), (3, 6)], [".######", "#######", "#######", "######."]),
        (2, [(1, 1)], ["..#####", "..#####", "#######", "#######"]),
        (2, [(3, 6)], ["#######", "#######", "#####..", "#####.."]),
        # The block of row 0 or of column 0 would begin outside.
        (2, [(0, 3), (2, 0)], ["#######", "#######", "#######", "#######"]),
        (3, [(1, 1), (2, 5)], ["...####", "...#...", "...#...", "####..."]),
        (3, [(0, 2), (3, 2), (1, 0), (1, 6)], ["#######"] * 4),
        # As high as the map: row 2 is the only one whose block fits.
        (4, [(2, 2)], ["....###"] * 4),
        (4, [(1, 2), (2, 1), (2, 6)], ["#######"] * 4),
        # Higher than the map: cut to 4 rows by 5 columns.
        (5, [(2, 2)], [".....##"] * 4),
        (9, [(2, 3)], ["......."] * 4),
    ],
)
def test_blocks_drawn_by_hand(block_size, seeds, kept):
    assert drawn(blocks(with_seeds(4, 7, *seeds), 0.5, block_size)) == kept


@pytest.mark.parametrize("size", [(5, 8), (8, 5)], ids=str)
@pytest.mark.parametrize("block_size", [1, 2, 3, 4, 5, 6])
def test_every_seed_drops_a_whole_block_or_nothing(size, block_size):
    places = list(np.ndindex(*size))
    seeds = np.concatenate([with_seeds(*size, place) for place in places])
    masks = blocks(seeds, 0.9, block_size)[..., 0]
    for place, mask in zip(places, masks, strict=True):
        dropped = [tuple(cell) for cell in np.argwhere(mask == 0).tolist()]
        assert dropped == block_cells(*place, block_size, *size)
        assert len(dropped) in (0, min(block_size, size[0]) * min(block_size, size[1]))


@pytest.mark.parametrize(
    ("size", "block_size", "gamma"),
    [
        ((4, 10), 2, 0.3 / 4 * 40 / 27),  # 3 x 9 places for a block
        ((2, 9), 3, 0.3 / 6 * 18 / 7),  # blocks of 2 x 3: 1 x 7 places
        ((9, 2), 3, 0.3 / 6 * 18 / 7),
        ((5, 3), 1, 0.3),
        ((5, 3), 8, 0.3),
    ],
)
def test_probability_of_a_seed_by_hand(size, block_size, gamma):
    assert seed_probability(0.3, block_size, *size) == pytest.approx(gamma)
    for uniform, drops in ((gamma - 1e-4, True), (gamma + 1e-4, False)):
        mask = blocks(np.full((1, *size, 1), uniform, "float32"), 0.3, block_size)
        assert mask.any() != drops  # where all seeds fall, no cell is left


def test_channels_and_images_have_blocks_of_their_own():
    uniform = np.full((2, 3, 4, 3), 0.9, "float32")
    uniform[0, 1, 1, 2] = uniform[1, 1, 2, 0] = 0.0
    mask = blocks(uniform, 0.2, 3)
    assert [
        int((m == 0).sum()) for m in mask.transpose(0, 3, 1, 2).reshape(6, 3, 4)
    ] == [
        *(0, 0, 9),
        *(9, 0, 0),
    ]


@pytest.mark.parametrize("shape", [(5, 3, 8, 2), (4, 7, 1, 1)], ids=str)
@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 1.0])
def test_rescale_equals_the_reference(shape, share):
    mask = (np.random.default_rng(1).random(shape) < share).astype("float32")
    np.testing.assert_allclose(
        ops.convert_to_numpy(rescale(mask)), normalized(mask), rtol=1e-6
    )


def test_rescale_of_nothing_kept_is_zero():
    assert ops.convert_to_numpy(rescale(np.zeros((2, 3, 1, 1), "float32"))).max() == 0.0
