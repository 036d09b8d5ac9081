"""Layers of a classifier: the normalizations of images and batches, and the logits."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from keras_wsol.arguments import check_choice, composed
from keras_wsol.cam.gradient import MEAN_COLOUR

MODES = ("tf", "caffe", "torch")
# Mode, or None for images as they are, to what it makes of ImageNet's mean colour.
NORMALIZED_MEANS = {
    None: MEAN_COLOUR,
    "tf": tuple(value / 127.5 - 1 for value in MEAN_COLOUR),
    "caffe": 0.0,
    "torch": 0.0,
}


@keras.saving.register_keras_serializable(package="keras_wsol")
class ImageNetNormalization(keras.layers.Layer):
    """Preprocesses images in [0, 255] as `keras.applications` does, inside the model.

    The modes: `"tf"` gives [-1, 1]; `"caffe"` BGR less the mean colour; `"torch"` what
    is in [0, 1] less the mean, over the deviation. It works in float32 under every
    dtype policy: float16 cannot tell 200.1 from 200.0.
    """

    def __init__(self, mode: str, **kwargs: Any) -> None:
        super().__init__(**{**kwargs, "dtype": "float32"})
        self.mode = check_choice("mode", mode, MODES)

    def call(self, inputs: Any) -> Any:
        # A copy: on PyTorch, Keras' function writes into what it is given.
        images = ops.copy(ops.cast(inputs, "float32"))
        return keras.applications.imagenet_utils.preprocess_input(
            images, data_format="channels_last", mode=self.mode
        )

    def compute_output_spec(self, inputs: Any) -> Any:
        return keras.KerasTensor(inputs.shape, "float32")

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "mode": self.mode}


_LEAST_EPSILON = 1e-5  # of cuDNN


@keras.saving.register_keras_serializable(package="keras_wsol")
class FusedBatchNormalization(keras.layers.BatchNormalization):
    """Keras' batch normalization, which trains by TensorFlow's fused kernel.

    Keras 3 trains by a dozen operations, each of which reads the whole map; XLA fuses
    them, but is left out on CPUs. Inference, and what the kernel lacks, is Keras' own.
    """

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        usual = self.epsilon >= _LEAST_EPSILON and self.variable_dtype == "float32"
        usual = usual and not (self.synchronized or self.renorm) and mask is None
        usual = usual and len(inputs.shape) == 4 and self.axis in (-1, 3)
        on_tensorflow = keras.backend.backend() == "tensorflow"
        if not (training and self.trainable and usual and on_tensorflow):
            return super().call(inputs, training=training, mask=mask)
        import tensorflow as tf

        shape = self.moving_mean.shape
        outputs, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
            x=ops.cast(inputs, self.compute_dtype),
            scale=self.gamma.value if self.scale else tf.ones(shape),
            offset=self.beta.value if self.center else tf.zeros(shape),
            mean=[],
            variance=[],
            epsilon=self.epsilon,
        )
        # Of a sample, as the kernel has it; Keras keeps that of the batch.
        count = tf.cast(tf.size(inputs) // tf.size(mean), "float32")
        variance *= (count - 1) / count
        for moving, new in (
            (self.moving_mean, mean),
            (self.moving_variance, variance),
        ):
            moving.assign(moving * self.momentum + new * (1.0 - self.momentum))
        return outputs


@keras.saving.register_keras_serializable(package="keras_wsol")
class Logits(keras.layers.Dense):
    """A `Dense` layer that carries class names through cloning, saving and export."""

    def __init__(
        self, units: int, class_names: Sequence[str] | None = None, **kwargs: Any
    ) -> None:
        super().__init__(units, **kwargs)
        if class_names is not None:
            class_names = check_class_names(class_names, units)
        self.class_names = class_names

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "class_names": self.class_names}


def check_class_names(names: Sequence[str], units: int) -> tuple[str, ...]:
    """Returns the names as strings, or raises unless there is one of each class."""
    names = tuple(composed(str(name)) for name in names)
    if len(names) != units or len(set(names)) != units:
        raise ValueError(
            f"`class_names` must be {units} different names. Received "
            f"{len(names)}, {len(set(names))} of them different."
        )
    return names
