"""How ADL's released code trains, as recipes."""

from collections.abc import Mapping
from typing import Any

from keras_wsol.training.layerwise_sgd import KERNELS
from keras_wsol.training.recipe import Recipe

_CODE = "github.com/junsukchoe/ADL, commit 1779e55"
_TENSORPACK = (
    "Tensorpack's worker processes each draw an order of their own, so that an image "
    "may come twice before another one comes; here every pass has each image once.",
    "Resizing there is OpenCV's bilinear without antialiasing, rounded to bytes after "
    "the crop; here it is antialiased and not rounded.",
    "Images there are normalized by ImageNet's mean and deviation; here as the weights "
    "of keras.applications were trained.",
)
_TEST_SPLIT = (
    "On CUB the code validates on 5,794 images, as many as the test split has, and "
    "keeps the model that is best there; pass a held-out split here."
)
_VGG_LACKS = "The code draws the last layer's weights with a deviation of 0.01."
_RESNET_LACKS = (
    "keras.applications' ResNet50 strides in the first 1x1 convolution of a block "
    "and has biases, the code's in the 3x3 one and has none; its batch "
    "normalization averages with 0.9 and not 0.99. Its SE blocks are pretrained "
    "with the rest (Tensorpack's ImageNet-ResNet50-SE.npz), of which Keras has no "
    "weights: here the blocks are new, and `{'*_se': 1.0, 'conv[1-4]_*': 0.1}` lets "
    "them learn as such."
)
_CUB_OUTPUTS = (
    "The code gives ResNet50-SE 1,000 outputs on CUB, too; here there are 200 [ours: "
    "no image is of the other 800 classes]."
)

# What the four trainings of ADL's code have in common.
_NOTES = {
    "method_options": "[paper] drop rate 75 %; threshold 80 % for VGG, 90 % for ResNet",
    "weights": "[paper] pretrained on ImageNet",
    "image_size": "[code] data_loader.py: resized to 256x256, cropped to 224x224",
    "view": "[code] data_loader.py: CenterCrop; boxes follow",
    "epochs": "[code] config.py: 105",
    "schedule": "[code] train.py: ScheduledHyperParamSetter",
    "drop_epochs": "[code] train.py: a tenth after epochs 30, 60, 90 and 100",
    "momentum": "[code] train.py: MomentumOptimizer(lr, 0.9, use_nesterov=True)",
    "nesterov": "[code] as momentum",
    "rate_free_velocity": "[code] TensorFlow 1's MomentumOptimizer",
    "l2_decay": "[code] train.py: 5e-4 for vgg_gap, 1e-4 for resnet50_se, in the loss",
    "l2_weights": "[code] train.py: regularize_cost('.*/W'): kernels",
    "keep": "[code] train.py: MinSaver('val-error-top1')",
    "drop_after": "[paper] Table 2 (VGG: pool3, pool4, conv5-3); [code] ResNet: "
    "run_train.sh, gating positions 31, 41 and 5. The rows of models.BACKBONES",
}
SETTINGS: Mapping[str, Any] = {
    "method": "adl",
    "image_size": (224, 224),
    "view": "center_crop",
    "batch_size": 32,
    "epochs": 105,
    "schedule": "step",
    "drop_epochs": (30, 60, 90, 100),
    "momentum": 0.9,
    "nesterov": True,
    "rate_free_velocity": True,
    "l2_weights": KERNELS,
    "keep": "lowest_error",
}
_BACKBONES: Mapping[str, Mapping[str, Any]] = {
    "vgg16": {
        "method_options": {"drop_rate": 0.75, "drop_threshold": 0.8},
        "backbone_options": {"head_convolutions": 1},
        "l2_decay": 5e-4,
        "multipliers": {"block*": 0.1},
    },
    "resnet50_se": {
        "method_options": {"drop_rate": 0.75, "drop_threshold": 0.9},
        "l2_decay": 1e-4,
        "multipliers": {"conv[1-4]_*": 0.1},
    },
}
_BACKBONE_NOTES = {
    "vgg16": {
        "backbone_options": "[code] backbone/vgg.py: one 3x3x1024 convolution, 'new'",
        "multipliers": "[code] train.py: conv.* (and fc.*, of which there are none) "
        "x 0.1; new and linear x 1",
    },
    "resnet50_se": {
        "multipliers": "[code] train.py: conv0.* and group[0-2].* x 0.1: the stem and "
        "the first three stages; the last stage and the head x 1",
    },
}
DATA: Mapping[str, Mapping[str, Any]] = {
    "cub": {
        "dataset": "CUB-200-2011",
        "num_classes": 200,
        "images_per_epoch": 32_000,
    },
    "ilsvrc": {
        "dataset": "ILSVRC 2012",
        "num_classes": 1000,
        "images_per_epoch": 256_000,
    },
}
_DATA_NOTES = {
    "cub": "[code] train.py: 25 steps of 256 images x stepscale 5; 561 passes over "
    "5,994 images in all",
    "ilsvrc": "[code] train.py: 5000 steps of 256 images x stepscale 0.2; 21 passes "
    "over 1,281,167 images in all",
}
_PUBLISHED_COMMAND = "[code] run_train.sh"
_NO_COMMAND = "no command for this pair was published"
_PROPORTION = f"[ours] {_NO_COMMAND}; as that of ResNet50-SE on CUB"
_DEFAULT_RATE = f"[code] config.py: the default of --base_lr; {_NO_COMMAND}"


def _adl(
    backbone: str,
    data: str,
    rate: float,
    target: Mapping[str, float],
    target_source: str,
) -> Recipe:
    published = (backbone, data) == ("resnet50_se", "cub")
    lacks = [*_TENSORPACK, _VGG_LACKS if backbone == "vgg16" else _RESNET_LACKS]
    lacks += [_TEST_SPLIT] if data == "cub" else []
    lacks += [_CUB_OUTPUTS] if published else []
    return Recipe(
        name=f"adl-{backbone}-{data}",
        backbone=backbone,
        rate=rate,
        target=target,
        target_source=f"Choe and Shim, 2019 (arXiv:1908.10028), {target_source}",
        notes={
            "backbone": f"[code] {_CODE}",
            "method": "[paper] ADL",
            "batch_size": _PUBLISHED_COMMAND if published else _PROPORTION,
            "images_per_epoch": _DATA_NOTES[data],
            "rate": _PUBLISHED_COMMAND if published else _DEFAULT_RATE,
            **_NOTES,
            **_BACKBONE_NOTES[backbone],
        },
        lacks=lacks,
        **SETTINGS,
        **_BACKBONES[backbone],
        **DATA[data],
    )


ADL_RECIPES = (
    _adl(
        "vgg16",
        "cub",
        0.01,
        {"top1_loc": 52.36, "top1_cls": 65.27, "gt_known_loc": 75.41},
        "Tables 2 and 3, VGG-GAP",
    ),
    _adl(
        "resnet50_se",
        "cub",
        0.1,
        {"top1_loc": 62.29, "top1_cls": 80.34},
        "Table 3, ResNet50-SE",
    ),
    _adl(
        "vgg16",
        "ilsvrc",
        0.01,
        {"top1_loc": 44.92, "top1_cls": 69.48},
        "Table 3, VGG-GAP",
    ),
    _adl(
        "resnet50_se",
        "ilsvrc",
        0.01,
        {"top1_loc": 48.53, "top1_cls": 75.85},
        "Table 3, ResNet50-SE",
    ),
)
