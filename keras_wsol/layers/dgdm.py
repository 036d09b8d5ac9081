"""CAGD, SAGD, and DGDM, which is both."""

from typing import Any

import keras
from keras import ops

from keras_wsol import masks
from keras_wsol.arguments import (
    check_bool,
    check_choice,
    check_integer,
    check_number,
)
from keras_wsol.layers.attention_mask import DRAWS, draw_channel_mask, draw_first

SELECTIONS = ("min_multiple", "top_k")


def check_block_size(value: Any) -> int | str:
    """Returns `value` if it is an integer of at least 1, or `"adaptive"`."""
    if isinstance(value, str) and value == "adaptive":
        return value
    if isinstance(value, str):
        raise ValueError(
            '`block_size` must be an integer >= 1 or "adaptive". '
            f"Received: block_size={value!r}."
        )
    return check_integer("block_size", value, expected='an integer >= 1 or "adaptive"')


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


@keras.saving.register_keras_serializable(package="keras_wsol")
class SAGD(keras.layers.Layer):
    """Spatial attention guided dropblock: drops regions, or else highlights.

    The attention is the mean of the input over channels. The *spatial mask*
    drops the block around each cell that reaches `high_threshold` times the
    image's maximum (the most discriminative part) and each cell below
    `low_threshold` times it (background). The *importance map* is the sigmoid of
    the attention. One draw picks mask or map; the input is multiplied by it.
    Kept values are not rescaled. Gradients flow through the importance map and
    not through the mask.

    The layer has no weights and acts only if `training` is true.

    Args:
        drop_rate: Float in [0, 1]. Probability that a call uses the spatial mask
            rather than the importance map. Default 0.75, as in ADL.
        high_threshold: Float in [0, 1]. Share of the image's maximum from which
            on a cell is a seed of a dropped block; each image has its own maximum
            [ours: the paper does not say what its thresholds are shares of]. The
            maximum itself is always a seed, the only cell of a 1x1 map too; an image
            whose maximum is not above zero drops nothing [ours, as in `ADL`]. Default
            0.95 [ours: the paper gives no value; its figures say that it erases
            far less than ADL's 0.8]. On CUB-40, 0.85 has 9.7 points of Top-1 Loc less
            (95 % interval -12.4 to -7.2, one seed, row `dgdm-high-0.85` of
            `examples/results/study-cub40.csv`).
        low_threshold: Float in [0, 1], or `None` for no background (the paper's
            first stage alone). Share of the maximum below which a cell is
            dropped as background. Default 0.1 [ours: the paper gives no value].
        block_size: Integer >= 1, side of the dropped block in cells; 1 makes
            the first stage ADL's mask. Default 3 [paper: best with both stages;
            2 with the first alone]. In DGDM, MobileNetV1 on CUB-40 (14x14 maps), 1
            has 4.2 points of accuracy more (95 % interval +1.7 to +6.8, three seeds)
            and 2.9 of Top-1 Loc (-0.3 to +6.2: too little to leave the paper's; row
            `dgdm-block-1` of `examples/results/study-cub40.csv`). For an even size
            `b` the seed at `(i, j)` drops `i - b/2 .. i + b/2 - 1`. What of a block
            lies outside the map is cut off: one that is larger than the map drops all
            of it. `"adaptive"`: `ceil(H / 7)` by `ceil(W / 7)`.
        grow_background: Boolean. Whether background cells drop a block, too. Default
            true [ours: the paper does not say; in DGDM at two places of MobileNetV1,
            CUB-40, it has 5.1 points of Top-1 Loc more than without (95 % interval
            +1.5 to +8.9, three seeds) and 8.9 of GT-known Loc (+5.7 to +11.9), accuracy
            the same; row `dgdm-grow` of `examples/results/study-cub40.csv`. What is
            said here of other options is of those two places, without it].
        draw: `"batch"`: one draw a call [paper]. `"sample"`: one an image.
        importance_map: Boolean. If false, a call that does not use the mask
            passes its input on.
        drop_mask: Boolean. If false, a call that would use the mask passes its
            input on.
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
    >>> layer = SAGD(drop_rate=1.0, high_threshold=0.9, low_threshold=0.2)
    >>> x = keras.ops.array([1.0, 5.0, 5.0, 9.0, 8.0, 5.0])
    >>> x = keras.ops.reshape(x, (1, 1, 6, 1))
    >>> keras.ops.convert_to_numpy(layer(x, training=True)).ravel().tolist()
    [0.0, 0.0, 0.0, 0.0, 0.0, 5.0]

    Reference:
        - [Yin et al., 2020](https://arxiv.org/abs/2003.04719)
    """

    def __init__(
        self,
        drop_rate: float = 0.75,
        high_threshold: float = 0.95,
        low_threshold: float | None = 0.1,
        block_size: int | str = 3,
        grow_background: bool = True,
        draw: str = "batch",
        importance_map: bool = True,
        drop_mask: bool = True,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.input_spec = keras.layers.InputSpec(ndim=4)
        drop_rate = check_number("drop_rate", drop_rate)
        high_threshold = check_number("high_threshold", high_threshold)
        if low_threshold is not None:
            low_threshold = check_number("low_threshold", low_threshold)
        block_size = check_block_size(block_size)
        check_bool("grow_background", grow_background)
        check_choice("draw", draw, DRAWS)
        check_bool("importance_map", importance_map)
        check_bool("drop_mask", drop_mask)
        self.drop_rate = drop_rate
        self.high_threshold = high_threshold
        self.low_threshold = low_threshold
        self.block_size = block_size
        self.grow_background = grow_background
        self.draw = draw
        self.importance_map = importance_map
        self.drop_mask = drop_mask
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)

    def maps(self, inputs: Any) -> dict[str, Any]:
        """Returns what the layer would use on `inputs`, without a draw.

        Args:
            inputs: Tensor `(B, H, W, C)`.

        Returns:
            Dictionary of float32 tensors `(B, H, W, 1)`: `"attention"`,
            `"importance_map"`, `"drop_mask"`.
        """
        attention = masks.spatial_attention(inputs)
        return {
            "attention": attention,
            "importance_map": masks.importance_map(attention),
            "drop_mask": self._spatial_mask(attention),
        }

    def drop_shares(self, inputs: Any) -> dict[str, Any]:
        """Returns what share of `inputs` the layer drops, without a draw.

        Args:
            inputs: Tensor `(B, H, W, C)`.

        Returns:
            Dictionary with `"cells"`, float32 `(B,)` in [0, 1]: the share of cells
            that are zero in a call that uses the drop mask.
        """
        share = masks.dropped_share(self.maps(inputs)["drop_mask"])
        return {"cells": share if self.drop_mask else ops.zeros_like(share)}

    def _spatial_mask(self, attention: Any) -> Any:
        discriminative = masks.grow_blocks(
            masks.drop_mask(attention, self.high_threshold), self.block_size
        )
        if self.low_threshold is None:
            return discriminative
        background = masks.background_mask(attention, self.low_threshold)
        if self.grow_background:
            background = masks.grow_blocks(background, self.block_size)
        return discriminative * background

    def draw_map(self, inputs: Any) -> Any:
        """Draws the map of one training call.

        Args:
            inputs: Tensor `(B, H, W, C)`.

        Returns:
            float32 tensor `(B, H, W, 1)` that the input is to be multiplied by.
        """
        maps = self.maps(inputs)
        ones = ops.ones_like(maps["attention"])
        return ops.where(
            draw_first(inputs, self.drop_rate, self.draw, self.seed_generator),
            maps["drop_mask"] if self.drop_mask else ones,
            maps["importance_map"] if self.importance_map else ones,
        )

    def call(self, inputs: Any, training: bool = False) -> Any:
        if not training:
            return inputs
        features = ops.cast(inputs, "float32")
        return ops.cast(features * self.draw_map(features), inputs.dtype)

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "drop_rate": self.drop_rate,
            "high_threshold": self.high_threshold,
            "low_threshold": self.low_threshold,
            "block_size": self.block_size,
            "grow_background": self.grow_background,
            "draw": self.draw,
            "importance_map": self.importance_map,
            "drop_mask": self.drop_mask,
            "seed": self.seed,
        }


# Far from 1, so that the halves of modules with neighbouring seeds do not draw the
# same numbers.
_SEED_OF_SAGD = 1_000_003

_OF_CAGD = ("drop_probability", "selection", "min_multiple", "keep_fraction")
_OF_SAGD = (
    "drop_rate",
    "high_threshold",
    "low_threshold",
    "block_size",
    "grow_background",
    "draw",
    "importance_map",
    "drop_mask",
)


@keras.saving.register_keras_serializable(package="keras_wsol")
class DGDM(keras.layers.Layer):
    """Dual-attention guided dropblock module: CAGD and SAGD together.

    The input is multiplied by CAGD's channel mask at every training step, and by
    SAGD's spatial mask or importance map, whichever its draw picks [paper: "In
    addition, M_drop1 is also applied to the input feature map"]. Both attentions
    are taken from the input itself, never from what the other half left over.

    The layer has no weights and acts only if `training` is true.

    Args:
        drop_probability: See `CAGD`. 0 leaves SAGD alone.
        selection: See `CAGD`.
        min_multiple: See `CAGD`.
        keep_fraction: See `CAGD`.
        drop_rate: See `SAGD`.
        high_threshold: See `SAGD`.
        low_threshold: See `SAGD`.
        block_size: See `SAGD`.
        grow_background: See `SAGD`.
        draw: See `SAGD`. Channels are drawn for each image in either case.
        importance_map: See `SAGD`.
        drop_mask: See `SAGD`.
        seed: Optional integer. Fixes the sequence of draws of this instance:
            its two halves draw from streams of their own.
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
    >>> layer = DGDM(drop_probability=0.0, drop_rate=1.0, high_threshold=0.9,
    ...              low_threshold=None, block_size=1)
    >>> x = keras.ops.reshape(keras.ops.array([1.0, 5.0, 9.0]), (1, 1, 3, 1))
    >>> keras.ops.convert_to_numpy(layer(x, training=True)).ravel().tolist()
    [1.0, 5.0, 0.0]

    Reference:
        - [Yin et al., 2020](https://arxiv.org/abs/2003.04719)
    """

    def __init__(
        self,
        drop_probability: float = 0.5,
        selection: str = "min_multiple",
        min_multiple: float = 3.0,
        keep_fraction: float = 0.75,
        drop_rate: float = 0.75,
        high_threshold: float = 0.95,
        low_threshold: float | None = 0.1,
        block_size: int | str = 3,
        grow_background: bool = True,
        draw: str = "batch",
        importance_map: bool = True,
        drop_mask: bool = True,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.input_spec = keras.layers.InputSpec(ndim=4)
        self.seed = seed
        self.cagd = CAGD(
            drop_probability=drop_probability,
            selection=selection,
            min_multiple=min_multiple,
            keep_fraction=keep_fraction,
            seed=seed,
            dtype=self.dtype_policy,
            name="cagd",
        )
        self.sagd = SAGD(
            drop_rate=drop_rate,
            high_threshold=high_threshold,
            low_threshold=low_threshold,
            block_size=block_size,
            grow_background=grow_background,
            draw=draw,
            importance_map=importance_map,
            drop_mask=drop_mask,
            seed=None if seed is None else seed + _SEED_OF_SAGD,
            dtype=self.dtype_policy,
            name="sagd",
        )

    def maps(self, inputs: Any) -> dict[str, Any]:
        """Returns what the layer would use on `inputs`, without a draw.

        Args:
            inputs: Tensor `(B, H, W, C)`.

        Returns:
            The entries of `CAGD.maps` and of `SAGD.maps`.
        """
        return {**self.cagd.maps(inputs), **self.sagd.maps(inputs)}

    def drop_shares(self, inputs: Any) -> dict[str, Any]:
        """Returns what share of `inputs` the layer drops, without a draw.

        Args:
            inputs: Tensor `(B, H, W, C)`.

        Returns:
            Dictionary of float32 `(B,)` in [0, 1]: `"channels"` as `CAGD` and
            `"cells"` as `SAGD`.
        """
        return {**self.cagd.drop_shares(inputs), **self.sagd.drop_shares(inputs)}

    def build(self, input_shape: tuple) -> None:
        self.cagd.build(input_shape)
        self.sagd.build(input_shape)

    def call(self, inputs: Any, training: bool = False) -> Any:
        if not training:
            return inputs
        features = ops.cast(inputs, "float32")
        factor = self.cagd.draw_mask(features) * self.sagd.draw_map(features)
        return ops.cast(features * factor, inputs.dtype)

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            **{name: getattr(self, name) for name in (*_OF_CAGD, *_OF_SAGD)},
            "seed": self.seed,
        }


def _argument_of(half: str, name: str) -> property:
    return property(lambda layer: getattr(getattr(layer, half), name))


# The halves act, so an argument is theirs: whoever reads it sees what acts, and it
# cannot be set where it would have no effect.
for _name in _OF_CAGD:
    setattr(DGDM, _name, _argument_of("cagd", _name))
for _name in _OF_SAGD:
    setattr(DGDM, _name, _argument_of("sagd", _name))
