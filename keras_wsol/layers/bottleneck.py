"""Two dense layers with a narrow middle: what decides on a gate for each channel."""

from collections.abc import Callable
from typing import Any

import keras

# Far from 1, so that blocks with neighbouring seeds do not start from the same
# numbers.
SEED_STEP = 1_000_003


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
