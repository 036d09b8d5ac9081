"""Gradients of class logits: the one file with a branch for each backend.

Keras has no function for gradients; TensorFlow, JAX and PyTorch each have their own.
"""

from collections.abc import Callable
from typing import Any

import keras
from keras import ops

Tail = Callable[[Any], Any]


def class_gradients(tail: Tail, features: Any, class_ids: Any) -> Any:
    """Differentiates the logits of chosen classes with respect to features.

    One pass forward through `tail`, then one pass backward for each of the `K`
    classes. It runs eagerly, inside `tf.function` and `jax.jit`, and where gradients
    are switched off, as in `predict` on PyTorch. The operations are TensorFlow's own,
    so that a SavedModel can hold them; other formats have no gradients.

    Args:
        tail: Function from features `(B, h, w, C)` to logits `(B, num_classes)`
            before any softmax. The logits of an image may depend on the features of
            that image only.
        features: Float tensor `(B, h, w, C)`.
        class_ids: Integer tensor `(B, K)`, each in [0, num_classes); `K` is known
            when a graph is traced.

    Returns:
        float32 tensor `(B, K, h, w, C)`.

    Raises:
        RuntimeError: The backend of Keras cannot differentiate.

    Example:
    >>> import numpy as np
    >>> kernel = np.array([[1.0, 0.0], [-2.0, 5.0]], "float32")
    >>> features = np.ones((1, 1, 2, 2), "float32")
    >>> def tail(x):
    ...     return ops.matmul(ops.mean(x, axis=(1, 2)), kernel)
    >>> gradients = class_gradients(tail, features, np.array([[1]]))
    >>> ops.convert_to_numpy(gradients)[0, 0, 0].tolist()
    [[0.0, 2.5], [0.0, 2.5]]
    """
    backend = keras.backend.backend()
    if backend not in _BACKENDS:
        raise RuntimeError(
            "Gradients need the TensorFlow, JAX or PyTorch backend of Keras. The "
            f"backend is {backend!r}."
        )
    features = ops.convert_to_tensor(features)
    class_ids = ops.convert_to_tensor(class_ids)
    by_class = _BACKENDS[backend](tail, features, class_ids)
    return ops.stack([ops.cast(each, "float32") for each in by_class], axis=1)


def _with_tensorflow(tail: Tail, features: Any, class_ids: Any) -> list[Any]:
    import tensorflow as tf

    with tf.GradientTape(persistent=True, watch_accessed_variables=False) as tape:
        tape.watch(features)
        logits = tail(features)
    return [
        tape.gradient(logits, features, chosen, tf.UnconnectedGradients.ZERO)
        for chosen in _one_hot(logits, class_ids)
    ]


def _with_jax(tail: Tail, features: Any, class_ids: Any) -> list[Any]:
    import jax

    logits, backward = jax.vjp(tail, features)
    return [backward(chosen)[0] for chosen in _one_hot(logits, class_ids)]


def _with_torch(tail: Tail, features: Any, class_ids: Any) -> list[Any]:
    import torch

    with torch.enable_grad():
        watched = features.detach().requires_grad_(True)
        logits = tail(watched)
    if not logits.requires_grad:  # the features do not matter
        return [torch.zeros_like(features)] * class_ids.shape[1]
    return [
        torch.autograd.grad(
            logits, watched, chosen, retain_graph=True, materialize_grads=True
        )[0]
        for chosen in _one_hot(logits, class_ids)
    ]


def _one_hot(logits: Any, class_ids: Any) -> list[Any]:
    """For each of the K classes, what picks its logit: `(B, num_classes)`."""
    classes, dtype = logits.shape[-1], keras.backend.standardize_dtype(logits.dtype)
    return [
        ops.one_hot(class_ids[:, k], classes, dtype=dtype)
        for k in range(class_ids.shape[1])
    ]


_BACKENDS = {
    "tensorflow": _with_tensorflow,
    "jax": _with_jax,
    "torch": _with_torch,
}
