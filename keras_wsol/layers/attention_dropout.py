"""ADL, CAGD, SAGD, and DGDM, which is the last two together."""

from typing import Any

import keras
from keras import ops

from keras_wsol import masks
from keras_wsol.arguments import check_bool, check_choice, check_integer, check_number
from keras_wsol.layers.attention_mask import SEED_STEP, AttentionMask, MaskOrImportance


@keras.saving.register_keras_serializable(package="keras_wsol")
class ADL(MaskOrImportance):
    """Attention-based dropout layer: hides the most discriminative part, or shows it.

    The attention is the mean of the input over channels. The *drop mask* is zero
    where the attention reaches `drop_threshold` times the maximum of the image. The
    *importance map* is the sigmoid of the attention. A draw picks mask or map, and
    the input is multiplied by it. Kept values are not rescaled. Gradients flow
    through the importance map and not through the mask.

    The layer has no weights. It acts only if `training` is true.

    Args:
        drop_rate: Float in [0, 1]. Probability that a call uses the drop mask rather
            than the importance map. Default 0.75 [paper].
        drop_threshold: Float in [0, 1]. Share of an image's maximum from which on a
            cell is dropped; lower drops more. The maximum itself is always dropped.
            An image whose maximum is not above zero drops nothing [ours: the released
            code erases it whole]. Default 0.8 [paper: VGG-GAP and InceptionV3; 0.9
            for ResNet, 0.95 for MobileNetV1, which `build_classifier` sets].
        draw: `"batch"`, one draw a call [paper: "at each iteration"], or `"sample"`,
            one draw an image. Default `"batch"`.
        seed: Integer or `None`. Fixes the sequence of draws.
        use_importance_map: Boolean. If false, a call without the mask returns its
            input [paper, ablation]. Default true.
        use_drop_mask: Boolean. If false, a call with the mask returns its input
            [paper, ablation]. Default true.
        **kwargs: Of `keras.layers.Layer` (`name`, `dtype`, ...).

    Input and output shape:
        `(batch, height, width, channels)`; height and width may be unknown.

    Example:
    >>> layer = ADL(drop_rate=1.0, drop_threshold=0.5)
    >>> x = keras.ops.reshape(keras.ops.array([1.0, 2.0, 3.0, 4.0]), (1, 2, 2, 1))
    >>> keras.ops.convert_to_numpy(layer(x, training=True)).ravel().tolist()
    [1.0, 0.0, 0.0, 0.0]

    Reference:
        - [Choe and Shim, 2019](https://arxiv.org/abs/1908.10028)
    """

    def __init__(
        self,
        drop_rate: float = 0.75,
        drop_threshold: float = 0.8,
        draw: str = "batch",
        seed: int | None = None,
        use_importance_map: bool = True,
        use_drop_mask: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            drop_rate, draw, use_importance_map, use_drop_mask, seed, **kwargs
        )
        self.drop_threshold = check_number("drop_threshold", drop_threshold)

    def drop_mask(self, attention: Any) -> Any:
        return masks.drop_mask(attention, self.drop_threshold)


SELECTIONS = ("min_multiple", "top_k")


@keras.saving.register_keras_serializable(package="keras_wsol")
class CAGD(AttentionMask):
    """Channel attention guided dropout: drops weak channels at random.

    The attention of a channel is its mean over height and width. Channels of small
    magnitude are *eligible*. Each eligible channel of each image is dropped with
    probability `drop_probability`; the others are kept. Kept values are not rescaled.
    No gradient flows through the mask.

    The layer has no weights. It acts only if `training` is true.

    Args:
        drop_probability: Float in [0, 1]. Probability that an eligible channel is
            dropped, drawn for each image and channel [ours: the paper draws "each
            element"]. Default 0.5 [paper: alpha]; 0 switches the layer off.
        selection: `"min_multiple"`: eligible is what lies below `min_multiple` times
            the smallest magnitude of the image [paper] that is not exactly zero
            [ours: after a ReLU some are]. `"top_k"`: eligible is what is not among
            the `keep_fraction` largest [paper: "the top-k largest magnitudes"].
            Default `"min_multiple"`.
        min_multiple: Float >= 1. Default 3 [paper: the best of 2, 2.5, 3, 3.5].
        keep_fraction: Float in [0, 1]. `"top_k"` keeps `ceil(keep_fraction *
            channels)`, at least one. Default 0.75 [ours: the paper has no value].
        seed: Integer or `None`. Fixes the sequence of draws.
        **kwargs: Of `keras.layers.Layer` (`name`, `dtype`, ...).

    Input and output shape:
        `(batch, height, width, channels)`; height and width may be unknown.

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
        super().__init__(seed=seed, **kwargs)
        self.drop_probability = check_number("drop_probability", drop_probability)
        self.selection = check_choice("selection", selection, SELECTIONS)
        self.min_multiple = check_number(
            "min_multiple", min_multiple, low=1.0, high=None
        )
        self.keep_fraction = check_number("keep_fraction", keep_fraction)

    def maps(self, inputs: Any) -> dict[str, Any]:
        """Returns `"channel_attention"`, float32, and `"eligible"`, boolean.

        Each is a tensor `(B, 1, 1, C)`. Nothing is drawn.
        """
        attention = masks.channel_attention(inputs)
        if self.selection == "top_k":
            eligible = masks.channels_outside_top_k(attention, self.keep_fraction)
        else:
            eligible = masks.channels_below_min_multiple(attention, self.min_multiple)
        return {"channel_attention": attention, "eligible": eligible}

    def drop_shares(self, inputs: Any) -> dict[str, Any]:
        """Returns `"channels"`: the expected share, float32 `(B,)`, that is dropped."""
        eligible = ops.cast(self.maps(inputs)["eligible"], "float32")
        return {"channels": self.drop_probability * ops.mean(eligible, (1, 2, 3))}

    def factor(self, features: Any) -> Any:
        return self.channel_mask(self.maps(features)["eligible"], self.drop_probability)


@keras.saving.register_keras_serializable(package="keras_wsol")
class SAGD(MaskOrImportance):
    """Spatial attention guided dropblock: drops regions, or else highlights.

    The attention is the mean of the input over channels. The *drop mask* drops a
    block around each cell that reaches `high_threshold` times the image's maximum,
    and each cell below `low_threshold` times it (background). The *importance map* is
    the sigmoid of the attention. A draw picks mask or map, and the input is
    multiplied by it. Kept values are not rescaled. Gradients flow through the map
    only. The layer has no weights. It acts only if `training` is true.

    Args:
        drop_rate: Float in [0, 1]. Probability that a call uses the drop mask rather
            than the importance map. Default 0.75, as in `ADL`.
        high_threshold: Float in [0, 1]. Share of each image's maximum [ours]. The
            maximum itself always drops its block; an image whose maximum is not above
            zero drops nothing [ours]. Default 0.95 [ours: the paper has no value].
        low_threshold: Float in [0, 1], or `None` for the paper's first stage alone,
            without background. Default 0.1 [ours: the paper has no value].
        block_size: Integer >= 1, or `"adaptive"`, which is `ceil(H / 7)` by `ceil(W /
            7)` cells. For an even size `b` the cell `(i, j)` drops `i - b/2 .. i + b/2
            - 1`; blocks are cut at the border. 1 makes the first stage ADL's mask.
            Default 3 [paper: best with both stages; 2 with the first alone].
        grow_background: Boolean. Whether background cells drop a block, too: then
            half of all cells and more are dropped. Default False [ours:
            the paper does not say].
        draw: `"batch"`, one draw a call [paper], or `"sample"`, one an image.
            Default `"batch"`.
        use_importance_map: Boolean. If false, a call without the mask returns its
            input. Default true.
        use_drop_mask: Boolean. If false, a call with the mask returns its input.
        seed: Integer or `None`. Fixes the sequence of draws.
        **kwargs: Of `keras.layers.Layer` (`name`, `dtype`, ...).

    Input and output shape:
        `(batch, height, width, channels)`; height and width may be unknown.

    Example:
    >>> layer = SAGD(drop_rate=1.0, high_threshold=0.9, low_threshold=0.2)
    >>> x = keras.ops.array([1.0, 5.0, 5.0, 9.0, 8.0, 5.0])
    >>> x = keras.ops.reshape(x, (1, 1, 6, 1))
    >>> keras.ops.convert_to_numpy(layer(x, training=True)).ravel().tolist()
    [0.0, 5.0, 0.0, 0.0, 0.0, 5.0]

    Reference:
        - [Yin et al., 2020](https://arxiv.org/abs/2003.04719)
    """

    def __init__(
        self,
        drop_rate: float = 0.75,
        high_threshold: float = 0.95,
        low_threshold: float | None = 0.1,
        block_size: int | str = 3,
        grow_background: bool = False,
        draw: str = "batch",
        use_importance_map: bool = True,
        use_drop_mask: bool = True,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            drop_rate, draw, use_importance_map, use_drop_mask, seed, **kwargs
        )
        self.high_threshold = check_number("high_threshold", high_threshold)
        if low_threshold is not None:
            low_threshold = check_number("low_threshold", low_threshold)
        self.low_threshold = low_threshold
        self.block_size = check_block_size(block_size)
        self.grow_background = check_bool("grow_background", grow_background)

    def drop_mask(self, attention: Any) -> Any:
        discriminative = masks.grow_blocks(
            masks.drop_mask(attention, self.high_threshold), self.block_size
        )
        if self.low_threshold is None:
            return discriminative
        background = masks.background_mask(attention, self.low_threshold)
        if self.grow_background:
            background = masks.grow_blocks(background, self.block_size)
        return discriminative * background


def check_block_size(value: Any) -> int | str:
    """Returns `value` if it is an integer of at least 1, or `"adaptive"`."""
    expected = 'an integer >= 1 or "adaptive"'
    if isinstance(value, str):
        if value != "adaptive":
            raise ValueError(
                f"`block_size` must be {expected}. Received: block_size={value!r}."
            )
        return value
    return check_integer("block_size", value, expected=expected)


@keras.saving.register_keras_serializable(package="keras_wsol")
class DGDM(AttentionMask):
    """Dual-attention guided dropblock module: CAGD and SAGD together.

    The input is multiplied by CAGD's channel mask at every training step [paper: "In
    addition, M_drop1 is also applied to the input feature map"], and by SAGD's drop
    mask or importance map. Both attentions are taken from the input itself. The halves
    draw from two generators; they are the attributes `cagd` and `sagd`.

    The layer has no weights. It acts only if `training` is true.

    Args:
        drop_probability: Float in [0, 1]. Probability that an eligible channel is
            dropped. Default 0.5 [paper]; 0 leaves SAGD alone.
        selection: `"min_multiple"` or `"top_k"`, as in `CAGD`.
        min_multiple: Float >= 1. Default 3 [paper], as in `CAGD`.
        keep_fraction: Float in [0, 1]. Default 0.75 [ours], as in `CAGD`.
        drop_rate: Float in [0, 1]. Probability that a call uses the drop mask of cells
            rather than the importance map. Default 0.75, as in `SAGD`.
        high_threshold: Float in [0, 1]. Default 0.95 [ours], as in `SAGD`.
        low_threshold: Float in [0, 1] or `None`. Default 0.1 [ours], as in `SAGD`.
        block_size: Integer >= 1 or `"adaptive"`. Default 3 [paper], as in `SAGD`.
        grow_background: Boolean. Default False, as in `SAGD`.
        draw: `"batch"` or `"sample"`, as in `SAGD`. Channels are drawn for each image
            in either case. Default `"batch"`.
        use_importance_map: Boolean. Default true, as in `SAGD`.
        use_drop_mask: Boolean. Default true, as in `SAGD`.
        seed: Integer or `None`. Fixes the sequences of draws of both halves.
        **kwargs: Of `keras.layers.Layer` (`name`, `dtype`, ...).

    Input and output shape:
        `(batch, height, width, channels)`; height and width may be unknown.

    Example:
    >>> layer = DGDM(drop_probability=0.0, drop_rate=1.0, high_threshold=0.9,
    ...              low_threshold=None, block_size=1)
    >>> x = keras.ops.reshape(keras.ops.array([1.0, 5.0, 9.0]), (1, 1, 3, 1))
    >>> keras.ops.convert_to_numpy(layer(x, training=True)).ravel().tolist()
    [1.0, 5.0, 0.0]

    Reference:
        - [Yin et al., 2020](https://arxiv.org/abs/2003.04719)
    """

    draws_itself = False

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
        grow_background: bool = False,
        draw: str = "batch",
        use_importance_map: bool = True,
        use_drop_mask: bool = True,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(seed=seed, **kwargs)
        self.cagd = CAGD(
            drop_probability,
            selection,
            min_multiple,
            keep_fraction,
            seed=seed,
            dtype=self.dtype_policy,
            name="cagd",
        )
        self.sagd = SAGD(
            drop_rate,
            high_threshold,
            low_threshold,
            block_size,
            grow_background,
            draw,
            use_importance_map,
            use_drop_mask,
            seed=None if seed is None else seed + SEED_STEP,
            dtype=self.dtype_policy,
            name="sagd",
        )
        # The halves have checked these; they act, these are to be read.
        self.drop_probability = self.cagd.drop_probability
        self.selection = self.cagd.selection
        self.min_multiple = self.cagd.min_multiple
        self.keep_fraction = self.cagd.keep_fraction
        self.drop_rate = self.sagd.drop_rate
        self.high_threshold = self.sagd.high_threshold
        self.low_threshold = self.sagd.low_threshold
        self.block_size = self.sagd.block_size
        self.grow_background = self.sagd.grow_background
        self.draw = self.sagd.draw
        self.use_importance_map = self.sagd.use_importance_map
        self.use_drop_mask = self.sagd.use_drop_mask

    def build(self, input_shape: tuple) -> None:
        self.cagd.build(input_shape)
        self.sagd.build(input_shape)

    def maps(self, inputs: Any) -> dict[str, Any]:
        """Returns the entries of `CAGD.maps` and of `SAGD.maps`."""
        return {**self.cagd.maps(inputs), **self.sagd.maps(inputs)}

    def drop_shares(self, inputs: Any) -> dict[str, Any]:
        """Returns `"channels"` as `CAGD` and `"cells"` as `SAGD`, float32 `(B,)`."""
        return {**self.cagd.drop_shares(inputs), **self.sagd.drop_shares(inputs)}

    def factor(self, features: Any) -> Any:
        return self.cagd.factor(features) * self.sagd.factor(features)
