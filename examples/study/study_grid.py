r"""Methods on four data sets and three backbones, behind frozen layers.

    python examples/study/study_grid.py --data DIR --weights DIR --out runs/grid

What stands up to `cut` is frozen, so that its features are computed once
(`study_features.py`). Each method has the same budget: two rates with seed 0, of which
the one with the better Top-1 Loc on held-out images is trained with two further seeds
if the method is one of the three modules or CAM. The last step's model is read. Killed
and started again, it goes on with the next run.
"""

import argparse
import time
from collections.abc import Iterator
from dataclasses import replace
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import keras
from study import splits_of
from study_ablations import ABLATION_RUNS
from study_data import DATA
from study_features import Features, FromFeatures, crops_key, features_of, train_tail
from study_maps import WEIGHTS
from study_reads import OWN, POSITIVE, Read
from study_results import missing_reads, read_rows, write_row
from study_rows import facts, figures
from study_runs import METHODS, SEEDS, Run
from study_training import build

from keras_wsol import cam, data, evaluation, models

RATES = (0.005, 0.015)
# Their authors' is the first.
OF_METHOD = {"bas": (0.001, 0.005)}
BASELINES = ("acol", "abn", "bas")
EPOCHS = {"cub40": 12, "imagenette10": 3, "stanford_cars40": 12, "oxford_pets3": 24}
FITTED = Read(name="fit_localizer", score_map="fit_localizer")
READS = (OWN, POSITIVE, FITTED)
# Name in the table: the row or own model, its options, and what is frozen up to.
BACKBONES: dict[str, dict[str, Any]] = {
    "v1": {"backbone": "mobilenet", "cut": "conv_pw_11_relu"},
    "lite0": {
        "backbone": "efficientnet_lite0",
        "backbone_options": {},
        "cut": "block5c_add",
        "batch_norm_momentum": 0.9,
    },
    "v2": {
        "backbone": "mobilenet_v2",
        "backbone_options": {},
        "cut": "block_12_add",
        "batch_norm_momentum": 0.9,
    },
}
# Of one's own model there is no row, so that what a MobileNet's row says is said here.
OF_LITE0: dict[str, dict[str, Any]] = {
    "adl": {"options": {"drop_threshold": 0.95}},
    "dgdm": {"options": {"grow_background": True}, "places": ("top_activation",)},
    "acol": {"options": {"convolutions": 0}, "places": None},
    "abn": {"places": ("block5c_add",)},
    "bas": {
        "options": {"area_weight": 1.2, "foreground_weight": 0.5, "convolutions": 0},
        "places": ("block6a_expand_activation",),
    },
}
TWO_OF_LITE0 = ("block6a_activation", "top_activation")


def main() -> None:
    """Runs the command line."""
    parser = parser_of(__doc__)
    parser.add_argument("--only", nargs="+", default=["*"], help='such as "*-v1-*"')
    options = parser.parse_args()
    files = [options.weights / name for name in WEIGHTS.values()]
    options.weights, options.weights_v2, options.weights_lite0 = files
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        tf.config.experimental.enable_op_determinism()
    csv_path = options.out / "study.csv"
    chosen = [
        run for run in first_runs() if any(fnmatch(run.name, x) for x in options.only)
    ]
    for name in dict.fromkeys(run.data for run in chosen):
        splits = splits_of(name, options)
        kept: dict[str, Features] = {}
        for run in (run for run in chosen if run.data == name):
            make(run, splits, options, kept, csv_path)
            for further in further_runs(run, csv_path):
                make(further, splits, options, kept, csv_path)


def parser_of(description: str | None) -> argparse.ArgumentParser:
    """The options that all parts of the grid have."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of data sets")
    parser.add_argument("--weights", type=Path, required=True, help="their folder")
    parser.add_argument("--out", type=Path, required=True)
    return parser


def first_runs() -> list[Run]:
    """Every method, data set and backbone at every rate, with seed 0; ablations."""
    return list(ABLATION_RUNS) + [
        run_of(name, method, backbone, rate)
        for backbone in BACKBONES
        for name in DATA
        for method in (*METHODS, *BASELINES)
        for rate in OF_METHOD.get(method, RATES)
    ]


def run_of(name: str, method: str, backbone: str, rate: float) -> Run:
    """One training with seed 0."""
    entries = dict(BACKBONES[backbone])
    cut = entries.pop("cut")
    if backbone == "lite0":
        two = {"places": TWO_OF_LITE0} if method in ("adl", "dfm") else {}
        entries |= two | OF_LITE0.get(method, {})
    if method == "bas" and name == "imagenette10":  # of the paper, for ILSVRC
        weights = {"area_weight": 2.0, "foreground_weight": 1.0}
        entries["options"] = {**entries.get("options", {}), **weights}
    return Run(
        name=f"{method}-{name}-{backbone}-rate-{rate}",
        group="grid",
        data=name,
        method=method,
        freeze=(cut,),
        cut=cut,
        epochs=EPOCHS[name],
        rate=rate,
        reads=READS if method in METHODS else (OWN,),
        **entries,
    )


def cell_of(name: str) -> str:
    """The name of a run without its rate."""
    return name.rpartition("-rate-")[0]


def further_runs(run: Run, csv_path: Path) -> Iterator[Run]:
    """The further seeds of the better rate, once a method's rates are all there."""
    if run.group != "grid" or run.method not in METHODS:
        return
    best = chosen_run(read_rows(csv_path), cell_of(run.name))
    if best is not None:
        rate = float(best.rpartition("-rate-")[2])
        for seed in SEEDS[1:]:
            # What is fitted reads frozen layers above all: seeds change it little.
            yield replace(run, name=best, rate=rate, seed=seed, reads=READS[:2])


def chosen_run(rows: list[dict[str, str]], cell: str) -> str | None:
    """The run of the rate that is better on held-out images; None if one is missing."""
    found = {
        row["run"]: float(row["held_out_top1_loc"])
        for row in rows
        if row["group"] == "grid"
        and cell_of(row["run"]) == cell
        and (row["read"], row["seed"]) == ("own", "0")
    }
    if len(found) < len(RATES):
        return None
    return max(sorted(found, key=lambda x: float(x.rpartition("-")[2])), key=found.get)


def make(
    run: Run,
    splits: dict[str, data.ImageDataset],
    options: argparse.Namespace,
    kept: dict[str, Features],
    csv_path: Path,
) -> None:
    """Trains a run and reads it, unless its rows are there."""
    reads = missing_reads(csv_path, run)
    if not reads:
        return
    print(f"-- {run.key}", flush=True)
    start = time.monotonic()
    train, held_out, test = splits.values()
    model = build(run, train, options)
    key = f"{run.backbone}-{crops_key(run, model)}"
    if key not in kept:
        kept[key] = features_of(run, model, splits, options.out / "features")
    features = kept[key]
    train_tail(model, run, train, features)
    seconds = time.monotonic() - start
    for read in reads:
        found = localizer_of(model, read, train, run)
        localizer = FromFeatures(found, run, features.images)
        report = evaluation.evaluate(localizer, test, tune_on=held_out)
        row = {**facts(run, read), "train_seconds": round(seconds)}
        row["notes"] = " | ".join(found.notes.values())
        if read is OWN and run.seed == SEEDS[0]:  # what the rate is chosen by
            before = evaluation.evaluate(localizer, held_out).oracle
            row["held_out_top1_loc"] = round(before.top1_loc, 4)
        write_row(csv_path, row | figures(report))
        print(read.name, report.tuned, flush=True)
    print(
        f"{time.monotonic() - start:.0f} s, {seconds:.0f} of them training", flush=True
    )


def localizer_of(
    model: keras.Model, read: Read, train: data.ImageDataset, run: Run
) -> models.Localizer:
    """The localizer of a read."""
    if read is FITTED:
        return models.fit_localizer(model, train, seed=run.seed, verbose=False)
    score_map = None if read is OWN else cam.CAM(**read.options)
    return models.Localizer(model, 0.2, score_map=score_map)


if __name__ == "__main__":
    main()
