"""The command line: a thin skin over the package."""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line.

    Args:
        arguments: What to read instead of `sys.argv`.
    """
    parser = argparse.ArgumentParser(
        prog="keras-wsol",
        description="Weakly supervised localization: image labels in, boxes out.",
    )
    commands = parser.add_subparsers(dest="command", required=True)
    quick = commands.add_parser(
        "quickstart",
        help="train, compare and export on drawn images; a few minutes on a CPU",
        description="Draws images of creatures, trains a plain classifier (CAM) and "
        "one with DGDM on their class labels, compares the boxes that the two find, "
        "and writes a gallery and a SavedModel. Nothing is downloaded.",
    )
    quick.add_argument(
        "--out", default="runs/quickstart", help="folder to write (default %(default)s)"
    )
    quick.add_argument(
        "--seed", type=int, default=0, help="of images, weights, draws (default 0)"
    )
    quick.add_argument(
        "--smoke", action="store_true", help="one pass over few images: does it run?"
    )
    options = parser.parse_args(arguments)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    print("Loading Keras ...", flush=True)
    from keras_wsol import quickstart

    quickstart.run(Path(options.out), seed=options.seed, smoke=options.smoke)
