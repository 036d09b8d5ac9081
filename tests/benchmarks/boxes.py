"""How long do boxes take, against OpenCV called map by map?

    python -m tests.benchmarks.boxes --csv results/boxes-tf2.21-2cpu.csv

Smooth maps are what a CAM looks like; noise near the percolation threshold and a
spiral are the worst that can come. Times are medians after a warm-up, for the whole
batch. The first row of each kind of map is OpenCV; the ratio is to that.
"""

import argparse
import csv
import functools
import statistics
import time
from pathlib import Path

import cv2
import keras
import numpy as np

from keras_wsol.boxes import (
    largest_boxes,
    sweep_best_iou,
    sweep_largest_boxes,
    top_boxes,
)
from tests.boxes.hard_maps import noise_maps, smooth_maps, spiral


def opencv_boxes(maps, threshold):
    for score_map in maps:
        mask = (score_map > threshold * score_map.max()).astype(np.uint8)
        _, _, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
        # Row 0 is the background.
        stats[1 + stats[1:, cv2.CC_STAT_AREA].argmax()]


def in_graph(function, xla=False):
    """The function as a graph; on PyTorch, which has none here, as it is."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return tf.function(function, jit_compile=xla)
    if keras.backend.backend() == "jax":
        import jax

        return jax.jit(function)
    return function


def candidates(threshold, num_thresholds):
    """Rows of the table: name -> function of the maps."""
    thresholds = np.linspace(0, 1, num_thresholds, endpoint=False)
    rows = {}

    def add(name, function, xla=False):
        function = in_graph(function, xla)
        rows[name] = lambda maps: keras.tree.map_structure(
            keras.ops.convert_to_numpy, function(keras.ops.convert_to_tensor(maps))
        )

    def blocks(maps):
        return largest_boxes(maps, threshold, static_shapes=True)

    add("largest_boxes", lambda maps: largest_boxes(maps, threshold))
    add("top_boxes k=5", lambda maps: top_boxes(maps, threshold, 5))
    add("largest_boxes, static shapes", blocks)
    if keras.backend.backend() == "tensorflow":
        add("largest_boxes, static shapes, XLA", blocks, xla=True)
    rows[f"sweep_largest_boxes, {num_thresholds} thresholds"] = lambda maps: (
        sweep_largest_boxes(maps, thresholds)
    )
    rows[f"sweep_best_iou, {num_thresholds} thresholds"] = lambda maps: sweep_best_iou(
        maps, thresholds, np.tile([[[20.0, 30.0, 99.0, 80.0]]], (len(maps), 1, 1))
    )
    return rows


def median_ms(function, args):
    function()
    times = []
    for _ in range(args.repeats):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return 1000 * statistics.median(times)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--height", type=int, default=224)
    parser.add_argument("--width", type=int, default=224)
    parser.add_argument("--threshold", type=float, default=0.4)
    parser.add_argument("--num-thresholds", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--csv", type=Path, help="also write the table here")
    args = parser.parse_args()

    rng = np.random.default_rng(0)
    size = (args.batch, args.height, args.width)
    line = spiral(args.height, args.width).astype(np.float32)
    maps = {
        "smooth": smooth_maps(rng, *size),
        "noise": noise_maps(rng, *size) ** np.float32(1.73),  # 41 % are above 0.4
        "spiral": np.tile(line, (args.batch, 1, 1)),
    }
    table = [("maps", "what", "ms_per_batch", "ms_per_map", "ratio_to_opencv")]
    functions = candidates(args.threshold, args.num_thresholds)
    for kind, batch in maps.items():
        alone = median_ms(functools.partial(opencv_boxes, batch, args.threshold), args)
        table.append((kind, "OpenCV", alone, alone / args.batch, 1.0))
        for name, function in functions.items():
            taken = median_ms(functools.partial(function, batch), args)
            table.append((kind, name, taken, taken / args.batch, taken / alone))
    print(f"{args.batch} maps of {args.height} x {args.width}, ", end="")
    print(f"Keras {keras.__version__} on {keras.backend.backend()}")
    for kind, name, *figures in table[1:]:
        batch_ms, map_ms, ratio = figures
        print(f"{kind:8}{name:42}{batch_ms:9.1f} ms{map_ms:8.2f} a map{ratio:7.2f} x")
    if args.csv:
        args.csv.parent.mkdir(parents=True, exist_ok=True)
        with args.csv.open("w", newline="") as file:
            csv.writer(file).writerows(
                [[f"{v:.3f}" if isinstance(v, float) else v for v in r] for r in table]
            )


if __name__ == "__main__":
    main()
