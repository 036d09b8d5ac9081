"""How long do boxes take in ONNX Runtime and OpenVINO, beside the graph of TensorFlow?

    python -m tests.benchmarks.onnx_boxes --csv results/onnx_boxes.csv

The boxes part alone of one 224x224 map: smooth, noise, and masks that are hard on what
finds components: a spiral and a comb. `tensorflow` is the algorithm that SavedModels
have, in a `tf.function`; the ratio is to it, of medians, in turns. All boxes are
compared first. Needs onnx, tf2onnx, onnxruntime and openvino.
"""

import argparse
import csv
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import openvino
import tensorflow as tf

from keras_wsol.boxes import largest_boxes
from keras_wsol.export.litert_onnx import _to_onnx
from tests.boxes.hard_maps import hard_masks, noise_maps, smooth_maps

THRESHOLD = 0.4


def maps(side):
    rng, hard = np.random.default_rng(0), hard_masks(side, side)
    found = {
        "smooth": smooth_maps(rng, 1, side, side),
        "noise": noise_maps(rng, 1, side, side),
    }
    for name in ("noise 0.41", "spiral", "comb, joined above"):
        found[name] = hard[name][None]
    return {name: each.astype("float32") for name, each in found.items()}


def runtimes(side, threads):
    """Name to a function of maps (1, side, side) to boxes (1, 4)."""
    spec = tf.TensorSpec((None, side, side), tf.float32, name="maps")

    def boxes(static_shapes):
        def find(maps):
            return {
                "boxes": largest_boxes(maps, THRESHOLD, static_shapes=static_shapes)
            }

        return tf.function(find, input_signature=[spec])

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    precise = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": threads}
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/boxes.onnx"
        onnx.save(_to_onnx(boxes(True)), path)
        session = onnxruntime.InferenceSession(path, options)
        compiled = openvino.Core().compile_model(path, "CPU", precise)
    graph = boxes(False)
    return {
        "tensorflow": lambda maps: graph(tf.constant(maps))["boxes"].numpy(),
        "onnxruntime": lambda maps: session.run(["boxes"], {"maps": maps})[0],
        "openvino": lambda maps: compiled({"maps": maps})["boxes"],
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--side", type=int, default=224)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--csv", type=Path, help="also write the table here")
    args = parser.parse_args()
    calls = runtimes(args.side, args.threads)
    versions = f"tensorflow {tf.__version__}, onnxruntime {onnxruntime.__version__}, "
    versions += f"openvino {openvino.__version__.split('-')[0]}"
    rows = []
    for kind, score_maps in maps(args.side).items():
        expected = calls["tensorflow"](score_maps)
        for call in calls.values():
            np.testing.assert_array_equal(call(score_maps), expected)
        times = {name: [] for name in calls}
        for _ in range(args.rounds):
            for name, call in calls.items():
                start = time.perf_counter()
                call(score_maps)
                times[name].append(time.perf_counter() - start)
        medians = {name: statistics.median(each) for name, each in times.items()}
        for name, seconds in medians.items():
            ratio = seconds / medians["tensorflow"]
            row = {"map": kind, "side": args.side, "runtime": name}
            row |= {"ms": f"{1000 * seconds:.2f}", "ratio": f"{ratio:.2f}"}
            rows.append(row | {"threads": args.threads, "versions": versions})
            print(f"{kind:20}{name:13}{row['ms']:>8} ms   x {row['ratio']}", flush=True)
    if args.csv:
        with args.csv.open("w", newline="") as file:
            writer = csv.DictWriter(file, rows[0], lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)


if __name__ == "__main__":
    main()
