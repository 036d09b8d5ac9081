r"""Compares several runs of train_cub.py, in one table and one picture.

    python examples/compare_runs.py runs/cub-* --data DIR --out runs/comparison \
        --code "$(git rev-parse --short HEAD)"

Writes OUT.csv, a row a run and view with everything that is needed to run it again, and
OUT.png, the same test images (evenly picked, not by hand) through the model of each
run: true box red, predicted green.
"""

import argparse
import csv
import json
import platform
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

import keras
from smoke_data import write_cub

from keras_wsol import data, viz

METRICS = {"whole": "metrics.json", "center_crop": "metrics_center_crop.json"}


def main() -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", nargs="*", type=Path, help="folders that --out named")
    parser.add_argument("--data", type=Path, help="folder that holds CUB_200_2011")
    parser.add_argument("--out", type=Path, help="what is written, without its ending")
    parser.add_argument("--code", default="", help="commit that the runs were made of")
    parser.add_argument("--images", type=int, default=12, help="default %(default)s")
    parser.add_argument("--smoke", action="store_true", help="one run on drawn images")
    options = parser.parse_args()
    if options.smoke:
        with tempfile.TemporaryDirectory() as folder:
            options.data, options.out = (
                write_cub(Path(folder) / "data"),
                Path(folder, "x"),
            )
            options.runs = [Path(folder) / "run"]
            train_cub = [sys.executable, str(Path(__file__).with_name("train_cub.py"))]
            train_cub += ["--smoke", "--out", str(options.runs[0])]
            subprocess.run(train_cub, check=True)
            compare(options)
    elif options.runs and options.data and options.out:
        compare(options)
    else:
        parser.error("runs, --data and --out are needed (or --smoke)")


def compare(options: argparse.Namespace) -> None:
    """Writes the table and the picture."""
    rows = [
        {**row_of(run, view, file), "code": options.code}
        for run in options.runs
        for view, file in METRICS.items()
    ]
    options.out.parent.mkdir(parents=True, exist_ok=True)
    with options.out.with_suffix(".csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    test = data.cub200(options.data, "test")
    localizers = {
        run.name: keras.saving.load_model(run / "localizer.keras")
        for run in options.runs
    }
    picked = range(0, len(test), max(1, -(-len(test) // options.images)))
    figure = viz.compare_models(localizers, test, picked, cell_size=150)
    figure.savefig(options.out.with_suffix(".png"))
    print(f"Wrote {len(rows)} rows and {len(picked)} images to {options.out}.*")


def row_of(run: Path, view: str, file: str) -> dict[str, object]:
    """Reads what a run has in one view."""
    config = json.loads((run / "config.json").read_text())
    metrics = json.loads((run / file).read_text())
    recipe, options = config["recipe"], config["options"]
    row: dict[str, object] = {
        "run": run.name,
        "method": recipe["method"],
        "backbone": recipe["backbone"],
        "alpha": recipe["backbone_options"].get("alpha", ""),
        "view": view,
        "seed": options["seed"],
        "epochs": recipe["epochs"],
        "num_images": metrics["num_images"],
    }
    for name in ("top1_cls", "top5_cls", "max_box_acc_v2"):
        row[name] = round(metrics[name], 4)
    for name in ("fixed", "tuned", "oracle"):
        at = metrics[name]
        row[f"{name}_threshold"] = round(at["cam_threshold"], 4)
        for figure, interval in (
            ("gt_known_loc", "gt_known_interval"),
            ("top1_loc", "top1_interval"),
        ):
            low, high = at[interval]
            row[f"{name}_{figure}"] = round(at[figure], 4)
            row[f"{name}_{figure}_95"] = f"{low:.3f}-{high:.3f}"
    for name, value in metrics["centre"].items():
        row[f"centre_{name}"] = round(value, 4)
    packages = [f"{name} {version(name)}" for name in ("keras", "tensorflow", "numpy")]
    row["versions"] = " ".join([f"python {platform.python_version()}", *packages])
    row["command"] = command_of(run, options)
    return row


def command_of(run: Path, options: dict[str, object]) -> str:
    """Writes the command of a run, without the paths of the machine it ran on."""
    words = ["python examples/train_cub.py --data DIR"]
    for name, value in sorted(options.items()):
        if value is None or value is False:
            continue
        if name == "weights" and value not in ("imagenet", "none"):
            value = "PATH"
        flag = f"--{name.replace('_', '-')}"
        values = value if isinstance(value, list) else [value]
        words += [flag if one is True else f"{flag} {one}" for one in values]
    return " ".join([*words, f"--out runs/{run.name}"])


if __name__ == "__main__":
    main()
