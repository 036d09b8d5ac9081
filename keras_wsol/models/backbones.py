"""The tables of backbones and methods."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import keras

from keras_wsol import layers
from keras_wsol.models.backbone_spec import (
    BAS_NARROW,
    BAS_RESNET,
    BAS_VGG,
    GROWN,
    NARROW,
    BackboneSpec,
    Options,
    row_of,
)
from keras_wsol.models.hub_transformers import TRANSFORMERS
from keras_wsol.models.methods import ABN, BAS, SPG, ACoL, CutMix, DANet, TriLite
from keras_wsol.models.methods.method import Method

# Method to the class of its layer; `None` is the plain classifier. After the first
# six, what the papers compare their modules with.
METHODS: Mapping[str, type[keras.layers.Layer] | type[Method] | None] = {
    "cam": None,
    "adl": layers.ADL,
    "dfm": layers.DFM,
    "dgdm": layers.DGDM,
    "cagd": layers.CAGD,
    "sagd": layers.SAGD,
    "se": layers.SqueezeExcite,
    "cbam": layers.CBAM,
    "spatial_dropout": keras.layers.SpatialDropout2D,
    "dropblock": layers.DropBlock2D,
    "maxdrop": layers.MaxDrop,
    "targeted_dropout": layers.TargetedDropout,
    "cutout": layers.Cutout,
    "bas": BAS,
    "acol": ACoL,
    "spg": SPG,
    "danet": DANet,
    "has": layers.HideAndSeek,
    "cutmix": CutMix,
    "abn": ABN,
    "trilite": TriLite,
}


def keras_cv_resnet(
    *,
    blocks: Sequence[int],
    include_top: bool,
    weights: str | Path | None = None,
    input_shape: tuple[int | None, int | None, int] = (224, 224, 3),
) -> keras.Model:
    """Builds a ResNet of basic blocks, which Keras does not have, with KerasCV."""
    name = f"resnet{2 + 2 * sum(blocks)}"
    if include_top:
        raise ValueError(f"KerasCV's {name} has no top. Received: include_top=True.")
    if weights == "imagenet":
        raise ValueError(
            f"`weights` of {name!r} must be None (random) or the path of a file: "
            "KerasCV has published none for it. Received: weights='imagenet'."
        )
    try:
        from keras_cv.models import ResNetBackbone
    except ImportError as error:
        raise ImportError(
            f'The backbone {name!r} needs KerasCV: pip install "keras-wsol[keras-cv]". '
            f"(Importing it failed: {error}.)"
        ) from error
    backbone = ResNetBackbone(
        stackwise_filters=[64, 128, 256, 512],
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


_STRIDE_1 = {"strides": (1, 1)}
_SAME = {"padding": "same"}
_SAME_STRIDE_1 = {**_SAME, **_STRIDE_1}
# MobileNets pad before a strided convolution; with stride 1, this keeps the size.
_SAME_SIZE_PAD = {"padding": ((1, 1), (1, 1))}


def _map_sizes(last: Options, before: Options) -> dict[int, Mapping[str, Options]]:
    """Maps of 14, 28 and, as Keras has them, 7 cells a side."""
    return {14: last, 28: {**before, **last}, 7: {}}


def _resnet(
    stages: tuple[str, str] = ("conv4", "conv5"),
    blocks: tuple[int, int] = (6, 3),
    normalization: str = "caffe",
    root: str = "conv3_block4_out",
    presets: Mapping[str, Options] = MappingProxyType({"spg": {"filters": 1024}}),
    **entries: Any,
) -> BackboneSpec:
    """A ResNet, whose last two stages stride in their first convolutions."""
    before, last = (
        dict.fromkeys([f"{stage}_block1_{n}_conv" for n in (0, 1)], _STRIDE_1)
        for stage in stages
    )
    middle = [f"{stage}_block1_out" for stage in stages]
    features = f"{stages[-1]}_block{blocks[-1]}_out"
    return row_of(
        adl=0.9,
        drop_after=(*middle, features),
        bas={**BAS_RESNET, "pool": 2},
        method_map_size={"bas": 28},  # which the pooling halves
        normalization=normalization,
        features=features,
        map_sizes=_map_sizes(last, before),
        method_drop_after={
            "dfm": (middle[0], features),
            "bas": (f"{stages[0]}_block{blocks[0]}_out",),
            "spg": (middle[0], f"{stages[0]}_block{blocks[0]}_out"),
            "danet": (root, f"{stages[0]}_block{blocks[0]}_out"),
            "abn": (f"{stages[0]}_block{blocks[0]}_out",),
        },
        presets=presets,
        **entries,
    )


def _basic_resnet(*blocks: int) -> BackboneSpec:
    return _resnet(
        build=partial(keras_cv_resnet, blocks=blocks),
        stages=("v2_stack_2", "v2_stack_3"),
        blocks=blocks[2:],
        root=f"v2_stack_1_block{blocks[1]}_out",
        presets={"spg": {"filters": 256}},
        normalization="torch",
        extra="keras-cv",
        source="After resnet50 [ours]. KerasCV has no weights for it.",
    )


_RESNET_BLOCKS = [
    f"conv{stage}_block{block}"
    for stage, blocks in ((2, 3), (3, 4), (4, 6), (5, 3))
    for block in range(1, blocks + 1)
]

# InceptionV3 has no padding in its stem and where mixed3 halves the map, so that
# 224 pixels become 12 cells; with padding they become 14.
_INCEPTION_STEM = dict.fromkeys(
    ["conv2d_1", "conv2d_2", "max_pooling2d_1", "conv2d_5", "max_pooling2d_2"], _SAME
)
# Of DANet's authors, in their code.
_INCEPTION_HEADS: Mapping[str, Options] = {
    "danet": {"maps_per_class": 4, "widths": (256, 384)}
}
_MIXED3 = ["conv2d_29", "conv2d_30", "max_pooling2d_3"]

BACKBONES: Mapping[str, BackboneSpec] = {
    "mobilenet": row_of(
        build=keras.applications.MobileNet,
        adl=0.95,
        drop_after=("conv_pw_12_relu", "conv_pw_13_relu"),
        method_drop_after={
            "dgdm": ("conv_pw_13_relu",),
            "bas": ("conv_pw_11_relu",),
            "spg": ("conv_pw_6_relu", "conv_pw_11_relu"),
            "danet": ("conv_pw_5_relu", "conv_pw_11_relu"),
            "abn": ("conv_pw_11_relu",),
        },
        bas=BAS_NARROW,
        presets={**NARROW, **GROWN},
        normalization="tf",
        features="conv_pw_13_relu",
        map_sizes=_map_sizes(
            {"conv_dw_12": _STRIDE_1, "conv_pad_12": _SAME_SIZE_PAD},
            {"conv_dw_6": _STRIDE_1, "conv_pad_6": _SAME_SIZE_PAD},
        ),
        options={"alpha": 1.0},
        source="Stride and 0.95: Choe and Shim, 2019. Places [ours]: never published.",
    ),
    "mobilenet_v2": row_of(
        build=keras.applications.MobileNetV2,
        adl=0.95,
        drop_after=("block_13_depthwise_relu", "out_relu"),
        method_drop_after={
            "bas": ("block_13_expand_relu",),
            "spg": ("block_7_expand_relu", "block_13_expand_relu"),
            "danet": ("block_6_expand_relu", "block_13_expand_relu"),
            "abn": ("block_12_add",),
        },
        bas=BAS_NARROW,
        presets={**NARROW, **GROWN},
        normalization="tf",
        features="out_relu",
        map_sizes=_map_sizes(
            {"block_13_depthwise": _STRIDE_1, "block_13_pad": _SAME_SIZE_PAD},
            {"block_6_depthwise": _STRIDE_1, "block_6_pad": _SAME_SIZE_PAD},
        ),
        options={"alpha": 1.0},
        source="After mobilenet [ours].",
    ),
    "vgg16": row_of(
        build=keras.applications.VGG16,
        adl=0.8,
        drop_after=("block3_pool", "block4_pool", "block5_conv3"),
        method_drop_after={
            "bas": ("block4_conv3",),
            "abn": ("block4_pool",),
            "spg": ("block4_pool", "block5_conv3"),
            "danet": ("block3_pool", "block4_pool"),
        },
        bas=BAS_VGG,
        normalization="caffe",
        features="block5_conv3",
        # A pool of one cell is none: Choe et al., 2020, leave it out for 28.
        map_sizes={14: {}, 28: {"block4_pool": {"pool_size": (1, 1), **_STRIDE_1}}},
        head_convolutions=1,
        source="VGG-GAP, places and 0.8: Choe and Shim, 2019.",
    ),
    "resnet50": _resnet(
        build=keras.applications.ResNet50,
        source="Places and 0.9: Choe and Shim, 2019; DFM: Zhou et al., 2019.",
    ),
    "resnet50_se": _resnet(
        build=keras.applications.ResNet50,
        inserted_blocks={f"{block}_se": f"{block}_3_bn" for block in _RESNET_BLOCKS},
        block=partial(layers.SqueezeExcite, ratio=16),
        source="As resnet50; blocks: Hu et al., 2018, Figure 3, ratio 16.",
    ),
    "resnet101": _resnet(
        build=keras.applications.ResNet101,
        blocks=(23, 3),
        source="As resnet50; DFM: Zhou et al., 2019.",
    ),
    "resnet18": _basic_resnet(2, 2, 2, 2),
    "resnet34": _basic_resnet(3, 4, 6, 3),
    "inception_v3": row_of(
        build=keras.applications.InceptionV3,
        adl=0.8,
        drop_after=("mixed2", "mixed7", "head_conv2"),
        method_drop_after={
            "bas": ("mixed2",),
            "abn": ("mixed6",),
            "spg": ("mixed2", "mixed7"),
            "danet": ("max_pooling2d_2", "mixed2"),
        },
        presets=_INCEPTION_HEADS,
        normalization="tf",
        features="mixed7",
        map_sizes={
            14: {**_INCEPTION_STEM, **dict.fromkeys(_MIXED3, _SAME)},
            28: {**_INCEPTION_STEM, **dict.fromkeys(_MIXED3, _SAME_STRIDE_1)},
            12: {},
        },
        head_convolutions=2,
        source="Head: SPG, 2018; places and 0.8: Choe and Shim, 2019.",
    ),
    "efficientnet_v2_b0": row_of(
        build=partial(keras.applications.EfficientNetV2B0, include_preprocessing=False),
        adl=0.9,
        drop_after=("block6a_activation", "top_activation"),
        method_drop_after={
            "bas": ("block6a_expand_activation",),
            "abn": ("block5e_add",),
            "spg": ("block4b_expand_activation", "block6a_expand_activation"),
            "danet": ("block4a_expand_activation", "block6a_expand_activation"),
        },
        presets=NARROW,
        bas=BAS_NARROW,
        normalization="torch",
        features="top_activation",
        map_sizes=_map_sizes(
            {"block6a_dwconv2": _STRIDE_1}, {"block4a_dwconv2": _STRIDE_1}
        ),
        source="After mobilenet_v2 [ours, untried].",
    ),
    "convnext_tiny": row_of(
        build=partial(keras.applications.ConvNeXtTiny, include_preprocessing=False),
        adl=0.9,
        # Not after the normalization that follows `add_18`: there the channel mean,
        # which the modules attend to, is the same in every cell.
        drop_after=("convnext_tiny_downsampling_conv_2", "add_18"),
        method_drop_after={
            "bas": ("convnext_tiny_downsampling_conv_2",),
            "spg": ("add_7", "add_15"),
            "danet": ("add_6", "add_15"),
            "abn": ("add_15",),
        },
        normalization="torch",
        features="layer_normalization_1",
        # Convolutions between the stages are 2x2, so that stride 1 needs padding.
        map_sizes=_map_sizes(
            {"convnext_tiny_downsampling_conv_2": _SAME_STRIDE_1},
            {"convnext_tiny_downsampling_conv_1": _SAME_STRIDE_1},
        ),
        source="Last strided convolution and last sum [ours, untried].",
    ),
    **TRANSFORMERS,
}
