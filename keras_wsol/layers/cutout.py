"""Cutout: hides a square of each input image."""

import math
from collections.abc import Sequence
from numbers import Real
from typing import Any

import keras
from keras import ops

from keras_wsol import masks
from keras_wsol.layers.arguments import check_integer


@keras.saving.register_keras_serializable(package="keras_wsol")
class Cutout(keras.layers.Layer):
    """Replaces a square of each image by one colour.

    The centre of the square is drawn uniformly over the pixels of each image, and
    what lies outside the image is cut off [paper: that some squares lie partly
    outside matters]. All channels lose the same pixels. Kept pixels are not
    rescaled.

    This is a layer for images, as a first layer or inside a preprocessing model;
    on feature maps it hides one square a map. `keras.layers.RandomErasing` is the
    relative that draws rectangles of random size that lie inside the image.

    The layer has no weights and acts only if `training` is true.

    Args:
        size: Integer >= 1, side of the square in pixels. For an even size `s` a
            centre in row `i` hides rows `i - s/2 .. i + s/2 - 1`, for an odd one as
            many above as below. Default 112 [ours: half the side of a 224 pixel
            image, as the paper's 16 for CIFAR-10's 32; it has 8 for CIFAR-100 and
            20 for SVHN].
        fill_value: Number, or a sequence of numbers, one a channel: what hidden
            pixels become. Default 0 [paper: on images normalised to mean zero, so
            that it is the mean colour]. For images in [0, 255] give the mean
            colour, as `(123.68, 116.78, 103.94)` for ImageNet.
        seed: Optional integer. Fixes the sequence of draws of this instance.
        **kwargs: Passed on to `keras.layers.Layer` (`name`, `dtype`, ...).

    Call arguments:
        inputs: Images, channels last, in any range.
        training: Boolean. Whether to hide (`True`) or to pass through.

    Input shape:
        4D tensor `(batch, height, width, channels)`; height and width may be
        unknown until the call.

    Output shape:
        Same as the input.

    Raises:
        ValueError: An argument is out of its range, or `fill_value` has another
            number of entries than the input has channels.
        TypeError: An argument is of the wrong type.

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
        super().__init__(**kwargs)
        self.input_spec = keras.layers.InputSpec(ndim=4)
        size = check_integer("size", size)
        self.size = size
        self.fill_value = _check_fill_value(fill_value)
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)

    def build(self, input_shape: tuple) -> None:
        fill_value, channels = self.fill_value, input_shape[-1]
        if isinstance(fill_value, list) and len(fill_value) != channels:
            raise ValueError(
                "`fill_value` must be a number, or one for each channel. "
                f"Received: fill_value={fill_value!r} for {channels} channels."
            )

    def draw_mask(self, inputs: Any) -> Any:
        """Draws the mask of one training call.

        Args:
            inputs: Tensor `(B, H, W, C)`; only its shape is read.

        Returns:
            float32 tensor `(B, H, W, 1)`: 1 keeps, 0 hides.
        """
        batch, height, width, _ = ops.shape(inputs)
        uniform = keras.random.uniform(
            (batch, 2), dtype="float32", seed=self.seed_generator
        )
        return masks.random_square(uniform, height, width, self.size)

    def call(self, inputs: Any, training: bool = False) -> Any:
        if not training:
            return inputs
        fill = ops.convert_to_tensor(self.fill_value, dtype="float32")
        kept = self.draw_mask(inputs) > 0
        return ops.where(kept, inputs, ops.cast(fill, inputs.dtype))

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "size": self.size,
            "fill_value": self.fill_value,
            "seed": self.seed,
        }


def _check_fill_value(value: Any) -> float | list[float]:
    """Returns a number of Python, or a list of them."""
    several = isinstance(value, Sequence) and not isinstance(value, str)
    numbers = list(value) if several else [value]
    expected = "`fill_value` must be a finite number, or one for each channel."
    for number in numbers:
        if isinstance(number, bool) or not isinstance(number, Real):
            raise TypeError(
                f"{expected} Received: fill_value={value!r} (with a "
                f"{type(number).__name__})."
            )
        if not math.isfinite(number):
            raise ValueError(f"{expected} Received: fill_value={value!r}.")
    numbers = [float(number) for number in numbers]
    return numbers if several else numbers[0]
