"""What the papers compare with, in the image: Cutout and Hide-and-Seek."""

import math
from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from keras_wsol import masks
from keras_wsol.arguments import check_integer, check_number
from keras_wsol.layers.attention_mask import AttentionMask


class HiddenParts(AttentionMask):
    """Base: replaces what a mask of the pixels drops by one colour, in training."""

    def __init__(
        self,
        fill_value: float | Sequence[float] = 0.0,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(seed=seed, **kwargs)
        self.fill_value = _numbers_of(
            "fill_value", fill_value, "a finite number, or one for each channel"
        )

    def build(self, input_shape: tuple) -> None:
        fill_value, channels = self.fill_value, input_shape[-1]
        if isinstance(fill_value, list) and len(fill_value) != channels:
            raise ValueError(
                "`fill_value` must be a number, or one for each channel. "
                f"Received: fill_value={fill_value!r} for {channels} channels."
            )

    def mask(self, images: Any) -> Any:
        """Draws the mask of a call, `(B, H, W, 1)`: 1 keeps, 0 drops."""
        raise NotImplementedError

    def call(self, inputs: Any, training: bool = False) -> Any:
        if not training:
            return inputs
        fill = ops.convert_to_tensor(self.fill_value, dtype="float32")
        # Not a product: what is hidden may be NaN, and images may be integers.
        kept = self.mask(inputs) > 0
        return ops.where(kept, inputs, ops.cast(fill, inputs.dtype))


@keras.saving.register_keras_serializable(package="keras_wsol")
class Cutout(HiddenParts):
    """Replaces a square of each image by one colour.

    The centre of the square is drawn uniformly over the pixels of each image; what
    lies outside the image is cut off [paper]. All channels lose the same pixels. Kept
    pixels are not rescaled. `keras.layers.RandomErasing` is the relative that draws
    rectangles inside the image.

    The layer has no weights. It acts only if `training` is true.

    Args:
        size: Integer >= 1, side of the square in pixels. For an even size `s` a centre
            in row `i` hides rows `i - s/2 .. i + s/2 - 1`. Default 112 [ours: half the
            side of a 224 pixel image, as the paper's 16 for CIFAR-10's 32].
        fill_value: Number, or a sequence of numbers, one a channel. Default 0 [paper:
            the mean of normalized images]. For images in [0, 255] give the mean
            colour, as `(123.68, 116.78, 103.94)` for ImageNet.
        seed: Integer or `None`. Fixes the sequence of draws.
        **kwargs: Of `keras.layers.Layer` (`name`, `dtype`, ...).

    Input and output shape:
        `(batch, height, width, channels)`; height and width may be unknown.

    Example:
    >>> layer = Cutout(size=9, fill_value=(7.0, 8.0))  # wider than the image
    >>> images = keras.ops.ones((1, 1, 4, 2))
    >>> keras.ops.convert_to_numpy(layer(images, training=True))[0, 0].tolist()
    [[7.0, 8.0], [7.0, 8.0], [7.0, 8.0], [7.0, 8.0]]

    Reference:
        - [DeVries and Taylor, 2017](https://arxiv.org/abs/1708.04552)
    """

    def __init__(
        self,
        size: int = 112,
        fill_value: float | Sequence[float] = 0.0,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(fill_value, seed, **kwargs)
        self.size = check_integer("size", size)

    def mask(self, images: Any) -> Any:
        batch, height, width, _ = ops.shape(images)
        uniform = self.uniform(batch, 2)
        return masks.random_box(uniform, height, width, self.size, self.size)


@keras.saving.register_keras_serializable(package="keras_wsol")
class HideAndSeek(HiddenParts):
    """Replaces random cells of a grid over each image by the mean colour.

    The image is cut into squares from its upper left corner; those at the far edges
    may be smaller. Each square is hidden with probability `rate`. Of several sizes
    each image draws one, in every call [paper]. Kept pixels are not rescaled: where
    the colour is the mean of the training images, what the first layer computes stays
    the same on average.

    The layer has no weights. It acts only if `training` is true.

    Args:
        grid_size: Integer >= 0, side of a square in pixels, or a sequence of them; 0
            hides nothing. Default (0, 16, 32, 44, 56) [paper: mixed sizes, for images
            of 224 pixels].
        rate: Float in [0, 1]. Probability that a square is hidden. Default 0.5
            [paper].
        fill_value: Number, or a sequence of numbers, one a channel: the mean colour of
            the training images as they come. Default 0, right for images that are
            normalized by it. For images scaled to [-1, 1] it is near (-0.03, -0.08,
            -0.19), which the rows of `build_classifier` set, and for [0, 255] it is
            (123.68, 116.28, 103.53); both for ImageNet.
        seed: Integer or `None`. Fixes the sequence of draws.
        **kwargs: Of `keras.layers.Layer` (`name`, `dtype`, ...).

    Input and output shape:
        `(batch, height, width, channels)`; height and width may be unknown.

    Example:
    >>> layer = HideAndSeek(grid_size=2, fill_value=7.0, seed=1)
    >>> images = keras.ops.ones((1, 1, 6, 1))
    >>> row = keras.ops.convert_to_numpy(layer(images, training=True)).ravel()
    >>> bool((row[::2] == row[1::2]).all()), set(row.tolist()) <= {1.0, 7.0}
    (True, True)

    Reference:
        - [Singh and Lee, 2017](https://arxiv.org/abs/1704.04232)
    """

    def __init__(
        self,
        grid_size: int | Sequence[int] = (0, 16, 32, 44, 56),
        rate: float = 0.5,
        fill_value: float | Sequence[float] = 0.0,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(fill_value, seed, **kwargs)
        self.grid_size = _numbers_of(
            "grid_size", grid_size, "an integer >= 0, or a sequence of them", True
        )
        self.rate = check_number("rate", rate)

    def mask(self, images: Any) -> Any:
        batch, height, width, _ = ops.shape(images)
        sizes = self.grid_size if isinstance(self.grid_size, list) else [self.grid_size]
        least = min((size for size in sizes if size), default=1)
        drawn = ops.cast(self.uniform(batch) * len(sizes), "int32")
        # Rounding may lift a draw just below 1 to the number of sizes.
        size = ops.take(ops.array(sizes, "int32"), ops.minimum(drawn, len(sizes) - 1))
        size = size[:, None, None]
        # As many squares as the least size may need; larger ones use the first.
        rows, columns = -(-height // least), -(-width // least)
        hidden = self.uniform(batch, rows, columns) < self.rate
        side = ops.where(size > 0, size, least)
        row = ops.arange(height, dtype="int32")[None, :, None] // side
        column = ops.arange(width, dtype="int32")[None, None, :] // side
        image = ops.arange(batch, dtype="int32")[:, None, None]
        square = (image * rows + row) * columns + column
        hidden = ops.take(ops.reshape(hidden, (-1,)), square)
        kept = ops.logical_or(ops.logical_not(hidden), size == 0)
        return ops.cast(kept, "float32")[..., None]


def _numbers_of(name: str, value: Any, expected: str, whole: bool = False) -> Any:
    """Returns a number of Python, or a list of them."""
    several = isinstance(value, Sequence) and not isinstance(value, str)
    if several and not value:
        raise ValueError(f"`{name}` must be {expected}. Received: {name}={value!r}.")
    numbers = [
        check_integer(name, number, 0, None, expected)
        if whole
        else float(check_number(name, number, -math.inf, None, expected))
        for number in (value if several else [value])
    ]
    return numbers if several else numbers[0]
