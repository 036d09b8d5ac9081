r"""Puts the results of several runs of train_cub.py into one CSV.

    python examples/collect_results.py runs/cub40-* --out examples/results/cub40.csv \
        --code "$(git rev-parse --short HEAD)"

A row a run and view, with everything that is needed to run it again.
"""

import argparse
import csv
import json
import platform
from importlib.metadata import version
from pathlib import Path

METRICS = {"whole": "metrics.json", "center_crop": "metrics_center_crop.json"}
PACKAGES = ("keras", "tensorflow", "numpy")


def main() -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", nargs="+", type=Path, help="folders that --out named")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument(
        "--code", required=True, help="commit that the runs were made of"
    )
    options = parser.parse_args()
    rows = [
        {**row_of(run, view, file), "code": options.code}
        for run in options.runs
        for view, file in METRICS.items()
        if (run / file).is_file()
    ]
    if not rows:
        parser.error("none of these folders holds metrics")
    options.out.parent.mkdir(parents=True, exist_ok=True)
    with options.out.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    print(f"Wrote {len(rows)} rows to {options.out}.")


def row_of(run: Path, view: str, file: str) -> dict[str, object]:
    """Reads one row.

    Args:
        run: Folder of a run.
        view: Name of the view.
        file: Name of the file with its metrics.

    Returns:
        Column to value.
    """
    config = json.loads((run / "config.json").read_text())
    metrics = json.loads((run / file).read_text())
    row: dict[str, object] = {
        "run": run.name,
        "method": config["method"],
        "backbone": config["backbone"],
        "alpha": config["alpha"],
        "view": view,
        "seed": config["seed"],
        "epochs": config["epochs"],
        "num_images": metrics["num_images"],
        "top1_cls": round(metrics["top1_cls"], 4),
        "top5_cls": round(metrics["top5_cls"], 4),
        "max_box_acc_v2": round(metrics["max_box_acc_v2"], 4),
    }
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
    row["versions"] = " ".join(
        [f"python {platform.python_version()}"]
        + [f"{package} {version(package)}" for package in PACKAGES]
    )
    row["command"] = command_of(run, config)
    return row


def command_of(run: Path, config: dict) -> str:
    """Writes the command of a run, without the paths of the machine it ran on.

    Args:
        run: Folder of the run.
        config: Its options.

    Returns:
        The command; DIR and PATH stand for the data set and a file of weights.
    """
    words = ["python examples/train_cub.py --data DIR"]
    for name, value in sorted(config.items()):
        if (
            value is None
            or name == "smoke"
            or (name, value) == ("method_options", "{}")
        ):
            continue
        if name == "weights" and value not in ("imagenet", "none"):
            value = "PATH"
        for item in value if isinstance(value, list) else [value]:
            text = f"'{json.dumps(item)}'" if name == "method_options" else item
            words.append(f"--{name.replace('_', '-')} {text}")
    return " ".join([*words, f"--out runs/{run.name}"])


if __name__ == "__main__":
    main()
