"""Masks that drop what reaches a share of the maximum."""

from typing import Any

from keras import ops


def drop_mask(attention: Any, threshold: float) -> Any:
    """Drops each cell, or channel, that reaches `threshold` times the maximum.

    The maximum is that of each sample. Kept is what is strictly below the cut,
    so the maximum itself is always dropped. A dead map (maximum not above zero)
    drops nothing: its cut would lie at or above every value and erase it whole.

    Args:
        attention: float32 tensor `(B, ...)`, such as `(B, H, W, 1)` or
            `(B, 1, 1, C)`.
        threshold: Float in [0, 1]. Share of the maximum; lower drops more.

    Returns:
        float32 tensor of the shape of `attention`: 1 keeps, 0 drops. No gradient
        flows through it.

    Example:
    >>> import numpy as np
    >>> attention = np.array([[1.0, 2.0, 3.0, 4.0], [0.0, 0.0, 0.0, 0.0]], "float32")
    >>> ops.convert_to_numpy(drop_mask(attention, 0.5)).tolist()
    [[1.0, 0.0, 0.0, 0.0], [1.0, 1.0, 1.0, 1.0]]
    """
    attention = ops.convert_to_tensor(attention)
    axes = tuple(range(1, len(attention.shape)))
    maximum = ops.max(attention, axis=axes, keepdims=True)
    kept = ops.logical_or(attention < threshold * maximum, maximum <= 0)
    return ops.cast(kept, "float32")


def background_mask(attention: Any, threshold: float) -> Any:
    """Drops each cell below `threshold` times the maximum (SAGD's second stage).

    Args:
        attention: float32 tensor `(B, H, W, 1)`.
        threshold: Float in [0, 1]. Share of each sample's maximum below which a
            cell counts as background. A dead map has no background.

    Returns:
        float32 tensor `(B, H, W, 1)`: 1 keeps, 0 drops.

    Example:
    >>> import numpy as np
    >>> attention = np.array([1.0, 2.0, 3.0, 4.0], "float32").reshape(1, 2, 2, 1)
    >>> ops.convert_to_numpy(background_mask(attention, 0.6)).ravel().tolist()
    [0.0, 0.0, 1.0, 1.0]
    """
    attention = ops.convert_to_tensor(attention)
    maximum = ops.max(attention, axis=(1, 2, 3), keepdims=True)
    kept = ops.logical_or(attention >= threshold * maximum, maximum <= 0)
    return ops.cast(kept, "float32")


def dropped_share(mask: Any) -> Any:
    """Share of a mask that is dropped, for each sample.

    Args:
        mask: Float tensor `(B, ...)`; 0 drops, anything else keeps.

    Returns:
        float32 tensor `(B,)` in [0, 1].

    Example:
    >>> import numpy as np
    >>> mask = np.array([[0.0, 1.0, 1.15, 1.0], [1.0, 1.0, 1.0, 1.0]], "float32")
    >>> ops.convert_to_numpy(dropped_share(mask)).tolist()
    [0.25, 0.0]
    """
    mask = ops.convert_to_tensor(mask)
    axes = tuple(range(1, len(mask.shape)))
    return ops.mean(ops.cast(mask == 0, "float32"), axis=axes)
