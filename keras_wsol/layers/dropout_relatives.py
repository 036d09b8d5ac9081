"""What the papers compare with: DropBlock, MaxDrop, targeted dropout."""

from typing import Any

import keras
from keras import ops

from keras_wsol import masks
from keras_wsol.arguments import check_bool, check_choice, check_integer, check_number
from keras_wsol.layers.attention_mask import AttentionMask

VARIANTS = ("feature_wise", "channel_wise")
MAGNITUDES = ("l2", "mean")


@keras.saving.register_keras_serializable(package="keras_wsol")
class DropBlock2D(AttentionMask):
    r"""Drops square blocks of cells at random, whatever the features show.

    Each cell around which a block fits into the map is the seed of a dropped block
    with probability \(\gamma = \frac{r}{b^2} \cdot \frac{H W}{(H-b+1)(W-b+1)}\),
    \(r\) the `rate` and \(b\) the `block_size`. About a share \(r\) of the cells is
    dropped, less where blocks overlap. With `block_size=1` this is dropout, with a
    block of the map's size `keras.layers.SpatialDropout2D`. The rate is constant; the
    paper raises it linearly from 0 in training.

    The layer has no weights. It acts only if `training` is true.

    Args:
        rate: Float in [0, 1], the paper's `1 - keep_prob`. Default 0.1 [paper:
            ResNet-50 on ImageNet].
        block_size: Integer >= 1, side of a block in cells. A longer side than the
            map's is cut to it [code]. For an even size `b` the seed `(i, j)` drops `i
            - b/2 .. i + b/2 - 1`. Default 7 [paper: ResNet-50 on ImageNet].
        per_channel: Boolean. Whether each channel has blocks of its own rather than
            those of the image. Default true [paper: "tends to work better"].
        rescale: Boolean. Whether kept values are multiplied by `count(mask) /
            count_ones(mask)` over the batch [paper: Algorithm 1; code]. In float16
            this may overflow: 6e4 times the default's 1.11 does. Default true.
        seed: Integer or `None`. Fixes the sequence of draws.
        **kwargs: Of `keras.layers.Layer` (`name`, `dtype`, ...).

    Input and output shape:
        `(batch, height, width, channels)`; height and width may be unknown.

    Example:
    >>> layer = DropBlock2D(rate=0.3, block_size=3, rescale=False, seed=1)
    >>> mask = layer(keras.ops.ones((1, 5, 9, 1)), training=True)
    >>> sorted(set(keras.ops.convert_to_numpy(mask).ravel().tolist()))
    [0.0, 1.0]

    Reference:
        - [Ghiasi, Lin and Le, 2018](https://arxiv.org/abs/1810.12890); [code]:
          `dropblock` in `tensorflow/tpu`, which takes square maps alone.
    """

    def __init__(
        self,
        rate: float = 0.1,
        block_size: int = 7,
        per_channel: bool = True,
        rescale: bool = True,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(seed=seed, **kwargs)
        self.rate = check_number("rate", rate)
        self.block_size = check_integer("block_size", block_size)
        self.per_channel = check_bool("per_channel", per_channel)
        self.rescale = check_bool("rescale", rescale)

    def factor(self, features: Any) -> Any:
        *place, channels = ops.shape(features)
        uniform = self.uniform(*place, channels if self.per_channel else 1)
        mask = masks.random_blocks(uniform, self.rate, self.block_size)
        return masks.rescale(mask) if self.rescale else mask


@keras.saving.register_keras_serializable(package="keras_wsol")
class MaxDrop(AttentionMask):
    """Drops the largest activation of each channel, or of each position, at random.

    *Feature-wise*, each channel of each image loses its largest cell with probability
    `rate`. *Channel-wise*, each position of each image loses the largest of its
    channels. Among equal maxima the first falls [code]. Where nothing is above zero
    nothing falls. No gradient flows through the mask.

    The layer has no weights. It acts only if `training` is true.

    Args:
        rate: Float in [0, 1]. Probability that a maximum is dropped. Default 0.1
            [code].
        variant: `"feature_wise"` or `"channel_wise"`. Default `"feature_wise"` [code].
        block_size: Integer >= 1, side of the square around a dropped maximum that
            falls with it in the same channel, cut at the border. For an even size `b`
            it is `i - b/2 .. i + b/2 - 1`. Default 1 [code: `kernel_h`, `kernel_w`].
        rescale: Boolean. Whether kept values are multiplied as in `DropBlock2D`.
            Default false [ours: the code multiplies feature-wise, by 1.0005 for 14 x
            14 cells].
        seed: Integer or `None`. Fixes the sequence of draws.
        **kwargs: Of `keras.layers.Layer` (`name`, `dtype`, ...).

    Input and output shape:
        `(batch, height, width, channels)`; height and width may be unknown.

    Example:
    >>> x = keras.ops.array([[1.0, 5.0], [4.0, 3.0], [2.0, 0.0]])
    >>> x = keras.ops.reshape(x, (1, 1, 3, 2))
    >>> output = MaxDrop(rate=1.0)(x, training=True)
    >>> keras.ops.convert_to_numpy(output)[0, 0].tolist()
    [[1.0, 0.0], [0.0, 3.0], [2.0, 0.0]]
    >>> output = MaxDrop(rate=1.0, variant="channel_wise")(x, training=True)
    >>> keras.ops.convert_to_numpy(output)[0, 0].tolist()
    [[1.0, 0.0], [0.0, 3.0], [0.0, 0.0]]

    Reference:
        - [Park and Kwak, 2016](https://doi.org/10.1007/978-3-319-54184-6_12); [code]:
          the authors' Caffe layer `MaxDrop`.
    """

    def __init__(
        self,
        rate: float = 0.1,
        variant: str = "feature_wise",
        block_size: int = 1,
        rescale: bool = False,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(seed=seed, **kwargs)
        self.rate = check_number("rate", rate)
        self.variant = check_choice("variant", variant, VARIANTS)
        self.block_size = check_integer("block_size", block_size)
        self.rescale = check_bool("rescale", rescale)

    def maps(self, inputs: Any) -> dict[str, Any]:
        """Returns `"maxima"`, boolean `(B, H, W, C)`. Nothing is drawn."""
        if self.variant == "feature_wise":
            return {"maxima": masks.channel_maxima(inputs)}
        return {"maxima": masks.position_maxima(inputs)}

    def factor(self, features: Any) -> Any:
        batch, height, width, channels = ops.shape(features)
        if self.variant == "feature_wise":
            uniform = self.uniform(batch, 1, 1, channels)
        else:
            uniform = self.uniform(batch, height, width, 1)
        dropped = ops.logical_and(self.maps(features)["maxima"], uniform < self.rate)
        kept = masks.grow_blocks(1.0 - ops.cast(dropped, "float32"), self.block_size)
        return masks.rescale(kept) if self.rescale else kept


@keras.saving.register_keras_serializable(package="keras_wsol")
class TargetedDropout(AttentionMask):
    """Drops channels at random among those of least magnitude.

    The `target_fraction` of an image's channels with the least magnitude are
    *eligible*. Each is dropped with probability `rate`, the others are kept. Kept
    values are not rescaled [code]. No gradient flows through the mask.

    This is targeted *unit* dropout on activations. The original ranks units by the L2
    norm of their weights and prunes them after training [paper]; here the units are
    channels, ranked image by image, and inference is untouched [ours]. `CAGD` is the
    relative whose default targets channels below a multiple of the smallest magnitude.

    The layer has no weights. It acts only if `training` is true.

    Args:
        target_fraction: Float in [0, 1]. `floor(target_fraction * channels)` channels
            are eligible, without those that tie with the smallest of the others.
            Default 0.5 [code: ResNet-32].
        rate: Float in [0, 1]. Probability that an eligible channel is dropped, drawn
            for each image and channel. Default 0.5 [code: ResNet-32].
        magnitude: `"l2"`, root mean square over height and width [ours: nearest to the
            norm of weights], or `"mean"`, magnitude of the mean, as in `CAGD`.
            Default `"l2"`.
        seed: Integer or `None`. Fixes the sequence of draws.
        **kwargs: Of `keras.layers.Layer` (`name`, `dtype`, ...).

    Input and output shape:
        `(batch, height, width, channels)`; height and width may be unknown.

    Example:
    >>> layer = TargetedDropout(target_fraction=0.5, rate=1.0)
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
        rate: float = 0.5,
        magnitude: str = "l2",
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(seed=seed, **kwargs)
        self.target_fraction = check_number("target_fraction", target_fraction)
        self.rate = check_number("rate", rate)
        self.magnitude = check_choice("magnitude", magnitude, MAGNITUDES)

    def maps(self, inputs: Any) -> dict[str, Any]:
        """Returns `"magnitude"`, float32, and `"eligible"`, boolean, `(B, 1, 1, C)`."""
        if self.magnitude == "l2":
            magnitude = masks.channel_rms(inputs)
        else:
            magnitude = ops.abs(masks.channel_attention(inputs))
        eligible = masks.smallest_channels(magnitude, self.target_fraction)
        return {"magnitude": magnitude, "eligible": eligible}

    def drop_shares(self, inputs: Any) -> dict[str, Any]:
        """Returns `"channels"`: the expected share, float32 `(B,)`, that is dropped."""
        eligible = ops.cast(self.maps(inputs)["eligible"], "float32")
        return {"channels": self.rate * ops.mean(eligible, (1, 2, 3))}

    def factor(self, features: Any) -> Any:
        return self.channel_mask(self.maps(features)["eligible"], self.rate)
