r"""Measures what each method is worth, run by run, on CUB-40 or all of CUB-200-2011.

    python examples/study_cub40.py --data DIR --weights PATH --out runs/study

Each run of `study_runs.py` and `study_ablations.py` is trained on train-weaksup (labels
only); the checkpoint and the threshold are chosen on train-fullsup, and the test split
is measured once. A row for each map that is read goes to OUT/study.csv. Killed and
started again, the study goes on where it stopped, in the middle of a run, too; a row
that is there is not made again, so a copy of examples/results/study-cub40.csv in OUT
saves the runs in it. Without TensorFlow it trains on the backend that `KERAS_BACKEND`
names.
"""

import argparse
import fnmatch
import importlib.util
import platform
import shutil
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import keras
import numpy as np
import study_boxes
from smoke_data import write_cub
from study_ablations import ABLATION_RUNS
from study_results import bits_of, missing_reads, write_row
from study_runs import STUDY, Read, Run

from keras_wsol import data, evaluation, models, training

RUNS = (*STUDY, *ABLATION_RUNS)
TENSORFLOW = importlib.util.find_spec("tensorflow") is not None
BATCH_SIZE = 32
# Epochs between two looks at train-fullsup.
EVERY = 3


def main() -> None:
    """Runs the command line."""
    options = parse_options()
    if options.list:
        for run in RUNS:
            print(f"{run.group:14s}{run.key}")
    elif options.smoke:
        with tempfile.TemporaryDirectory() as folder:
            options.data = str(write_cub(Path(folder) / "data", per_class=30))
            out = Path(folder) / "out"
            study(options, smoke_runs(), out)
            table = (out / "study.csv").read_text()
            study(options, smoke_runs(), out)  # finds all rows there
            if (out / "study.csv").read_text() != table:
                raise SystemExit("Started again, the study did not keep its rows.")
    else:
        chosen = [run for run in RUNS if fnmatch.fnmatch(run.key, options.only)]
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
    splits = {
        split: data.cub200(options.data, split)
        for split in ("train-weaksup", "train-fullsup", "test")
    }
    csv_path = out / "study.csv"
    todo = [(run, missing_reads(csv_path, run)) for run in runs]
    todo = [(run, reads) for run, reads in todo if reads]
    print(f"{len(todo)} of {len(runs)} runs to go.")
    for number, (run, reads) in enumerate(todo, 1):
        print(f"-- {number} of {len(todo)}: {run.key}", flush=True)
        folder = out / run.key
        if run.boxes:
            row = upper_bound(run, splits, options)
            write_row(csv_path, {**facts(run, reads[0]), **row})
            continue
        model, seconds = trained(run, splits, options, folder)
        for read in reads:
            localizer = localizer_of(model, read, splits["train-weaksup"], run)
            report = evaluation.evaluate(
                localizer, splits["test"], tune_on=splits["train-fullsup"]
            )
            row = {**facts(run, read), "train_seconds": round(seconds)}
            write_row(csv_path, row | figures(report))
            print(read.name, evaluation.markdown_table([report]), sep="\n", flush=True)
        if not options.keep:
            shutil.rmtree(folder, ignore_errors=True)


def trained(
    run: Run,
    splits: dict[str, data.ImageDataset],
    options: argparse.Namespace,
    folder: Path,
) -> tuple[keras.Model, float]:
    """Trains a classifier, or goes on with it, or loads it.

    Args:
        run: What is trained.
        splits: The data.
        options: The command line.
        folder: Where checkpoint, log and the best model lie.

    Returns:
        The classifier of the best epoch, and how long this process trained it.
    """
    model = build(run, splits["train-weaksup"], options)
    if not run.epochs:
        return model, 0.0
    best, finished = folder / "best.keras", folder / "finished"
    start = time.monotonic()
    if not finished.is_file():
        fit(model, run, splits, folder, best)
        finished.write_text("")
    chosen = keras.saving.load_model(best, compile=False)
    return chosen, time.monotonic() - start


def build(
    run: Run, train: data.ImageDataset, options: argparse.Namespace
) -> keras.Model:
    """Builds and compiles the classifier of a run.

    Args:
        run: What is trained.
        train: The training images.
        options: The command line.

    Returns:
        The compiled model.
    """
    weights = {"mobilenet": options.weights, "mobilenet_v2": options.weights_v2}
    model = models.build_classifier(
        run.backbone,
        run.method,
        train.num_classes,
        weights=weights[run.backbone],
        input_shape=(run.image_size, run.image_size, 3),
        drop_after=run.places,
        method_options=dict(run.options),
        backbone_options=dict(run.backbone_options),
        class_names=train.class_names,
        freeze=run.freeze,
        seed=run.seed,
    )
    steps = train.steps_per_epoch(BATCH_SIZE)
    rate = training.learning_rate(
        "cosine", run.rate, epochs=max(1, run.epochs), steps_per_epoch=steps
    )
    model.compile(
        optimizer=training.LayerwiseSGD(
            rate, multipliers={"head_*": run.head_multiplier}
        ),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    return model


def fit(
    model: keras.Model,
    run: Run,
    splits: dict[str, data.ImageDataset],
    folder: Path,
    best: Path,
) -> None:
    """Trains from where an earlier start of the study stopped.

    Args:
        model: The compiled model.
        run: What is trained.
        splits: The data.
        folder: Where checkpoint and log lie.
        best: Where the model of the best epoch goes.
    """
    checkpoint = training.Checkpoint(folder / "checkpoint.npz", every_seconds=600)
    done = checkpoint.restore(model)
    train = splits["train-weaksup"]
    steps = train.steps_per_epoch(BATCH_SIZE)
    look = evaluation.LocalizationEvaluation(
        splits["train-fullsup"],
        every=EVERY,
        num_thresholds=100,
        save_best=best,
        measure="top1_loc",
    )
    model.fit(
        training_batches(train, run, done.start_step(steps)),
        epochs=run.epochs,
        steps_per_epoch=steps,
        initial_epoch=done,
        callbacks=[
            training.StopAtNonFinite(checkpoint, partial(training_batches, train, run)),
            look,
            training.EpochLog(folder / "log.csv", done),
            checkpoint,
        ],
        shuffle=False,  # the batches are shuffled already
        verbose=2,
    )


def training_batches(train: data.ImageDataset, run: Run, start_step: int) -> Any:
    """Returns cropped and flipped batches, read by what is installed.

    Args:
        train: The training images.
        run: Says size and seed.
        start_step: Batches that came before.

    Returns:
        What `fit` takes.
    """
    size = (run.image_size, run.image_size)
    options = {"seed": run.seed, "start_step": start_step, "image_size": size}
    if TENSORFLOW:
        return train.batches(BATCH_SIZE, training=True, **options).repeat()
    return train.training_sequence(BATCH_SIZE, **options)


def localizer_of(
    model: keras.Model, read: Read, train: data.ImageDataset, run: Run
) -> models.Localizer:
    """Makes the localizer of a read; its component is fitted to the training images.

    Args:
        model: The classifier.
        read: What is read.
        train: The training images.
        run: Says the size.

    Returns:
        The localizer.
    """
    options = dict(read.options)
    size = read.image_size or run.image_size
    if size != run.image_size:
        model = models.with_input_size(model, (size, size))
    fits = {
        "component": ("component", models.fit_component),
        "discriminant": ("discriminant", models.fit_foreground),
        "boxes": ("discriminant", study_boxes.fit_true_boxes),
    }
    if read.fit:
        option, fitted = fits[read.fit]
        options[option] = fitted(model, WholeImages(train, size), layer=read.layer)
    return models.Localizer(
        model,
        score_map=read.score_map,
        layer=read.layer,
        map_options=options,
        second_look=read.second_look is not None,
        second_look_options=read.second_look,
    )


class WholeImages:
    """Images as they are evaluated: whole, without augmentation.

    Args:
        dataset: The images.
        image_size: Height and width.
    """

    def __init__(self, dataset: data.ImageDataset, image_size: int) -> None:
        self._dataset = dataset
        self._options = {"image_size": (image_size, image_size)}

    def __iter__(self) -> Iterator[dict[str, np.ndarray]]:
        if not TENSORFLOW:
            yield from self._dataset.numpy_batches(BATCH_SIZE, **self._options)
            return
        options = {**self._options, "with_boxes": True}
        for batch in self._dataset.batches(BATCH_SIZE, **options):
            yield {key: value.numpy() for key, value in batch.items()}


def upper_bound(
    run: Run, splits: dict[str, data.ImageDataset], options: argparse.Namespace
) -> dict[str, object]:
    """Learns the true boxes of the training images, which no method may see.

    In twelve epochs it does not become the bound that it was meant to be: 57.2
    GT-known Loc, below the maps. `study_runs.BOUND` is another.

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


def boxed_images(dataset: data.ImageDataset, run: Run) -> tuple[np.ndarray, np.ndarray]:
    """Returns images and their first boxes in shares of the side.

    Args:
        dataset: The images.
        run: Says the size.

    Returns:
        uint8 `(N, H, W, 3)` and float32 `(N, 4)`.
    """
    batches = list(WholeImages(dataset, run.image_size))
    images = np.concatenate([batch["images"].astype("uint8") for batch in batches])
    true = np.concatenate([batch["boxes"][:, 0] for batch in batches])
    return images, (true / run.image_size).astype("float32")


def facts(run: Run, read: Read) -> dict[str, object]:
    """Returns what a row says about how it came about.

    Args:
        run: What was trained.
        read: What was read.

    Returns:
        Column to value.
    """
    backend = keras.backend.backend()
    packages = ("keras", backend, "numpy")
    return {
        "run": run.name,
        "group": run.group,
        "seed": run.seed,
        "read": read.name,
        "method": run.method,
        "options": dict(run.options),
        "places": list(run.places or ()),
        "backbone": run.backbone,
        "backbone_options": dict(run.backbone_options),
        "freeze": list(run.freeze or ()),
        "image_size": run.image_size,
        "read_size": read.image_size or run.image_size,
        "second_look": dict(read.second_look or {}),
        "epochs": run.epochs,
        "rate": run.rate,
        "head_multiplier": run.head_multiplier,
        "device": device(),
        "versions": " ".join(f"{name} {version(name)}" for name in packages),
    }


def device() -> str:
    """Returns the name of the device that Keras computes on."""
    if keras.backend.backend() == "jax":
        import jax

        return jax.devices()[0].device_kind
    if keras.backend.backend() == "torch":
        import torch

        if torch.cuda.is_available():
            return torch.cuda.get_device_name()
    elif names := list(keras.distribution.list_devices("gpu")):
        return ", ".join(names)
    return f"{platform.machine()} CPU"


def figures(report: evaluation.Report) -> dict[str, object]:
    """Returns the columns of a report.

    Args:
        report: Of the test split, tuned on train-fullsup.

    Returns:
        Column to value; shares are rounded to four digits.
    """
    results = report.results
    row: dict[str, object] = {
        "num_images": report.num_images,
        "top1_cls": round(report.top1_cls, 4),
        "max_box_acc_v2": round(report.max_box_acc_v2, 4),
    }
    for name in ("fixed", "tuned", "oracle"):
        at = getattr(report, name)
        row |= {
            f"{name}_threshold": round(at.cam_threshold, 4),
            f"{name}_gt_known_loc": round(at.gt_known_loc, 4),
            f"{name}_top1_loc": round(at.top1_loc, 4),
        }
    low, high = report.tuned.top1_interval
    gt_low, gt_high = report.tuned.gt_known_interval
    return row | {
        "tuned_mean_iou": round(report.tuned.mean_iou, 4),
        "tuned_gt_known_interval": f"{gt_low:.4f}-{gt_high:.4f}",
        "tuned_top1_interval": f"{low:.4f}-{high:.4f}",
        "centre_gt_known_loc": round(report.centre["tuned"], 4),
        "whole_image_gt_known_loc": round(
            report.baselines["whole image"]["gt_known_loc"], 4
        ),
        "class_bits": bits_of(results.predicted_ids == results.class_ids),
        "box_bits": bits_of(results.iou >= 0.5),
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
    ddt = Read(name="ddt", score_map="ddt", layer="conv_pw_12_relu", fit="component")
    return [
        Run(
            name="dgdm",
            method="dgdm",
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
    parser.add_argument("--data", help="folder that holds CUB_200_2011")
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
