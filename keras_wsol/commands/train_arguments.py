"""The arguments of `keras-wsol train`."""

import argparse
from pathlib import Path

from keras_wsol.commands.argument_types import count, file, folder, positive

# The keys of `models.BACKBONES` and `models.METHODS`, whose tables need Keras: help
# and mistakes in the arguments are answered without it.
BACKBONES = (
    *("mobilenet", "mobilenet_v2", "vgg16"),
    *("resnet50", "resnet50_se", "resnet101", "inception_v3"),
    *("efficientnet_v2_b0", "convnext_tiny"),
)
METHODS = (
    *("cam", "adl", "dfm", "dgdm", "cagd", "sagd"),
    *("se", "cbam", "spatial_dropout", "dropblock"),
    *("maxdrop", "targeted_dropout", "cutout"),
)


def _weights(text: str) -> str:
    return text if text in ("imagenet", "none") else str(file(text))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds them to a parser.

    Args:
        parser: The parser.
    """
    add = parser.add_argument
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
        "--backbone",
        default="mobilenet",
        choices=BACKBONES,
        help="one of %(choices)s (default: %(default)s)",
        metavar="NAME",
    )
    add(
        "--method",
        default="adl",
        choices=METHODS,
        help="what makes it attend to whole objects: cam (nothing), adl, dfm, dgdm, "
        "its halves cagd and sagd; or for comparison se, cbam, spatial_dropout, "
        "dropblock, maxdrop, targeted_dropout, cutout (default: %(default)s)",
        metavar="NAME",
    )
    add(
        "--weights",
        type=_weights,
        default="imagenet",
        metavar="WHAT",
        help="where to start: imagenet (downloaded once), none (random), or an .h5 or "
        ".keras file (default: %(default)s)",
    )
    add(
        "--epochs",
        type=count,
        default=12,
        metavar="N",
        help="passes over the images (default: %(default)s)",
    )
    add(
        "--batch-size",
        type=count,
        default=32,
        metavar="N",
        help="images in a step (default: %(default)s)",
    )
    add(
        "--rate",
        type=positive,
        default=0.005,
        metavar="X",
        help="first learning rate, falling to 0 as a cosine; that of the new head is "
        "ten times as high (default: %(default)s)",
    )
    add(
        "--image-size",
        type=count,
        default=224,
        metavar="PIXELS",
        help="side that images are resized to (default: %(default)s)",
    )
    add(
        "--alpha",
        type=positive,
        metavar="X",
        help="width of a MobileNet (default: 1.0)",
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
