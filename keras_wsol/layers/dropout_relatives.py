"""What the papers compare with: DropBlock, MaxDrop, targeted dropout, Cutout."""

import math
from collections.abc import Sequence
from numbers import Real
from typing import Any

import keras
from keras import ops

from keras_wsol import masks
from keras_wsol.arguments import check_bool, check_choice, check_integer, check_number
from keras_wsol.layers.attention_mask import draw_channel_mask


@keras.saving.register_keras_serializable(package="keras_wsol")
class DropBlock2D(keras.layers.Layer):
    r"""Drops square blocks of cells at random, whatever the features show.

    Each cell around which a block fits into the map is the seed of a dropped block
    with probability \(\gamma = \frac{r}{b^2} \cdot \frac{H W}{(H-b+1)(W-b+1)}\),
    \(r\) the `drop_rate` and \(b\) the `block_size`, so that about a share \(r\) of
    the cells is dropped (less where blocks overlap). What is kept is raised so that
    the mask has mean 1. No gradient flows through the mask. With `block_size=1` this
    is dropout; with a block of the map's size, `keras.layers.SpatialDropout2D`.

    The rate is constant, where the paper raises it linearly from 0 in the course of
    training. The layer has no weights and acts only if `training` is true.

    Args:
        drop_rate: Float in [0, 1], the paper's `1 - keep_prob`. About what share of
            the cells is dropped. Default 0.1 [paper: ResNet-50 on ImageNet].
        block_size: Integer >= 1, side of a block in cells. A side longer than the
            map's is cut to it [code]. For an even size `b` the seed at `(i, j)`
            drops `i - b/2 .. i + b/2 - 1`. Default 7 [paper: ResNet-50 on
            ImageNet].
        per_channel: Boolean. Whether each channel draws blocks of its own; if
            false, all channels of an image share one mask. Default true [paper:
            "tends to work better"].
        rescale: Boolean. Whether kept values are multiplied by
            `count(mask) / count_ones(mask)`, counted over the whole batch [paper:
            Algorithm 1; code]. A mask that drops everything gives zeros. The gain
            is about `1 / (1 - drop_rate)`, 1.11 for the default (less where blocks
            overlap), so that in float16, which ends at 65504, activations of 6e4
            may overflow. Up to 2.5e4 none does while the mask keeps 0.39 of the cells.
        seed: Optional integer. Fixes the sequence of draws of this instance.
        **kwargs: Passed on to `keras.layers.Layer` (`name`, `dtype`, ...).

    Call arguments:
        inputs: Feature maps, channels last.
        training: Boolean. Whether to drop (`True`) or to pass through.

    Input shape:
        4D tensor `(batch, height, width, channels)`; height and width may be
        unknown until the call.

    Output shape:
        Same as the input.

    Raises:
        ValueError: An argument is out of its range.
        TypeError: An argument is of the wrong type.

    Example:
    >>> layer = DropBlock2D(drop_rate=0.3, block_size=3, rescale=False, seed=1)
    >>> mask = layer(keras.ops.ones((1, 5, 9, 1)), training=True)
    >>> sorted(set(keras.ops.convert_to_numpy(mask).ravel().tolist()))
    [0.0, 1.0]

    Reference:
        - [Ghiasi, Lin and Le, 2018](https://arxiv.org/abs/1810.12890); [code]:
          `dropblock` in `tensorflow/tpu`, which takes square maps alone.
    """

    def __init__(
        self,
        drop_rate: float = 0.1,
        block_size: int = 7,
        per_channel: bool = True,
        rescale: bool = True,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.input_spec = keras.layers.InputSpec(ndim=4)
        drop_rate = check_number("drop_rate", drop_rate)
        block_size = check_integer("block_size", block_size)
        check_bool("per_channel", per_channel)
        check_bool("rescale", rescale)
        self.drop_rate = drop_rate
        self.block_size = block_size
        self.per_channel = per_channel
        self.rescale = rescale
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)

    def draw_mask(self, inputs: Any) -> Any:
        """Draws the mask of one training call, not yet rescaled.

        Args:
            inputs: Tensor `(B, H, W, C)`; only its shape is read.

        Returns:
            float32 tensor `(B, H, W, C)`, or `(B, H, W, 1)` if channels share it:
            1 keeps, 0 drops.
        """
        *place, channels = ops.shape(inputs)
        uniform = keras.random.uniform(
            (*place, channels if self.per_channel else 1),
            dtype="float32",
            seed=self.seed_generator,
        )
        return masks.random_blocks(uniform, self.drop_rate, self.block_size)

    def call(self, inputs: Any, training: bool = False) -> Any:
        if not training:
            return inputs
        mask = self.draw_mask(inputs)
        return masks.multiply(inputs, masks.rescale(mask) if self.rescale else mask)

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "drop_rate": self.drop_rate,
            "block_size": self.block_size,
            "per_channel": self.per_channel,
            "rescale": self.rescale,
            "seed": self.seed,
        }


VARIANTS = ("feature_wise", "channel_wise")


@keras.saving.register_keras_serializable(package="keras_wsol")
class MaxDrop(keras.layers.Layer):
    """Drops the largest activation of each channel, or of each position, at random.

    *Feature-wise*, each channel (feature map) of each image loses its largest cell
    with probability `drop_rate`. *Channel-wise*, each position of each image loses
    the largest of its channels. Among equal maxima the first falls [code]; where
    nothing is above zero there is no maximum and nothing falls. ADL is the relative
    that looks at the mean over channels and drops a region of all of them. No
    gradient flows through the mask.

    The layer has no weights and acts only if `training` is true.

    Args:
        drop_rate: Float in [0, 1]. Probability that a maximum is dropped, drawn for
            each image and channel (feature-wise) or position (channel-wise).
            Default 0.1 [code].
        variant: `"feature_wise"` or `"channel_wise"`. Default `"feature_wise"`
            [code].
        block_size: Integer >= 1, side of the square around a dropped maximum that
            falls with it, in the same channel and cut at the border. For an even
            size `b` it is `i - b/2 .. i + b/2 - 1`. Default 1, the maximum alone
            [code: `kernel_h`, `kernel_w`, where odd sizes are advised].
        rescale: Boolean. Whether kept values are multiplied by
            `count(mask) / count_ones(mask)` over the batch, as in `DropBlock2D`.
            Default false [ours: the code multiplies by the inverse of the expected
            share kept feature-wise, which is 1.0005 for 14 x 14 cells, and by 1
            channel-wise].
        seed: Optional integer. Fixes the sequence of draws of this instance.
        **kwargs: Passed on to `keras.layers.Layer` (`name`, `dtype`, ...).

    Call arguments:
        inputs: Feature maps, channels last, taken after the activation.
        training: Boolean. Whether to drop (`True`) or to pass through.

    Input shape:
        4D tensor `(batch, height, width, channels)`; height and width may be
        unknown until the call.

    Output shape:
        Same as the input.

    Raises:
        ValueError: An argument is out of its range.
        TypeError: An argument is of the wrong type.

    Example:
    >>> x = keras.ops.array([[1.0, 5.0], [4.0, 3.0], [2.0, 0.0]])
    >>> x = keras.ops.reshape(x, (1, 1, 3, 2))
    >>> output = MaxDrop(drop_rate=1.0)(x, training=True)
    >>> keras.ops.convert_to_numpy(output)[0, 0].tolist()
    [[1.0, 0.0], [0.0, 3.0], [2.0, 0.0]]
    >>> output = MaxDrop(drop_rate=1.0, variant="channel_wise")(x, training=True)
    >>> keras.ops.convert_to_numpy(output)[0, 0].tolist()
    [[1.0, 0.0], [0.0, 3.0], [0.0, 0.0]]

    Reference:
        - Park and Kwak, Analysis on the Dropout Effect in Convolutional Neural
          Networks, [2016](https://doi.org/10.1007/978-3-319-54184-6_12); [code]:
          the authors' Caffe layer `MaxDrop`.
    """

    def __init__(
        self,
        drop_rate: float = 0.1,
        variant: str = "feature_wise",
        block_size: int = 1,
        rescale: bool = False,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.input_spec = keras.layers.InputSpec(ndim=4)
        drop_rate = check_number("drop_rate", drop_rate)
        check_choice("variant", variant, VARIANTS)
        block_size = check_integer("block_size", block_size)
        check_bool("rescale", rescale)
        self.drop_rate = drop_rate
        self.variant = variant
        self.block_size = block_size
        self.rescale = rescale
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)

    def maps(self, inputs: Any) -> dict[str, Any]:
        """Returns which values of `inputs` are maxima, without a draw.

        Args:
            inputs: Tensor `(B, H, W, C)`.

        Returns:
            Dictionary with `"maxima"`, boolean `(B, H, W, C)`: at most one a channel
            (feature-wise) or a position (channel-wise).
        """
        if self.variant == "feature_wise":
            return {"maxima": masks.channel_maxima(inputs)}
        return {"maxima": masks.position_maxima(inputs)}

    def draw_mask(self, inputs: Any) -> Any:
        """Draws the mask of one training call, not yet rescaled.

        Args:
            inputs: Tensor `(B, H, W, C)`.

        Returns:
            float32 tensor `(B, H, W, C)`: 1 keeps, 0 drops.
        """
        batch, height, width, channels = ops.shape(inputs)
        feature_wise = self.variant == "feature_wise"
        uniform = keras.random.uniform(
            (batch, 1, 1, channels) if feature_wise else (batch, height, width, 1),
            dtype="float32",
            seed=self.seed_generator,
        )
        dropped = ops.logical_and(self.maps(inputs)["maxima"], uniform < self.drop_rate)
        return masks.grow_blocks(1.0 - ops.cast(dropped, "float32"), self.block_size)

    def call(self, inputs: Any, training: bool = False) -> Any:
        if not training:
            return inputs
        mask = self.draw_mask(inputs)
        return masks.multiply(inputs, masks.rescale(mask) if self.rescale else mask)

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "drop_rate": self.drop_rate,
            "variant": self.variant,
            "block_size": self.block_size,
            "rescale": self.rescale,
            "seed": self.seed,
        }


MAGNITUDES = ("l2", "mean")


@keras.saving.register_keras_serializable(package="keras_wsol")
class TargetedDropout(keras.layers.Layer):
    """Drops channels at random among those of least magnitude.

    The `target_fraction` of an image's channels with the least magnitude are
    *eligible*; each of them is dropped with probability `drop_rate`, the others are
    always kept. Kept values are not rescaled [code], and no gradient flows through
    the mask.

    This is targeted *unit* dropout on activations. The original ranks the units of
    a layer by the L2 norm of their weights, which is the same for every image, drops
    those, and prunes all of them after training; here the units are channels, ranked
    by the L2 norm of their activations, image by image, and inference is untouched,
    as for the other layers. CAGD took up the idea: with `magnitude="mean"` this
    layer is `CAGD(selection="top_k", keep_fraction=1 - target_fraction,
    drop_probability=drop_rate)`, except that a `target_fraction` of 1 spares none.
    CAGD's default instead targets channels below a multiple of the smallest
    magnitude.

    The layer has no weights and acts only if `training` is true.

    Args:
        target_fraction: Float in [0, 1]. `floor(target_fraction * channels)`
            channels are eligible, without those that tie with the smallest of the
            others. Default 0.5 [code: ResNet-32].
        drop_rate: Float in [0, 1]. Probability that an eligible channel is dropped,
            drawn for each image and channel. Default 0.5 [code: ResNet-32].
        magnitude: What channels are ranked by. `"l2"`: root mean square over height
            and width [ours: as near as activations come to the paper's norm of
            weights]. `"mean"`: magnitude of the mean, as in CAGD.
        seed: Optional integer. Fixes the sequence of draws of this instance.
        **kwargs: Passed on to `keras.layers.Layer` (`name`, `dtype`, ...).

    Call arguments:
        inputs: Feature maps, channels last, taken after the activation.
        training: Boolean. Whether to drop (`True`) or to pass through.

    Input shape:
        4D tensor `(batch, height, width, channels)`; height and width may be
        unknown until the call.

    Output shape:
        Same as the input.

    Raises:
        ValueError: An argument is out of its range.
        TypeError: An argument is of the wrong type.

    Example:
    >>> layer = TargetedDropout(target_fraction=0.5, drop_rate=1.0)
    >>> x = keras.ops.reshape(keras.ops.array([4.0, 1.0, 3.0, 2.0]), (1, 1, 1, 4))
    >>> keras.ops.convert_to_numpy(layer(x, training=True)).ravel().tolist()
    [4.0, 0.0, 3.0, 0.0]

    Reference:
        - [Gomez et al., 2019](https://arxiv.org/abs/1905.13678); [code]:
          `targeted_unit` in `for-ai/TD`
    """

    def __init__(
        self,
        target_fraction: float = 0.5,
        drop_rate: float = 0.5,
        magnitude: str = "l2",
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.input_spec = keras.layers.InputSpec(ndim=4)
        target_fraction = check_number("target_fraction", target_fraction)
        drop_rate = check_number("drop_rate", drop_rate)
        check_choice("magnitude", magnitude, MAGNITUDES)
        self.target_fraction = target_fraction
        self.drop_rate = drop_rate
        self.magnitude = magnitude
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)

    def maps(self, inputs: Any) -> dict[str, Any]:
        """Returns which channels of `inputs` the layer may drop, without a draw.

        Args:
            inputs: Tensor `(B, H, W, C)`.

        Returns:
            Dictionary of tensors `(B, 1, 1, C)`: `"magnitude"` float32, `"eligible"`
            boolean.
        """
        if self.magnitude == "l2":
            magnitude = masks.channel_rms(inputs)
        else:
            magnitude = ops.abs(masks.channel_attention(inputs))
        eligible = masks.smallest_channels(magnitude, self.target_fraction)
        return {"magnitude": magnitude, "eligible": eligible}

    def drop_shares(self, inputs: Any) -> dict[str, Any]:
        """Returns what share of `inputs` the layer drops, without a draw.

        Args:
            inputs: Tensor `(B, H, W, C)`.

        Returns:
            Dictionary with `"channels"`, float32 `(B,)` in [0, 1]: the expected share
            of channels that a call drops.
        """
        eligible = ops.cast(self.maps(inputs)["eligible"], "float32")
        return {"channels": self.drop_rate * ops.mean(eligible, (1, 2, 3))}

    def draw_mask(self, inputs: Any) -> Any:
        """Draws the channel mask of one training call.

        Args:
            inputs: Tensor `(B, H, W, C)`.

        Returns:
            float32 tensor `(B, 1, 1, C)`: 1 keeps, 0 drops.
        """
        eligible = self.maps(inputs)["eligible"]
        return draw_channel_mask(eligible, self.drop_rate, self.seed_generator)

    def call(self, inputs: Any, training: bool = False) -> Any:
        if not training:
            return inputs
        return masks.multiply(inputs, self.draw_mask(inputs))

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "target_fraction": self.target_fraction,
            "drop_rate": self.drop_rate,
            "magnitude": self.magnitude,
            "seed": self.seed,
        }


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
