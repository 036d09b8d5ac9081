"""The table of backbones: one row each, and every preset that belongs to it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import keras

# The last strided convolution of MobileNet with stride 1, and the padding that
# then keeps its map at 14x14.
_SAME_SIZE_PAD = {"padding": ((1, 1), (1, 1))}
_STRIDE_1 = {"strides": (1, 1)}


@dataclass(frozen=True, kw_only=True)
class BackboneSpec:
    """A backbone and its presets.

    Attributes:
        build: Function of `keras.applications`.
        normalization: Mode of `ImageNetNormalization`.
        features: Name of the layer whose output the head pools, or that head
            convolutions follow.
        layer_changes: Layer name to the configuration entries that change, such
            as a stride. A change must leave the shapes of the weights alone.
        head_convolutions: Default number of 3x3x1024 ReLU convolutions between
            `features` and the pooling; they are named `head_conv1`, ...
        drop_after: Layers after which a method's layer is inserted.
        method_drop_after: The same for methods that have places of their own.
        method_options: Method to the layer options that differ from the layer's
            defaults.
        place_options: Method to place to options of that place alone.
        options: Options of `build` that the caller may set, with their defaults.
        source: Where places and options come from.
    """

    build: Callable[..., keras.Model]
    normalization: str
    features: str
    drop_after: tuple[str, ...]
    source: str
    layer_changes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    head_convolutions: int = 0
    method_drop_after: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    method_options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    place_options: Mapping[str, Mapping[str, Mapping[str, Any]]] = field(
        default_factory=dict
    )
    options: Mapping[str, Any] = field(default_factory=dict)

    def places(self, method: str) -> tuple[str, ...]:
        """Returns the layers after which `method` inserts its layer."""
        return self.method_drop_after.get(method, self.drop_after)

    def preset(self, method: str, place: str) -> dict[str, Any]:
        """Returns the options of `method` at `place` that the table sets."""
        return {
            **self.method_options.get(method, {}),
            **self.place_options.get(method, {}).get(place, {}),
        }


def _background_options(*middle_places: str) -> dict[str, Any]:
    """SAGD's background share in the middle of a network.

    In the middle layers the attention of the background is a larger share of the
    maximum than at the last map: the layer's default of 0.1 selects no cell there.
    """
    options = {place: {"low_threshold": 0.2} for place in middle_places}
    return {"sagd": options, "dgdm": options}


BACKBONES: Mapping[str, BackboneSpec] = {
    "mobilenet": BackboneSpec(
        build=keras.applications.MobileNet,
        normalization="tf",
        features="conv_pw_13_relu",
        layer_changes={"conv_dw_12": _STRIDE_1, "conv_pad_12": _SAME_SIZE_PAD},
        drop_after=("conv_pw_12_relu", "conv_pw_13_relu"),
        method_options={"adl": {"drop_threshold": 0.95}},
        place_options=_background_options("conv_pw_12_relu"),
        options={"alpha": 1.0},
        source="Stride and ADL's 0.95: Choe and Shim, 2019. The places were never "
        "published; these are ours: the strided block of the last stage and the last "
        "map. The strided block before, conv_pw_6, is left out: on CUB-40's "
        "train-fullsup the attention there is flat (its mean is 0.81 of its maximum, "
        "after it 0.41 and 0.31), so a block around the maximum is no part of the "
        "object, and DGDM has 59.0 % top-1 accuracy with it, 63.0 % without (one seed, "
        "200 images; its Top-1 Loc does not differ: 38.5 and 37.5).",
    ),
    "mobilenet_v2": BackboneSpec(
        build=keras.applications.MobileNetV2,
        normalization="tf",
        features="out_relu",
        layer_changes={"block_13_depthwise": _STRIDE_1, "block_13_pad": _SAME_SIZE_PAD},
        drop_after=("block_13_depthwise_relu", "out_relu"),
        method_options={"adl": {"drop_threshold": 0.95}},
        place_options=_background_options("block_13_depthwise_relu"),
        options={"alpha": 1.0},
        source="Ours, after MobileNetV1's: the strided block of the last stage, where "
        "its features are rectified, and the last map.",
    ),
    "vgg16": BackboneSpec(
        build=keras.applications.VGG16,
        normalization="caffe",
        features="block5_conv3",
        head_convolutions=1,
        drop_after=("block3_pool", "block4_pool", "block5_conv3"),
        method_options={"adl": {"drop_threshold": 0.8}},
        place_options=_background_options("block3_pool", "block4_pool"),
        source="VGG-GAP with one head convolution, places and 0.8: Choe and Shim, "
        "2019. DGDM's table counts two head convolutions.",
    ),
    "resnet50": BackboneSpec(
        build=keras.applications.ResNet50,
        normalization="caffe",
        features="conv5_block3_out",
        layer_changes={
            "conv5_block1_0_conv": _STRIDE_1,
            "conv5_block1_1_conv": _STRIDE_1,
        },
        drop_after=("conv4_block1_out", "conv5_block1_out", "conv5_block3_out"),
        method_drop_after={"dfm": ("conv4_block1_out", "conv5_block3_out")},
        method_options={"adl": {"drop_threshold": 0.9}},
        place_options=_background_options("conv4_block1_out", "conv5_block1_out"),
        source="ADL's places and 0.9: Choe and Shim, 2019, and their code; DFM's "
        "places: Zhou et al., 2019.",
    ),
    "inception_v3": BackboneSpec(
        build=keras.applications.InceptionV3,
        normalization="tf",
        features="mixed7",
        head_convolutions=2,
        drop_after=("mixed2", "mixed7", "head_conv2"),
        method_options={"adl": {"drop_threshold": 0.8}},
        place_options=_background_options("mixed2", "mixed7"),
        source="Cut after mixed7, two head convolutions (SPG, 2018) and 0.8: Choe "
        "and Shim, 2019; places: their later code. Keras' stem gives 12x12 maps at "
        "224.",
    ),
}
