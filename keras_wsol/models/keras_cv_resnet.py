"""ResNets of basic blocks, which Keras does not have, as KerasCV builds them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras

STAGE_FILTERS = (64, 128, 256, 512)


def keras_cv_resnet(
    *,
    blocks: Sequence[int],
    include_top: bool = False,
    weights: str | Path | None = None,
    input_shape: tuple[int | None, int | None, int] = (224, 224, 3),
) -> keras.Model:
    """Builds a ResNet of two 3x3 convolutions a block with KerasCV.

    It is the generic constructor, which downloads nothing: KerasCV's presets
    `"resnet18"` and `"resnet34"` are the same graph without trained weights. Its
    stages are called `v2_stack_0` to `v2_stack_3` though the blocks are those of
    version 1: normalized and rectified behind the convolution.

    Args:
        blocks: Residual blocks of each of the four stages: (2, 2, 2, 2) is ResNet18,
            (3, 4, 6, 3) ResNet34.
        include_top: There is no top to include; here because the functions of
            `keras.applications` have it.
        weights: `None`, or path of an `.h5` file that `save_weights` of such a
            backbone wrote.
        input_shape: Height, width and 3.

    Returns:
        A functional model of images as they come (nothing is rescaled inside), named
        by its number of layers, with the output of the last block.

    Raises:
        ImportError: KerasCV is missing; `pip install "keras-wsol[keras-cv]"`.
        ValueError: `weights` is `"imagenet"`, or there is a top asked for.

    Example:
        model = keras_cv_resnet(blocks=(2, 2, 2, 2), input_shape=(224, 224, 3))
    """
    name = f"resnet{2 + 2 * sum(blocks)}"
    if include_top:
        raise ValueError(f"KerasCV's {name} has no top. Received: include_top=True.")
    if weights == "imagenet":
        raise ValueError(
            f"`weights` of {name!r} must be None (random) or the path of a file: "
            "KerasCV has published none for it. Received: weights='imagenet'."
        )
    backbone = _constructor(name)(
        stackwise_filters=list(STAGE_FILTERS),
        stackwise_blocks=list(blocks),
        stackwise_strides=[1, 2, 2, 2],
        block_type="basic_block",
        include_rescaling=False,
        input_shape=tuple(input_shape),
        name=name,
    )
    if weights is not None:
        backbone.load_weights(str(weights))
    return keras.Model(backbone.inputs[0], backbone.output, name=name)


def _constructor(name: str) -> Any:
    try:
        from keras_cv.models import ResNetBackbone
    except ImportError as error:
        raise ImportError(
            f'The backbone {name!r} needs KerasCV: pip install "keras-wsol[keras-cv]". '
            f"(Importing it failed: {error}.)"
        ) from error
    return ResNetBackbone
