"""TargetedDropout: drops channels at random among those of least magnitude."""

from typing import Any

import keras
from keras import ops

from keras_wsol import masks
from keras_wsol.layers.arguments import check_choice, check_number
from keras_wsol.layers.draws import draw_channel_mask

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
