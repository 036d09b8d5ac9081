"""Moves the edges of maps to the edges of the image.

References: He, Sun and Tang, "Guided Image Filtering", 2013 (with colours, section
3.5); He and Sun, "Fast Guided Filter", 2015 (https://arxiv.org/abs/1505.00996), "fast".
"""

from numbers import Integral, Real
from typing import Any

import numpy as np
from keras import ops


def guided_filter(
    maps: Any,
    images: Any,
    radius: float = 0.125,
    epsilon: float = 1e-3,
    step: int = 4,
) -> Any:
    """Filters maps so that they change where the image does.

    In each window the result is a linear function of the image's colours, fitted to
    the map by least squares; a pixel takes the mean of the windows around it. The
    coefficients are found on a grid coarser by `step` and enlarged (bilinear), as in
    "fast". Windows end at the edge of the image.

    Args:
        maps: Float tensor `(B, K, h, w)`, of a fixed `K`; resized to the grid.
        images: `(B, H, W, 3)` in [0, 255], of a fixed size.
        radius: Float in (0, 1], how far a window reaches on each side, as a share of
            the image's shorter side; at least one cell of the grid. Default 0.125
            [ours: of 0.1, 0.125 and 0.16 the one with the tightest boxes on the
            held-out images of CUB-40].
        epsilon: Float in [1e-6, 1], how much variance a window's colours, in [0, 1],
            must have to be an edge; less would drown in the rounding of float32.
            Default 0.001 [ours].
        step: Integer, pixels a side that share their coefficients; 1 is the filter
            of 2013, 4 finds a sixteenth of them. Default 4 ["fast"].

    Returns:
        float32 tensor `(B, K, H, W)`. It is linear in `maps`; values may lie a little
        outside their range.

    Raises:
        TypeError: An argument has another type than it must have.
        ValueError: A shape does not fit, or an argument is out of range.

    Example:
    >>> image = np.zeros((1, 8, 8, 3), "float32")
    >>> image[:, :, 3:] = 255.0
    >>> blurred = np.linspace(0, 1, 8, dtype="float32") * np.ones((1, 1, 8, 1))
    >>> sharp = guided_filter(blurred, image, radius=1.0, epsilon=1e-5, step=1)
    >>> [round(value, 2) for value in ops.convert_to_numpy(sharp)[0, 0, 0].tolist()]
    [0.14, 0.14, 0.14, 0.71, 0.71, 0.71, 0.71, 0.71]
    """
    check_filter(radius=radius, epsilon=epsilon, step=step)
    maps = ops.cast(maps, "float32")
    images = ops.cast(images, "float32") / 255.0
    _check_shapes(maps, images)
    size = tuple(images.shape[1:3])
    grid = tuple(-(-side // step) for side in size)
    mean = _box_mean(max(1, round(radius * min(size) / step)))
    slopes, offsets = _linear_models(
        _resized(ops.transpose(maps, (0, 2, 3, 1)), grid),
        _shrunk(images, grid),
        mean,
        epsilon,
    )
    # The colours behind one another, then the offsets: one enlargement for all.
    enlarged = _resized(mean(ops.concatenate([*slopes, offsets], axis=-1)), size)
    *slopes, offsets = ops.split(enlarged, 4, axis=-1)
    filtered = _dot(slopes, _colours(images)) + offsets
    return ops.transpose(filtered, (0, 3, 1, 2))


def check_filter(*, radius: Any, epsilon: Any, step: Any) -> dict[str, float]:
    """Checks the options of `guided_filter`.

    Args:
        radius: As there.
        epsilon: As there.
        step: As there.

    Returns:
        The options as numbers of Python, which JSON can hold.

    Raises:
        TypeError: One has another type.
        ValueError: One is out of range.
    """
    for name, value, least in (("radius", radius, 0), ("epsilon", epsilon, 1e-6)):
        if isinstance(value, bool) or not isinstance(value, Real):
            raise TypeError(f"`{name}` must be a number. Received: {name}={value!r}.")
        if not (least <= value <= 1 and value):
            expected = f"in [{least}, 1]" if least else "above 0 and at most 1"
            raise ValueError(
                f"`{name}` must be a number {expected}. Received: {name}={value!r}."
            )
    if isinstance(step, bool) or not isinstance(step, Integral):
        raise TypeError(f"`step` must be an integer >= 1. Received: step={step!r}.")
    if step < 1:
        raise ValueError(f"`step` must be an integer >= 1. Received: step={step!r}.")
    return {"radius": float(radius), "epsilon": float(epsilon), "step": int(step)}


def _linear_models(
    maps: Any, images: Any, mean: Any, epsilon: float
) -> tuple[list[Any], Any]:
    """Fits a linear function of the colours to the maps in each window.

    Args:
        maps: `(B, h, w, K)`.
        images: `(B, h, w, 3)` in [0, 1].
        mean: Mean over windows.
        epsilon: As in `guided_filter`.

    Returns:
        A slope for each colour and an offset, each `(B, h, w, K)`.
    """
    colours = _colours(images)
    means = [mean(colour) for colour in colours]
    mean_map = mean(maps)
    with_map = [
        mean(colour * maps) - its_mean * mean_map
        for colour, its_mean in zip(colours, means, strict=True)
    ]

    def covariance(i: int, j: int) -> Any:
        together = mean(colours[i] * colours[j]) - means[i] * means[j]
        return together + epsilon if i == j else together

    upper = [[covariance(i, j) for j in range(i, 3)] for i in range(3)]
    slopes = _solve(upper, with_map)
    return slopes, mean_map - _dot(slopes, means)


def _solve(upper: list[list[Any]], right: list[Any]) -> list[Any]:
    """Solves symmetric positive definite systems, elementwise, by `L D L^T`.

    Of the matrices it takes what is on the diagonal and right of it, row by row.

    By cofactors the determinant of a grey image would drown in rounding; a solver of
    the backend's own does not come through LiteRT.
    """
    (rr, rg, rb), (gg, gb), (bb,) = upper
    g_r, b_r = rg / rr, rb / rr
    pivot_g, rest = gg - g_r * rg, gb - g_r * rb
    b_g = rest / pivot_g
    pivot_b = bb - b_r * rb - b_g * rest
    red, green, blue = right
    green = green - g_r * red
    blue = blue - b_r * red - b_g * green
    blue = blue / pivot_b
    green = green / pivot_g - b_g * blue
    return [red / rr - g_r * green - b_r * blue, green, blue]


def _colours(images: Any) -> list[Any]:
    """Red, green and blue, each `(B, h, w, 1)`."""
    return ops.split(images, 3, axis=-1)


def _dot(first: list[Any], second: list[Any]) -> Any:
    return sum(a * b for a, b in zip(first, second, strict=True))


def _box_mean(reach: int) -> Any:
    """Returns the mean over windows that end at the edge, for `(B, h, w, C)`.

    Pooling, not a product with a matrix of windows, which GPUs round to ten bits: a
    covariance is the small difference of two such means. With "same" and a stride of 1
    no backend counts cells beyond the edge.
    """
    window = 2 * reach + 1

    def mean(values: Any) -> Any:
        for shape in ((window, 1), (1, window)):
            values = ops.average_pool(
                values,
                shape,
                strides=1,
                padding="same",
                data_format="channels_last",
            )
        return values

    return mean


def _resized(values: Any, size: tuple[int, int]) -> Any:
    if tuple(values.shape[1:3]) == size:
        return values
    return ops.image.resize(
        values, size, interpolation="bilinear", data_format="channels_last"
    )


def _shrunk(images: Any, grid: tuple[int, int]) -> Any:
    """Resizes images, bilinear and antialiased.

    As products of matrices: LiteRT has no antialiased resizing.
    """
    height, width = images.shape[1:3]
    if (height, width) == grid:
        return images
    images = ops.einsum("ij,bjwc->biwc", _triangles(height, grid[0]), images)
    return ops.einsum("kw,biwc->bikc", _triangles(width, grid[1]), images)


def _triangles(old: int, new: int) -> np.ndarray:
    """What each of `new` cells takes of `old` pixels, `(new, old)`."""
    scale = old / new
    middles = (np.arange(new) + 0.5) * scale - 0.5
    weights = 1 - np.abs(middles[:, None] - np.arange(old)) / scale
    weights = np.maximum(weights, 0)
    return (weights / weights.sum(axis=1, keepdims=True)).astype("float32")


def _check_shapes(maps: Any, images: Any) -> None:
    fixed = len(images.shape) == 4 and None not in images.shape[1:3]
    fits = fixed and images.shape[3] == 3
    if fits and len(maps.shape) == 4 and maps.shape[1] is not None:
        together = {maps.shape[0], images.shape[0]} - {None}
        if len(together) < 2:
            return
    raise ValueError(
        "`maps` must have the shape (B, K, h, w) with a fixed K, and `images` "
        "(B, H, W, 3) with a fixed height and width. Received: "
        f"{tuple(maps.shape)} and {tuple(images.shape)}."
    )
