"""CAGD: drops channels whose attention is small, at random."""

from typing import Any

import keras
from keras import ops

from keras_wsol import masks
from keras_wsol.layers.arguments import check_choice, check_number
from keras_wsol.layers.draws import draw_channel_mask

SELECTIONS = ("min_multiple", "top_k")


@keras.saving.register_keras_serializable(package="keras_wsol")
class CAGD(keras.layers.Layer):
    """Channel attention guided dropout: drops weak channels at random.

    The attention of a channel is its mean over height and width. Channels with
    a small magnitude are *eligible*; each eligible channel of each image is
    dropped with probability `drop_probability`, the others are always kept, so a
    weak channel can still grow. Kept values are not rescaled, and no gradient
    flows through the mask.

    The layer has no weights and acts only if `training` is true.

    Args:
        drop_probability: Float in [0, 1]. Probability that an eligible channel
            is dropped; 0 switches the layer off. Default 0.5 [paper: alpha]. The
            draw is made for each image and channel [ours: the paper draws "each
            element"].
        selection: How eligible channels are found. `"min_multiple"`: below
            `min_multiple` times the smallest magnitude of the image [paper],
            looked for among channels that are not exactly zero [ours: after a
            ReLU some are, and a multiple of 0 would select nothing]. Those are
            eligible; an image whose channels are all zero drops none.
            `"top_k"`: not among the `keep_fraction` largest [paper: "the top-k
            largest magnitudes"]. On CUB-40 they do not differ (Top-1 Loc -0.1, 95 %
            interval -1.8 to +1.6, one seed, `grow_background=False`, row `dgdm-top-k`
            of `examples/results/study-cub40.csv`).
        min_multiple: Float >= 1, used by `"min_multiple"`. Default 3 [paper: the
            best of 2, 2.5, 3, 3.5]. On CUB-40, 5 has 0.7 points of Top-1 Loc more
            (-2.7 to +4.0, three seeds, so too, row `dgdm-multiple-5` there).
        keep_fraction: Float in [0, 1], used by `"top_k"`: `ceil(keep_fraction *
            channels)`, at least one, are safe. Default 0.75 [ours: the paper
            gives no k].
        seed: Optional integer. Fixes the sequence of draws of this instance.
        **kwargs: Passed on to `keras.layers.Layer` (`name`, `dtype`, ...).

    Call arguments:
        inputs: Feature maps, channels last, taken after the activation.
        training: Boolean. Whether to act (`True`) or to pass through.

    Input shape:
        4D tensor `(batch, height, width, channels)`; height and width may be
        unknown until the call.

    Output shape:
        Same as the input.

    Raises:
        ValueError: An argument is out of its range.
        TypeError: An argument is of the wrong type.

    Example:
    >>> layer = CAGD(drop_probability=1.0, min_multiple=2.0)
    >>> x = keras.ops.reshape(keras.ops.array([1.0, 3.0]), (1, 1, 1, 2))
    >>> keras.ops.convert_to_numpy(layer(x, training=True)).ravel().tolist()
    [0.0, 3.0]

    Reference:
        - [Yin et al., 2020](https://arxiv.org/abs/2003.04719)
    """

    def __init__(
        self,
        drop_probability: float = 0.5,
        selection: str = "min_multiple",
        min_multiple: float = 3.0,
        keep_fraction: float = 0.75,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.input_spec = keras.layers.InputSpec(ndim=4)
        drop_probability = check_number("drop_probability", drop_probability)
        check_choice("selection", selection, SELECTIONS)
        min_multiple = check_number("min_multiple", min_multiple, low=1.0, high=None)
        keep_fraction = check_number("keep_fraction", keep_fraction)
        self.drop_probability = drop_probability
        self.selection = selection
        self.min_multiple = min_multiple
        self.keep_fraction = keep_fraction
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)

    def maps(self, inputs: Any) -> dict[str, Any]:
        """Returns which channels of `inputs` the layer may drop, without a draw.

        Args:
            inputs: Tensor `(B, H, W, C)`.

        Returns:
            Dictionary of tensors `(B, 1, 1, C)`: `"channel_attention"` float32,
            `"eligible"` boolean.
        """
        attention = masks.channel_attention(inputs)
        if self.selection == "top_k":
            eligible = masks.channels_outside_top_k(attention, self.keep_fraction)
        else:
            eligible = masks.channels_below_min_multiple(attention, self.min_multiple)
        return {"channel_attention": attention, "eligible": eligible}

    def drop_shares(self, inputs: Any) -> dict[str, Any]:
        """Returns what share of `inputs` the layer drops, without a draw.

        Args:
            inputs: Tensor `(B, H, W, C)`.

        Returns:
            Dictionary with `"channels"`, float32 `(B,)` in [0, 1]: the expected share
            of channels that a call drops.
        """
        eligible = ops.cast(self.maps(inputs)["eligible"], "float32")
        return {"channels": self.drop_probability * ops.mean(eligible, (1, 2, 3))}

    def draw_mask(self, inputs: Any) -> Any:
        """Draws the channel mask of one training call.

        Args:
            inputs: Tensor `(B, H, W, C)`.

        Returns:
            float32 tensor `(B, 1, 1, C)`: 1 keeps, 0 drops.
        """
        eligible = self.maps(inputs)["eligible"]
        return draw_channel_mask(eligible, self.drop_probability, self.seed_generator)

    def call(self, inputs: Any, training: bool = False) -> Any:
        if not training:
            return inputs
        features = ops.cast(inputs, "float32")
        return ops.cast(features * self.draw_mask(features), inputs.dtype)

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "drop_probability": self.drop_probability,
            "selection": self.selection,
            "min_multiple": self.min_multiple,
            "keep_fraction": self.keep_fraction,
            "seed": self.seed,
        }
