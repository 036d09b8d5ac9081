r"""Measures what each method is worth, run by run, on the data sets of study_data.py.

    python examples/study/study.py --data DIR --weights PATH --out runs/study

DIR holds a folder for each data set, or all of CUB-200-2011. Each run of
`study_runs.py` is trained on labels only; the checkpoint and the threshold are chosen
on held-out images, and the test split is measured once. A row for each map that is read
goes to OUT/study.csv. Killed and started again, the study goes on where it stopped, in
the middle of a run, too; a row that is there is not made again, so a copy of
examples/results/study.csv in OUT saves the runs in it. Without TensorFlow it trains on
the backend that `KERAS_BACKEND` names.
"""

import argparse
import fnmatch
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import keras
import study_boxes
import study_data
from study_reading import boxed_images, localizer_of
from study_reads import Read
from study_results import bits_of, missing_reads, write_row
from study_rows import facts, figures
from study_runs import STUDY, Run
from study_training import BATCH_SIZE, build, trained

from keras_wsol import data, evaluation


def main() -> None:
    """Runs the command line."""
    options = parse_options()
    if options.list:
        for run in STUDY:
            print(f"{run.group:14s}{run.key}")
    elif options.smoke:
        sys.path.append(str(Path(__file__).parents[1]))
        from smoke_data import write_cub

        with tempfile.TemporaryDirectory() as folder:
            options.data = str(write_cub(Path(folder) / "data", per_class=30))
            out = Path(folder) / "out"
            study(options, smoke_runs(), out)
            table = (out / "study.csv").read_text()
            study(options, smoke_runs(), out)  # finds all rows there
            if (out / "study.csv").read_text() != table:
                raise SystemExit("Started again, the study did not keep its rows.")
    else:
        chosen = [run for run in STUDY if fnmatch.fnmatch(run.key, options.only)]
        study(options, chosen, Path(options.out))


def study(options: argparse.Namespace, runs: list[Run], out: Path) -> None:
    """Makes the rows that are missing.

    Args:
        options: The command line.
        runs: What is trained and read.
        out: Folder of the study.
    """
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        # The same seed gives the same weights, interrupted or not.
        tf.config.experimental.enable_op_determinism()
    csv_path = out / "study.csv"
    todo = [(run, missing_reads(csv_path, run)) for run in runs]
    todo = [(run, reads) for run, reads in todo if reads]
    print(f"{len(todo)} of {len(runs)} runs to go.")
    for number, (run, reads) in enumerate(todo, 1):
        print(f"-- {number} of {len(todo)}: {run.key}", flush=True)
        splits = splits_of(run.data, options)
        folder = out / run.key
        if run.boxes:
            row = upper_bound(run, splits, options)
            write_row(csv_path, {**facts(run, reads[0]), **row})
            continue
        model, seconds = trained(run, splits, options, folder)
        fitted: dict[tuple[str, str, int], Any] = {}
        for read in reads:
            localizer = localizer_of(model, read, splits["train-weaksup"], run, fitted)
            report = evaluation.evaluate(
                localizer, splits["test"], tune_on=splits["train-fullsup"]
            )
            row = {**facts(run, read), "train_seconds": round(seconds)}
            write_row(csv_path, row | figures(report))
            print(read.name, report.to_markdown(), sep="\n", flush=True)
        if not options.keep:
            shutil.rmtree(folder, ignore_errors=True)


def splits_of(name: str, options: argparse.Namespace) -> dict[str, data.ImageDataset]:
    """Reads a data set: what is trained on, what is tuned on, and what is measured."""
    root = Path(options.data)
    inside = root / name
    parts = study_data.splits(name, inside if inside.is_dir() else root)
    return dict(zip(("train-weaksup", "train-fullsup", "test"), parts, strict=True))


def upper_bound(
    run: Run, splits: dict[str, data.ImageDataset], options: argparse.Namespace
) -> dict[str, object]:
    """Learns the true boxes of the training images, which no method may see.

    In twelve epochs it does not become the bound that it was meant to be: 57.2
    GT-known Loc, below the maps. `study_reads.BOUND` is another.

    Args:
        run: What is trained.
        splits: The data.
        options: The command line.

    Returns:
        The figures that there are: GT-known Loc and mean IoU.
    """
    start = time.monotonic()
    keras.utils.set_random_seed(run.seed)
    model = study_boxes.learn_boxes(
        build(run, splits["train-weaksup"], options),
        boxed_images(splits["train-weaksup"], run),
        epochs=run.epochs,
        batch_size=BATCH_SIZE,
        seed=run.seed,
    )
    overlap = study_boxes.overlaps(model, boxed_images(splits["test"], run))
    right = overlap >= 0.5
    return {
        "tuned_gt_known_loc": round(float(right.mean()), 4),
        "tuned_mean_iou": round(float(overlap.mean()), 4),
        "box_bits": bits_of(right),
        "train_seconds": round(time.monotonic() - start),
    }


def smoke_runs() -> list[Run]:
    """Returns two small runs, one with a map that is fitted."""
    small = {
        "group": "smoke",
        "backbone_options": {"alpha": 0.25},
        "image_size": 64,
        "epochs": 1,
        "freeze": None,
    }
    ddt = Read(name="ddt", score_map="ddt", layer="conv_pw_12_relu")
    return [
        Run(
            name="dgdm",
            method="dgdm",
            options={"block_size": 2},
            reads=(Read(name="cam"), Read(name="cam").at(96).twice(0.2), ddt),
            **small,
        ),
        Run(name="true-boxes", boxes=True, **small),
    ]


def parse_options() -> argparse.Namespace:
    """Reads the command line.

    Returns:
        The options.
    """
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", help="of CUB_200_2011, or of all data sets' folders")
    parser.add_argument("--weights", help="MobileNetV1 0.75, .h5 without top")
    parser.add_argument("--weights-v2", help="MobileNetV2 1.0, .h5 without top")
    parser.add_argument("--out", help="folder to write; never put it under git")
    parser.add_argument("--only", default="*", help='runs, such as "dfm*-seed0"')
    parser.add_argument("--keep", action="store_true", help="keep trained models")
    parser.add_argument("--list", action="store_true", help="name all runs")
    parser.add_argument("--smoke", action="store_true", help="two runs on drawn images")
    options = parser.parse_args()
    if not (options.list or options.smoke or (options.data and options.out)):
        parser.error("--data and --out are needed (or --smoke, or --list)")
    return options


if __name__ == "__main__":
    main()
