"""DropBlock2D: drops square blocks at random places."""

from typing import Any

import keras
from keras import ops

from keras_wsol import masks
from keras_wsol.layers.arguments import check_bool, check_integer, check_number


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
