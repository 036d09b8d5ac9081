"""ADL: hides the most discriminative part, or else highlights it."""

from typing import Any

import keras
from keras import ops

from keras_wsol import masks
from keras_wsol.arguments import check_bool, check_choice, check_number
from keras_wsol.layers.attention_mask import DRAWS, draw_first


@keras.saving.register_keras_serializable(package="keras_wsol")
class ADL(keras.layers.Layer):
    """Hides, or else highlights, the most discriminative part of a feature map.

    The layer averages its input over channels to get an attention map, and makes
    two candidates from it: a *drop mask*, zero where the attention reaches
    `drop_threshold` times the maximum of that image, and an *importance map*,
    the sigmoid of the attention. One draw picks the candidate; the input is
    multiplied by it. Kept values are not rescaled. Gradients flow through the
    importance map and not through the mask.

    The layer has no weights. It acts only if `training` is true; otherwise it
    returns its input, so an exported model contains no trace of it.

    Args:
        drop_rate: Float in [0, 1]. Probability that a call uses the drop mask
            rather than the importance map. Default 0.75 [paper].
        drop_threshold: Float in [0, 1]. Share of an image's maximum attention
            from which on a cell is dropped; lower hides more. The maximum is
            always dropped, the only cell of a 1x1 map too, except in an image whose
            maximum is not above zero, which drops nothing [ours: the released code
            would erase it whole].
            Default 0.8 [paper: VGG-GAP and InceptionV3; 0.9 for ResNet, 0.95
            for MobileNetV1: `build_classifier` sets these].
        draw: `"batch"`: one draw a call for the whole batch [paper: "at each
            iteration"]. `"sample"`: one for each image; on CUB-40 0.7 points of Top-1
            Loc less (95 % interval -2.5 to +1.0, one seed, row `adl-sample` of
            `examples/results/study-cub40.csv`).
        seed: Optional integer. Fixes the sequence of draws of this instance.
        importance_map: Boolean. If false, a call that does not use the drop
            mask passes its input on [paper, ablation].
        drop_mask: Boolean. If false, a call that would use the drop mask passes
            its input on [paper, ablation].
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
        importance_map: bool = True,
        drop_mask: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.input_spec = keras.layers.InputSpec(ndim=4)
        drop_rate = check_number("drop_rate", drop_rate)
        drop_threshold = check_number("drop_threshold", drop_threshold)
        check_choice("draw", draw, DRAWS)
        check_bool("importance_map", importance_map)
        check_bool("drop_mask", drop_mask)
        self.drop_rate = drop_rate
        self.drop_threshold = drop_threshold
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
            "drop_mask": masks.drop_mask(attention, self.drop_threshold),
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

    def call(self, inputs: Any, training: bool = False) -> Any:
        if not training:
            return inputs
        features = ops.cast(inputs, "float32")
        maps = self.maps(features)
        ones = ops.ones_like(maps["attention"])
        factor = ops.where(
            draw_first(inputs, self.drop_rate, self.draw, self.seed_generator),
            maps["drop_mask"] if self.drop_mask else ones,
            maps["importance_map"] if self.importance_map else ones,
        )
        return ops.cast(features * factor, inputs.dtype)

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "drop_rate": self.drop_rate,
            "drop_threshold": self.drop_threshold,
            "draw": self.draw,
            "importance_map": self.importance_map,
            "drop_mask": self.drop_mask,
            "seed": self.seed,
        }
