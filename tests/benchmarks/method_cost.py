"""What each method costs: parameters and multiply-adds, in training and at inference.

    python -m tests.benchmarks.method_cost --backbone vgg16 --out FILE.csv

The papers' columns: of VGG-GAP at 200 classes, ACoL has 132.05 % more parameters and
37.63 % more multiply-adds (Choe and Shim, 2019, Table 3), in a network of 14x14 maps
whose layers are not stated; DANet with its hierarchy has 48.56 million parameters and
24.12 thousand million multiply-adds (DGDM, Table 3). Training is counted as one pass
through all parts: the second passes of ACoL and BAS are not in it.
"""

import argparse
import csv
import sys
from pathlib import Path

from keras_wsol.models import (
    BACKBONES,
    METHODS,
    Localizer,
    build_classifier,
    multiply_adds,
)
from keras_wsol.models.methods import DANet


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backbone", default="vgg16")
    parser.add_argument("--classes", type=int, default=200)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    rows = []
    # DANet's hierarchy for CUB-200-2011: 37 families and 11 orders.
    parents = [min(x, 36) for x in range(options.classes)]
    levels = DANet(parents=parents, roots=[min(x, 10) for x in parents])
    spec = BACKBONES[options.backbone]
    built = {name: (name, None) for name in METHODS}
    built["danet, hierarchy"] = (levels, spec.places("danet"))
    for name, (method, places) in built.items():
        model = build_classifier(
            options.backbone, method, options.classes, weights=None, drop_after=places
        )
        read = Localizer(model).model
        rows.append(
            {
                "backbone": options.backbone,
                "method": name,
                "training_parameters": model.count_params(),
                "training_multiply_adds": multiply_adds(model),
                "inference_parameters": read.count_params(),
                "inference_multiply_adds": multiply_adds(read),
            }
        )
        print(rows[-1], flush=True)
    with options.out.open("w", newline="") if options.out else sys.stdout as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
