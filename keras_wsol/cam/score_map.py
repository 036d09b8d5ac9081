"""Raw maps to score maps: resized to the image, scaled to [0, 1]."""

from typing import Any

from keras import ops


def score_maps(cams: Any, size: tuple[int, int]) -> Any:
    """Resizes maps to `size`, then scales each to [0, 1].

    Bilinear with half-pixel centres; antialias is off, which matters only where
    a map is larger than `size`. Then the minimum of each map becomes 0 and its
    maximum 1, in float32. A map that is constant, or holds NaN or infinity,
    becomes all zeros.

    Args:
        cams: Float tensor `(B, K, h, w)`.
        size: Height and width of the result in pixels.

    Returns:
        float32 tensor `(B, K, height, width)` in [0, 1].

    Example:
    >>> import numpy as np
    >>> cams = np.array([[-1.0, 0.0], [1.0, 3.0]], "float32")[None, None]
    >>> ops.convert_to_numpy(score_maps(cams, (2, 2)))[0, 0].tolist()
    [[0.0, 0.25], [0.5, 1.0]]
    """
    cams = ops.cast(cams, "float32")
    if cams.shape[0] == 0:  # no image; eagerly, TensorFlow's `ops.max` refuses that
        return ops.zeros((0, cams.shape[1], *size), dtype="float32")
    _, count, height, width = ops.shape(cams)
    maps = ops.reshape(cams, (-1, height, width, 1))
    # Resizing may leave rounding behind, which would be scaled up to a map.
    usable = ops.reshape(_usable(cams, axes=(2, 3)), (-1, 1, 1, 1))
    maps = ops.where(usable, maps, ops.zeros_like(maps))
    if (height, width) != tuple(size):
        maps = ops.image.resize(
            maps, size, interpolation="bilinear", data_format="channels_last"
        )
    return ops.reshape(scale_to_unit(maps), (-1, count, *size))


def scale_to_unit(maps: Any) -> Any:
    """Scales each map so that its minimum is 0 and its maximum 1.

    Args:
        maps: Float tensor `(B, ...)`.

    Returns:
        float32 tensor of the same shape in [0, 1]; zeros for a map that is
        constant or holds a value that is not finite.

    Example:
    >>> import numpy as np
    >>> maps = np.array([[2.0, 4.0, 3.0], [7.0, 7.0, 7.0]], "float32")
    >>> ops.convert_to_numpy(scale_to_unit(maps)).tolist()
    [[0.0, 1.0, 0.5], [0.0, 0.0, 0.0]]
    """
    maps = ops.cast(maps, "float32")
    if maps.shape[0] == 0:
        return maps
    axes = tuple(range(1, len(maps.shape)))
    usable = _usable(maps, axes)
    low = ops.min(maps, axis=axes, keepdims=True)
    span = ops.max(maps, axis=axes, keepdims=True) - low
    scaled = (maps - low) / ops.where(usable, span, ops.ones_like(span))
    return ops.where(usable, scaled, ops.zeros_like(scaled))


def _usable(maps: Any, axes: tuple[int, ...]) -> Any:
    """Whether a map is finite and not constant."""
    span = ops.max(maps, axis=axes, keepdims=True) - ops.min(
        maps, axis=axes, keepdims=True
    )
    # Not through `span` alone: XLA's maximum passes over NaN.
    finite = ops.all(ops.isfinite(maps), axis=axes, keepdims=True)
    return ops.logical_and(finite, ops.logical_and(span > 0, ops.isfinite(span)))
