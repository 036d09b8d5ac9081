"""The published trainings: every value, and where it is from."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from keras_wsol.training.recipes import Recipe


def _spread(notes: Mapping[str, str]) -> dict[str, str]:
    """Gives every attribute its note, of notes whose keys name one or several."""
    return {name: note for names, note in notes.items() for name in names.split()}


def _target(figures: Sequence[float]) -> dict[str, float]:
    names = ("top1_loc", "top1_cls", "gt_known_loc", "max_box_acc_v2")
    return dict(zip(names, figures, strict=False))


_CUB = {"dataset": "CUB-200-2011", "num_classes": 200, "images_per_epoch": 32_000}
_ILSVRC = {"dataset": "ILSVRC 2012", "num_classes": 1000, "images_per_epoch": 256_000}
_VGG = {
    "backbone_options": {"head_convolutions": 1},
    "l2_decay": 5e-4,
    "multipliers": {"block*": 0.1},
}
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
_NORMALIZED = "Images are normalized by the mean and deviation of ImageNet."

_ADL_NOTES = {
    "backbone": "[code] github.com/junsukchoe/ADL, commit 1779e55",
    "method": "[paper] drop rate 75 %; threshold 80 % for VGG, 90 % for ResNet",
    "drop_after": "[paper] Table 2; ResNet: [code] run_train.sh, positions 31, 41, 5",
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


def _adl(backbone: str, data: str, rate: float, table: str, *figures: float) -> Recipe:
    notes = {
        "batch_size": "[ours] no command was published; as ResNet50-SE on CUB",
        "rate": "[code] config.py: the default of --base_lr",
    }
    if (backbone, data) == ("resnet50_se", "cub"):
        notes = dict.fromkeys(notes, "[code] run_train.sh")
    return Recipe(
        name=f"adl-{backbone}-{data}",
        backbone=backbone,
        method="adl",
        rate=rate,
        target=_target(figures),
        target_source=f"Choe and Shim, 2019 (arXiv:1908.10028), {table}",
        notes=_spread(_ADL_NOTES | notes),
        lacks=(*_ADL_LACKS, *_ADL_BACKBONE_LACKS[backbone]),
        **_ADLS_CODE,
        **(_VGG if backbone == "vgg16" else _RESNET),
        **(_CUB if data == "cub" else _ILSVRC),
    )


_UNSTATED_NOTES = dict.fromkeys(
    [*_ADLS_CODE, "images_per_epoch", "l2_decay", "l2_weights", "multipliers"],
    "[ours] not stated; as ADL's code, whose settings the paper builds on",
) | {"rate": "[ours] not stated; the default of ADL's code"}


def _dfm(data: str, column: str, *figures: float) -> Recipe:
    notes = {
        "backbone": "[paper] ResNet50",
        "method": "[paper] alpha 0.85, beta 0.95, omega 0.15, delta 0.6, gamma 0.4, "
        "tau 0.70; else [ours]: the layer's defaults",
        "drop_after": "[paper] following conv4_1 and conv5_3",
        "weights": "[paper] ILSVRC pretrained, fine-tuned",
    }
    return Recipe(
        name=f"dfm-resnet50-{data}",
        backbone="resnet50",
        method="dfm",
        drop_after=("conv4_block1_out", "conv5_block3_out"),
        rate=0.01,
        target=_target(figures),
        target_source=f"Zhou et al. (arXiv:1909.04813), Table 3, {column}",
        notes=_UNSTATED_NOTES | notes,
        lacks=(
            "PyTorch on one TITAN V; no optimizer, rate, batch or length is named.",
            "Images of ILSVRC 2016, which are those of 2012.",
        ),
        **_ADLS_CODE,
        **_RESNET,
        **(_CUB if data == "cub" else _ILSVRC),
    )


def _dgdm(backbone: str, settings: Mapping[str, Any], *figures: float) -> Recipe:
    notes = {
        "backbone": f"[paper] {backbone}",
        "method": "[paper] drop rate 75 %, block size 3, beta 3 (Table 1), alpha 0.5; "
        "thresholds of the spatial mask [ours]: the layer's defaults",
        "drop_after": "[paper] higher-level and intermediate layers, as ADL",
        "backbone_options": "[paper] VGG: the 29.08 M parameters of Table 3",
        "weights": "[paper] ImageNet pretrained",
    }
    return Recipe(
        name=f"dgdm-{backbone}-cub",
        backbone=backbone,
        method="dgdm",
        rate=0.01,
        target=_target(figures),
        target_source="Yin et al. (arXiv:2003.04719), Table 3; GT-known Loc: Table 1",
        notes=_UNSTATED_NOTES | notes,
        lacks=(
            "SGD; no rate, batch, decay or length is named.",
            "ResNet50 has 62.32 G multiply-adds, at an unstated image size; here 6.05.",
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
    "method": "[ours] a choice, as any of METHODS",
    "drop_after": "[ours] the row of models.BACKBONES",
    "weights": "[ours] a few dozen images a class do not train a backbone",
    "view": "[ours] as it is served",
    "epochs rate": "[ours] no other was tried",
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
    method="dfm",
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

_TWO_CONVOLUTIONS = {"backbone_options": {"head_convolutions": 2}}
_TABLE = (
    _adl("vgg16", "cub", 0.01, "Tables 2 and 3, VGG-GAP", 52.36, 65.27, 75.41),
    _adl("resnet50_se", "cub", 0.1, "Table 3, ResNet50-SE", 62.29, 80.34),
    _adl("vgg16", "ilsvrc", 0.01, "Table 3, VGG-GAP", 44.92, 69.48),
    _adl("resnet50_se", "ilsvrc", 0.01, "Table 3, ResNet50-SE", 48.53, 75.85),
    _dfm("cub", "CUB-200-2011", 56.14, 81.06),
    _dfm("ilsvrc", "ILSVRC 2016", 49.61, 77.76),
    _dgdm("vgg16", _VGG | _TWO_CONVOLUTIONS, 54.34, 69.85, 75.02),
    _dgdm("resnet50", _RESNET, 59.40, 76.20),
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

RECIPES: Mapping[str, Recipe] = MappingProxyType({each.name: each for each in _TABLE})
