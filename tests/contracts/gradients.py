"""Gradients of a function of one tensor; Keras has no name for them."""

import keras
import numpy as np


def input_gradient(function, inputs, weights):
    """d sum(weights * function(inputs)) / d inputs, as a NumPy array."""
    return keras.ops.convert_to_numpy(gradient_tensor(function, inputs, weights))


def gradient_tensor(function, inputs, weights):
    """The same as a tensor, so that it can be part of a graph."""
    return _GRADIENTS[keras.backend.backend()](function, inputs, weights)


def _weighted_sum(function, inputs, weights):
    outputs = keras.ops.cast(function(inputs), "float32")
    return keras.ops.sum(outputs * weights)


def _tensorflow(function, inputs, weights):
    import tensorflow as tf

    inputs = keras.ops.convert_to_tensor(inputs)
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        total = _weighted_sum(function, inputs, weights)
    return tape.gradient(total, inputs)


def _jax(function, inputs, weights):
    import jax

    inputs = keras.ops.convert_to_tensor(inputs)
    # Compiled as a whole: one operation after the other takes five times as long.
    return jax.jit(jax.grad(lambda x: _weighted_sum(function, x, weights)))(inputs)


def _torch(function, inputs, weights):
    inputs = keras.ops.convert_to_tensor(inputs).clone().requires_grad_(True)
    weights = keras.ops.convert_to_tensor(weights)
    _weighted_sum(function, inputs, weights).backward()
    return inputs.grad.detach()


_GRADIENTS = {"tensorflow": _tensorflow, "jax": _jax, "torch": _torch}


def numerical_gradient(function, sample, weights, step=1e-2):
    """Central differences for one sample (H, W, C), all of them in one batch.

    `function` takes (N, H, W, C) and has to treat each sample alone.
    """
    size = sample.size
    moves = (step * np.eye(size, dtype="float32")).reshape(size, *sample.shape)
    batch = np.concatenate([sample + moves, sample - moves])
    outputs = keras.ops.convert_to_numpy(function(batch)).astype("float64")
    # The step that float32 arithmetic has really taken.
    steps = (batch[:size].astype("float64") - batch[size:]).reshape(size, -1).sum(1)
    differences = ((outputs[:size] - outputs[size:]) * weights).reshape(size, -1)
    return (differences.sum(1) / steps).reshape(sample.shape)
