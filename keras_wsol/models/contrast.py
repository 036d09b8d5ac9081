"""How much of an image's colour and texture a mask explains: boxes are not needed."""

from typing import Any

import numpy as np
from keras import ops

SIDE = 56  # of images and maps that are compared
_WINDOW = 5  # pixels a side, of that
# Deviations are smaller than the colours themselves.
_TEXTURE = 3.0
# What differences of squares in [0, 1] may be off by in float32.
_ROUNDING = 1e-6
_LEAST = 1e-3  # an image of one colour has less, summed over its pixels


def look_of(images: Any) -> np.ndarray:
    """Colour and texture of images in [0, 255], float32 `(B, SIDE * SIDE, 6)`.

    Texture is the standard deviation of each colour within a window.
    """
    images = ops.cast(images, "float32") / 255.0
    images = ops.image.resize(
        images, (SIDE, SIDE), antialias=True, data_format="channels_last"
    )

    def mean(values: Any) -> Any:
        return ops.average_pool(values, _WINDOW, 1, "same", "channels_last")

    variance = mean(images * images) - ops.square(mean(images))
    texture = ops.sqrt(ops.relu(variance - _ROUNDING))
    both = ops.concatenate([images, _TEXTURE * texture], axis=-1)
    return ops.convert_to_numpy(ops.reshape(both, (-1, SIDE * SIDE, both.shape[-1])))


def contrast(looks: np.ndarray, maps: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """How much inside and outside of masks differ, a number in [0, 1] a threshold.

    The share of the variance of colour and texture in an image that lies between the
    inside and the outside of `map > threshold`; the mean over the images [ours, after
    Otsu, 1979, and Chan and Vese, 2001]. Where a map is cut too high or too low, object
    and background mix, and the share falls.

    `looks` (N, P, C) of `look_of`, `maps` (N, P) in [0, 1], `thresholds` (T,).
    """
    # In float32, the sum of thousands of values would be off by more than a mask of
    # one pixel is worth.
    mean = looks.mean(axis=1, keepdims=True, dtype="float64")
    centred = (looks - mean).astype("float32")
    variances = np.square(centred).sum(axis=(1, 2))
    found = []
    for threshold in thresholds:
        inside = (maps > threshold).astype("float32")
        count = inside.sum(axis=1)
        total = np.einsum("np,npc->nc", inside, centred)
        # With both means about that of the image, the sum of squares between them.
        pairs = count * (inside.shape[1] - count)
        squares = np.square(total).sum(axis=1)
        between = np.where(pairs, squares * inside.shape[1] / np.maximum(pairs, 1), 0)
        found.append((between / np.maximum(variances, _LEAST)).mean())
    return np.array(found)
