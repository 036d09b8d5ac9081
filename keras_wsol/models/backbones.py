"""The tables of backbones and methods."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import keras

from keras_wsol import layers
from keras_wsol.models.backbone_spec import (
    BAS_NARROW,
    GROWN,
    NARROW,
    NO_POOL,
    PAD_3,
    PAD_5,
    PAD_7,
    STRIDE_1,
    BackboneSpec,
    Options,
    hub_resnet18,
    keras_cv_resnet34,
    map_sizes,
    resnet,
    row_of,
    vgg,
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


def _efficientnet_b0(*, include_top: bool, **arguments: Any) -> keras.Model:
    """EfficientNetB0 behind its preprocessing, which no option leaves out.

    With the weights of ImageNet, that is the mode "torch".
    """
    model = keras.applications.EfficientNetB0(include_top=include_top, **arguments)
    images = model.get_layer("stem_conv_pad").input
    return keras.Model(images, model.output, name=model.name)


def _nasnet_strides(cell: str, adjusted: str) -> dict[str, Options]:
    """What keeps a reduction cell of NASNet, and the cell behind it, from striding."""
    windows = {"left1": PAD_5, "right1": PAD_7, "right2": PAD_7, "right3": PAD_5}
    pads = {f"separable_conv_1_pad_reduction_{x}": pad for x, pad in windows.items()}
    pads["reduction_pad_1"] = PAD_3  # of the poolings
    strided = [f"separable_conv_1_reduction_{x}" for x in windows]
    strided += [f"reduction_{x}" for x in ("left2", "left3", "right5")]
    return {
        **{f"{name}_{cell}": pad for name, pad in pads.items()},
        **dict.fromkeys([f"{name}_{cell}" for name in strided], STRIDE_1),
        **dict.fromkeys([f"adjust_avg_pool_{n}_{adjusted}" for n in (1, 2)], STRIDE_1),
    }


# Of ResNets with two convolutions a block.
_BASIC = {"presets": {"spg": {"filters": 256}}, "normalization": "torch"}
_SAME = {"padding": "same"}
_SAME_STRIDE_1 = {**_SAME, **STRIDE_1}
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
        map_sizes=map_sizes(
            {"conv_dw_12": STRIDE_1, "conv_pad_12": PAD_3},
            {"conv_dw_6": STRIDE_1, "conv_pad_6": PAD_3},
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
        map_sizes=map_sizes(
            {"block_13_depthwise": STRIDE_1, "block_13_pad": PAD_3},
            {"block_6_depthwise": STRIDE_1, "block_6_pad": PAD_3},
        ),
        options={"alpha": 1.0},
        source="After mobilenet [ours].",
    ),
    "mobilenet_v3_small": row_of(
        build=partial(keras.applications.MobileNetV3Small, include_preprocessing=False),
        adl=0.95,
        drop_after=("activation_13", "activation_18"),
        method_drop_after={
            "bas": ("activation_12",),
            "spg": ("activation_4", "activation_12"),
            "danet": ("activation_2", "activation_12"),
            "abn": ("expanded_conv_7_add",),
        },
        bas=BAS_NARROW,
        presets=NARROW,
        normalization="tf",
        features="activation_18",
        map_sizes=map_sizes(
            {
                "expanded_conv_8_depthwise": STRIDE_1,
                "expanded_conv_8_depthwise_pad": PAD_5,
            },
            {
                "expanded_conv_3_depthwise": STRIDE_1,
                "expanded_conv_3_depthwise_pad": PAD_5,
            },
        ),
        options={"alpha": 1.0},
        source="After mobilenet_v2 [ours, untried].",
    ),
    "vgg16": vgg(
        3,
        build=keras.applications.VGG16,
        source="VGG-GAP, places and 0.8: Choe and Shim, 2019.",
    ),
    "vgg19": vgg(4, build=keras.applications.VGG19, source="As vgg16 [ours, untried]."),
    "resnet50": resnet(
        build=keras.applications.ResNet50,
        source="Places and 0.9: Choe and Shim, 2019; DFM: Zhou et al., 2019.",
    ),
    "resnet50_se": resnet(
        build=keras.applications.ResNet50,
        inserted_blocks={f"{block}_se": f"{block}_3_bn" for block in _RESNET_BLOCKS},
        block=partial(layers.SqueezeExcite, ratio=16),
        source="As resnet50; blocks: Hu et al., 2018, Figure 3, ratio 16.",
    ),
    "resnet101": resnet(
        build=keras.applications.ResNet101,
        blocks=("block1", "block23", "block3"),
        source="As resnet50; DFM: Zhou et al., 2019.",
    ),
    "resnet50_v2": resnet(
        build=keras.applications.ResNet50V2,
        normalization="tf",
        root="conv3_block3_out",
        features="post_relu",
        # These stride at the end of a stage.
        strides=[
            ["conv3_block4_2_conv", "max_pooling2d_2"],
            ["conv4_block6_2_conv", "max_pooling2d_3"],
        ],
        source="As resnet50 [ours, untried].",
    ),
    "resnet18": resnet(
        build=hub_resnet18,
        stages=("stack2", "stack3"),
        blocks=("block0", "block1", "block1"),
        root="stack1_block1_out",
        extra="keras-hub",
        source="After resnet50 [ours]. Weights: KerasHub's 'resnet_18_imagenet'.",
        **_BASIC,
    ),
    "resnet34": resnet(
        build=keras_cv_resnet34,
        stages=("v2_stack_2", "v2_stack_3"),
        root="v2_stack_1_block4_out",
        extra="keras-cv",
        source="After resnet50 [ours]. KerasCV has no weights for it.",
        **_BASIC,
    ),
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
        map_sizes=map_sizes(
            {"block6a_dwconv2": STRIDE_1}, {"block4a_dwconv2": STRIDE_1}
        ),
        source="After mobilenet_v2 [ours, untried].",
    ),
    "efficientnet_b0": row_of(
        build=_efficientnet_b0,
        adl=0.9,
        drop_after=("block6a_activation", "top_activation"),
        method_drop_after={
            "bas": ("block6a_expand_activation",),
            "abn": ("block5c_add",),
            "spg": ("block4b_expand_activation", "block6a_expand_activation"),
            "danet": ("block4a_expand_activation", "block6a_expand_activation"),
        },
        presets=NARROW,
        bas=BAS_NARROW,
        normalization="torch",
        features="top_activation",
        map_sizes=map_sizes(
            {"block6a_dwconv": STRIDE_1, "block6a_dwconv_pad": PAD_5},
            {"block4a_dwconv": STRIDE_1, "block4a_dwconv_pad": PAD_3},
        ),
        source="As efficientnet_v2_b0 [ours, untried].",
    ),
    "densenet121": row_of(
        build=keras.applications.DenseNet121,
        adl=0.9,
        drop_after=("pool4_relu", "relu"),
        method_drop_after={
            **dict.fromkeys(("bas", "abn"), ("pool4_relu",)),
            "spg": ("conv4_block1_concat", "pool4_relu"),
            "danet": ("pool3_relu", "pool4_relu"),
        },
        normalization="torch",
        features="relu",
        map_sizes=map_sizes({"pool4_pool": NO_POOL}, {"pool3_pool": NO_POOL}),
        source="In front of the last pooling, and the end [ours, untried].",
    ),
    "xception": row_of(
        build=keras.applications.Xception,
        adl=0.9,
        drop_after=("block14_sepconv1_act", "block14_sepconv2_act"),
        method_drop_after={
            **dict.fromkeys(("bas", "abn"), ("add_11",)),
            "spg": ("add_4", "add_11"),
            "danet": ("add_2", "add_11"),
        },
        normalization="tf",
        features="block14_sepconv2_act",
        map_sizes=map_sizes(
            dict.fromkeys(["conv2d_4", "block13_pool"], STRIDE_1),
            dict.fromkeys(["conv2d_3", "block4_pool"], STRIDE_1),
        ),
        source="After mobilenet [ours, untried].",
    ),
    "nasnet_mobile": row_of(
        build=keras.applications.NASNetMobile,
        adl=0.9,
        drop_after=("reduction_concat_reduce_8", "activation_188"),
        method_drop_after={
            # Each cell reads the two before it: no place in the middle is on all ways.
            **dict.fromkeys(("bas", "abn"), ("activation_188",)),
            "spg": ("normal_concat_5", "normal_concat_8"),
            "danet": ("normal_concat_3", "normal_concat_8"),
        },
        presets=NARROW,
        bas=BAS_NARROW,
        normalization="tf",
        features="activation_188",
        map_sizes=map_sizes(
            _nasnet_strides("reduce_8", "9"), _nasnet_strides("reduce_4", "5")
        ),
        source="Last reduction cell, and the end [ours, untried].",
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
        map_sizes=map_sizes(
            {"convnext_tiny_downsampling_conv_2": _SAME_STRIDE_1},
            {"convnext_tiny_downsampling_conv_1": _SAME_STRIDE_1},
        ),
        source="Last strided convolution and last sum [ours, untried].",
    ),
    **TRANSFORMERS,
}
