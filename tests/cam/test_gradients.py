import keras
import numpy as np
import pytest
from keras import ops

from keras_wsol.cam import GradCAM, class_activation_maps
from keras_wsol.cam.gradient import class_gradients
from tests.reference.finite_differences import numerical_gradient

BACKEND = keras.backend.backend()
CLASS_IDS = np.array([[6, 0, 3], [1, 1, 5]])


def example(seed=0):
    """Features (2, 3, 5, 4) and two kernels of a tail with a hidden layer."""
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(2, 3, 5, 4)).astype("float32")
    first = rng.normal(size=(15 * 4, 6)).astype("float32")
    return features, first, rng.normal(size=(6, 7)).astype("float32")


def tail_of(first, second):
    return lambda x: ops.matmul(
        ops.tanh(ops.matmul(ops.reshape(x, (-1, 60)), first)), second
    )


def expected_gradients(features, first, second, class_ids):
    """Central differences in float64, one class of one image at a time."""
    gradients = np.zeros((*class_ids.shape, *features.shape[1:]))
    for b, k in np.ndindex(class_ids.shape):
        picked = np.eye(7)[class_ids[b, k]]
        gradients[b, k] = numerical_gradient(
            lambda x: np.tanh(x.reshape(60) @ first.astype(float)) @ second,
            features[b],
            picked,
        )
    return gradients


@pytest.mark.parametrize("integer", ["int32", "int64"])
def test_equals_finite_differences(integer):
    features, first, second = example()
    found = class_gradients(tail_of(first, second), features, CLASS_IDS.astype(integer))
    assert keras.backend.standardize_dtype(found.dtype) == "float32"
    expected = expected_gradients(features, first, second, CLASS_IDS)
    np.testing.assert_allclose(ops.convert_to_numpy(found), expected, atol=2e-5)


def test_of_keras_layers_too():
    # A convolution, a maximum, batch normalization at inference, and Dense.
    keras.utils.set_random_seed(1)
    inputs = keras.Input((6, 8, 4))
    x = keras.layers.Conv2D(5, 3, activation="elu", padding="same")(inputs)
    x = keras.layers.BatchNormalization()(keras.layers.MaxPooling2D(2)(x))
    x = keras.layers.Dense(7)(keras.layers.GlobalAveragePooling2D()(x))
    model = keras.Model(inputs, x)
    features = np.random.default_rng(1).normal(size=(2, 6, 8, 4)).astype("float32")
    found = ops.convert_to_numpy(class_gradients(model, features, CLASS_IDS))
    step = np.float32(1e-2)
    for b, k, y, x, c in [(0, 0, 2, 3, 1), (0, 2, 5, 0, 0), (1, 2, 0, 7, 3)]:
        logits = []
        for sign in (1, -1):
            moved = features.copy()
            moved[b, y, x, c] += sign * step
            logits.append(ops.convert_to_numpy(model(moved))[b, CLASS_IDS[b, k]])
        slope = (logits[0] - logits[1]) / (2 * step)
        np.testing.assert_allclose(found[b, k, y, x, c], slope, atol=2e-4)


def test_cam_is_grad_cam_without_its_relu_times_the_cells_on_a_pooled_head():
    # Selvaraju et al., 2017: the gradient of a logit by a cell is kernel / (h * w).
    features, _, _ = example(1)
    dense = keras.layers.Dense(7)
    dense.build((None, 4))
    pool = keras.layers.GlobalAveragePooling2D()
    gradients = class_gradients(lambda x: dense(pool(x)), features, CLASS_IDS)
    found = ops.convert_to_numpy(GradCAM(relu=False).combine(features, gradients))
    cams = ops.convert_to_numpy(
        class_activation_maps(features, dense.kernel, CLASS_IDS)
    )
    assert cams.min() < 0
    np.testing.assert_allclose(found * 15, cams, atol=1e-5)


def test_features_that_a_logit_does_not_depend_on_have_gradient_zero():
    features = example(2)[0]
    found = class_gradients(lambda x: ops.ones((2, 7)), features, CLASS_IDS)
    assert found.shape == (2, 3, 3, 5, 4)
    assert not ops.convert_to_numpy(found).any()


@pytest.mark.skipif(BACKEND != "tensorflow", reason="tf.function")
@pytest.mark.parametrize("jit_compile", [False, True])
def test_inside_a_tf_function(jit_compile):
    import tensorflow as tf

    features, first, second = example(3)
    signature = [
        tf.TensorSpec((None, 3, 5, 4)),
        tf.TensorSpec((None, 3), tf.int64),
    ]
    compiled = tf.function(
        lambda x, class_ids: class_gradients(tail_of(first, second), x, class_ids),
        input_signature=signature,
        jit_compile=jit_compile,
    )
    expected = expected_gradients(features, first, second, CLASS_IDS)
    found = compiled(features, CLASS_IDS.astype("int64"))
    np.testing.assert_allclose(found, expected, atol=2e-5)


@pytest.mark.skipif(BACKEND != "jax", reason="jax.jit")
def test_inside_jax_jit():
    import jax

    features, first, second = example(3)
    compiled = jax.jit(
        lambda x, class_ids: class_gradients(tail_of(first, second), x, class_ids)
    )
    expected = expected_gradients(features, first, second, CLASS_IDS)
    np.testing.assert_allclose(compiled(features, CLASS_IDS), expected, atol=2e-5)


@pytest.mark.skipif(BACKEND != "torch", reason="torch.no_grad")
def test_where_torch_has_gradients_switched_off():
    import torch

    features, first, second = example(3)
    with torch.no_grad():
        found = class_gradients(tail_of(first, second), features, CLASS_IDS)
    assert not found.requires_grad
    expected = expected_gradients(features, first, second, CLASS_IDS)
    np.testing.assert_allclose(ops.convert_to_numpy(found), expected, atol=2e-5)


def test_another_backend_is_named(monkeypatch):
    monkeypatch.setattr(keras.backend, "backend", lambda: "numpy")
    with pytest.raises(RuntimeError, match=r"TensorFlow, JAX or PyTorch.*'numpy'"):
        class_gradients(lambda x: x, np.ones((1, 2, 3, 4)), np.zeros((1, 1)))
