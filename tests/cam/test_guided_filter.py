"""Maps whose edges follow the image's."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_wsol.cam import Guided
from keras_wsol.cam.combined import guided_filter
from tests.reference import guided_filter_numpy


def photograph(batch, height, width, seed=0):
    """Patches of different colours with some noise, in [0, 255]."""
    rng = np.random.default_rng(seed)
    patches = rng.uniform(0, 255, (batch, -(-height // 4), -(-width // 4), 3))
    image = patches.repeat(4, axis=1).repeat(4, axis=2)[:, :height, :width]
    noisy = image + rng.normal(0, 8, image.shape)
    return np.clip(noisy, 0, 255).astype("float32")


def filtered(maps, images, **options):
    options = {"radius": 0.125, "epsilon": 1e-3, "step": 4, **options}
    return ops.convert_to_numpy(guided_filter(maps, images, **options))


@pytest.mark.parametrize(
    ("size", "radius", "reach", "epsilon"),
    [((9, 14), 0.125, 1, 0.1), ((9, 14), 0.25, 2, 1e-3), ((9, 14), 1.0, 9, 1e-3)],
)
def test_equals_windows_one_by_one(size, radius, reach, epsilon):
    images = photograph(2, *size)
    maps = np.random.default_rng(1).random((2, 3, *size)).astype("float32")
    expected = np.array(
        [
            [
                guided_filter_numpy.guided_filter(each, image / 255.0, reach, epsilon)[
                    0
                ]
                for each in of_image
            ]
            for of_image, image in zip(maps, images, strict=True)
        ]
    )
    found = filtered(maps, images, radius=radius, epsilon=epsilon, step=1)
    np.testing.assert_allclose(found, expected, atol=1e-4)


@pytest.mark.parametrize(
    ("step", "grid", "reach"), [(2, (8, 12), 2), (4, (4, 6), 1), (5, (4, 5), 1)]
)
def test_the_fast_filter_equals_windows_of_a_coarse_grid(step, grid, reach):
    images = photograph(1, 16, 24)
    score_map = np.random.default_rng(2).random((16, 24)).astype("float32")
    expected = guided_filter_numpy.fast_guided_filter(
        score_map, images[0] / 255.0, reach, 1e-2, grid
    )
    found = filtered(
        score_map[None, None], images, radius=0.25, epsilon=1e-2, step=step
    )
    np.testing.assert_allclose(found[0, 0], expected, atol=1e-4)


def test_an_edge_of_the_map_moves_to_the_edge_of_the_image():
    images = np.zeros((1, 16, 16, 3), "float32")
    images[:, :, 6:] = (200.0, 90.0, 30.0)
    score_map = np.zeros((1, 1, 16, 16), "float32")
    score_map[..., 8:] = 1.0  # two cells too far
    found = filtered(score_map, images, radius=0.25, epsilon=1e-4, step=1)
    steps = np.abs(np.diff(found[0, 0], axis=1))
    assert (steps.argmax(axis=1) == 5).all()
    assert (steps[:, 5] > 4 * steps[:, 7]).all()


def test_it_is_linear_in_the_map_and_keeps_a_constant():
    images = photograph(2, 12, 16)
    maps = np.random.default_rng(3).random((2, 2, 12, 16)).astype("float32")
    one = filtered(maps, images, step=2)
    np.testing.assert_allclose(
        filtered(5 * maps - 2, images, step=2), 5 * one - 2, atol=1e-3
    )
    constant = np.full((2, 1, 12, 16), 0.7, "float32")
    np.testing.assert_allclose(filtered(constant, images), 0.7, atol=1e-4)


def test_one_colour_leaves_the_mean_of_means():
    # Nothing to follow: what remains is the box filter, twice.
    maps = np.zeros((1, 1, 9, 9), "float32")
    maps[..., 4, 4] = 1.0
    images = np.full((1, 9, 9, 3), 120.0, "float32")
    found = filtered(maps, images, radius=0.12, step=1)[0, 0]
    triangle = np.array([1, 2, 3, 2, 1]) / 9
    np.testing.assert_allclose(found[2:7, 2:7], np.outer(triangle, triangle), atol=1e-5)
    assert found[:2].max() < 1e-5


def test_a_small_map_is_enlarged_first():
    images = photograph(1, 16, 16)
    small = np.random.default_rng(4).random((1, 1, 4, 4)).astype("float32")
    found = filtered(small, images)
    assert found.shape == (1, 1, 16, 16)
    # A grid of 4 cells has the map as it is; windows reach one cell.
    expected = guided_filter_numpy.fast_guided_filter(
        small[0, 0], images[0] / 255.0, 1, 1e-3, (4, 4)
    )
    np.testing.assert_allclose(found[0, 0], expected, atol=1e-4)


@pytest.mark.parametrize("dtype", ["uint8", "float16"])
def test_images_of_other_types(dtype):
    images = photograph(1, 8, 8).astype(dtype)
    maps = np.random.default_rng(5).random((1, 1, 8, 8)).astype("float32")
    found = filtered(maps, images)
    expected = filtered(maps, images.astype("float32"))
    np.testing.assert_array_equal(found, expected)
    assert keras.backend.standardize_dtype(found.dtype) == "float32"


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"radius": 0}, ValueError, "`radius` must be a number above 0"),
        ({"radius": 1.5}, ValueError, r"radius=1\.5"),
        ({"epsilon": 1e-7}, ValueError, r"`epsilon` must be a number in \[1e-06, 1\]"),
        ({"epsilon": "small"}, TypeError, "epsilon='small'"),
        ({"step": 0}, ValueError, "step=0"),
        ({"step": 1.5}, TypeError, r"step=1\.5"),
        ({"radius": float("nan")}, ValueError, "radius=nan"),
        ({"step": True}, TypeError, "step=True"),
    ],
)
def test_wrong_options(options, error, match):
    with pytest.raises(error, match=match):
        Guided("cam", **options)


def test_a_grey_image():
    # The three colours vary as one: their covariance has rank 1 but for epsilon.
    images = photograph(1, 12, 12)[..., :1].repeat(3, axis=-1)
    score_map = np.random.default_rng(6).random((12, 12)).astype("float32")
    expected, _ = guided_filter_numpy.guided_filter(
        score_map, images[0] / 255.0, 3, 1e-5
    )
    found = filtered(score_map[None, None], images, radius=0.25, epsilon=1e-5, step=1)
    np.testing.assert_allclose(found[0, 0], expected, atol=5e-3)


def test_flat_colours_at_the_smallest_epsilon():
    # Two to four colours without noise: the covariance has rank 3 at most.
    random = np.random.default_rng(7)
    colours = random.uniform(0, 255, (20, 4, 3))
    patches = random.integers(0, 4, (20, 6, 6)).repeat(4, axis=1).repeat(4, axis=2)
    images = np.take_along_axis(colours[:, None, None], patches[..., None, None], 3)
    maps = random.random((20, 1, 24, 24)).astype("float32")
    found = filtered(maps, images[..., 0, :], epsilon=1e-6, step=1)
    assert np.isfinite(found).all()
    assert -2 < found.min() < found.max() < 3


@pytest.mark.skipif(
    keras.backend.backend() != "torch", reason="PyTorch alone changes tensors in place"
)
def test_gradients_flow_to_maps_and_images():
    import torch

    images = torch.tensor(photograph(1, 12, 8), requires_grad=True)
    maps = torch.rand((1, 2, 12, 8), requires_grad=True)
    guided_filter(maps, images, 0.125, 1e-3, 4).pow(2).sum().backward()
    assert torch.isfinite(images.grad).all()
    assert maps.grad.abs().sum() > 0
