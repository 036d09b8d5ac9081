import numpy as np
import pytest
from keras import ops

from keras_wsol.masks import focus_neighbours, grow_blocks, window_count
from tests.contracts.calls import any_size
from tests.reference.dfm_numpy import focused
from tests.reference.sagd_numpy import grow, reach

SHAPES = ((4, 6, 9), (3, 9, 5), (2, 1, 8), (3, 7, 1), (2, 1, 1), (2, 15, 8))


def random_mask(shape, dropped=0.15, seed=0):
    """Zeros and ones (B, H, W); one sample keeps all, one drops all."""
    mask = (np.random.default_rng(seed).random(shape) >= dropped).astype("float32")
    mask[0], mask[1] = 1.0, 0.0
    mask[-1, -1, -1] = 0.0
    return mask


@pytest.mark.parametrize("block_size", [1, 2, 3, 4, 5, 8, 30, "adaptive"])
def test_grow_blocks(block_size):
    for shape in SHAPES:
        mask = random_mask(shape)
        grown = ops.convert_to_numpy(grow_blocks(mask[..., None], block_size))
        expected = np.where(grow(mask == 0.0, block_size), 0.0, 1.0)
        np.testing.assert_array_equal(grown[..., 0], expected, str(shape))


@pytest.mark.parametrize("block_size", [2, 3, "adaptive"])
def test_grow_blocks_of_a_map_of_unknown_size(block_size):
    traced = any_size(lambda mask: grow_blocks(mask, block_size), channels=1)
    for shape in SHAPES:
        mask = random_mask(shape, seed=1)
        expected = np.where(grow(mask == 0.0, block_size), 0.0, 1.0)
        grown = ops.convert_to_numpy(traced(mask[..., None]))
        np.testing.assert_array_equal(grown[..., 0], expected)


@pytest.mark.parametrize(
    ("block_size", "dropped"),
    [
        # The seed is row 1, column 4 of 3 x 6 cells.
        (1, ["......", "....#.", "......"]),
        (2, ["...##.", "...##.", "......"]),
        (3, ["...###", "...###", "...###"]),
        (4, ["..####", "..####", "..####"]),
        ("adaptive", ["......", "....#.", "......"]),
    ],
)
def test_one_block_by_hand(block_size, dropped):
    mask = np.ones((1, 3, 6, 1), "float32")
    mask[0, 1, 4, 0] = 0.0
    grown = ops.convert_to_numpy(grow_blocks(mask, block_size))[0, ..., 0]
    assert ["".join("#."[int(cell)] for cell in row) for row in grown] == dropped


def counted(cells, window):
    """Every set cell is counted by the cells of its block."""
    counts = np.zeros(cells.shape, int)
    _, height, width = cells.shape
    for b, i, j in np.argwhere(cells):
        for row in reach(i, window[0], height):
            for column in reach(j, window[1], width):
                counts[b, row, column] += 1
    return counts


@pytest.mark.parametrize("window", [(1, 1), (2, 5), (3, 2), (4, 1), (20, 3)])
def test_window_count(window):
    for shape in SHAPES:
        cells = 1.0 - random_mask(shape, dropped=0.4, seed=2)
        counts = ops.convert_to_numpy(window_count(cells[..., None], *window))
        np.testing.assert_array_equal(
            counts[..., 0], counted(cells, window), str(shape)
        )


@pytest.mark.parametrize(
    ("focus", "accumulate"), [(0.0, True), (0.15, False), (0.15, True), (2.0, True)]
)
def test_focus_neighbours(focus, accumulate):
    for shape in SHAPES:
        mask = random_mask(shape, dropped=0.3, seed=3)
        raised = focus_neighbours(mask[..., None], focus, accumulate)
        np.testing.assert_allclose(
            ops.convert_to_numpy(raised)[..., 0],
            focused(mask, focus, accumulate),
            rtol=1e-6,
            err_msg=str(shape),
        )
