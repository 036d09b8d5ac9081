"""How good is a threshold that was chosen on few boxes, and by what to choose it?

    python -m tests.benchmarks.few_boxes --localizer cam.keras --data CUB --csv X.csv

Many times, some test images are drawn and the threshold is chosen on them, by mean IoU
and by GT-known Loc. The figure is GT-known Loc of all test images at that threshold;
`oracle` is that of the best threshold there is.
"""

import argparse
import csv
from pathlib import Path

import keras
import numpy as np

from keras_wsol import data
from keras_wsol.models.tune import best_index, ious_by_image

COLUMNS = ("images", "criterion", "mean", "lowest_5_percent", "threshold_sd", "oracle")


def rows(ious, thresholds, sizes, draws):
    rng = np.random.default_rng(0)
    figures = {"mean_iou": ious, "gt_known_loc": (ious >= 0.5).astype(float)}
    accuracy = figures["gt_known_loc"].mean(axis=0)
    for size in sizes:
        picks = [rng.choice(len(ious), size, replace=False) for _ in range(draws)]
        for criterion, values in figures.items():
            chosen = [best_index(values[pick].mean(axis=0)) for pick in picks]
            low = np.quantile(accuracy[chosen], 0.05)
            spread = thresholds[chosen].std()
            numbers = accuracy[chosen].mean(), low, spread, accuracy.max()
            yield size, criterion, *(round(float(number), 4) for number in numbers)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--localizer", required=True)
    parser.add_argument("--data", required=True, help="folder of CUB-200-2011")
    parser.add_argument("--csv", required=True)
    parser.add_argument("--images", nargs="+", type=int, default=[10, 30, 100, 200])
    parser.add_argument("--draws", type=int, default=400)
    options = parser.parse_args()
    localizer = keras.saving.load_model(options.localizer)
    thresholds = np.linspace(0, 1, 1000, endpoint=False, dtype="float32")
    test = data.cub200(options.data, "test")
    ious = ious_by_image(localizer, test, thresholds, "whole", 32, "auto")
    Path(options.csv).parent.mkdir(parents=True, exist_ok=True)
    with Path(options.csv).open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for row in rows(ious, thresholds, options.images, options.draws):
            writer.writerow(row)
            print(*row, sep="\t")


if __name__ == "__main__":
    main()
