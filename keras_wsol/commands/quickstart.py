"""`keras-wsol quickstart`: the main job on drawn images."""

import argparse
from pathlib import Path

from keras_wsol.commands.command import Command, say


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("runs/quickstart"),
        metavar="DIR",
        help="folder to write (default: %(default)s)",
    )
    parser.add_argument(
        "--seed",
        type=int,
        default=0,
        help="fixes images, weights and draws (default: %(default)s)",
    )
    parser.add_argument(
        "--smoke", action="store_true", help="one pass over few images: does it run?"
    )


def _run(options: argparse.Namespace) -> None:
    say("Loading Keras ...")
    from keras_wsol import quickstart

    quickstart.run(options.out, seed=options.seed, smoke=options.smoke)


COMMAND = Command(
    summary="train, compare and export on drawn images; a few minutes on a CPU",
    usage="",
    description="""\
Draws images of creatures, trains a plain classifier (CAM) and one with DGDM on their
class labels, compares the boxes that the two find, and writes a gallery and a
SavedModel. Nothing is downloaded.""",
    example="keras-wsol quickstart --out runs/quickstart",
    interrupted="The same command begins anew.",
    add_arguments=_add_arguments,
    run=_run,
)
