"""The table of methods: what is inserted into a backbone."""

from collections.abc import Callable, Mapping
from functools import partial

import keras

from keras_wsol.layers import (
    ADL,
    CAGD,
    CBAM,
    DFM,
    DGDM,
    SAGD,
    Cutout,
    DropBlock2D,
    MaxDrop,
    SqueezeExcite,
    TargetedDropout,
)

# The layer that images go through first; a place for what hides parts of the input.
NORMALIZATION = "normalization"

# `None`: the plain classifier, whose class activation maps are read. Below the line,
# what the papers compare their modules with.
METHODS: Mapping[str, Callable[..., keras.layers.Layer] | None] = {
    "cam": None,
    "adl": ADL,
    "dfm": DFM,
    "dgdm": DGDM,
    "cagd": CAGD,
    "sagd": SAGD,
    # ---
    "se": SqueezeExcite,
    "cbam": CBAM,
    # The rate is ours: Keras has no default, and the papers name none for this use.
    "spatial_dropout": partial(keras.layers.SpatialDropout2D, rate=0.2),
    "dropblock": DropBlock2D,
    "maxdrop": MaxDrop,
    "targeted_dropout": TargetedDropout,
    "cutout": Cutout,
}

# Where a method goes whatever the backbone, instead of the places of its row. Cutout
# hides a square of the normalized image, so that its default of 0 is the mean colour
# (mid-grey for backbones that scale to [-1, 1]).
METHOD_PLACES: Mapping[str, tuple[str, ...]] = {"cutout": (NORMALIZATION,)}


def options_of_size(method: str, input_shape: tuple[int, int, int]) -> dict[str, int]:
    """Returns the options of a method that depend on the size of the images.

    Args:
        method: A row of `METHODS`.
        input_shape: Height, width and 3.

    Returns:
        Constructor arguments: for Cutout a square of half the shorter side, as its
        paper's 16 pixels are of 32; none for the others.

    Example:
    >>> options_of_size("cutout", (224, 320, 3)), options_of_size("adl", (224, 224, 3))
    ({'size': 112}, {})
    """
    return {"size": min(input_shape[:2]) // 2} if method == "cutout" else {}
