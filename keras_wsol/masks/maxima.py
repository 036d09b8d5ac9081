"""The largest activation of each channel, or of each position (MaxDrop)."""

from typing import Any

from keras import ops


def channel_maxima(features: Any) -> Any:
    """Marks the largest cell of each channel of each image.

    Among equal ones it is the first in row-major order; a channel without a
    value above zero has none.

    Args:
        features: Float tensor `(B, H, W, C)`, after the activation.

    Returns:
        Boolean tensor `(B, H, W, C)`, at most one true cell a channel.

    Example:
    >>> import numpy as np
    >>> features = np.array([[1, 0], [4, 0], [4, 0]], "float32").reshape(1, 1, 3, 2)
    >>> ops.convert_to_numpy(channel_maxima(features))[0, 0].T.tolist()
    [[False, True, False], [False, False, False]]
    """
    features = ops.convert_to_tensor(features)
    _, height, width, channels = ops.shape(features)
    cells = ops.reshape(features, (-1, height * width, channels))
    return ops.reshape(_first_maximum(cells, 1), (-1, height, width, channels))


def position_maxima(features: Any) -> Any:
    """Marks the largest channel at each position of each image.

    Among equal ones it is the first; a position without a value above zero has
    none.

    Args:
        features: Float tensor `(B, H, W, C)`, after the activation.

    Returns:
        Boolean tensor `(B, H, W, C)`, at most one true channel a position.

    Example:
    >>> import numpy as np
    >>> features = np.array([[1, 4], [0, 0], [4, 4]], "float32").reshape(1, 1, 3, 2)
    >>> ops.convert_to_numpy(position_maxima(features))[0, 0].tolist()
    [[False, True], [False, False], [True, False]]
    """
    return _first_maximum(ops.convert_to_tensor(features), -1)


def _first_maximum(values: Any, axis: int) -> Any:
    places = ops.arange(ops.shape(values)[axis], dtype="int32")
    if axis == 1:
        places = places[:, None]
    first = ops.cast(ops.argmax(values, axis=axis, keepdims=True), "int32")
    live = ops.max(values, axis=axis, keepdims=True) > 0
    return ops.logical_and(places == first, live)
