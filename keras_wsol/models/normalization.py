"""The normalization that a backbone's weights were trained with, as a layer."""

from typing import Any

import keras
from keras import ops

MODES = ("tf", "caffe", "torch")


@keras.saving.register_keras_serializable(package="keras_wsol")
class ImageNetNormalization(keras.layers.Layer):
    """Turns images in [0, 255] into what a backbone of `keras.applications` takes.

    It is `keras.applications`' own preprocessing as a layer, so that it travels
    inside the model. It works in float32 under every dtype policy: float16 cannot
    tell 200.1 from 200.0.

    Args:
        mode: `"tf"`: to [-1, 1]. `"caffe"`: BGR less the mean colour.
            `"torch"`: to [0, 1], then less the mean, over the deviation.
        **kwargs: Passed on to `keras.layers.Layer` (`name`, ...).

    Call arguments:
        inputs: RGB images `(batch, height, width, 3)` in [0, 255], of any number
            type.

    Output shape:
        Same as the input, float32.

    Raises:
        ValueError: `mode` is unknown.

    Example:
    >>> layer = ImageNetNormalization("tf")
    >>> images = keras.ops.full((1, 1, 1, 3), 255.0)
    >>> keras.ops.convert_to_numpy(layer(images)).ravel().tolist()
    [1.0, 1.0, 1.0]
    """

    def __init__(self, mode: str, **kwargs: Any) -> None:
        super().__init__(**{**kwargs, "dtype": "float32"})
        if mode not in MODES:
            raise ValueError(
                f"`mode` must be one of {list(MODES)}. Received: mode={mode!r}."
            )
        self.mode = mode

    def call(self, inputs: Any) -> Any:
        return keras.applications.imagenet_utils.preprocess_input(
            ops.cast(inputs, "float32"), data_format="channels_last", mode=self.mode
        )

    def compute_output_spec(self, inputs: Any) -> Any:
        return keras.KerasTensor(inputs.shape, "float32")

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "mode": self.mode}
