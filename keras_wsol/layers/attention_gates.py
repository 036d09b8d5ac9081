"""Trained gates: squeeze-and-excitation, and CBAM."""

from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from keras_wsol import masks
from keras_wsol.arguments import check_bool, check_integer
from keras_wsol.layers.attention_mask import SEED_STEP, MapLayer


class AttentionGate(MapLayer):
    """Base: multiplies its input by gates of all channel means; has weights."""

    def __init__(
        self,
        ratio: int,
        activation: Any,
        gate_activation: Any,
        use_bias: bool,
        seed: int | None,
        **kwargs: Any,
    ) -> None:
        super().__init__(seed=seed, **kwargs)
        self.ratio = check_integer("ratio", ratio)
        self.activation = check_activation("activation", activation)
        self.gate_activation = check_activation("gate_activation", gate_activation)
        self.use_bias = check_bool("use_bias", use_bias)

    def build(self, input_shape: tuple) -> None:
        channels = input_shape[-1]
        if channels is None:
            raise ValueError(
                "The number of channels has to be known when the layer is built. "
                f"Received: input_shape={tuple(input_shape)}."
            )
        self.build_parts(channels)
        self.input_spec = keras.layers.InputSpec(ndim=4, axes={-1: channels})

    def build_parts(self, channels: int) -> None:
        """Makes the layers with weights."""
        raise NotImplementedError

    def build_bottleneck(self, channels: int) -> None:
        """Makes the two dense layers: channels to a narrow middle, and back."""
        middle = max(1, channels // self.ratio)
        self.squeeze = self.part(
            0, keras.layers.Dense, middle, activation=self.activation, name="squeeze"
        )
        self.excite = self.part(1, keras.layers.Dense, channels, name="excite")
        self.squeeze.build((None, 1, 1, channels))
        self.excite.build((None, 1, 1, middle))

    def part(self, number: int, kind: type, *args: Any, **kwargs: Any) -> Any:
        """Makes a layer with weights: in float32, with the initial values of SENet."""
        # float32 under every policy: a sum over some thousand channels overflows in
        # float16, and so does its gradient. `he_normal` is Caffe's `msra` (SENet) and
        # Tensorpack's default (ADL's ResNet50-SE).
        seed = None if self.seed is None else self.seed + SEED_STEP * number
        return kind(
            *args,
            use_bias=self.use_bias,
            kernel_initializer=keras.initializers.HeNormal(seed),
            dtype="float32",
            # A block that is frozen when it is built has to freeze its parts itself;
            # later changes reach them through Keras.
            trainable=self.trainable,
            **kwargs,
        )

    def open_gates(self) -> None:
        """Lets all channels start with gates near 1, so that they keep their scale."""
        bias = self.excite.bias
        bias.assign(ops.full(bias.shape, 4.0))  # whose sigmoid is 0.98

    def attend(self, features: Any) -> tuple[Any, dict[str, Any]]:
        """The output in float32, and the gates that led to it."""
        raise NotImplementedError

    def maps(self, inputs: Any) -> dict[str, Any]:
        """Returns the gates that the built layer multiplies `inputs` by, float32.

        `"channel_gate"` is `(B, 1, 1, C)`; CBAM's `"spatial_gate"` is `(B, H, W, 1)`.
        """
        return self.attend(ops.cast(inputs, "float32"))[1]

    def call(self, inputs: Any) -> Any:
        # Cast once, so that in float16 both paths of the gradient meet in float32.
        features, _ = self.attend(ops.cast(inputs, "float32"))
        return ops.cast(features, inputs.dtype)


def check_activation(name: str, value: Any) -> Callable[[Any], Any]:
    """Returns the activation that `value` names or is."""
    try:
        return keras.activations.get(value)
    except (ValueError, TypeError) as error:
        raise ValueError(
            f"`{name}` must be an activation: a function, or a name of "
            f"`keras.activations`. Received: {name}={value!r}."
        ) from error


@keras.saving.register_keras_serializable(package="keras_wsol")
class SqueezeExcite(AttentionGate):
    """Weighs each channel by a gate that is learned from all channel means.

    The means over height and width (squeeze) pass two dense layers with a narrow middle
    (excitation): `x * sigmoid(W2 relu(W1 mean(x)))`. The block has weights and acts in
    training and at inference. Means, weights and gates are float32 under every dtype
    policy. A new block has gates around 0.5.

    Args:
        ratio: Integer >= 1. The middle has `channels // ratio` units, at least one.
            Default 16 [paper].
        activation: Name or function, of the middle. Default `"relu"` [paper].
        gate_activation: Name or function, of the gates. Default `"sigmoid"` [paper].
        use_bias: Boolean. Whether both layers have a bias. Default true [code: SENet
            and ADL's ResNet50-SE; the paper's formula has none].
        seed: Integer or `None`. Fixes the initial weights.
        **kwargs: Of `keras.layers.Layer` (`name`, `dtype`, ...).

    Input and output shape:
        `(batch, height, width, channels)`; all but the channels may be unknown. In a
        residual block it belongs before the addition.

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
        super().__init__(ratio, activation, gate_activation, use_bias, seed, **kwargs)

    def build_parts(self, channels: int) -> None:
        self.build_bottleneck(channels)

    def attend(self, features: Any) -> tuple[Any, dict[str, Any]]:
        middle = self.squeeze(masks.channel_attention(features))
        gate = self.gate_activation(self.excite(middle))
        return features * gate, {"channel_gate": gate}


@keras.saving.register_keras_serializable(package="keras_wsol")
class CBAM(AttentionGate):
    """Convolutional block attention module: what to attend to, then where.

    *Channel attention*: the mean and the maximum of each channel pass the same two
    dense layers with a narrow middle; the sigmoid of the sum multiplies the channel.
    *Spatial attention* of the result: the mean and the maximum over channels pass one
    convolution; the sigmoid of its output multiplies the position.

    The block has weights and acts in training and at inference. Weights and gates are
    float32 under every dtype policy. A new block has gates around 0.5.

    Args:
        ratio: Integer >= 1. The middle has `channels // ratio` units, at least one.
            Default 16 [paper].
        kernel_size: Odd integer, side of the convolution's window, zero-padded.
            Default 7 [paper: better than 3].
        activation: Name or function, of the middle. Default `"relu"` [paper].
        gate_activation: Name or function, of both gates. Default `"sigmoid"` [paper].
        use_bias: Boolean, for dense layers and convolution. Default true [ours: the
            code has it in the dense layers, the paper's formulas have none].
        channel: Boolean. Whether there is channel attention [paper, ablation].
        spatial: Boolean. Whether there is spatial attention [paper, ablation].
        seed: Integer or `None`. Fixes the initial weights.
        **kwargs: Of `keras.layers.Layer` (`name`, `dtype`, ...).

    Input and output shape:
        `(batch, height, width, channels)`; all but the channels may be unknown.

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
        super().__init__(ratio, activation, gate_activation, use_bias, seed, **kwargs)
        self.kernel_size = check_integer("kernel_size", kernel_size)
        if self.kernel_size % 2 == 0:
            raise ValueError(
                "`kernel_size` must be odd, so that the window is centred. "
                f"Received: kernel_size={kernel_size}."
            )
        self.channel = check_bool("channel", channel)
        self.spatial = check_bool("spatial", spatial)
        if not (channel or spatial):
            raise ValueError(
                "One of `channel` and `spatial` must be true. Received: "
                "channel=False, spatial=False. For no attention, leave the layer out."
            )

    def build_parts(self, channels: int) -> None:
        if self.channel:
            self.build_bottleneck(channels)
        if self.spatial:
            self.convolution = self.part(
                2,
                keras.layers.Conv2D,
                1,
                self.kernel_size,
                padding="same",
                data_format="channels_last",
                name="convolution",
            )
            self.convolution.build((None, None, None, 2))

    def attend(self, features: Any) -> tuple[Any, dict[str, Any]]:
        gates = {}
        if self.channel:
            mean = masks.channel_attention(features)
            maximum = ops.max(features, axis=(1, 2), keepdims=True)
            both = [self.excite(self.squeeze(pooled)) for pooled in (mean, maximum)]
            gates["channel_gate"] = self.gate_activation(both[0] + both[1])
            features = features * gates["channel_gate"]
        if self.spatial:
            mean = masks.spatial_attention(features)
            maximum = ops.max(features, axis=-1, keepdims=True)
            pooled = ops.concatenate([mean, maximum], axis=-1)
            gates["spatial_gate"] = self.gate_activation(self.convolution(pooled))
            features = features * gates["spatial_gate"]
        return features, gates
