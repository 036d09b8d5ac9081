"""How large each channel is, and which ones are the smallest."""

import math
from typing import Any

from keras import ops


def channel_rms(features: Any) -> Any:
    """Root mean square of each channel: its L2 norm over the map, up to its size.

    Args:
        features: Float tensor `(B, H, W, C)`, after the activation.

    Returns:
        float32 tensor `(B, 1, 1, C)`, at least 0, the mean taken in float32.

    Example:
    >>> import numpy as np
    >>> features = np.array([[[[3.0, 1.0]], [[-3.0, 7.0]]]], "float32")
    >>> ops.convert_to_numpy(channel_rms(features)).ravel().tolist()
    [3.0, 5.0]
    """
    squares = ops.square(ops.cast(features, "float32"))
    return ops.sqrt(ops.mean(squares, axis=(1, 2), keepdims=True))


def smallest_channels(magnitude: Any, fraction: float) -> Any:
    """Marks the channels of least magnitude, a fraction of all.

    Args:
        magnitude: float32 tensor `(B, 1, 1, C)`, at least 0.
        fraction: Float in [0, 1]. `floor(fraction * C)` channels are marked, and
            fewer where the largest of them ties with the smallest of the others.

    Returns:
        Boolean tensor `(B, 1, 1, C)`.

    Example:
    >>> import numpy as np
    >>> magnitude = np.array([4.0, 1.0, 3.0, 2.0, 5.0], "float32")
    >>> marked = smallest_channels(magnitude.reshape(1, 1, 1, 5), 0.5)
    >>> ops.convert_to_numpy(marked).ravel().tolist()
    [False, True, False, True, False]
    """
    magnitude = ops.convert_to_tensor(magnitude)
    channels = magnitude.shape[-1]
    # 1e-9 keeps 0.29 * 100 = 28.999999999999996 from becoming 28.
    others = channels - math.floor(fraction * channels + 1e-9)
    if others == 0:
        return ops.ones_like(magnitude, dtype="bool")
    largest, _ = ops.top_k(magnitude, others)
    return magnitude < largest[..., -1:]
