"""Inputs for the layers, and their outputs as NumPy arrays."""

import keras
import numpy as np
from keras import ops

# Height, width, channels: of products over other arguments. Rows, columns and random
# shapes meet every layer in test_random_shapes.py, every mask in tests/masks.
SIZES = ((6, 4, 3), (1, 1, 6))
ALL_SIZES = (*SIZES, (3, 8, 7), (1, 9, 2), (7, 1, 4), (15, 2, 3))


def batch(height, width, channels, seed=0):
    """Five samples: two after a ReLU, one dead, one all negative, one signed."""
    generator = np.random.default_rng([seed, height, width, channels])
    normal = generator.normal(size=(5, height, width, channels))
    samples = [
        np.maximum(normal[0] + 0.8, 0.0),
        np.maximum(3.0 * normal[1] - 1.0, 0.0),
        np.zeros_like(normal[2]),
        -np.abs(normal[3]) - 0.1,
        normal[4],
    ]
    return np.stack(samples).astype("float32")


def positive(*shape, seed=0):
    """Numbers in (0.1, 2), so that a zero in an output is a drop."""
    return np.random.default_rng(seed).uniform(0.1, 2.0, shape).astype("float32")


def train(layer, features):
    """One training call."""
    return ops.convert_to_numpy(layer(features, training=True))


def train_often(layer, features, calls=1000):
    """So many training calls, `(calls, ...)`, each with its own draw.

    Compiled where the backend can: an eager call takes ten milliseconds.
    """
    train(layer, features)  # builds it
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        call = tf.function(lambda: layer(features, training=True))
        return np.stack([call() for _ in range(calls)])
    if keras.backend.backend() == "jax":
        import jax

        call = jax.jit(
            lambda state: layer.stateless_call([], state, features, training=True)
        )
        state = [variable.value for variable in layer.non_trainable_variables]
        outputs = []
        for _ in range(calls):
            output, state = call(state)
            outputs.append(output)
        return np.stack(outputs)
    return np.stack([train(layer, features) for _ in range(calls)])


def assert_equal(actual, expected):
    """Equal up to float32 arithmetic."""
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-6)


def assert_frequency(hits, probability):
    """The share of hits is within 4 sigma of the probability."""
    hits = np.asarray(hits)
    sigma = np.sqrt(probability * (1.0 - probability) / hits.size)
    assert abs(hits.mean() - probability) <= 4.0 * sigma
