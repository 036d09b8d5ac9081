import numpy as np
import pytest

from keras_wsol.viz.pixels import resize_map, resize_rgb, to_rgb


def bilinear(grid, height, width):
    """Half-pixel centres, borders repeated, in loops; for enlarging."""
    rows, columns = grid.shape
    result = np.zeros((height, width))
    for i in range(height):
        for j in range(width):
            y = min(max((i + 0.5) * rows / height - 0.5, 0), rows - 1)
            x = min(max((j + 0.5) * columns / width - 0.5, 0), columns - 1)
            y0, x0 = int(y), int(x)
            y1, x1 = min(y0 + 1, rows - 1), min(x0 + 1, columns - 1)
            top = grid[y0, x0] * (1 - x + x0) + grid[y0, x1] * (x - x0)
            low = grid[y1, x0] * (1 - x + x0) + grid[y1, x1] * (x - x0)
            result[i, j] = top * (1 - y + y0) + low * (y - y0)
    return result


def test_grey_images_get_three_equal_channels():
    grey = np.array([[1, 2, 3], [4, 5, 6]], dtype=np.uint8)
    expected = np.stack([grey, grey, grey], axis=-1)
    np.testing.assert_array_equal(to_rgb(grey), expected)
    np.testing.assert_array_equal(to_rgb(grey[:, :, None]), expected)


def test_floats_are_rounded_and_clipped():
    assert to_rgb([[-3.0, 1.4, 1.6, 255.4, 999.0]])[0, :, 0].tolist() == [
        *(0, 1, 2, 255, 255)
    ]


def test_the_result_is_a_copy():
    image = np.zeros((2, 3, 3), dtype=np.uint8)
    to_rgb(image)[:] = 7
    assert image.max() == 0


@pytest.mark.parametrize("shape", [(3,), (2, 3, 4), (1, 2, 3, 3), (0, 2, 3)])
def test_another_shape_is_refused(shape):
    with pytest.raises(ValueError, match=r"`image` must have shape \(H, W, 3\)"):
        to_rgb(np.zeros(shape))


def test_nan_is_refused():
    with pytest.raises(ValueError, match="`image` must hold finite numbers"):
        to_rgb([[1.0, np.nan]])


def test_enlarged_map_is_bilinear_with_half_pixel_centres():
    score_map = np.random.default_rng(0).uniform(size=(3, 5))
    got = resize_map(score_map, 7, 20)
    np.testing.assert_allclose(got, bilinear(score_map, 7, 20), atol=1e-6)


def test_shrunk_map_is_antialiased():
    # The triangle around 2 reaches over 4 cells on either side: weights 0.625,
    # 0.875, 0.875, 0.625, 0.375, 0.125. Plain interpolation would miss the 1.
    got = resize_map([[1.0, 0, 0, 0, 0, 0, 0, 0]], 1, 2)
    np.testing.assert_allclose(got, [[0.625 / 3.5, 0.0]], atol=1e-6)


def test_enlarged_image_is_bilinear():
    image = np.random.default_rng(1).integers(0, 256, (3, 4, 3)).astype(np.uint8)
    got = resize_rgb(image, 6, 11)
    for channel in range(3):
        expected = bilinear(image[:, :, channel], 6, 11)
        np.testing.assert_allclose(got[:, :, channel], expected, atol=1.01)


def test_map_stays_in_range():
    noisy = np.array([[-1e-6, 1 + 1e-6]], dtype=np.float32)
    assert resize_map(noisy, 1, 2).tolist() == [[0.0, 1.0]]
