"""How long do boxes take: against a forward pass, against OpenCV, by size, at worst?

    python -m tests.benchmarks.boxes --maps maps.npy --csv results/boxes-tf2.21-2cpu.csv

Four questions, each a kind of row:

- `network`: 32 maps, against the forward pass of MobileNetV1 and of ResNet50 on 32
  images of 224x224, random weights;
- `opencv`: the same maps, against `cv2.connectedComponentsWithStats` and
  `cv2.findContours` called map by map;
- `size`: maps of 28x28 to 896x896, in time a pixel, against 224x224;
- `worst`: one map of noise, a comb, a spiral and a checkerboard, in milliseconds.

`--maps` is an `.npy` file of score maps `(N, 224, 224)` in [0, 1] of real images;
without it they are smooth random fields. Rounds are interleaved: each takes one turn of
everything, and a ratio is the median of the rounds' ratios.
"""

import argparse
import csv
import functools
import time
from pathlib import Path

import cv2
import keras
import numpy as np

from keras_wsol.boxes import largest_boxes, top_boxes
from tests.boxes.hard_maps import hard_masks, noise_maps, smooth_maps, spiral

SIZES = (28, 56, 112, 224, 448, 896)


def in_graph(function, xla=False):
    """The function as a graph; on PyTorch, which has none here, as it is."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return tf.function(function, jit_compile=xla)
    if keras.backend.backend() == "jax":
        import jax

        return jax.jit(function)
    return function


def waited(function):
    """Calls a graph and waits for its outputs."""

    def call(inputs):
        outputs = function(keras.ops.convert_to_tensor(inputs))
        return keras.tree.map_structure(keras.ops.convert_to_numpy, outputs)

    return call


def box_functions(threshold):
    """Name -> function of maps (N, H, W)."""

    def static(maps):
        return largest_boxes(maps, threshold, static_shapes=True)

    graphs = {
        "largest_boxes": in_graph(lambda maps: largest_boxes(maps, threshold)),
        "top_boxes, k=5": in_graph(lambda maps: top_boxes(maps, threshold, 5)),
        "largest_boxes, static shapes": in_graph(static),
    }
    return {name: waited(graph) for name, graph in graphs.items()}


def opencv_components(maps, threshold):
    for score_map in maps:
        mask = (score_map > threshold * score_map.max()).astype(np.uint8)
        _, _, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
        # Row 0 is the background.
        stats[1 + stats[1:, cv2.CC_STAT_AREA].argmax()]


def opencv_contours(maps, threshold):
    for score_map in maps:
        mask = (score_map > threshold * score_map.max()).astype(np.uint8)
        found, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
        cv2.boundingRect(max(found, key=cv2.contourArea))


def networks():
    """Name -> forward pass of 32 images."""
    images = np.random.default_rng(0).uniform(-1, 1, (32, 224, 224, 3))
    images = keras.ops.convert_to_tensor(images.astype("float32"))
    passes = {}
    for build in (keras.applications.MobileNet, keras.applications.ResNet50):
        model = build(weights=None)
        call = in_graph(functools.partial(model, training=False))
        passes[build.__name__] = functools.partial(waited(call), images)
    return passes


def interleaved_ms(functions, rounds):
    """Milliseconds of each function in each round, `(rounds, functions)`."""
    for function in functions:
        function()
    times = np.zeros((rounds, len(functions)))
    for row in times:
        for column, function in enumerate(functions):
            start = time.perf_counter()
            function()
            row[column] = 1000 * (time.perf_counter() - start)
    return times


def compare(question, functions, alternatives, rounds):
    """Rows of functions against alternatives."""
    names = [*functions, *alternatives]
    calls = [*functions.values(), *alternatives.values()]
    times = interleaved_ms(calls, rounds)
    median = dict(zip(names, np.median(times, axis=0), strict=True))
    for i, name in enumerate(functions):
        for j, other in enumerate(alternatives, len(functions)):
            ratio = float(np.median(times[:, i] / times[:, j]))
            yield question, name, other, median[name], median[other], ratio


def rows(maps, threshold, rounds):
    functions = box_functions(threshold)
    batch = np.resize(maps, (32, *maps.shape[1:]))
    on_batch = {name: functools.partial(f, batch) for name, f in functions.items()}
    yield from compare("network", on_batch, networks(), max(3, rounds // 3))
    opencv = {
        f.__name__: functools.partial(f, batch, threshold)
        for f in (opencv_components, opencv_contours)
    }
    yield from compare("opencv", on_batch, opencv, rounds)
    for name, function in functions.items():
        calls = {}
        for size in SIZES:
            # As many pixels each time, and at least one map.
            count = max(1, 4 * (max(SIZES) // size) ** 2 // 16)
            resized = np.stack([cv2.resize(m, (size, size)) for m in batch[:count]])
            resized = np.resize(resized, (count, size, size))
            calls[f"{size}x{size}, {count} maps"] = functools.partial(function, resized)
        times = interleaved_ms(list(calls.values()), rounds)
        pixels = np.array([s * s * max(1, 4 * (896 // s) ** 2 // 16) for s in SIZES])
        a_pixel = times / pixels
        reference = a_pixel[:, SIZES.index(224)]
        for column, kind in enumerate(calls):
            ratio = float(np.median(a_pixel[:, column] / reference))
            median = float(np.median(times[:, column]))
            other = float(np.median(times[:, SIZES.index(224)]))
            yield (
                "size",
                f"{name}: {kind}",
                "time a pixel of 224x224",
                median,
                other,
                ratio,
            )
    yield from worst_rows(functions, rounds)


def worst_rows(functions, rounds):
    rng = np.random.default_rng(0)
    height, width = 224, 224
    checkerboard = np.indices((height, width)).sum(0) % 2
    worst = {
        "noise": noise_maps(rng, 1, height, width) ** np.float32(1.73),
        "a comb": hard_masks(height, width)["comb, joined below"][None],
        "a spiral": spiral(height, width)[None],
        "a checkerboard": checkerboard[None],
    }
    for name, function in functions.items():
        for kind, one in worst.items():
            call = functools.partial(function, one.astype(np.float32))
            opencv = functools.partial(opencv_components, one.astype(np.float32), 0.4)
            table = compare(
                "worst", {name: call}, {"opencv_components": opencv}, rounds
            )
            for question, _, other, median, of_other, ratio in table:
                yield (
                    question,
                    f"{name}: one map of {kind}",
                    other,
                    median,
                    of_other,
                    ratio,
                )


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--maps", type=Path, metavar="FILE.npy")
    parser.add_argument("--threshold", type=float, default=0.4)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--csv", type=Path, help="also write the table here")
    args = parser.parse_args()

    if args.maps:
        maps = np.load(args.maps).astype("float32").reshape(-1, 224, 224)[:32]
    else:
        maps = smooth_maps(np.random.default_rng(0), 32, 224, 224)
    header = ("question", "what", "against", "ms", "ms_of_other", "ratio", "maps")
    table = []
    print(f"Keras {keras.__version__} on {keras.backend.backend()}")
    for question, what, other, taken, of_other, ratio in rows(
        maps, args.threshold, args.rounds
    ):
        print(
            f"{question:8} {what:52} {taken:8.2f} ms {ratio:7.3f} x {other}", flush=True
        )
        kind = "real" if args.maps else "smooth random"
        figures = [f"{value:.3f}" for value in (taken, of_other, ratio)]
        table.append((question, what, other, *figures, kind))
    if args.csv:
        args.csv.parent.mkdir(parents=True, exist_ok=True)
        with args.csv.open("w", newline="") as file:
            csv.writer(file).writerows([header, *table])


if __name__ == "__main__":
    main()
