"""The tables of backbones and methods."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

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
from keras_wsol.models.keras_cv_resnet import keras_cv_resnet

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
    """Returns the options of a method that depend on the size of the images."""
    return {"size": min(input_shape[:2]) // 2} if method == "cutout" else {}


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


_STRIDE_1 = {"strides": (1, 1)}
_SAME = {"padding": "same"}
# MobileNets pad before a strided convolution; with stride 1, this keeps the size.
_SAME_SIZE_PAD = {"padding": ((1, 1), (1, 1))}


def _background_options(*middle_places: str) -> dict[str, Any]:
    """SAGD's background share in the middle of a network."""
    options = {place: {"low_threshold": 0.2} for place in middle_places}
    return {"sagd": options, "dgdm": options}


def _changes(names: Iterable[str], change: Mapping[str, Any]) -> dict[str, Any]:
    return dict.fromkeys(names, change)


def _resnet(
    build: Callable[..., keras.Model], source: str, **entries: Any
) -> BackboneSpec:
    """A ResNet with bottleneck blocks: stages and layers have the same names."""
    last = _changes(["conv5_block1_0_conv", "conv5_block1_1_conv"], _STRIDE_1)
    before = _changes(["conv4_block1_0_conv", "conv4_block1_1_conv"], _STRIDE_1)
    return BackboneSpec(
        build=build,
        normalization="caffe",
        features="conv5_block3_out",
        map_sizes={14: last, 28: {**before, **last}, 7: {}},
        drop_after=("conv4_block1_out", "conv5_block1_out", "conv5_block3_out"),
        method_drop_after={"dfm": ("conv4_block1_out", "conv5_block3_out")},
        method_options={"adl": {"drop_threshold": 0.9}},
        place_options=_background_options("conv4_block1_out", "conv5_block1_out"),
        source=source,
        **entries,
    )


def _basic_resnet(blocks: tuple[int, ...]) -> BackboneSpec:
    """A ResNet of basic blocks, which stride in their first convolution."""
    last, before = (
        _changes([f"v2_stack_{stage}_block1_{part}_conv" for part in (0, 1)], _STRIDE_1)
        for stage in (3, 2)
    )
    features = f"v2_stack_3_block{blocks[-1]}_out"
    middle = ("v2_stack_2_block1_out", "v2_stack_3_block1_out")
    return BackboneSpec(
        build=partial(keras_cv_resnet, blocks=blocks),
        normalization="torch",
        features=features,
        map_sizes={14: last, 28: {**before, **last}, 7: {}},
        drop_after=(*middle, features),
        method_drop_after={"dfm": (middle[0], features)},
        method_options={"adl": {"drop_threshold": 0.9}},
        place_options=_background_options(*middle),
        extra="keras-cv",
        source="Ours, after resnet50: the strided blocks of the last two stages and "
        "the last map, and ADL's 0.9. No paper has it. KerasCV has no weights for it; "
        "normalized as the ResNets of PyTorch, which were trained in this shape.",
    )


_RESNET_BLOCKS = [
    f"conv{stage}_block{block}"
    for stage, blocks in ((2, 3), (3, 4), (4, 6), (5, 3))
    for block in range(1, blocks + 1)
]

# InceptionV3 has no padding in its stem and where mixed3 halves the map, so that
# 224 pixels become 12 cells; with padding they become 14.
_INCEPTION_STEM = _changes(
    ["conv2d_1", "conv2d_2", "max_pooling2d_1", "conv2d_5", "max_pooling2d_2"], _SAME
)
_INCEPTION_MIXED3 = ["conv2d_29", "conv2d_30", "max_pooling2d_3"]

_MOBILENET = {
    14: {"conv_dw_12": _STRIDE_1, "conv_pad_12": _SAME_SIZE_PAD},
    28: {
        **_changes(["conv_dw_6", "conv_dw_12"], _STRIDE_1),
        **_changes(["conv_pad_6", "conv_pad_12"], _SAME_SIZE_PAD),
    },
    7: {},
}
_MOBILENET_V2 = {
    14: {"block_13_depthwise": _STRIDE_1, "block_13_pad": _SAME_SIZE_PAD},
    28: {
        **_changes(["block_6_depthwise", "block_13_depthwise"], _STRIDE_1),
        **_changes(["block_6_pad", "block_13_pad"], _SAME_SIZE_PAD),
    },
    7: {},
}
_EFFICIENTNET = _changes(["block6a_dwconv2"], _STRIDE_1)
# Keras' convolutions between the stages are 2x2, so that stride 1 needs padding.
_CONVNEXT = _changes(["convnext_tiny_downsampling_conv_2"], {**_SAME, **_STRIDE_1})


BACKBONES: Mapping[str, BackboneSpec] = {
    "mobilenet": BackboneSpec(
        build=keras.applications.MobileNet,
        normalization="tf",
        features="conv_pw_13_relu",
        map_sizes=_MOBILENET,
        drop_after=("conv_pw_12_relu", "conv_pw_13_relu"),
        method_drop_after={"dgdm": ("conv_pw_13_relu",)},
        method_options={"adl": {"drop_threshold": 0.95}},
        place_options=_background_options("conv_pw_12_relu"),
        options={"alpha": 1.0},
        source="Stride and ADL's 0.95: Choe and Shim, 2019; on CUB-40 0.9 has 1.8 "
        "points of Top-1 Loc less (95 % interval -3.5 to -0.2, one seed, row "
        "adl-threshold-0.9 of examples/results/study-cub40.csv), 0.7 has 10.1 less "
        "(-12.5 to -7.7, row adl-threshold-0.7). The places were never "
        "published; these are ours: the strided block of the last stage and the last "
        "map. The strided block before, conv_pw_6, is left out: on CUB-40's "
        "train-fullsup the attention there is flat (its mean is 0.81 of its maximum, "
        "after it 0.41 and 0.31), so a block around the maximum is no part of the "
        "object; ADL and DFM gain nothing sure by it (Top-1 Loc +1.2, -0.7 to +3.1, "
        "and +2.0, -0.4 to +4.4, one seed, rows adl-three and dfm-three), nor by the "
        "last map alone (+1.3, -0.2 to +2.7, and +1.1, -0.5 to +2.6, rows adl-last and "
        "dfm-last). DGDM is at the last map alone: 5.3 points of Top-1 Loc more than "
        "at both (+1.9 to +8.7, three seeds) and 5.3 of Top-1 Cls (+3.0 to +7.5; row "
        "dgdm-grow-last).",
    ),
    "mobilenet_v2": BackboneSpec(
        build=keras.applications.MobileNetV2,
        normalization="tf",
        features="out_relu",
        map_sizes=_MOBILENET_V2,
        drop_after=("block_13_depthwise_relu", "out_relu"),
        method_options={"adl": {"drop_threshold": 0.95}},
        place_options=_background_options("block_13_depthwise_relu"),
        options={"alpha": 1.0},
        source="Ours, after MobileNetV1's: the strided block of the last stage, where "
        "its features are rectified, and the last map. On CUB-40, DGDM there has 13.2 "
        "points of Top-1 Loc more than CAM (95 % interval +10.2 to +16.2) and 3.4 of "
        "Top-1 Cls less (one seed, row dgdm-v2 of examples/results/study-cub40.csv); "
        "the last map alone is yet to be tried.",
    ),
    "vgg16": BackboneSpec(
        build=keras.applications.VGG16,
        normalization="caffe",
        features="block5_conv3",
        # A pool of one cell is none: Choe et al., 2020, leave it out for 28.
        map_sizes={14: {}, 28: {"block4_pool": {"pool_size": (1, 1), **_STRIDE_1}}},
        head_convolutions=1,
        drop_after=("block3_pool", "block4_pool", "block5_conv3"),
        method_options={"adl": {"drop_threshold": 0.8}},
        place_options=_background_options("block3_pool", "block4_pool"),
        source="VGG-GAP with one head convolution, places and 0.8: Choe and Shim, "
        "2019. DGDM's table counts two head convolutions.",
    ),
    "resnet50": _resnet(
        keras.applications.ResNet50,
        source="ADL's places and 0.9: Choe and Shim, 2019, and their code; DFM's "
        "places: Zhou et al., 2019.",
    ),
    "resnet50_se": _resnet(
        keras.applications.ResNet50,
        inserted_blocks={f"{block}_se": f"{block}_3_bn" for block in _RESNET_BLOCKS},
        block=partial(SqueezeExcite, ratio=16),
        source="As resnet50. SE blocks with ratio 16 in every residual block, on the "
        "normalized output of its last convolution before the addition: Hu et al., "
        "2018, Figure 3, and ADL's ResNet50-SE. Keras has no weights for it: those of "
        "ResNet50 carry over, and the blocks are new.",
    ),
    "resnet101": _resnet(
        keras.applications.ResNet101,
        source="As resnet50; Zhou et al., 2019, share DFM's settings between both.",
    ),
    "resnet18": _basic_resnet((2, 2, 2, 2)),
    "resnet34": _basic_resnet((3, 4, 6, 3)),
    "inception_v3": BackboneSpec(
        build=keras.applications.InceptionV3,
        normalization="tf",
        features="mixed7",
        map_sizes={
            14: {**_INCEPTION_STEM, **_changes(_INCEPTION_MIXED3, _SAME)},
            28: {
                **_INCEPTION_STEM,
                **_changes(_INCEPTION_MIXED3, {**_SAME, **_STRIDE_1}),
            },
            12: {},
        },
        head_convolutions=2,
        drop_after=("mixed2", "mixed7", "head_conv2"),
        method_options={"adl": {"drop_threshold": 0.8}},
        place_options=_background_options("mixed2", "mixed7"),
        source="Cut after mixed7, two head convolutions (SPG, 2018) and 0.8: Choe "
        "and Shim, 2019; places: their later code. 14x14 maps as the other backbones; "
        "SPG's are 28x28; Keras' own, without padding, are 12x12.",
    ),
    "efficientnet_v2_b0": BackboneSpec(
        build=partial(keras.applications.EfficientNetV2B0, include_preprocessing=False),
        normalization="torch",
        features="top_activation",
        map_sizes={
            14: _EFFICIENTNET,
            28: {**_EFFICIENTNET, **_changes(["block4a_dwconv2"], _STRIDE_1)},
            7: {},
        },
        drop_after=("block6a_activation", "top_activation"),
        method_options={"adl": {"drop_threshold": 0.9}},
        place_options=_background_options("block6a_activation"),
        source="Ours and untried, after MobileNetV2's: the strided block of the last "
        "stage behind its activation, and the last map. No paper has it.",
    ),
    "convnext_tiny": BackboneSpec(
        build=partial(keras.applications.ConvNeXtTiny, include_preprocessing=False),
        normalization="torch",
        features="layer_normalization_1",
        map_sizes={
            14: _CONVNEXT,
            28: {
                **_CONVNEXT,
                **_changes(
                    ["convnext_tiny_downsampling_conv_1"], {**_SAME, **_STRIDE_1}
                ),
            },
            7: {},
        },
        drop_after=("convnext_tiny_downsampling_conv_2", "add_18"),
        method_options={"adl": {"drop_threshold": 0.9}},
        place_options=_background_options("convnext_tiny_downsampling_conv_2"),
        source="Ours and untried: the strided convolution before the last stage, and "
        "the sum that ends it. Behind that sum each cell is normalized over its "
        "channels, so that the channel mean, which the modules attend to, is the same "
        "everywhere; before it, features may be negative, and an image whose mean is "
        "nowhere positive is left whole. The head is Keras': each cell normalized, "
        "then pooled.",
    ),
}
