"""Contrast of masks, against loops and against what one sees."""

import numpy as np
import pytest

from keras_wsol.models.contrast import SIDE, contrast, look_of
from tests.models.painted import blob_images
from tests.reference import cam_numpy


def expected_contrast(looks, maps, thresholds):
    """Share of the sum of squares that lies between inside and outside, by loops."""
    found = np.zeros((len(looks), len(thresholds)))
    for n, (look, score_map) in enumerate(zip(looks.astype(float), maps, strict=True)):
        mean = look.mean(axis=0)
        whole = ((look - mean) ** 2).sum()
        for t, threshold in enumerate(thresholds):
            for part in (look[score_map > threshold], look[score_map <= threshold]):
                if len(part) and whole:
                    apart = ((part.mean(axis=0) - mean) ** 2).sum()
                    found[n, t] += len(part) * apart / whole
    return found.mean(axis=0)


def test_equals_the_loops(rng):
    looks = rng.uniform(0, 1, (3, 40, 6)).astype("float32")
    maps = rng.uniform(0, 1, (3, 40)).astype("float32")
    looks[..., 0] += maps > 0.6
    # The map of the last image is cut to nothing at 0.5, that of the first at 0.99.
    maps[2] *= 0.4
    maps[0] = maps[0].clip(0, 0.98)
    thresholds = np.array([0.0, 0.1, 0.5, 0.6, 0.99], "float32")
    expected = expected_contrast(looks, maps, thresholds)
    found = contrast(looks, maps, thresholds)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)
    assert found.argmax() == 3


def grid(box):
    """1 in a box of rows and columns of `SIDE`, else 0."""
    mask = np.zeros((SIDE, SIDE), "float32")
    top, left, bottom, right = box
    mask[top:bottom, left:right] = 1
    return mask


def test_is_highest_where_the_mask_is_the_square():
    """Maps that fall from the centre: at 0.5, what is inside is the square."""
    y, x = np.mgrid[:SIDE, :SIDE] - np.array([24.0, 30.0])[:, None, None]
    falls = 1 - np.maximum(abs(y + 0.5), abs(x + 0.5)) / 20
    square = grid((14, 20, 34, 40))
    np.testing.assert_array_equal(falls > 0.5, square == 1)
    images = 255 * (0.2 + 0.6 * square)[None, :, :, None].repeat(3, axis=-1)
    thresholds = np.linspace(0.05, 0.95, 19).astype("float32")
    maps = falls.clip(0, 1).reshape(1, -1).astype("float32")
    colours = look_of(images)[..., :3]  # texture is on both sides of the edge
    found = contrast(colours, maps, thresholds)
    assert thresholds[found.argmax()] == pytest.approx(0.5)
    assert found.max() == pytest.approx(1, abs=1e-4)


def test_texture_alone_tells_an_object():
    """Stripes of the mean colour of the ground, which is plain."""
    stripes = np.where(np.arange(SIDE) % 2, 0.3, -0.3)
    square = grid((14, 20, 34, 40))
    images = 255 * (0.5 + stripes * square)[None, :, :, None].repeat(3, axis=-1)
    looks, maps = look_of(images), square.reshape(1, -1)
    assert contrast(looks[..., :3], maps, [0.5])[0] < 0.01
    assert contrast(looks, maps, [0.5])[0] > 0.4
    shifted = np.roll(maps, 15)  # columns
    assert contrast(looks, shifted, [0.5])[0] < 0.1


def test_masks_of_nothing_and_everything_have_none():
    looks = look_of(blob_images(2, (30, 50)))
    for value in (0.2, 0.8):
        maps = np.full((2, SIDE * SIDE), value, "float32")
        np.testing.assert_allclose(contrast(looks, maps, [0.5]), 0, atol=1e-5)


@pytest.mark.parametrize("value", [0, 77.7, 255])
def test_images_of_one_colour_have_none(value):
    """Not even by rounding, which would be a share of next to nothing."""
    looks = look_of(np.full((3, 40, 60, 3), value, "float32"))
    masks = [grid((5, 5, 30, 20)), grid((40, 0, 56, 56)), 1 - grid((0, 0, 1, 1))]
    thresholds = np.array([0.0, 0.5], "float32")
    found = contrast(looks, np.stack(masks).reshape(3, -1), thresholds)
    np.testing.assert_allclose(found, 0, atol=1e-3)


def test_look_is_colour_and_deviation():
    images = blob_images(2, (70, 90), seed=4)
    found = look_of(images).reshape(2, SIDE, SIDE, 6)
    for image, look in zip(images, found, strict=True):
        small = cam_numpy.resize(image / 255, (SIDE, SIDE), antialias=True)
        np.testing.assert_allclose(look[..., :3], small, atol=1e-3)
        for row in (0, 1, 17, SIDE - 1):
            for column in (0, 30, SIDE - 2):
                window = small[
                    max(row - 2, 0) : row + 3, max(column - 2, 0) : column + 3
                ]
                expected = 3 * window.std(axis=(0, 1))
                np.testing.assert_allclose(look[row, column, 3:], expected, atol=2e-3)
    assert found[..., 3:].max() > 0.1


def test_look_takes_small_images_and_integers():
    found = look_of(np.full((1, 7, 9, 3), 51, "uint8"))
    assert found.shape == (1, SIDE * SIDE, 6)
    assert found.dtype == "float32"
    np.testing.assert_allclose(found[..., :3], 0.2, atol=1e-5)
