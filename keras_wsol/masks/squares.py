"""One square in each image, cut at the border (Cutout)."""

from typing import Any

from keras import ops


def random_square(uniform: Any, height: Any, width: Any, size: int) -> Any:
    """Drops the square around one pixel of each image.

    Every pixel is as likely a centre as any other, so a square near the border
    loses the part that lies outside. It holds rows `i - size // 2 .. i + (size - 1)
    // 2` around a centre in row `i`, and columns likewise, as in `grow_blocks`.

    Args:
        uniform: float32 tensor `(B, 2)` of draws from [0, 1): where the centre
            lies down and across the image.
        height: Integer or scalar integer tensor, rows of the image.
        width: Integer or scalar integer tensor, columns of the image.
        size: Side of the square in pixels, at least 1.

    Returns:
        float32 tensor `(B, H, W, 1)`: 1 keeps, 0 drops.

    Example:
    >>> import numpy as np
    >>> mask = random_square(np.array([[0.0, 0.7]], "float32"), 1, 5, 3)
    >>> ops.convert_to_numpy(mask).ravel().tolist()
    [1.0, 1.0, 0.0, 0.0, 0.0]
    """
    uniform = ops.convert_to_tensor(uniform)
    rows = _segment(uniform[:, 0:1], height, size)
    columns = _segment(uniform[:, 1:2], width, size)
    inside = ops.logical_and(rows[:, :, None, None], columns[:, None, :, None])
    return 1.0 - ops.cast(inside, "float32")


def _segment(uniform: Any, length: Any, size: int) -> Any:
    """Marks `size` cells around a random one, `(B, 1)` to `(B, length)`."""
    centre = ops.floor(uniform * ops.cast(length, "float32"))
    # Rounding may lift a draw just below 1 to `length`.
    centre = ops.minimum(ops.cast(centre, "int32"), length - 1)
    cells = ops.arange(length, dtype="int32")[None, :]
    first = centre - size // 2
    return ops.logical_and(cells >= first, cells < first + size)
