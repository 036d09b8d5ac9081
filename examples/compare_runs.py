r"""Draws the same test images through the models of several runs of train_cub.py.

    python examples/compare_runs.py runs/cub40-cam runs/cub40-dgdm --data DIR \
        --out runs/comparison.png

A row an image (evenly picked, not by hand), a column a run: true box red, predicted
green.
"""

import argparse
from pathlib import Path

import keras

from keras_wsol import data, evaluation, models, viz


def main() -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", nargs="+", type=Path, help="folders that --out named")
    parser.add_argument("--data", required=True, help="folder that holds CUB_200_2011")
    parser.add_argument("--out", required=True, help="PNG file to write")
    parser.add_argument("--images", type=int, default=12, help="default %(default)s")
    options = parser.parse_args()
    test = data.cub200(options.data, "test")
    localizers = {run.name: load(run) for run in options.runs}
    picked = range(0, len(test), max(1, -(-len(test) // options.images)))
    picture = evaluation.compare_models(localizers, test, picked, cell_size=150)
    print("Wrote", viz.save_png(options.out, picture))


def load(run: Path) -> models.Localizer:
    """Loads the localizer of a run.

    Args:
        run: Folder of the run.

    Returns:
        The localizer, at its tuned threshold.
    """
    return keras.saving.load_model(run / "localizer.keras")


if __name__ == "__main__":
    main()
