"""The arguments of `keras-wsol train`."""

import argparse
from pathlib import Path
from types import MappingProxyType

from keras_wsol.commands.argument_types import (
    count,
    file,
    folder,
    json_object,
    positive,
)

# The keys of `models.BACKBONES` and `models.METHODS`, whose tables need Keras: help
# and mistakes in the arguments are answered without it.
BACKBONES = (
    *("mobilenet", "mobilenet_v2", "vgg16"),
    *("resnet50", "resnet50_se", "resnet101", "resnet18", "resnet34", "inception_v3"),
    *("efficientnet_v2_b0", "convnext_tiny"),
)
METHODS = (
    *("cam", "adl", "dfm", "dgdm", "cagd", "sagd"),
    *("se", "cbam", "spatial_dropout", "dropblock"),
    *("maxdrop", "targeted_dropout", "cutout"),
)
# Of `training.RECIPES`.
RECIPES = (
    *("adl-vgg16-cub", "adl-resnet50_se-cub"),
    *("adl-vgg16-ilsvrc", "adl-resnet50_se-ilsvrc"),
    *("dfm-resnet50-cub", "dfm-resnet50-ilsvrc"),
    *("dgdm-vgg16-cub", "dgdm-resnet50-cub"),
    *("wsolevaluation-vgg16-openimages", "wsolevaluation-vgg16-cub"),
    "ours-mobilenet-small",
)
# What is taken where neither the command line nor a recipe says otherwise. At this rate
# and length, with a width of 0.75 and the first layers frozen, DGDM has 7.5 points of
# Top-1 Loc more than CAM (95 % interval +4.8 to +10.2, three seeds; row dgdm-grow-last
# of examples/results/study-cub40.csv), and ADL 0.9 more (-1.0 to +3.1). At twice the
# rate, CAM's best, DGDM has 2.2 more (-3.5 to +7.9; row dgdm-rate-0.01).
DEFAULTS = MappingProxyType(
    {
        "backbone": "mobilenet",
        "method": "dgdm",
        "weights": "imagenet",
        "epochs": 12,
        "batch_size": 32,
        "rate": 0.005,
        "image_size": 224,
    }
)


def _weights(text: str) -> str:
    return text if text in ("imagenet", "none") else str(file(text))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds them to a parser."""
    add = parser.add_argument

    def default(name: str) -> str:
        return f"(default: {DEFAULTS[name]}, or the recipe's)"

    add("--data", type=folder, required=True, metavar="DIR", help="the images")
    add(
        "--dataset",
        default="folder",
        choices=["folder", "cub"],
        help="how DIR is laid out: a folder of images for each class, of which a fifth "
        "is kept for validation; or CUB-200-2011, of which train-weaksup is learned "
        "from (default: %(default)s)",
    )
    add("--out", type=Path, required=True, metavar="DIR", help="folder of this run")
    add(
        "--recipe",
        choices=RECIPES,
        metavar="NAME",
        help="a published training, or ours, with all its settings: one of "
        "%(choices)s. What else is given here takes the place of a setting "
        "(default: none)",
    )
    add(
        "--backbone",
        choices=BACKBONES,
        help=f"one of %(choices)s {default('backbone')}",
        metavar="NAME",
    )
    add(
        "--method",
        choices=METHODS,
        help="what makes it attend to whole objects: cam (nothing), adl, dfm, dgdm, "
        "its halves cagd and sagd; or for comparison se, cbam, spatial_dropout, "
        f"dropblock, maxdrop, targeted_dropout, cutout {default('method')}",
        metavar="NAME",
    )
    add(
        "--weights",
        type=_weights,
        metavar="WHAT",
        help="where to start: imagenet (downloaded once), none (random), or an .h5 or "
        f".keras file {default('weights')}",
    )
    add(
        "--epochs",
        type=count,
        metavar="N",
        help="passes over the images, or epochs as the recipe counts them "
        f"{default('epochs')}",
    )
    add(
        "--batch-size",
        type=count,
        metavar="N",
        help=f"images in a step {default('batch_size')}",
    )
    add(
        "--rate",
        type=positive,
        metavar="X",
        help="first learning rate, falling to 0 as a cosine; that of the new head is "
        "ten times as high. A recipe has a schedule and multipliers of its own "
        f"{default('rate')}",
    )
    add(
        "--image-size",
        type=count,
        metavar="PIXELS",
        help=f"side that images are resized to {default('image_size')}",
    )
    add(
        "--alpha",
        type=positive,
        metavar="X",
        help="width of a MobileNet (default: 1.0)",
    )
    add(
        "--map-size",
        type=count,
        metavar="CELLS",
        help="side of the last map at 224 pixels, such as 28 (default: 14)",
    )
    add(
        "--method-options",
        type=json_object,
        metavar="JSON",
        help="arguments of the method's layers, such as '{\"drop_threshold\": 0.9}' "
        "(default: those of the backbone's row, or the recipe's)",
    )
    add(
        "--seed",
        type=int,
        default=0,
        metavar="N",
        help="fixes weights and draws (default: %(default)s)",
    )
    add(
        "--freeze",
        action="append",
        metavar="WHAT",
        help="what is not trained: batch_norm, backbone, or the name of a layer (it "
        "and all before it); may be repeated (default: nothing)",
    )
    add(
        "--deterministic",
        action="store_true",
        help="the same weights each time, interrupted or not, to the last bit; slower",
    )
