"""SqueezeExcite: a trained gate for each channel."""

from typing import Any

import keras
from keras import ops

from keras_wsol import masks
from keras_wsol.layers.arguments import check_activation, check_bool, check_integer
from keras_wsol.layers.bottleneck import bottleneck, known_channels


@keras.saving.register_keras_serializable(package="keras_wsol")
class SqueezeExcite(keras.layers.Layer):
    """Weighs each channel by a gate that is learned from all channel means.

    The mean of each channel over height and width (squeeze) passes two dense
    layers with a narrow middle (excitation); the sigmoid of the second one's
    output multiplies the channel: `x * sigmoid(W2 relu(W1 mean(x)))`.

    Unlike the dropout modules, the block has weights and acts in training and at
    inference alike; nothing is drawn at a call. Means, weights and gates are
    float32 under every dtype policy; the output has the policy's compute type.
    A new block has gates around 0.5.

    Args:
        ratio: Integer >= 1. The middle has `channels // ratio` units, at least
            one. Default 16 [paper].
        activation: Activation of the middle, a name or function of
            `keras.activations`. Default `"relu"` [paper].
        gate_activation: Activation that makes gates of the second layer's
            output. Default `"sigmoid"` [paper].
        use_bias: Boolean. Whether both layers have a bias. Default true, as in
            the released SENet and in ADL's ResNet50-SE [code]. The paper's
            formula has none, and its ablations train ResNets without.
        seed: Optional integer. Fixes the initial weights of this instance.
        **kwargs: Passed on to `keras.layers.Layer` (`name`, `dtype`, ...).

    Call arguments:
        inputs: Any features, channels last. In a residual block they are those
            of the last convolution, normalized, before the addition.

    Input shape:
        4D tensor `(batch, height, width, channels)`; all but the channels may be
        unknown until the call.

    Output shape:
        Same as the input.

    Weights:
        `2 * channels * middle`, and `middle + channels` biases.

    Raises:
        ValueError: An argument is out of its range, or the channels are unknown.
        TypeError: An argument is of the wrong type.

    Example:
    >>> import numpy as np
    >>> layer = SqueezeExcite(ratio=2, use_bias=False)
    >>> layer.build((None, None, None, 2))
    >>> layer.set_weights([np.array([[1.0], [0.0]]), np.array([[0.0, 50.0]])])
    >>> x = keras.ops.reshape(keras.ops.array([2.0, 4.0]), (1, 1, 1, 2))
    >>> keras.ops.convert_to_numpy(layer(x)).ravel().tolist()
    [1.0, 4.0]

    Reference:
        - [Hu et al., 2018](https://arxiv.org/abs/1709.01507)
    """

    def __init__(
        self,
        ratio: int = 16,
        activation: Any = "relu",
        gate_activation: Any = "sigmoid",
        use_bias: bool = True,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.input_spec = keras.layers.InputSpec(ndim=4)
        ratio = check_integer("ratio", ratio)
        check_bool("use_bias", use_bias)
        self.ratio = ratio
        self.activation = check_activation("activation", activation)
        self.gate_activation = check_activation("gate_activation", gate_activation)
        self.use_bias = use_bias
        self.seed = seed

    def build(self, input_shape: tuple) -> None:
        channels = known_channels(input_shape)
        self.squeeze, self.excite = bottleneck(
            channels,
            self.ratio,
            self.activation,
            self.use_bias,
            self.seed,
            self.trainable,
        )
        self.input_spec = keras.layers.InputSpec(ndim=4, axes={-1: channels})

    def maps(self, inputs: Any) -> dict[str, Any]:
        """Returns what the layer, once built, multiplies `inputs` by.

        Args:
            inputs: Tensor `(B, H, W, C)`.

        Returns:
            Dictionary of one float32 tensor `(B, 1, 1, C)`: `"channel_gate"`.
        """
        middle = self.squeeze(masks.channel_attention(inputs))
        return {"channel_gate": self.gate_activation(self.excite(middle))}

    def call(self, inputs: Any) -> Any:
        # Cast once, so that in float16 both paths of the gradient meet in float32.
        features = ops.cast(inputs, "float32")
        gate = self.maps(features)["channel_gate"]
        return ops.cast(masks.multiply(features, gate), inputs.dtype)

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "ratio": self.ratio,
            "activation": keras.activations.serialize(self.activation),
            "gate_activation": keras.activations.serialize(self.gate_activation),
            "use_bias": self.use_bias,
            "seed": self.seed,
        }
