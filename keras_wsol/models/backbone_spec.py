"""What a row of the table of backbones says."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import keras


@dataclass(frozen=True, kw_only=True)
class BackboneSpec:
    """A backbone and its presets.

    Layers that their author left unnamed are called by type and number, as
    `stable_names` does: `conv2d_29` of InceptionV3, `add_18` of ConvNeXt.

    Attributes:
        build: Function of `keras.applications`, or one with its arguments:
            `include_top`, `weights`, `input_shape` and the row's `options`.
        normalization: Mode of `ImageNetNormalization`, or `None` for images as they
            come.
        features: Name of the layer whose output the head pools, or that head
            convolutions follow.
        drop_after: Layers after which a method's layer is inserted.
        source: Where places and options come from.
        map_sizes: Side of the last map at 224 pixels to what gives it: layer name to
            the configuration entries that change, such as a stride. A change must
            leave the shapes of the weights alone. The first is the default.
        inserted_blocks: Name of a block that is spliced into the backbone to the
            layer that it follows. Blocks are part of the backbone, under every
            method.
        block: What makes these blocks: a function of `name` and `seed`.
        head_convolutions: Default number of 3x3x1024 ReLU convolutions between
            `features` and the pooling; they are named `head_conv1`, ...
        method_drop_after: Places of methods that have some of their own.
        method_options: Method to the layer options that differ from the layer's
            defaults.
        place_options: Method to place to options of that place alone.
        options: Options of `build` that the caller may set, with their defaults.
        extra: Name of the optional extra of this package that `build` needs, or
            `None`: `pip install "keras-wsol[keras-cv]"`.
    """

    build: Callable[..., keras.Model]
    normalization: str | None
    features: str
    drop_after: tuple[str, ...]
    source: str
    map_sizes: Mapping[int, Mapping[str, Mapping[str, Any]]] = field(
        default_factory=dict
    )
    inserted_blocks: Mapping[str, str] = field(default_factory=dict)
    block: Callable[..., keras.layers.Layer] | None = None
    head_convolutions: int = 0
    method_drop_after: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    method_options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    place_options: Mapping[str, Mapping[str, Mapping[str, Any]]] = field(
        default_factory=dict
    )
    options: Mapping[str, Any] = field(default_factory=dict)
    extra: str | None = None

    def places(self, method: str) -> tuple[str, ...]:
        """Returns the layers after which `method` inserts its layer."""
        return self.method_drop_after.get(method, self.drop_after)

    def preset(self, method: str, place: str) -> dict[str, Any]:
        """Returns the options of `method` at `place` that the table sets."""
        return {
            **self.method_options.get(method, {}),
            **self.place_options.get(method, {}).get(place, {}),
        }
