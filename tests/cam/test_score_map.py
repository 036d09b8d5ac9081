import cv2
import keras
import numpy as np
import pytest
from keras import ops

from keras_wsol.cam import score_maps
from tests.reference import cam_numpy

TENSORFLOW = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="compiles with TensorFlow's XLA"
)
SIZES = [(6, 12), (7, 13), (4, 9), (3, 5), (2, 3)]


def random_maps(seed=0):
    return np.random.default_rng(seed).normal(size=(2, 3, 3, 5)).astype("float32")


@pytest.mark.parametrize("size", SIZES)
def test_resized_with_half_pixel_centres_then_scaled(size):
    cams = random_maps()
    found = ops.convert_to_numpy(score_maps(cams, size))
    assert found.dtype == "float32"
    expected = [[cam_numpy.score_map(cam, size) for cam in maps] for maps in cams]
    np.testing.assert_allclose(found, expected, atol=2e-6)


@pytest.mark.parametrize("size", SIZES)
def test_equals_opencv_bilinear(size):
    cams = random_maps(1)
    found = ops.convert_to_numpy(score_maps(cams, size))
    for cam, score_map in zip(
        cams.reshape(-1, 3, 5), found.reshape(-1, *size), strict=True
    ):
        resized = cv2.resize(cam, size[::-1], interpolation=cv2.INTER_LINEAR)
        expected = cam_numpy.scale_to_unit(resized)
        np.testing.assert_allclose(score_map, expected, atol=2e-6)


def test_each_map_has_its_own_minimum_and_maximum():
    cams = random_maps(2) * np.array([1e-3, 1.0, 1e6]).reshape(1, 3, 1, 1)
    found = ops.convert_to_numpy(score_maps(cams, (11, 7)))
    assert (found.min(axis=(2, 3)) == 0).all()
    # JAX divides by multiplying, one unit in the last place off.
    np.testing.assert_allclose(found.max(axis=(2, 3)), 1, rtol=1e-7)
    assert found.max() <= 1


def test_maps_of_the_same_size_are_not_resampled():
    cams = random_maps(3)
    found = ops.convert_to_numpy(score_maps(cams, (3, 5)))
    low = cams.min(axis=(2, 3), keepdims=True)
    high = cams.max(axis=(2, 3), keepdims=True)
    np.testing.assert_allclose(found, (cams - low) / (high - low), atol=1e-7)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("size", [(3, 5), (12, 10)])
def test_one_cell_that_is_not_finite_makes_its_map_zero_and_no_other(value, size):
    cams = random_maps(4)
    expected = ops.convert_to_numpy(score_maps(cams, size)).copy()
    expected[1, 2] = 0
    cams[1, 2, 1, 3] = value
    found = ops.convert_to_numpy(score_maps(cams, size))
    np.testing.assert_array_equal(found, expected)


@TENSORFLOW
def test_a_map_with_nan_is_zero_under_xla_too():
    # XLA's maximum on a CPU passes over NaN.
    import tensorflow as tf

    cams = random_maps(6)
    cams[1, 2, 1, 3] = np.nan
    compiled = tf.function(lambda cams: score_maps(cams, (3, 5)), jit_compile=True)
    found = compiled(cams).numpy()
    np.testing.assert_array_equal(found[1, 2], 0.0)
    assert found[1, 1].max() == 1


@pytest.mark.parametrize("value", [0.0, 0.1, -2.7, 1e30, np.nan, np.inf])
@pytest.mark.parametrize("size", [(3, 5), (48, 50)])
def test_a_constant_map_is_zero(value, size):
    cams = np.full((2, 1, 3, 5), value, "float32")
    found = ops.convert_to_numpy(score_maps(cams, size))
    np.testing.assert_array_equal(found, 0.0)


def test_a_span_that_float32_does_not_have_is_zero():
    cams = np.zeros((1, 1, 3, 5), "float32")
    cams[0, 0, 0, 0], cams[0, 0, 2, 4] = -3e38, 3e38
    np.testing.assert_array_equal(score_maps(cams, (3, 5)), 0.0)


@pytest.mark.parametrize("size", [(3, 5), (6, 4)])
def test_no_map_gives_none(size):
    found = ops.convert_to_numpy(score_maps(np.zeros((0, 2, 3, 5), "float64"), size))
    assert (found.shape, found.dtype) == ((0, 2, *size), "float32")


@pytest.mark.parametrize("dtype", ["float16", "float64", "int32"])
def test_the_result_is_float32_whatever_comes(dtype):
    cams = ops.cast(np.arange(15).reshape(1, 1, 3, 5), dtype)
    found = score_maps(cams, (3, 5))
    assert keras.backend.standardize_dtype(found.dtype) == "float32"
    expected = np.arange(15, dtype="float32").reshape(1, 1, 3, 5) / 14
    np.testing.assert_allclose(ops.convert_to_numpy(found), expected, atol=1e-7)
