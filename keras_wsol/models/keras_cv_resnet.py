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
    """Builds a ResNet of two 3x3 convolutions a block with KerasCV."""
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
