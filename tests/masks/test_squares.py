import numpy as np
import pytest
from keras import ops

from keras_wsol.masks import random_box
from tests.reference.cutout_numpy import cutout

SIZES = ((6, 4), (3, 8), (1, 9), (7, 1), (1, 1), (15, 2))


def square(uniform, height, width, size):
    uniform = np.asarray(uniform, "float32")
    return ops.convert_to_numpy(random_box(uniform, height, width, size, size))


def drawn(mask):
    return ["".join(".#"[int(v)] for v in row) for row in mask[0, ..., 0]]


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 40])
def test_equals_the_reference(size):
    for image in SIZES:
        uniform = np.random.default_rng([size, *image]).random((30, 2), "float32")
        expected = cutout(np.ones((30, *image, 1)), uniform, size)
        np.testing.assert_array_equal(square(uniform, *image, size), expected)


@pytest.mark.parametrize(
    ("size", "centre", "kept"),
    [
        (1, (2, 5), ["######", "######", "#####."]),
        (2, (1, 2), ["#..###", "#..###", "######"]),
        (3, (1, 2), ["#...##", "#...##", "#...##"]),
        (3, (0, 5), ["####..", "####..", "######"]),
        (4, (2, 0), ["..####", "..####", "..####"]),
        (5, (2, 1), ["....##", "....##", "....##"]),
    ],
)
def test_squares_drawn_by_hand(size, centre, kept):
    uniform = [[(centre[0] + 0.5) / 3, (centre[1] + 0.5) / 6]]
    assert drawn(square(uniform, 3, 6, size)) == kept


def test_the_largest_draw_stays_inside():
    largest = np.nextafter(np.float32(1), np.float32(0))
    for length in (3, 4, 7, 224, 299, 1000):
        mask = square([[largest, 0.0]], length, 2, 1)
        assert np.argwhere(mask == 0).tolist() == [[0, length - 1, 0, 0]]
    # Draws are below 1; were one not, the centre would still be a pixel.
    assert np.argwhere(square([[1.0, 0.0]], 5, 2, 1) == 0).tolist() == [[0, 4, 0, 0]]
