"""Score maps from gradients of the logits."""

from collections.abc import Callable
from typing import Any

import keras
from keras import ops

# Keras has no function for gradients; TensorFlow, JAX and PyTorch each have their own.

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


# Each takes features `A` and gradients `g` of one class logit, before the softmax, with
# respect to them, and sums weighted features over channels. The papers apply these
# rules to the last convolution; the sums hold for any layer. A final ReLU hides the
# evidence
# against a class. `relu` says whether it is applied: by default as published, or,
# where a paper leaves it open, as in Grad-CAM.


def grad_cam(features: Any, gradients: Any, relu: bool = True) -> Any:
    """Weighs each channel by the mean of its gradient (Grad-CAM).

    `w_k = mean_ij g_ijk`, `map = ReLU(sum_k w_k A_k)`. After global average pooling and
    one `Dense` layer, and without the ReLU, this is the class activation map divided by
    the number of cells.

    Args:
        features: Float tensor `(B, h, w, C)`.
        gradients: Float tensor `(B, K, h, w, C)`, as of `class_gradients`.
        relu: Boolean. Whether negative values of the map become 0, as published.

    Returns:
        float32 tensor `(B, K, h, w)`.

    Example:
    >>> import numpy as np
    >>> features = np.array([[[[1.0, 2.0], [3.0, 0.0]]]], "float32")
    >>> gradients = np.array([[[[[2.0, -1.0], [0.0, -3.0]]]]], "float32")
    >>> maps = grad_cam(features, gradients, relu=False)  # weights 1 and -2
    >>> ops.convert_to_numpy(maps)[0, 0, 0].tolist()
    [-3.0, 3.0]

    Reference:
        - [Selvaraju et al., 2017](https://arxiv.org/abs/1610.02391)
    """
    features, gradients = _in_float32(features, gradients)
    return _weighted(features, ops.mean(gradients, axis=(2, 3)), relu)


def grad_cam_pp(features: Any, gradients: Any, relu: bool = True) -> Any:
    """Weighs each channel by its positive gradients, each cell by its own share.

    Grad-CAM++: `w_k = sum_ij alpha_ijk ReLU(g_ijk)` with
    `alpha = g^2 / (2 g^2 + g^3 sum_ab A_abk)`, which is `1 / (2 + g sum_ab A_abk)`:
    written like this, small gradients do not vanish in float32 (pytorch-grad-cam adds
    1e-6 to the denominator instead, and loses them). A cell whose denominator is zero
    counts nothing. The paper's score is `exp(logit)`, whose factor is the same for
    the whole map and is left out: it overflows, and scaling to [0, 1] removes it.

    Args:
        features: Float tensor `(B, h, w, C)`, after a ReLU in the paper.
        gradients: Float tensor `(B, K, h, w, C)`, as of `class_gradients`.
        relu: Boolean. Whether negative values of the map become 0, as published.

    Returns:
        float32 tensor `(B, K, h, w)`.

    Example:
    >>> import numpy as np
    >>> features = np.array([[[[1.0], [3.0]]]], "float32")
    >>> gradients = np.array([[[[[2.0], [-5.0]]]]], "float32")
    >>> maps = grad_cam_pp(features, gradients)  # weight 2 / (2 + 2 * 4) = 0.2
    >>> [round(x, 4) for x in ops.convert_to_numpy(maps).ravel().tolist()]
    [0.2, 0.6]

    Reference:
        - [Chattopadhay et al., 2018](https://arxiv.org/abs/1710.11063), eq. 19
    """
    features, gradients = _in_float32(features, gradients)
    total = ops.sum(features, axis=(1, 2), keepdims=True)[:, None]
    shares = _divide(ops.ones_like(gradients), 2.0 + gradients * total)
    weights = ops.sum(shares * ops.relu(gradients), axis=(2, 3))
    return _weighted(features, weights, relu)


def x_grad_cam(features: Any, gradients: Any, relu: bool = True) -> Any:
    """Weighs each channel by its gradient, averaged by where the channel responds.

    XGrad-CAM: `w_k = sum_ij (A_ijk / sum_ab A_abk) g_ijk`. A channel that sums to zero
    weighs nothing.

    Args:
        features: Float tensor `(B, h, w, C)`.
        gradients: Float tensor `(B, K, h, w, C)`, as of `class_gradients`.
        relu: Boolean. Whether negative values of the map become 0, as in Grad-CAM, of
            which it changes the weights alone.

    Returns:
        float32 tensor `(B, K, h, w)`.

    Example:
    >>> import numpy as np
    >>> features = np.array([[[[1.0], [3.0]]]], "float32")
    >>> gradients = np.array([[[[[2.0], [6.0]]]]], "float32")
    >>> maps = x_grad_cam(features, gradients)  # weight (1 * 2 + 3 * 6) / 4 = 5
    >>> ops.convert_to_numpy(maps)[0, 0, 0].tolist()
    [5.0, 15.0]

    Reference:
        - [Fu et al., 2020](https://arxiv.org/abs/2008.02312)
    """
    features, gradients = _in_float32(features, gradients)
    products = ops.einsum("bhwc,bkhwc->bkc", features, gradients)
    weights = _divide(products, ops.sum(features, axis=(1, 2))[:, None])
    return _weighted(features, weights, relu)


def layer_cam(features: Any, gradients: Any, relu: bool = True) -> Any:
    """Weighs each cell of each channel by its own positive gradient (LayerCAM).

    `map_ij = ReLU(sum_k ReLU(g_ijk) A_ijk)`, made for the shallow layers, where
    one weight for a whole channel says little.

    Args:
        features: Float tensor `(B, h, w, C)`.
        gradients: Float tensor `(B, K, h, w, C)`, as of `class_gradients`.
        relu: Boolean. Whether negative values of the map become 0, as published. It
            acts only on features that are negative themselves.

    Returns:
        float32 tensor `(B, K, h, w)`.

    Example:
    >>> import numpy as np
    >>> features = np.array([[[[1.0, 2.0], [3.0, 0.0]]]], "float32")
    >>> gradients = np.array([[[[[2.0, -1.0], [5.0, 7.0]]]]], "float32")
    >>> ops.convert_to_numpy(layer_cam(features, gradients))[0, 0, 0].tolist()
    [2.0, 15.0]

    Reference:
        - [Jiang et al., 2021](https://doi.org/10.1109/TIP.2021.3089943)
    """
    features, gradients = _in_float32(features, gradients)
    maps = ops.einsum("bhwc,bkhwc->bkhw", features, ops.relu(gradients))
    return ops.relu(maps) if relu else maps


def hires_cam(features: Any, gradients: Any, relu: bool = False) -> Any:
    """Weighs each cell of each channel by its own gradient (HiResCAM).

    `map_ij = sum_k g_ijk A_ijk`. After one `Dense` layer on flattened features
    its cells add up to the logit less the bias; that holds without a ReLU, so
    there is none by default.

    Args:
        features: Float tensor `(B, h, w, C)`.
        gradients: Float tensor `(B, K, h, w, C)`, as of `class_gradients`.
        relu: Boolean. Whether negative values of the map become 0.

    Returns:
        float32 tensor `(B, K, h, w)`.

    Example:
    >>> import numpy as np
    >>> features = np.array([[[[1.0, 2.0], [3.0, 0.0]]]], "float32")
    >>> gradients = np.array([[[[[2.0, -4.0], [5.0, 7.0]]]]], "float32")
    >>> ops.convert_to_numpy(hires_cam(features, gradients))[0, 0, 0].tolist()
    [-6.0, 15.0]

    Reference:
        - [Draelos and Carin, 2020](https://arxiv.org/abs/2011.08891)
    """
    features, gradients = _in_float32(features, gradients)
    maps = ops.einsum("bhwc,bkhwc->bkhw", features, gradients)
    return ops.relu(maps) if relu else maps


def _in_float32(features: Any, gradients: Any) -> tuple[Any, Any]:
    return ops.cast(features, "float32"), ops.cast(gradients, "float32")


def _weighted(features: Any, weights: Any, relu: bool) -> Any:
    maps = ops.einsum("bhwc,bkc->bkhw", features, weights)
    return ops.relu(maps) if relu else maps


def _divide(values: Any, divisors: Any) -> Any:
    """Quotients, and 0 where the divisor is 0."""
    zero = ops.equal(divisors, 0.0)
    quotients = values / ops.where(zero, ops.ones_like(divisors), divisors)
    return ops.where(zero, ops.zeros_like(quotients), quotients)
