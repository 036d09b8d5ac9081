"""The published trainings: every value, and where it is from."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from keras_wsol.training.recipes import Recipe, Recipes


def _spread(notes: Mapping[str, str]) -> dict[str, str]:
    """Gives every attribute its note, of notes whose keys name one or several."""
    return {name: note for names, note in notes.items() for name in names.split()}


# Every argument of the layers, so that a default that changes changes no recipe.
_ADL_LAYER = {
    "drop_rate": 0.75,
    "draw": "batch",
    "use_importance_map": True,
    "use_drop_mask": True,
}
_DFM_LAYER = {
    "channel_threshold": 0.85,
    "position_threshold": 0.95,
    "focus": 0.15,
    "position_weight": 0.6,
    "channel_weight": 0.4,
    "position_rate": 0.7,
    "feedback": "residual",
    "rescale": True,
    "inference": "identity",
    "accumulate_focus": False,
    "branches": "fused",
    "draw": "batch",
}
_DGDM_LAYER = {
    **_ADL_LAYER,
    "drop_probability": 0.5,
    "selection": "min_multiple",
    "min_multiple": 3.0,
    "keep_fraction": 0.75,
    "high_threshold": 0.95,
    "block_size": 3,
    "grow_background": False,
}
_PLACES = {
    "vgg16": ("block3_pool", "block4_pool", "block5_conv3"),
    "resnet50": ("conv4_block1_out", "conv5_block1_out", "conv5_block3_out"),
    "mobilenet": ("conv_pw_12_relu", "conv_pw_13_relu"),
    "inception_v3": ("mixed2", "mixed7", "head_conv2"),
    "resnet18": ("stack2_block0_out", "stack3_block0_out", "stack3_block1_out"),
    "resnet34": tuple(
        f"v2_stack_{x}_out" for x in ("2_block1", "3_block1", "3_block3")
    ),
}
_PLACES |= {
    "resnet50_se": _PLACES["resnet50"],
    "resnet101": _PLACES["resnet50"],
}


_CUB = {"dataset": "CUB-200-2011", "num_classes": 200, "images_per_epoch": 32_000}
_ILSVRC = {"dataset": "ILSVRC 2012", "num_classes": 1000, "images_per_epoch": 256_000}
_CARS = {"dataset": "Stanford Cars", "num_classes": 196, "images_per_epoch": 32_000}
_DATA = {"cub": _CUB, "ilsvrc": _ILSVRC, "cars": _CARS}
_VGG = {
    "backbone_options": {"head_convolutions": 1},
    "l2_decay": 5e-4,
    "multipliers": {"block*": 0.1},
}
_RESNET = {"l2_decay": 1e-4, "multipliers": {"conv[1-4]_*": 0.1}}
_SETTINGS = {
    "vgg16": _VGG,
    **dict.fromkeys(("resnet50", "resnet50_se", "resnet101"), _RESNET),
    "resnet18": {
        "l2_decay": 1e-4,
        "multipliers": {"conv1_*": 0.1, "stack[0-2]_*": 0.1},
    },
    "resnet34": {"l2_decay": 1e-4, "weights": None},
    # What is new learns at the full rate [ours: no settings were published].
    "mobilenet": {"l2_decay": 1e-4, "multipliers": {"conv*": 0.1}},
    "inception_v3": {"l2_decay": 5e-4, "multipliers": {"[bcm]*": 0.1}},
}
_ADLS_CODE = {
    "image_size": (224, 224),
    "view": "center_crop",
    "epochs": 105,
    "schedule": "step",
    "drop_epochs": (30, 60, 90, 100),
    "momentum": 0.9,
    "nesterov": True,
    "rate_free_velocity": True,
    "keep": "lowest_error",
}
_ADL_THRESHOLDS = {
    **dict.fromkeys(("vgg16", "inception_v3"), 0.8),
    "resnet50_se": 0.9,
    "mobilenet": 0.95,
}
_NORMALIZED = "Images are normalized by the mean and deviation of ImageNet."

_ADL_NOTES = {
    "backbone": "[code] github.com/junsukchoe/ADL, commit 1779e55",
    "method": "[paper] drop rate 75 %; threshold 80 % (VGG, InceptionV3), 90 % "
    "(ResNet), 95 % (MobileNetV1)",
    "drop_after": "[paper] Table 2; ResNet: [code] run_train.sh, positions 31, 41, 5; "
    "InceptionV3: [ours] by the authors' later code",
    "backbone_options": "[code] backbone/vgg.py: one 3x3x1024 convolution (VGG)",
    "weights": "[paper] pretrained on ImageNet",
    "image_size view": "[code] data_loader.py: resized to 256x256, CenterCrop 224x224",
    "epochs": "[code] config.py",
    "images_per_epoch": "[code] train.py: 256 x 25 x 5 (CUB), 256 x 5000 x 0.2",
    "schedule drop_epochs": "[code] train.py: ScheduledHyperParamSetter",
    "momentum nesterov rate_free_velocity": "[code] train.py: MomentumOptimizer (TF 1)",
    "l2_decay": "[code] train.py: 5e-4 for vgg_gap, 1e-4 for resnet50_se, in the loss",
    "l2_weights": "[code] train.py: regularize_cost('.*/W'): kernels",
    "multipliers": "[code] train.py: VGG conv.* x 0.1; ResNet conv0.*, group[0-2].*",
    "keep": "[code] train.py: MinSaver('val-error-top1')",
}
_ADL_LACKS = (
    "Each of Tensorpack's workers draws an order: an image may come twice in a pass.",
    "Images are resized by OpenCV without antialiasing, and rounded after the crop.",
    "On CUB the best model is chosen on 5,794 images, as many as the test split has.",
    _NORMALIZED,
)
_ADL_BACKBONE_LACKS = {
    "vgg16": ("The last layer's weights are drawn with a deviation of 0.01.",),
    "resnet50_se": (
        "ResNet50 strides in a block's 3x3 convolution, without biases, and averages "
        "with 0.9; in keras.applications in the first 1x1 one, with biases, and 0.99.",
        "The SE blocks are pretrained (Tensorpack's ImageNet-ResNet50-SE.npz); here "
        "they are new. `{'*_se': 1.0, 'conv[1-4]_*': 0.1}` lets them learn as such.",
        "On CUB there are 1,000 outputs, too; here 200.",
    ),
}


def _of_paper(
    method: str, backbone: str, data: str, figures: Sequence[float], **given: Any
) -> Recipe:
    """A row of a paper's table, trained as ADL's code does where `given` is silent."""
    settings = {
        "rate": 0.01,
        "batch_size": 256 if data == "ilsvrc" else 32,
        **_ADLS_CODE,
        **_SETTINGS[backbone],
        **_DATA[data],
    }
    names = ("top1_loc", "top1_cls", "gt_known_loc")
    return Recipe(
        name=f"{method}-{backbone}-{data}",
        backbone=backbone,
        method=method,
        target=dict(zip(names, figures, strict=False)),
        **(settings | given),
    )


# What the code of ADL does not say.
_BACKBONE_NOTES = {
    "mobilenet": "[ours] not published: as ResNet50-SE",
    "inception_v3": "[ours] not published: as VGG-GAP",
}


def _adl(
    backbone: str, data: str, *figures: float, table: str = "", method: str = "adl"
) -> Recipe:
    """A row of ADL's Table 3, of ADL or of CAM beside it."""
    ours = _BACKBONE_NOTES.get(backbone)
    notes = {
        "rate": "[code] config.py: the default of --base_lr",
        "batch_size": "[code] 32 on CUB: run_train.sh; 256 on ILSVRC: config.py and "
        "the authors' command for VGG",
    }
    rate = 0.1 if (backbone, data) == ("resnet50_se", "cub") else 0.01
    if rate == 0.1:
        notes["rate"] = "[code] run_train.sh"
    if ours:
        notes |= dict.fromkeys(("l2_decay", "multipliers", "rate", "batch_size"), ours)
    if backbone == "mobilenet":
        notes["drop_after"] = "[ours] never published"
    layer = {**_ADL_LAYER, "drop_threshold": _ADL_THRESHOLDS[backbone]}
    if method == "cam":
        notes["method"] = "[paper] CAM"
    return _of_paper(
        *(method, backbone, data, figures),
        drop_after=dict.fromkeys(_PLACES[backbone], layer) if method == "adl" else None,
        rate=rate,
        target_source="Choe and Shim, 2019 (arXiv:1908.10028), Table 3" + table,
        notes=_spread(_ADL_NOTES | notes),
        lacks=(*_ADL_LACKS, *_ADL_BACKBONE_LACKS.get(backbone, ())),
    )


_UNSTATED_NOTES = dict.fromkeys(
    [*_ADLS_CODE, "images_per_epoch", "l2_decay", "l2_weights", "multipliers"],
    "[ours] not stated; as ADL's code, whose settings the paper builds on",
) | {
    "rate": "[ours] not stated; the default of ADL's code",
    "batch_size": "[ours] not stated; 32, and 256 on ILSVRC, as ADL's code",
    "backbone_options": "[ours] VGG: one convolution, as ADL's code",
}


def _dfm(backbone: str, data: str, *figures: float) -> Recipe:
    """A row of DFM's Table 3."""
    places = _PLACES[backbone]
    is_resnet = backbone.startswith("resnet")
    notes = {
        "backbone": "[paper] Table 3",
        "method": "[paper] alpha 0.85, beta 0.95, omega 0.15, delta 0.6, gamma 0.4, "
        "tau 0.70 (ResNet50); else [ours]",
        "drop_after": "[paper] following conv4_1 and conv5_3; rescale: [ours]"
        if is_resnet
        else "[paper] the bottlenecks between stages, read as ADL's places [ours]",
        "weights": "[paper] ILSVRC pretrained, fine-tuned",
    }
    return _of_paper(
        *("dfm", backbone, data, figures),
        drop_after=dict.fromkeys(places[::2] if is_resnet else places, _DFM_LAYER),
        target_source="Zhou et al. (arXiv:1909.04813), Table 3",
        notes=_UNSTATED_NOTES | notes,
        lacks=(
            "PyTorch on one TITAN V; no optimizer, rate, batch or length is named.",
            "Images of ILSVRC 2016, which are those of 2012.",
        ),
    )


def _dgdm(backbone: str, data: str, table: str, *figures: float) -> Recipe:
    """A row of DGDM's tables."""
    places, settings = _PLACES[backbone], _SETTINGS[backbone]
    if backbone == "vgg16":
        places = ("block1_pool", "block2_pool", *places)
        settings = settings | {"backbone_options": {"head_convolutions": 2}}
    notes = {
        "backbone": f"[paper] {backbone}",
        "method": "[paper] drop rate 75 %, block size 3, beta 3 (Table 1), alpha 0.5; "
        "thresholds of the spatial mask [ours]",
        "drop_after": "[paper] VGG: all pooling layers and conv5_3; else higher-level "
        "and intermediate layers, as ADL",
        "backbone_options": "[paper] VGG: the 29.08 M parameters of Table 3",
        "weights": "[paper] ImageNet pretrained; None where there are none to be had",
    }
    lacks = ["SGD; no rate, batch, decay or length is named."]
    if backbone == "resnet50":
        lacks += ["Table 3 has 62.32 G multiply-adds, at an unstated image size."]
    if settings.get("weights", "imagenet") is None:
        lacks += ["It starts at random: there are no ImageNet weights in Keras."]
    return _of_paper(
        *("dgdm", backbone, data, figures),
        # The background is a larger share in front of the last map.
        drop_after={
            place: {**_DGDM_LAYER, "low_threshold": 0.1 if place == places[-1] else 0.2}
            for place in places
        },
        target_source=f"Yin et al. (arXiv:2003.04719), {table}",
        notes=_UNSTATED_NOTES | notes,
        lacks=tuple(lacks),
        **settings,
    )


_WSOL_NOTES = {
    "backbone": "[code] github.com/clovaai/wsolevaluation, VGG16-GAP with 14x14 maps",
    "method": "[code] cam",
    "backbone_options": "[code] wsol/vgg.py: one 3x3x1024 convolution",
    "weights": "[code] --pretrained TRUE",
    "image_size": "[code] config.py: resized to 256x256, cropped to 224x224",
    "view": "[code] data_loaders.py: evaluation squashes the whole image to 224x224",
    "images_per_epoch": "[code] each image once",
    "schedule": "[code] main.py: adjust_learning_rate",
    "momentum": "[code] config.py",
    "nesterov rate_free_velocity": "[code] main.py: torch.optim.SGD(nesterov=True)",
    "l2_weights": "[code] torch.optim.SGD decays all that it is given",
    "multipliers": "[code] config.py: --lr_classifier_ratio 10, for conv6 and fc",
    "keep": "[code] README: 'We suggest to use the last checkpoint'",
}


def _wsolevaluation(data: str, source: str, every: int, **settings: Any) -> Recipe:
    notes = {
        "batch_size epochs rate l2_decay": source,
        "drop_epochs": f"{source}: --lr_decay_frequency {every}",
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
        target_source="Choe et al., 2020 (arXiv:2001.07437), whose figures have not "
        "been checked and are not entered",
        notes=_spread(_WSOL_NOTES | notes),
        lacks=("The last, smaller batch of a pass is trained on, too.", _NORMALIZED),
        **settings,
    )


_OURS_NOTES = {
    "backbone backbone_options": "[ours] small enough for a CPU",
    "method": "[ours] rows `dgdm-grow-last` of the study",
    "drop_after": "[ours] the row of models.BACKBONES",
    "weights": "[ours] a few dozen images a class do not train a backbone",
    "view": "[ours] as it is served",
    "epochs rate": "[ours] group `tuning` of the study",
    "images_per_epoch": "[ours] each image once",
    "schedule": "[ours] ends at 0, so that the last model is the one to keep",
    "image_size batch_size momentum nesterov": "[ours] as ADL's code",
    "rate_free_velocity": "[ours] as Keras' SGD",
    "l2_decay l2_weights": "[ours] no decay in twelve epochs",
    "multipliers": "[ours] a new head learns faster than pretrained layers",
    "keep": "[ours] needs no validation images",
}
_OURS = Recipe(
    name="ours-mobilenet-small",
    dataset="CUB-40: 40 classes, 1,000 training images",
    num_classes=40,
    backbone="mobilenet",
    method="dgdm",
    backbone_options={"alpha": 0.75},
    view="whole",
    batch_size=32,
    epochs=12,
    rate=0.005,
    schedule="cosine",
    multipliers={"head_*": 10.0},
    target={},
    target_source="our own, of no paper",
    notes=_spread(_OURS_NOTES),
)

_TABLE = (
    _adl("vgg16", "cub", 52.36, 65.27, 75.41, table=" (GT-known Loc: Table 2)"),
    _adl("resnet50_se", "cub", 62.29, 80.34),
    _adl("mobilenet", "cub", 47.74, 70.43),
    _adl("inception_v3", "cub", 53.04, 74.55),
    _adl("vgg16", "ilsvrc", 44.92, 69.48),
    _adl("resnet50_se", "ilsvrc", 48.53, 75.85),
    _adl("mobilenet", "ilsvrc", 43.01, 67.77),
    _adl("inception_v3", "ilsvrc", 48.71, 72.83),
    _adl("vgg16", "cub", 34.41, 67.55, method="cam"),
    _adl("resnet50_se", "cub", 42.72, 80.65, method="cam"),
    _adl("mobilenet", "cub", 43.70, 71.94, method="cam"),
    _adl("inception_v3", "cub", 43.67, method="cam"),
    _adl("vgg16", "ilsvrc", 42.80, 66.60, method="cam"),
    _adl("resnet50_se", "ilsvrc", 46.19, 76.56, method="cam"),
    _adl("mobilenet", "ilsvrc", 41.66, 68.38, method="cam"),
    _adl("inception_v3", "ilsvrc", 46.29, method="cam"),
    _dfm("resnet50", "cub", 56.14, 81.06),
    _dfm("resnet101", "cub", 54.68, 81.52),
    _dfm("vgg16", "cub", 55.84, 72.52),
    _dfm("mobilenet", "cub", 49.13, 72.37),
    _dfm("resnet50", "ilsvrc", 49.61, 77.76),
    _dfm("resnet101", "ilsvrc", 50.65, 77.52),
    _dfm("vgg16", "ilsvrc", 47.41, 68.60),
    _dfm("mobilenet", "ilsvrc", 44.19, 68.63),
    _dgdm("vgg16", "cub", "Table 3; GT-known Loc: Table 1", 54.34, 69.85, 75.02),
    _dgdm("resnet50", "cub", "Table 3", 59.40, 76.20),
    _dgdm("inception_v3", "cub", "Table 3", 52.62, 72.23),
    _dgdm("resnet50_se", "ilsvrc", "Table 4", 48.81, 73.50),
    _dgdm("resnet18", "cars", "Table 2", 87.38, 88.91),
    _dgdm("resnet34", "cars", "Table 2", 88.44, 89.91),
    _dgdm("resnet50", "cars", "Table 2", 90.25, 91.85),
    _wsolevaluation(
        "openimages",
        "[code] README, 'Run train+eval'",
        3,
        dataset="OpenImages30k",
        num_classes=100,
        epochs=10,
        rate=0.00227913316,
    ),
    _wsolevaluation(
        "cub",
        "[code] README of its authors' later code (Kim et al., 2021, arXiv:2107.13221)",
        15,
        dataset="CUB-200-2011",
        num_classes=200,
        epochs=50,
        rate=0.00001268269,
    ),
    _OURS,
)

RECIPES: Mapping[str, Recipe] = MappingProxyType(Recipes((x.name, x) for x in _TABLE))
