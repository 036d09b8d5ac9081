"""The published trainings: every value, and where it is from."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from keras_wsol.training.recipes import Recipe

_CUB = {"dataset": "CUB-200-2011", "num_classes": 200, "images_per_epoch": 32_000}
_ILSVRC = {"dataset": "ILSVRC 2012", "num_classes": 1000, "images_per_epoch": 256_000}
_VGG = {"l2_decay": 5e-4, "multipliers": {"block*": 0.1}}
_RESNET = {"l2_decay": 1e-4, "multipliers": {"conv[1-4]_*": 0.1}}
_ADLS_CODE = {
    "image_size": (224, 224),
    "view": "center_crop",
    "batch_size": 32,
    "epochs": 105,
    "schedule": "step",
    "drop_epochs": (30, 60, 90, 100),
    "momentum": 0.9,
    "nesterov": True,
    "rate_free_velocity": True,
    "keep": "lowest_error",
}
_NORMALIZED = (
    "Images there are normalized by ImageNet's mean and deviation; here as the weights "
    "of keras.applications were trained."
)

_ADL_NOTES = {
    "backbone": "[code] github.com/junsukchoe/ADL, commit 1779e55",
    "method": "[paper] ADL, drop rate 75 %; threshold 80 % for VGG, 90 % for ResNet",
    "drop_after": "[paper] Table 2 (VGG: pool3, pool4, conv5-3); [code] ResNet: "
    "run_train.sh, gating positions 31, 41 and 5. The rows of models.BACKBONES",
    "weights": "[paper] pretrained on ImageNet",
    "image_size": "[code] data_loader.py: resized to 256x256, cropped to 224x224",
    "view": "[code] data_loader.py: CenterCrop; boxes follow",
    "epochs": "[code] config.py: 105",
    "schedule": "[code] train.py: ScheduledHyperParamSetter",
    "drop_epochs": "[code] train.py: a tenth after epochs 30, 60, 90 and 100",
    **dict.fromkeys(
        ("momentum", "nesterov", "rate_free_velocity"),
        "[code] train.py: MomentumOptimizer(lr, 0.9, use_nesterov=True), TensorFlow 1",
    ),
    "l2_decay": "[code] train.py: 5e-4 for vgg_gap, 1e-4 for resnet50_se, in the loss",
    "l2_weights": "[code] train.py: regularize_cost('.*/W'): kernels",
    "keep": "[code] train.py: MinSaver('val-error-top1')",
}
_ADL_BACKBONES = {
    "vgg16": {**_VGG, "backbone_options": {"head_convolutions": 1}},
    "resnet50_se": _RESNET,
}
_ADL_BACKBONE_NOTES = {
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
_ADL_LACKS = (
    "Tensorpack's worker processes each draw an order of their own, so that an image "
    "may come twice before another one comes; here every pass has each image once.",
    "Resizing there is OpenCV's bilinear without antialiasing, rounded to bytes after "
    "the crop; here it is antialiased and not rounded.",
    _NORMALIZED,
)
_ADL_BACKBONE_LACKS = {
    "vgg16": "The code draws the last layer's weights with a deviation of 0.01.",
    "resnet50_se": "keras.applications' ResNet50 strides in the first 1x1 convolution "
    "of a block and has biases, the code's in the 3x3 one and has none; its batch "
    "normalization averages with 0.9 and not 0.99. Its SE blocks are pretrained "
    "(Tensorpack's ImageNet-ResNet50-SE.npz); Keras has no such weights. Here they are "
    "new, and `{'*_se': 1.0, 'conv[1-4]_*': 0.1}` lets them learn as such.",
}
_CUB_LACKS = (
    "On CUB the code validates on 5,794 images, as many as the test split has, and "
    "keeps the model that is best there; pass a held-out split here."
)
_CUB_OUTPUTS = (
    "The code gives ResNet50-SE 1,000 outputs on CUB, too; here there are 200 [ours: "
    "no image is of the other 800 classes]."
)
_IMAGES_NOTES = {
    "cub": "[code] train.py: 25 steps of 256 images x stepscale 5; 561 passes over "
    "5,994 images in all",
    "ilsvrc": "[code] train.py: 5000 steps of 256 images x stepscale 0.2; 21 passes "
    "over 1,281,167 images in all",
}
_NO_COMMAND = "no command for this pair was published"


def _adl(
    backbone: str, data: str, rate: float, target: Mapping[str, float], source: str
) -> Recipe:
    published = (backbone, data) == ("resnet50_se", "cub")
    command = "[code] run_train.sh"
    proportion = f"[ours] {_NO_COMMAND}; as that of ResNet50-SE on CUB"
    default = f"[code] config.py: the default of --base_lr; {_NO_COMMAND}"
    return Recipe(
        name=f"adl-{backbone}-{data}",
        backbone=backbone,
        method="adl",
        rate=rate,
        target=target,
        target_source=f"Choe and Shim, 2019 (arXiv:1908.10028), {source}",
        notes={
            **_ADL_NOTES,
            **_ADL_BACKBONE_NOTES[backbone],
            "batch_size": command if published else proportion,
            "rate": command if published else default,
            "images_per_epoch": _IMAGES_NOTES[data],
        },
        lacks=(
            *_ADL_LACKS,
            _ADL_BACKBONE_LACKS[backbone],
            *((_CUB_LACKS,) if data == "cub" else ()),
            *((_CUB_OUTPUTS,) if published else ()),
        ),
        **_ADLS_CODE,
        **_ADL_BACKBONES[backbone],
        **(_CUB if data == "cub" else _ILSVRC),
    )


# Neither paper of DFM and DGDM says how it was trained.
_UNSTATED_NOTES = dict.fromkeys(
    [*_ADLS_CODE, "images_per_epoch", "l2_decay", "l2_weights", "multipliers"],
    "[ours] not stated; as ADL's code, whose settings the paper builds on",
) | {"rate": "[ours] not stated; the default of ADL's code"}


def _dfm(data: str, column: str, target: Mapping[str, float]) -> Recipe:
    return Recipe(
        name=f"dfm-resnet50-{data}",
        backbone="resnet50",
        method="dfm",
        drop_after=("conv4_block1_out", "conv5_block3_out"),
        rate=0.01,
        target=target,
        target_source=f"Zhou et al. (arXiv:1909.04813), Table 3, {column}",
        notes={
            **_UNSTATED_NOTES,
            "backbone": "[paper] ResNet50",
            "method": "[paper] DFM: alpha 0.85, beta 0.95, omega 0.15, delta 0.6, "
            "gamma 0.4, tau 0.70; the layer's defaults for what the paper leaves open",
            "drop_after": "[paper] following conv4_1 and conv5_3",
            "weights": "[paper] ILSVRC pretrained, fine-tuned",
        },
        lacks=(
            "The paper names neither optimizer, rate, batch nor length of the "
            "training; it used PyTorch on one TITAN V.",
            "Images and boxes: the paper says ILSVRC 2016, whose images are those of "
            "2012.",
        ),
        **_ADLS_CODE,
        **_RESNET,
        **(_CUB if data == "cub" else _ILSVRC),
    )


def _dgdm(backbone: str, target: Mapping[str, float], **settings: Any) -> Recipe:
    notes = {
        **_UNSTATED_NOTES,
        "backbone": f"[paper] {backbone}",
        "method": "[paper] DGDM: drop rate 75 %, block size 3, beta 3 (Table 1), alpha "
        "0.5; thresholds of the spatial mask [ours]: not stated, the layer's defaults",
        "drop_after": "[paper] higher-level and intermediate layers, as ADL; the rows "
        "of models.BACKBONES. The ablation on VGG has all pooling layers",
        "weights": "[paper] ImageNet pretrained",
    }
    if "backbone_options" in settings:
        notes["backbone_options"] = (
            "[paper] two head convolutions: the 29.08 M parameters of Table 3"
        )
    return Recipe(
        name=f"dgdm-{backbone}-cub",
        backbone=backbone,
        method="dgdm",
        rate=0.01,
        target=target,
        target_source="Yin et al. (arXiv:2003.04719), Table 3 (and, for GT-known Loc, "
        "Table 1)",
        notes=notes,
        lacks=(
            "The paper says SGD, and nothing of rate, batch, decay or length.",
            "Its Table 3 gives ResNet50 62.32 G multiply-adds; at 224x224 with 14x14 "
            "maps they are 6.05 G. The size of its images is not stated.",
        ),
        **_ADLS_CODE,
        **settings,
        **_CUB,
    )


_WSOL_NOTES = {
    "backbone": "[code] github.com/clovaai/wsolevaluation, VGG16-GAP with 14x14 maps",
    "method": "[code] cam",
    "backbone_options": "[code] wsol/vgg.py: one 3x3x1024 convolution",
    "weights": "[code] --pretrained TRUE",
    "image_size": "[code] config.py: resized to 256x256, cropped to 224x224",
    "view": "[code] data_loaders.py: evaluation squashes the whole image to 224x224",
    "schedule": "[code] main.py: adjust_learning_rate",
    "momentum": "[code] config.py: 0.9",
    "nesterov": "[code] main.py: nesterov=True",
    "rate_free_velocity": "[code] torch.optim.SGD",
    "l2_weights": "[code] torch.optim.SGD decays all that it is given",
    "multipliers": "[code] config.py: --lr_classifier_ratio 10, for what is not in "
    "vgg's 'features': conv6 and fc",
    "keep": "[code] README: 'We suggest to use the last checkpoint'",
}


def _wsolevaluation(
    data: str, source: str, images_in: int, every: int, **settings: Any
) -> Recipe:
    notes = dict.fromkeys(("batch_size", "epochs", "rate", "l2_decay"), source)
    notes |= {
        "drop_epochs": f"{source}: --lr_decay_frequency {every}, before the epochs of "
        "these numbers, counted from 1",
        "images_per_epoch": f"[code] each of the {images_in:,} training images once",
    }
    return Recipe(
        name=f"wsolevaluation-vgg16-{data}",
        backbone="vgg16",
        method="cam",
        backbone_options={"head_convolutions": 1},
        view="whole",
        batch_size=32,
        schedule="step",
        # `epoch % every == 0` with epochs counted from 1, before the epoch is trained.
        drop_epochs=tuple(range(every - 1, settings["epochs"], every)),
        rate_free_velocity=True,
        l2_decay=5e-4,
        l2_weights=None,
        multipliers={"head_*": 10.0},
        target={},
        target_source="Choe et al., 2020 (arXiv:2001.07437), whose table is not "
        "entered here: its figures have not been checked against the paper",
        notes={**_WSOL_NOTES, **notes},
        lacks=(
            "The last batch of a pass, smaller than the others, is trained on there; "
            "here only full batches are.",
            _NORMALIZED,
        ),
        **settings,
    )


_OURS_NOTES = {
    "backbone": "[ours] small enough for a CPU",
    "method": "[ours] the best of CAM, ADL, DFM and DGDM on CUB-40, one seed",
    "drop_after": "[ours] the row of models.BACKBONES",
    "backbone_options": "[ours] three quarters of the width",
    "weights": "[ours] a few dozen images a class do not train a backbone",
    "view": "[ours] as it is served",
    **dict.fromkeys(("epochs", "rate"), "[ours] no other was tried"),
    "images_per_epoch": "[ours] each image once",
    "schedule": "[ours] ends at 0, so that the last model is the one to keep",
    **dict.fromkeys(
        ("image_size", "batch_size", "momentum", "nesterov"), "[ours] as ADL's code"
    ),
    "rate_free_velocity": "[ours] the rate falls slowly, so that it hardly matters",
    **dict.fromkeys(("l2_decay", "l2_weights"), "[ours] no decay in twelve epochs"),
    "multipliers": "[ours] a new head learns faster than pretrained layers",
    "keep": "[ours] needs no validation images",
}

_TABLE = (
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
    _dfm("cub", "CUB-200-2011", {"top1_loc": 56.14, "top1_cls": 81.06}),
    _dfm("ilsvrc", "ILSVRC 2016", {"top1_loc": 49.61, "top1_cls": 77.76}),
    _dgdm(
        "vgg16",
        {"top1_loc": 54.34, "top1_cls": 69.85, "gt_known_loc": 75.02},
        backbone_options={"head_convolutions": 2},
        **_VGG,
    ),
    _dgdm("resnet50", {"top1_loc": 59.40, "top1_cls": 76.20}, **_RESNET),
    _wsolevaluation(
        "openimages",
        "[code] README, 'Run train+eval'",
        29_819,
        3,
        dataset="OpenImages30k",
        num_classes=100,
        epochs=10,
        rate=0.00227913316,
    ),
    _wsolevaluation(
        "cub",
        "[code] not wsolevaluation's own: README of its authors' later repository "
        "(Kim et al., 2021, arXiv:2107.13221), the command for CUB",
        5_994,
        15,
        dataset="CUB-200-2011",
        num_classes=200,
        epochs=50,
        rate=0.00001268269,
    ),
    Recipe(
        name="ours-mobilenet-small",
        dataset="CUB-40: 40 classes, 1,000 training images",
        num_classes=40,
        backbone="mobilenet",
        method="dfm",
        backbone_options={"alpha": 0.75},
        view="whole",
        batch_size=32,
        epochs=12,
        rate=0.005,
        schedule="cosine",
        multipliers={"head_*": 10.0},
        target={
            "top1_loc": 46.27,
            "top1_cls": 74.00,
            "gt_known_loc": 58.18,
            "max_box_acc_v2": 56.42,
        },
        target_source="our own measurement, one seed: run cub40-dfm, view whole, "
        "threshold tuned on held-out images",
        notes=_OURS_NOTES,
    ),
)

RECIPES: Mapping[str, Recipe] = MappingProxyType(
    {recipe.name: recipe for recipe in _TABLE}
)
