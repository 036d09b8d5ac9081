import keras
import numpy as np
import pytest
from keras import ops

from keras_wsol.cam import class_activation_maps
from tests.reference import cam_numpy


def example(seed=0):
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(2, 3, 5, 4)).astype("float32")
    kernel = rng.normal(size=(4, 7)).astype("float32")
    return features, kernel, np.array([[6, 0, 3], [1, 1, 5]])


@pytest.mark.parametrize("integer", ["int32", "int64"])
def test_equals_the_loops(integer):
    features, kernel, class_ids = example()
    found = class_activation_maps(features, kernel, class_ids.astype(integer))
    expected = cam_numpy.class_activation_maps(features, kernel, class_ids)
    assert expected.min() < 0  # negative evidence is kept
    np.testing.assert_allclose(ops.convert_to_numpy(found), expected, atol=1e-5)


def test_without_negative_weights():
    features, kernel, class_ids = example()
    found = class_activation_maps(features, kernel, class_ids, negative_weights=False)
    clamped = np.where(kernel < 0, 0.0, kernel)
    expected = cam_numpy.class_activation_maps(features, clamped, class_ids)
    assert expected.min() < 0  # negative features count
    np.testing.assert_allclose(ops.convert_to_numpy(found), expected, atol=1e-5)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_features_are_summed_in_float32(dtype):
    # 1000 cells of 100 reach 100,000, which float16 does not have, and bfloat16
    # cannot add 1 to 100.
    features = ops.cast(np.full((1, 1, 2, 1000), 100.0, "float32"), dtype)
    maps = class_activation_maps(features, np.ones((1000, 1), "float32"), [[0]])
    assert keras.backend.standardize_dtype(maps.dtype) == "float32"
    np.testing.assert_array_equal(ops.convert_to_numpy(maps), 100_000.0)


def test_a_dense_layers_kernel_can_be_given_as_it_is():
    features, kernel, class_ids = example()
    dense = keras.layers.Dense(7, use_bias=False)
    dense.build((None, 4))
    dense.set_weights([kernel])
    found = class_activation_maps(features, dense.kernel, class_ids)
    expected = cam_numpy.class_activation_maps(features, kernel, class_ids)
    np.testing.assert_allclose(ops.convert_to_numpy(found), expected, atol=1e-5)
