"""ADL: hides the most discriminative part, or else highlights it."""

from typing import Any

import keras

from keras_wsol import masks
from keras_wsol.arguments import check_number
from keras_wsol.layers.attention_mask import MaskOrImportance


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
