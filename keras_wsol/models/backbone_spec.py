"""What a row of the table of backbones is made of."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import keras

from keras_wsol.models.parts import NORMALIZED_MEANS

# The layer that images go through first; a place for layers that hide image parts.
NORMALIZATION = "normalization"

Options = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class BackboneSpec:
    """A backbone and its presets.

    Unnamed layers go by type and number: `conv2d_29`.

    Attributes:
        build: Function of `keras.applications`, called with `include_top`, `weights`,
            `input_shape` and the row's `options`.
        normalization: Mode of the normalization layer; `None` leaves images alone.
        features: Name of the layer whose output the head reads.
        drop_after: Layers after which a method's layer is inserted.
        source: Where places and options come from, in one line.
        map_sizes: Side of the last map at 224 pixels to the changed configuration
            entries by layer. The first is the default.
        inserted_blocks: Name of a block of the backbone to the layer that it follows.
        block: Function of `name` and `seed` that makes these blocks.
        head_convolutions: Default number of 3x3x1024 convolutions after `features`.
        method_drop_after: Method to its places, where they are not `drop_after`.
        method_map_size: Method to its default of the `map_size`.
        presets: Method to the layer options that differ from the defaults.
        place_presets: Method to place to options of that place alone.
        options: Options of `build` that the caller may set, with their defaults.
        extra: Name of the extra of this package that `build` needs, or `None`.
    """

    build: Callable[..., keras.Model]
    normalization: str | None
    features: str
    drop_after: tuple[str, ...]
    source: str
    map_sizes: Mapping[int, Mapping[str, Options]] = field(default_factory=dict)
    inserted_blocks: Mapping[str, str] = field(default_factory=dict)
    block: Callable[..., keras.layers.Layer] | None = None
    head_convolutions: int = 0
    method_drop_after: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    method_map_size: Mapping[str, int] = field(default_factory=dict)
    presets: Mapping[str, Options] = field(default_factory=dict)
    place_presets: Mapping[str, Mapping[str, Options]] = field(default_factory=dict)
    options: Options = field(default_factory=dict)
    extra: str | None = None

    def places(self, method: str) -> tuple[str, ...]:
        """Returns the layers after which `method` inserts its layer."""
        # Cutout's default fill, 0, is the mean colour of a normalized image (mid-grey
        # where images are scaled to [-1, 1]).
        image = dict.fromkeys(("cutout", "has"), (NORMALIZATION,))
        nowhere = dict.fromkeys(("acol", "cutmix", "trilite"), ())
        own = {**image, **nowhere, **self.method_drop_after}
        return own.get(method, self.drop_after)

    def preset(
        self, method: str, place: str, input_shape: Sequence[int]
    ) -> dict[str, Any]:
        """Returns the options of `method` at `place` that the tables set."""
        # The rate is ours: Keras has no default, and the papers name none.
        everywhere = {
            "spatial_dropout": {"rate": 0.2},
            "cutout": {"size": min(input_shape[:2]) // 2},
            "has": {"fill_value": NORMALIZED_MEANS[self.normalization]},
        }
        return {
            **everywhere.get(method, {}),
            **self.presets.get(method, {}),
            **self.place_presets.get(method, {}).get(place, {}),
        }


# Of the paper, for CUB; narrow backbones are ours.
BAS_RESNET = {"area_weight": 1.2, "foreground_weight": 0.5}
BAS_VGG = {"area_weight": 0.7, "foreground_weight": 0.0, "top_k": 80}
BAS_NARROW = {**BAS_RESNET, "convolutions": 0}
# What a study of the MobileNets chose.
GROWN = {name: {"grow_background": True} for name in ("sagd", "dgdm")}
# Of the methods with several heads, in narrow backbones, and of SPG in ResNets: from
# the evaluation code of Choe et al., 2020.
NARROW: Mapping[str, Options] = {
    "acol": {"convolutions": 0},
    "spg": {"filters": 256},
    "danet": {"convolutions": 0},
}


def row_of(
    adl: float,
    drop_after: tuple[str, ...],
    bas: Options = BAS_RESNET,
    presets: Mapping[str, Options] = MappingProxyType({}),
    **entries: Any,
) -> BackboneSpec:
    """A row with ADL's threshold, SAGD's background share in the middle, and BAS."""
    background = {place: {"low_threshold": 0.2} for place in drop_after[:-1]}
    return BackboneSpec(
        drop_after=drop_after,
        presets={"adl": {"drop_threshold": adl}, "bas": bas, **presets},
        place_presets={"sagd": background, "dgdm": background},
        **entries,
    )
