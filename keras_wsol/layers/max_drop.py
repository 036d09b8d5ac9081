"""MaxDrop: drops the largest activation of a channel, or of a position."""

from typing import Any

import keras
from keras import ops

from keras_wsol import masks
from keras_wsol.layers.arguments import (
    check_bool,
    check_choice,
    check_integer,
    check_number,
)

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
