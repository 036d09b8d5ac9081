"""Which channels CAGD may drop: the ones whose attention is small."""

import math
from typing import Any

from keras import ops


def channels_below_min_multiple(attention: Any, multiple: float) -> Any:
    """Marks channels whose magnitude is below a multiple of the smallest one.

    The smallest one is looked for among the *live* channels (magnitude above
    zero): after a ReLU some channel means are often exactly 0, and a multiple of
    0 would mark nothing. Dead channels lie below the threshold and are marked; a
    sample whose channels are all dead has no threshold and marks nothing.

    Args:
        attention: float32 tensor `(B, 1, 1, C)`, from `channel_attention`.
        multiple: Float above 0, the paper's beta.

    Returns:
        Boolean tensor `(B, 1, 1, C)`.

    Example:
    >>> import numpy as np
    >>> attention = np.array([0.0, -1.0, 2.0, 3.0, 9.0], "float32")
    >>> marked = channels_below_min_multiple(attention.reshape(1, 1, 1, 5), 3.0)
    >>> ops.convert_to_numpy(marked).ravel().tolist()
    [True, True, True, False, False]
    """
    magnitude = ops.abs(attention)
    live = magnitude > 0
    infinity = ops.full_like(magnitude, float("inf"))
    smallest = ops.min(ops.where(live, magnitude, infinity), axis=-1, keepdims=True)
    any_live = ops.any(live, axis=-1, keepdims=True)
    return ops.logical_and(magnitude < multiple * smallest, any_live)


def channels_outside_top_k(attention: Any, keep_fraction: float) -> Any:
    """Marks the channels that are not among the largest by magnitude.

    Args:
        attention: float32 tensor `(B, 1, 1, C)`, from `channel_attention`.
        keep_fraction: Float in [0, 1]. `k = ceil(keep_fraction * C)` channels, at
            least one, are safe; channels that tie with the k-th are safe, too.

    Returns:
        Boolean tensor `(B, 1, 1, C)`.

    Example:
    >>> import numpy as np
    >>> attention = np.array([4.0, 1.0, -3.0, 2.0], "float32").reshape(1, 1, 1, 4)
    >>> marked = channels_outside_top_k(attention, 0.5)
    >>> ops.convert_to_numpy(marked).ravel().tolist()
    [False, True, False, True]
    """
    magnitude = ops.abs(attention)
    # 1e-9 keeps 0.7 * 10 = 7.000000000000001 from becoming 8.
    k = max(1, math.ceil(keep_fraction * attention.shape[-1] - 1e-9))
    largest, _ = ops.top_k(magnitude, k)
    return magnitude < largest[..., -1:]
