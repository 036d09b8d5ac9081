r"""Draws test images through models of study.py, side by side.

    python examples/study/study_gallery.py cam-seed0 adl-seed0 dfm-seed0 dgdm-seed0 \
        cam-seed0:foreground-conv_pw_12_relu --data DIR --study runs/study \
        --out gallery.png

A row an image (every 45th of CUB-40's test split, not picked), a column a model and
map at its tuned threshold: true box red, predicted green. The study must have been
made with `--keep`. Birds' photographs are not ours: never publish the picture.
"""

import argparse
from pathlib import Path

import keras
from study_reading import localizer_of
from study_results import read_rows, row_key
from study_runs import STUDY

from keras_wsol import data, models, viz


def main() -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "models", nargs="+", help="run and, after a colon, what is read"
    )
    parser.add_argument("--data", required=True, help="folder that holds CUB_200_2011")
    parser.add_argument("--study", required=True, type=Path, help="--out of the study")
    parser.add_argument("--out", required=True, help="PNG file to write")
    parser.add_argument("--every", type=int, default=45, help="default %(default)s")
    parser.add_argument("--first", type=int, default=0, help="default %(default)s")
    parser.add_argument("--images", type=int, default=24, help="default %(default)s")
    options = parser.parse_args()
    test = data.cub200(options.data, "test")
    train = data.cub200(options.data, "train-weaksup")
    localizers = {name: load(name, options.study, train) for name in options.models}
    picked = range(options.first, len(test), options.every)[: options.images]
    figure = viz.compare_models(localizers, test, picked, cell_size=150)
    figure.savefig(options.out)
    print("Wrote", options.out)


def load(name: str, study: Path, train: data.ImageDataset) -> models.Localizer:
    """Loads a model of the study, and what is read from it, at its tuned threshold.

    Args:
        name: Key of a run and, after a colon, name of a read; `"cam"` without one.
        study: Folder of the study.
        train: Training images, for maps that are fitted.

    Returns:
        The localizer.

    Raises:
        SystemExit: There is no such run, read or row.
    """
    key, _, read_name = name.partition(":")
    read_name = read_name or "cam"
    run = next((run for run in STUDY if run.key == key), None)
    read = next((r for r in run.reads if r.name == read_name), None) if run else None
    if read is None:
        raise SystemExit(f"study_runs.py has no {name!r}.")
    rows = {row_key(row): row for row in read_rows(study / "study.csv")}
    row = rows.get((run.name, run.seed, read.name))
    if row is None:
        raise SystemExit(f"{study / 'study.csv'} has no row of {name!r}.")
    model = keras.saving.load_model(study / key / "best.keras", compile=False)
    localizer = localizer_of(model, read, train, run)
    localizer.cam_threshold = float(row["tuned_threshold"])
    return localizer


if __name__ == "__main__":
    main()
