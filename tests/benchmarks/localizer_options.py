"""How much longer does a localizer take with an option than without?

    KERAS_BACKEND=tensorflow python -m tests.benchmarks.localizer_options \\
        --backbone mobilenet --batch 8 --rounds 30 --out results/localizer.csv

Every localizer reads the same random images by `predict_on_batch`, in this one process,
and a round is one turn of each, the next round from the second on, and so forth. A
row's ratio is the median over rounds of its time by that of the first plain localizer,
with the quartiles beside it: what slows the machine for a while slows both. The row
`plain again` is how far from 1 noise is.
"""

import argparse
import csv
import datetime
import shlex
import statistics
import sys
import time
from pathlib import Path

import keras
import numpy as np

from keras_wsol.cam import Guided
from keras_wsol.models import Localizer, SecondLook, build_classifier
from tests.benchmarks.device_steps import device_name

BACKEND = keras.backend.backend()
OPTIONS = {
    "plain": Localizer,
    "plain again": Localizer,
    "guided": lambda model: Localizer(model, score_map=Guided("cam")),
    "guided, step 1": lambda model: Localizer(model, score_map=Guided("cam", step=1)),
    "second look": lambda model: SecondLook(Localizer(model)),
}


def arguments():
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.localizer_options",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--backbone", default="mobilenet", help="row of models.BACKBONES")
    add("--batch", type=int, default=8, help="images a call (%(default)s)")
    add("--size", type=int, default=224, help="side in pixels (%(default)s)")
    add("--rounds", type=int, default=20, help="turns of each (%(default)s)")
    add("--warm-up", type=int, default=2, help="turns before (%(default)s)")
    add("--out", type=Path, metavar="FILE.csv", help="also write the table here")
    return parser.parse_args()


def measure(args):
    """Returns seconds of each localizer's turns, by its name."""
    shape = (args.size, args.size, 3)
    model = build_classifier(args.backbone, "cam", 40, weights=None, input_shape=shape)
    localizers = {name: build(model) for name, build in OPTIONS.items()}
    random = np.random.default_rng(0)
    images = random.uniform(0, 255, (args.batch, *shape)).astype("float32")
    names, seconds = list(localizers), {name: [] for name in localizers}
    for turn in range(args.warm_up + args.rounds):
        for shift in range(len(names)):
            name = names[(turn + shift) % len(names)]
            start = time.perf_counter()
            localizers[name].predict_on_batch(images)  # ends in NumPy
            if turn >= args.warm_up:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def main():
    args = arguments()
    seconds = measure(args)
    rows = []
    for name, turns in seconds.items():
        ratios = [
            own / plain for own, plain in zip(turns, seconds["plain"], strict=True)
        ]
        quartiles = statistics.quantiles(ratios, n=4)
        rows.append(
            {
                "option": name,
                "milliseconds": round(1e3 * statistics.median(turns), 2),
                "ratio": round(statistics.median(ratios), 3),
                "ratio_quartiles": f"{quartiles[0]:.3f}-{quartiles[2]:.3f}",
                "backbone": args.backbone,
                "batch": args.batch,
                "size": args.size,
                "rounds": args.rounds,
                "device": device_name(),
                "backend": BACKEND,
                "keras": keras.__version__,
                "date": datetime.date.today().isoformat(),
                "command": shlex.join(
                    [
                        "python",
                        "-m",
                        "tests.benchmarks.localizer_options",
                        *sys.argv[1:],
                    ]
                ),
            }
        )
        print(name, rows[-1]["milliseconds"], "ms", rows[-1]["ratio"])
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        with args.out.open("w", newline="") as file:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows(rows)


if __name__ == "__main__":
    main()
