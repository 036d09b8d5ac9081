"""What drawn creatures stand on: a mottled floor with leaves, twigs and pebbles."""

import functools
import math
from collections.abc import Sequence

import numpy as np

from keras_wsol.data.strokes import paint


def uniform_colours(
    rng: np.random.Generator, low: Sequence[float], high: Sequence[float], count: int
) -> np.ndarray:
    """RGB colours (count, 3) between two colours given as hue, saturation, value."""
    hue, saturation, value = rng.uniform(low, high, (count, 3)).T[:, :, None]
    sextant = (np.array([5.0, 3.0, 1.0]) + 6 * hue) % 6
    grey = np.clip(np.minimum(sextant, 4 - sextant), 0, 1)
    return (value - value * saturation * grey).astype(np.float32)


def body_colours(rng: np.random.Generator, count: int) -> np.ndarray:
    """RGB colours (count, 3) of bodies, which withered leaves have too."""
    return uniform_colours(rng, (0.06, 0.35, 0.6), (0.11, 0.6, 0.85), count)


@functools.cache
def _interpolation(cells: int, size: int) -> np.ndarray:
    """Weights (size, cells + 1) that spread a row of knots smoothly over pixels."""
    place = (np.arange(size) + 0.5) / size * cells
    left = place.astype(int)
    weight = place - left
    weight = weight * weight * (3 - 2 * weight)
    weights = np.zeros((size, cells + 1), np.float32)
    weights[np.arange(size), left] = 1 - weight
    weights[np.arange(size), left + 1] = weight
    return weights


def _noise(rng: np.random.Generator, cells: int, height: int, width: int) -> np.ndarray:
    knots = rng.random((cells + 1, cells + 1), np.float32)
    rows, columns = _interpolation(cells, height), _interpolation(cells, width)
    return (rows @ knots @ columns.T)[..., None]


def ground(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """A mottled floor (H, W, 3) of two colours."""
    low, high = uniform_colours(rng, (0.2, 0.08, 0.25), (0.5, 0.35, 0.7), 2)
    blend = 0.6 * _noise(rng, 3, height, width) + 0.4 * _noise(rng, 9, height, width)
    light = 0.8 + 0.4 * _noise(rng, 23, height, width)
    return (low + blend * (high - low)) * light


def scatter_clutter(
    rng: np.random.Generator, canvas: np.ndarray, berries: np.ndarray
) -> None:
    """Paints leaves, twigs, pebbles and berries over the floor, in place.

    Args:
        rng: Where the draws come from.
        canvas: float32 `(H, W, 3)`.
        berries: float32 `(K, 3)`, the colours that berries may have.
    """
    height, width = canvas.shape[:2]
    side = min(height, width)
    count = int(rng.integers(14, 26))
    kind = rng.choice(4, count, p=(0.5, 0.2, 0.25, 0.05))
    leaf, berry = kind == 0, kind == 3
    # Length and half the thickness by kind, as shares of the side.
    low = np.array([(0.1, 0.015), (0.2, 0.008), (0.01, 0.02), (0.0, 0.015)])[kind]
    high = np.array([(0.3, 0.05), (0.6, 0.015), (0.06, 0.07), (0.001, 0.035)])[kind]
    length, thickness = rng.uniform(low, high).T * side
    angle = rng.uniform(0, 2 * math.pi, count)

    strokes = np.zeros((count, 7), np.float32)
    strokes[:, :2] = rng.uniform((0, 0), (width, height), (count, 2))
    strokes[:, 3] = strokes[:, 0] + length * np.cos(angle)
    strokes[:, 4] = strokes[:, 1] + length * np.sin(angle)
    strokes[:, 2] = strokes[:, 5] = np.where(leaf, 0, thickness)
    strokes[:, 6] = np.where(leaf, thickness, 0)

    # Some clutter has the colour of the bodies, and berries that of the heads:
    # neither colour alone tells a creature.
    colours = uniform_colours(rng, (0.15, 0.1, 0.25), (0.5, 0.5, 0.75), count)
    withered = rng.random(count) < 0.3
    colours[withered] = body_colours(rng, count)[withered]
    colours[berry] = berries[rng.integers(len(berries), size=count)][berry]
    for i in range(count):
        paint(canvas, strokes[i : i + 1], colours[i])
