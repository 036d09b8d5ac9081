"""How long `image_folder` takes to open many classes, beside a bare walk.

    python -m tests.benchmarks.open_folder --classes 10000 --files 20

Empty files in a temporary folder, not verified; both in turn, medians are printed, and
their ratio.
"""

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path

from keras_wsol import data


def walk(root):
    """Lists every file, as `os.walk` does, sorted."""
    return sorted(
        f"{parent}/{name}" for parent, _, names in os.walk(root) for name in names
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--classes", type=int, default=10_000)
    parser.add_argument("--files", type=int, default=20, help="of each class")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    opened = {
        "a walk": walk,
        "image_folder": lambda root: data.image_folder(root, verify=False),
        "its training split": lambda root: data.image_folder(
            root, "train", verify=False
        ),
    }
    times = {name: [] for name in opened}
    with tempfile.TemporaryDirectory() as root:
        for number in range(options.classes):
            folder = Path(root, f"{number:06d}")
            folder.mkdir()
            for file in range(options.files):
                (folder / f"{file}.jpg").touch()
        for _ in range(options.rounds + 1):
            for name, function in opened.items():
                start = time.perf_counter()
                function(root)
                times[name].append(time.perf_counter() - start)
    medians = {name: statistics.median(taken[1:]) for name, taken in times.items()}
    for name, median in medians.items():
        print(f"{name}: {median:.2f} s, {median / medians['a walk']:.1f} times a walk")


if __name__ == "__main__":
    main()
