"""Feature maps to attention: where, and in which channels, a network responds."""

import math
from typing import Any

from keras import ops


def spatial_attention(features: Any) -> Any:
    """Averages features over channels (`CAP`; ADL's self-attention map).

    Args:
        features: Float tensor `(B, H, W, C)`, after the activation.

    Returns:
        float32 tensor `(B, H, W, 1)`. The mean is taken in float32: in float16
        the sum over some thousand channels overflows.

    Example:
    >>> import numpy as np
    >>> features = np.array([[[[1.0, 3.0]], [[0.0, 0.5]]]], "float32")
    >>> ops.convert_to_numpy(spatial_attention(features)).ravel().tolist()
    [2.0, 0.25]
    """
    return _mean(features, axes=(3,))


def channel_attention(features: Any) -> Any:
    """Averages features over height and width (`GAP`; CAGD's and DFM's channels).

    Args:
        features: Float tensor `(B, H, W, C)`, after the activation.

    Returns:
        float32 tensor `(B, 1, 1, C)`, the mean taken in float32.

    Example:
    >>> import numpy as np
    >>> features = np.array([[[[1.0, 3.0]], [[0.0, 0.5]]]], "float32")
    >>> ops.convert_to_numpy(channel_attention(features)).ravel().tolist()
    [0.5, 1.75]
    """
    return _mean(features, axes=(1, 2))


def _mean(features: Any, axes: tuple[int, ...]) -> Any:
    """The mean in float32, divided after the sum.

    The gradient of `ops.mean` divides a map of the size of the features, that of a
    sum and a division one of the size of the attention: a fifth of ADL's cost.
    """
    features = ops.cast(features, "float32")
    shape = ops.shape(features)
    count = math.prod(shape[axis] for axis in axes)
    return ops.sum(features, axis=axes, keepdims=True) / ops.cast(count, "float32")


def importance_map(attention: Any) -> Any:
    """Sigmoid of the attention: near 1 where the network responds most.

    Gradients flow through it.

    Args:
        attention: float32 tensor `(B, H, W, 1)`.

    Returns:
        float32 tensor `(B, H, W, 1)` in (0, 1).

    Example:
    >>> import numpy as np
    >>> attention = np.zeros((1, 1, 1, 1), "float32")
    >>> ops.convert_to_numpy(importance_map(attention)).item()
    0.5
    """
    return ops.sigmoid(attention)


def multiply(features: Any, factor: Any) -> Any:
    """Multiplies features by a mask or map, in float32.

    Only the result is cast back: in float16 the gradient of the factor, a sum over
    channels, would overflow.

    Args:
        features: Float tensor `(B, H, W, C)`.
        factor: float32 tensor that broadcasts to it.

    Returns:
        Tensor of the shape and type of `features`.

    Example:
    >>> import keras
    >>> import numpy as np
    >>> features = np.array([[[[1.0, 3.0]]]], "float16")
    >>> product = multiply(features, np.full((1, 1, 1, 1), 0.5, "float32"))
    >>> ops.convert_to_numpy(product).ravel().tolist()
    [0.5, 1.5]
    >>> keras.backend.standardize_dtype(product.dtype)
    'float16'
    """
    features = ops.convert_to_tensor(features)
    return ops.cast(ops.cast(features, "float32") * factor, features.dtype)
