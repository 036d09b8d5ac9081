"""The published trainings, as recipes: every value with where it comes from."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from keras_wsol.training.adl_recipes import ADL_RECIPES, DATA, SETTINGS
from keras_wsol.training.recipe import Recipe

_AS_ADL = "[ours] not stated; as ADL's code, whose settings the paper builds on"
# Neither paper says how it was trained.
_UNSTATED_NOTES = {
    **dict.fromkeys(("image_size", "view", "batch_size", "epochs"), _AS_ADL),
    **dict.fromkeys(("images_per_epoch", "schedule", "drop_epochs"), _AS_ADL),
    **dict.fromkeys(("nesterov", "rate_free_velocity", "momentum"), _AS_ADL),
    **dict.fromkeys(("l2_decay", "l2_weights", "multipliers", "keep"), _AS_ADL),
    "rate": "[ours] not stated; the default of ADL's code",
}
_DFM_LACKS = (
    "The paper names neither optimizer, rate, batch nor length of the training; it "
    "used PyTorch on one TITAN V.",
    "Images and boxes: the paper says ILSVRC 2016, whose images are those of 2012.",
)
_DFM_NOTES = {
    **_UNSTATED_NOTES,
    "backbone": "[paper] ResNet50",
    "method": "[paper] DFM",
    "drop_after": "[paper] following conv4_1 and conv5_3",
    "method_options": "[paper] alpha 0.85, beta 0.95, omega 0.15, delta 0.6, gamma "
    "0.4, tau 0.70; the layer's defaults for what the paper leaves open",
    "weights": "[paper] ILSVRC pretrained, fine-tuned",
}
_DFM_OPTIONS = {
    "channel_threshold": 0.85,
    "position_threshold": 0.95,
    "focus": 0.15,
    "position_weight": 0.6,
    "channel_weight": 0.4,
    "position_rate": 0.7,
}


def _dfm(data: str, target: Mapping[str, float]) -> Recipe:
    column = "CUB-200-2011" if data == "cub" else "ILSVRC 2016"
    settings = {**SETTINGS, "method": "dfm"}
    return Recipe(
        name=f"dfm-resnet50-{data}",
        backbone="resnet50",
        drop_after=("conv4_block1_out", "conv5_block3_out"),
        method_options=_DFM_OPTIONS,
        rate=0.01,
        l2_decay=1e-4,
        multipliers={"conv[1-4]_*": 0.1},
        target=target,
        target_source=f"Zhou et al. (arXiv:1909.04813), Table 3, {column}",
        notes=_DFM_NOTES,
        lacks=_DFM_LACKS,
        **settings,
        **DATA[data],
    )


_DGDM_NOTES = {
    **_UNSTATED_NOTES,
    "method": "[paper] DGDM",
    "drop_after": "[paper] higher-level and intermediate layers, as ADL; the rows of "
    "models.BACKBONES. The ablation on VGG has all pooling layers",
    "method_options": "[paper] drop rate 75 %, block size 3, beta 3 (Table 1), alpha "
    "0.5; thresholds of the spatial mask [ours]: not stated, the layer's defaults",
    "weights": "[paper] ImageNet pretrained",
}
_DGDM_LACKS = (
    "The paper says SGD, and nothing of rate, batch, decay or length.",
    "Its Table 3 gives ResNet50 62.32 G multiply-adds; at 224x224 with 14x14 maps they "
    "are 6.05 G. The size of its images is not stated.",
)


def _dgdm(backbone: str, target: Mapping[str, float], **settings: Any) -> Recipe:
    notes = {"backbone": f"[paper] {backbone}", **_DGDM_NOTES}
    if "backbone_options" in settings:
        notes["backbone_options"] = (
            "[paper] two head convolutions: the 29.08 M parameters of Table 3"
        )
    return Recipe(
        name=f"dgdm-{backbone}-cub",
        backbone=backbone,
        method_options={
            "drop_rate": 0.75,
            "block_size": 3,
            "min_multiple": 3.0,
            "drop_probability": 0.5,
        },
        rate=0.01,
        target=target,
        target_source="Yin et al. (arXiv:2003.04719), Table 3 (and, for GT-known Loc, "
        "Table 1)",
        notes=notes,
        lacks=_DGDM_LACKS,
        **{**SETTINGS, **settings, "method": "dgdm"},
        **DATA["cub"],
    )


_WSOL_CODE = "github.com/clovaai/wsolevaluation"
_WSOL_NOTES = {
    "backbone": f"[code] {_WSOL_CODE}, VGG16-GAP with 14x14 maps",
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
_WSOL_LACKS = (
    "The last batch of a pass, smaller than the others, is trained on there; here only "
    "full batches are.",
    "Images there are normalized by ImageNet's mean and deviation; here as the weights "
    "of keras.applications were trained.",
)
_NO_WSOL_FIGURE = (
    "Choe et al., 2020 (arXiv:2001.07437), whose table is not entered here: its "
    "figures have not been checked against the paper"
)


def _wsolevaluation(
    data: str, source: str, images_in: int, every: int, **settings: Any
) -> Recipe:
    epochs = settings["epochs"]
    # `epoch % every == 0` with epochs counted from 1, before the epoch is trained.
    drops = tuple(range(every - 1, epochs, every))
    notes = dict.fromkeys(("batch_size", "epochs", "rate", "l2_decay"), source)
    notes |= {
        "drop_epochs": f"{source}: --lr_decay_frequency {every}, before the epochs of "
        "these numbers, counted from 1",
        "images_per_epoch": f"[code] each of the {images_in:,} training images once",
        **_WSOL_NOTES,
    }
    return Recipe(
        name=f"wsolevaluation-vgg16-{data}",
        backbone="vgg16",
        method="cam",
        backbone_options={"head_convolutions": 1},
        view="whole",
        batch_size=32,
        schedule="step",
        drop_epochs=drops,
        rate_free_velocity=True,
        l2_decay=5e-4,
        l2_weights=None,
        multipliers={"head_*": 10.0},
        target={},
        target_source=_NO_WSOL_FIGURE,
        notes=notes,
        lacks=_WSOL_LACKS,
        **settings,
    )


_OURS = "[ours] examples/train_cub.py"
_OURS_NOTES = {
    "backbone": f"{_OURS}: small enough for a CPU",
    "method": "[ours] the best of CAM, ADL, DFM and DGDM on CUB-40, one seed",
    "backbone_options": f"{_OURS}: three quarters of the width",
    "weights": f"{_OURS}: a few dozen images a class do not train a backbone",
    "image_size": f"{_OURS}: as the papers",
    "view": "[ours] as it is served",
    "batch_size": f"{_OURS}: its default",
    "epochs": f"{_OURS}: its default; longer was not tried",
    "images_per_epoch": "[ours] each image once",
    "rate": f"{_OURS}: its default",
    "schedule": f"{_OURS}: ends at 0, so that the last model is the one to keep",
    "drop_epochs": "[ours] the cosine has none",
    "momentum": f"{_OURS}: as ADL's code",
    "nesterov": f"{_OURS}: as ADL's code",
    "rate_free_velocity": "[ours] the rate falls slowly, so that it hardly matters",
    "l2_decay": "[ours] none in twelve epochs",
    "l2_weights": "[ours] no decay",
    "multipliers": f"{_OURS}: a new head learns faster than pretrained layers",
    "keep": "[ours] needs no validation images",
    "method_options": "[ours] the layer's defaults",
    "drop_after": "[ours] the row of models.BACKBONES",
}

_TABLE = (
    *ADL_RECIPES,
    _dfm("cub", {"top1_loc": 56.14, "top1_cls": 81.06}),
    _dfm("ilsvrc", {"top1_loc": 49.61, "top1_cls": 77.76}),
    _dgdm(
        "vgg16",
        {"top1_loc": 54.34, "top1_cls": 69.85, "gt_known_loc": 75.02},
        backbone_options={"head_convolutions": 2},
        l2_decay=5e-4,
        multipliers={"block*": 0.1},
    ),
    _dgdm(
        "resnet50",
        {"top1_loc": 59.40, "top1_cls": 76.20},
        l2_decay=1e-4,
        multipliers={"conv[1-4]_*": 0.1},
    ),
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
        target_source="our own measurement, one seed: examples/results/cub40.csv, run "
        "cub40-dfm, view whole, threshold tuned on held-out images",
        notes=_OURS_NOTES,
    ),
)

RECIPES: Mapping[str, Recipe] = MappingProxyType(
    {recipe.name: recipe for recipe in _TABLE}
)
