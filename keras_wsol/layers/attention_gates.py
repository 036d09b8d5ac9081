"""Trained gates: squeeze-and-excitation, and CBAM."""

from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from keras_wsol import masks
from keras_wsol.arguments import check_bool, check_integer

# Far from 1, so that blocks with neighbouring seeds do not start from the same
# numbers.
SEED_STEP = 1_000_003


def check_activation(name: str, value: Any) -> Callable[[Any], Any]:
    """Returns the activation that `value` names or is."""
    try:
        return keras.activations.get(value)
    except (ValueError, TypeError) as error:
        raise ValueError(
            f"`{name}` must be an activation: a function, or a name of "
            f"`keras.activations`. Received: {name}={value!r}."
        ) from error


def derived_seed(seed: int | None, number: int) -> int | None:
    """Gives each weight of a block a seed of its own.

    Args:
        seed: The block's `seed`.
        number: Which weight it is, from 0.

    Returns:
        Integer, or `None` where `seed` is.

    Example:
    >>> derived_seed(7, 0), derived_seed(7, 1), derived_seed(None, 1)
    (7, 1000010, None)
    """
    return None if seed is None else seed + SEED_STEP * number


def bottleneck(
    channels: int,
    ratio: int,
    activation: Callable[[Any], Any],
    use_bias: bool,
    seed: int | None,
    trainable: bool,
) -> tuple[keras.layers.Dense, keras.layers.Dense]:
    """Makes the two layers, built for `(B, 1, 1, channels)`, in float32.

    float32 under every policy: a sum over some thousand channels overflows in
    float16, and so does its gradient. Kernels start as in the released code of
    SENet (Caffe's `msra`) and of ADL's ResNet50-SE (Tensorpack's default), both
    of which are `he_normal`.

    Args:
        channels: Integer, channels of the features.
        ratio: Integer >= 1. The middle has `channels // ratio` units, at least 1.
        activation: Function after the first layer.
        use_bias: Boolean.
        seed: Integer or `None`.
        trainable: Boolean. A block that is frozen when it is built has to freeze
            its parts itself; later changes reach them through Keras.

    Returns:
        `(squeeze, excite)`: channels to middle, middle to channels.

    Example:
    >>> squeeze, excite = bottleneck(32, 16, keras.ops.relu, True, None, True)
    >>> tuple(squeeze.kernel.shape), tuple(excite.kernel.shape)
    ((32, 2), (2, 32))
    """
    middle = max(1, channels // ratio)
    squeeze, excite = (
        keras.layers.Dense(
            units,
            activation=function,
            use_bias=use_bias,
            kernel_initializer=keras.initializers.HeNormal(derived_seed(seed, number)),
            dtype="float32",
            trainable=trainable,
            name=name,
        )
        for number, (name, units, function) in enumerate(
            [("squeeze", middle, activation), ("excite", channels, None)]
        )
    )
    squeeze.build((None, 1, 1, channels))
    excite.build((None, 1, 1, middle))
    return squeeze, excite


def known_channels(input_shape: tuple) -> int:
    """Returns the number of channels, on which the shapes of weights depend.

    Args:
        input_shape: `(B, H, W, C)`, where all but C may be `None`.

    Returns:
        C.

    Raises:
        ValueError: C is `None`.
    """
    if input_shape[-1] is None:
        raise ValueError(
            "The number of channels has to be known when the layer is built. "
            f"Received: input_shape={tuple(input_shape)}."
        )
    return input_shape[-1]


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


@keras.saving.register_keras_serializable(package="keras_wsol")
class CBAM(keras.layers.Layer):
    """Convolutional block attention module: what to attend to, then where.

    *Channel attention*: the mean and the maximum of each channel pass the same
    two dense layers with a narrow middle; the sigmoid of the sum of both outputs
    multiplies the channel. *Spatial attention*, of what that gives: the mean and
    the maximum over channels of each position pass one convolution; the sigmoid
    of its output multiplies the position.

    Unlike the dropout modules, the block has weights and acts in training and at
    inference alike; nothing is drawn at a call. Statistics, weights and gates
    are float32 under every dtype policy; the output has the policy's compute
    type. A new block has gates around 0.5.

    Args:
        ratio: Integer >= 1. The middle has `channels // ratio` units, at least
            one. Default 16 [paper].
        kernel_size: Odd integer >= 1, side of the convolution's window; the map
            is padded with zeros. Default 7 [paper: better than 3].
        activation: Activation of the middle, a name or function of
            `keras.activations`. Default `"relu"` [paper].
        gate_activation: Activation that makes both kinds of gates. Default
            `"sigmoid"` [paper].
        use_bias: Boolean. Whether the dense layers and the convolution have a
            bias. Default true: the released code has it in the dense layers, and
            normalizes the convolution's output, with a shift, over the batch;
            the paper's formulas have neither, and no normalization is done here.
        channel: Boolean. If false, the channel attention is left out [paper,
            ablation].
        spatial: Boolean. If false, the spatial attention is left out [paper,
            ablation]. One of both has to be there.
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
        `2 * channels * middle + 2 * kernel_size ** 2`, and
        `middle + channels + 1` biases.

    Raises:
        ValueError: An argument is out of its range, or the channels are unknown.
        TypeError: An argument is of the wrong type.

    Example:
    >>> import numpy as np
    >>> layer = CBAM(kernel_size=1, channel=False, use_bias=False)
    >>> layer.build((None, None, None, 2))
    >>> of_mean, of_maximum = 50.0, 0.0
    >>> layer.set_weights([np.array([of_mean, of_maximum]).reshape(1, 1, 2, 1)])
    >>> x = keras.ops.reshape(keras.ops.array([2.0, 4.0, -1.0, 1.0]), (1, 1, 2, 2))
    >>> keras.ops.convert_to_numpy(layer(x)).ravel().tolist()
    [2.0, 4.0, -0.5, 0.5]

    Reference:
        - [Woo et al., 2018](https://arxiv.org/abs/1807.06521)
    """

    def __init__(
        self,
        ratio: int = 16,
        kernel_size: int = 7,
        activation: Any = "relu",
        gate_activation: Any = "sigmoid",
        use_bias: bool = True,
        channel: bool = True,
        spatial: bool = True,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.input_spec = keras.layers.InputSpec(ndim=4)
        ratio = check_integer("ratio", ratio)
        kernel_size = check_integer("kernel_size", kernel_size)
        if kernel_size % 2 == 0:
            raise ValueError(
                "`kernel_size` must be odd, so that the window is centred. "
                f"Received: kernel_size={kernel_size}."
            )
        check_bool("use_bias", use_bias)
        check_bool("channel", channel)
        check_bool("spatial", spatial)
        if not (channel or spatial):
            raise ValueError(
                "One of `channel` and `spatial` must be true. Received: "
                "channel=False, spatial=False. For no attention, leave the layer out."
            )
        self.ratio = ratio
        self.kernel_size = kernel_size
        self.activation = check_activation("activation", activation)
        self.gate_activation = check_activation("gate_activation", gate_activation)
        self.use_bias = use_bias
        self.channel = channel
        self.spatial = spatial
        self.seed = seed

    def build(self, input_shape: tuple) -> None:
        channels = known_channels(input_shape)
        if self.channel:
            self.squeeze, self.excite = bottleneck(
                channels,
                self.ratio,
                self.activation,
                self.use_bias,
                self.seed,
                self.trainable,
            )
        if self.spatial:
            self.convolution = self._build_convolution()
        self.input_spec = keras.layers.InputSpec(ndim=4, axes={-1: channels})

    def _build_convolution(self) -> keras.layers.Conv2D:
        convolution = keras.layers.Conv2D(
            1,
            self.kernel_size,
            padding="same",
            data_format="channels_last",
            use_bias=self.use_bias,
            kernel_initializer=keras.initializers.HeNormal(derived_seed(self.seed, 2)),
            dtype="float32",
            trainable=self.trainable,
            name="convolution",
        )
        convolution.build((None, None, None, 2))
        return convolution

    def _channel_gate(self, features: Any) -> Any:
        mean = masks.channel_attention(features)
        maximum = ops.max(features, axis=(1, 2), keepdims=True)
        outputs = [self.excite(self.squeeze(pooled)) for pooled in (mean, maximum)]
        return self.gate_activation(outputs[0] + outputs[1])

    def _spatial_gate(self, features: Any) -> Any:
        mean = masks.spatial_attention(features)
        maximum = ops.max(features, axis=-1, keepdims=True)
        pooled = ops.concatenate([mean, maximum], axis=-1)
        return self.gate_activation(self.convolution(pooled))

    def _attend(self, inputs: Any) -> tuple[Any, dict[str, Any]]:
        """float32 output, and the gates that led to it."""
        features = ops.cast(inputs, "float32")
        gates = {}
        if self.channel:
            gates["channel_gate"] = self._channel_gate(features)
            features = masks.multiply(features, gates["channel_gate"])
        if self.spatial:
            gates["spatial_gate"] = self._spatial_gate(features)
            features = masks.multiply(features, gates["spatial_gate"])
        return features, gates

    def maps(self, inputs: Any) -> dict[str, Any]:
        """Returns what the layer, once built, multiplies `inputs` by.

        Args:
            inputs: Tensor `(B, H, W, C)`.

        Returns:
            Dictionary of float32 tensors, those that are switched on:
            `"channel_gate"` `(B, 1, 1, C)` and `"spatial_gate"` `(B, H, W, 1)`.
        """
        return self._attend(inputs)[1]

    def call(self, inputs: Any) -> Any:
        return ops.cast(self._attend(inputs)[0], inputs.dtype)

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "ratio": self.ratio,
            "kernel_size": self.kernel_size,
            "activation": keras.activations.serialize(self.activation),
            "gate_activation": keras.activations.serialize(self.gate_activation),
            "use_bias": self.use_bias,
            "channel": self.channel,
            "spatial": self.spatial,
            "seed": self.seed,
        }
