"""How much longer does a step take with a module in the backbone?

    KERAS_BACKEND=tensorflow python -m tests.benchmarks.layer_overhead \\
        --backbones mobilenet --batch 8 --rounds 30 --out results/overhead.csv

Every model of a backbone is built in this one process, and a round is one turn of
each: plain, adl, dfm, dgdm and a second plain model, the next round from adl on, and so
forth. A row's ratio is the median over rounds of its time by that of the first plain
model, with the quartiles beside it: what slows the machine for a while slows both. The
row `plain` is the second plain model: how far it is from 1 is the noise.

`train` is forward pass, backward pass and SGD update as `fit` does them, `forward` is
inference, where the modules are the identity. Images are random and already on the
device, and the clock stops when the device is done. What a module adds is computed
from shapes: parameters and multiply-adds.
"""

import argparse
import csv
import datetime
import functools
import shlex
import statistics
import sys
import time
from pathlib import Path

import keras
import numpy as np

from keras_wsol.models import build_classifier, multiply_adds
from tests.benchmarks.device_steps import compiles, device_name, make_turn

BACKEND = keras.backend.backend()
BACKBONES = ("mobilenet", "vgg16", "resnet50")
METHODS = ("adl", "dfm", "dgdm")
COUNTED = (*METHODS, "cagd", "sagd")
MODES = ("forward", "train")
POLICIES = ("float32", "mixed_float16", "mixed_bfloat16")
NUM_CLASSES = 200
CONTROL = "plain"


def arguments():
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.layer_overhead",
        description=__doc__,
        epilog="The backend is chosen by the environment: KERAS_BACKEND=tensorflow, "
        "jax or torch.\nOn a GPU give turns of several steps (--steps 10), so that the "
        "wait for the device\nweighs little.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add(
        "--backbones",
        nargs="+",
        default=BACKBONES,
        metavar="NAME",
        help=f"rows of models.BACKBONES, {', '.join(BACKBONES)} unless given",
    )
    add(
        "--methods",
        nargs="+",
        default=METHODS,
        choices=COUNTED,
        metavar="NAME",
        help=f"of {', '.join(COUNTED)}; the first three unless given",
    )
    add("--modes", nargs="+", default=MODES, choices=MODES, help="both unless given")
    add("--policy", default="float32", choices=POLICIES, help="dtype policy")
    add("--batch", type=_positive, default=8, help="images a step (%(default)s)")
    add("--size", type=_positive, default=224, help="side in pixels (%(default)s)")
    add(
        "--rounds", type=_positive, default=20, help="turns of each model (%(default)s)"
    )
    add("--steps", type=_positive, default=1, help="steps a turn (%(default)s)")
    add("--warm-up", type=_positive, default=2, help="turns before (%(default)s)")
    add(
        "--jit",
        action=argparse.BooleanOptionalAction,
        help="compile: XLA, or torch.compile (which Keras hinders: it gives up on "
        "parts, and models of one process share its limits); by default on for JAX, "
        "and for TensorFlow on a GPU, as in fit",
    )
    add("--out", type=Path, metavar="FILE.csv", help="also write the table here")
    return parser.parse_args()


def _positive(text):
    if (value := int(text)) < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, not {value}")
    return value


def build(backbone, method, args):
    model = build_classifier(
        backbone,
        method,
        NUM_CLASSES,
        weights=None,
        input_shape=(args.size, args.size, 3),
    )
    optimizer = keras.optimizers.SGD(1e-4)
    if args.policy == "mixed_float16":
        # What `compile` does, but for the scale: gradients of random weights overflow
        # under that of 2 ** 15, and such a step leaves out the update.
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer, initial_scale=2**5)
    model.compile(
        optimizer=optimizer,
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        jit_compile=args.jit,
    )
    model.optimizer.build(model.trainable_variables)
    return model


def seconds(turns, args):
    """Times of each round: name -> list, in seconds a step."""
    times = {name: [] for name in turns}
    order = list(turns)
    for round_number in range(args.warm_up + args.rounds):
        order = [*order[1:], order[0]]  # so that no model is always the first
        for name in order:
            start = time.perf_counter()
            turns[name](args.steps)
            taken = (time.perf_counter() - start) / args.steps
            if round_number >= args.warm_up:
                times[name].append(taken)
    return times


def added(model, plain):
    """What the method's layers add to the plain model."""
    count = multiply_adds(plain)
    return {
        "params": plain.count_params(),
        "params_overhead": model.count_params() - plain.count_params(),
        "multiply_adds": count,
        "multiply_adds_overhead": multiply_adds(model) - count,
    }


def rows_of(backbone, mode, args):
    """The rows of one backbone: the control, then each method."""
    rng = np.random.default_rng(0)
    size = (args.batch, args.size, args.size, 3)
    images = rng.uniform(0, 255, size).astype("float32")
    class_ids = rng.integers(0, NUM_CLASSES, args.batch).astype("int32")
    data = tuple(keras.ops.convert_to_tensor(array) for array in (images, class_ids))
    reference = "the round's plain model"
    names = {reference: "cam", **{name: name for name in args.methods}, CONTROL: "cam"}
    models = {name: build(backbone, method, args) for name, method in names.items()}
    turns = {
        name: make_turn(model, data, mode, args.jit) for name, model in models.items()
    }
    times = seconds(turns, args)
    plain = times.pop(reference)
    for method in (CONTROL, *args.methods):
        ratios = np.array(times[method]) / plain
        low, middle, high = np.quantile(ratios, [0.25, 0.5, 0.75])
        yield {
            "backbone": backbone,
            "method": method,
            "mode": mode,
            "backend": BACKEND,
            "policy": args.policy,
            "device": device_name(),
            "batch": args.batch,
            "size": args.size,
            "jit": args.jit,
            "rounds": args.rounds,
            "median_plain_s": f"{statistics.median(plain):.6f}",
            "median_s": f"{statistics.median(times[method]):.6f}",
            "ratio": f"{middle:.4f}",
            "ratio_low": f"{low:.4f}",
            "ratio_high": f"{high:.4f}",
            **added(models[method], models[reference]),
            "versions": f"keras {keras.__version__}, {BACKEND} {backend_version()}",
            "command": command(),
            "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        }


def backend_version():
    return __import__(BACKEND).__version__


@functools.cache
def command():
    given = ["python", "-m", "tests.benchmarks.layer_overhead", *sys.argv[1:]]
    return f"KERAS_BACKEND={BACKEND} {shlex.join(given)}"


def line_of(row):
    return (
        f"{row['backbone']:13}{row['mode']:9}{row['method']:6}"
        f"{1000 * float(row['median_s']):10.2f} ms   x {row['ratio']} "
        f"[{row['ratio_low']}, {row['ratio_high']}]   "
        f"+{row['params_overhead']} of {row['params'] / 1e6:.2f} M parameters   "
        f"+{row['multiply_adds_overhead']} of "
        f"{row['multiply_adds'] / 1e9:.2f} G multiply-adds"
    )


def write(rows, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def main():
    args = arguments()
    keras.config.set_dtype_policy(args.policy)
    if args.jit is None:
        args.jit = compiles()
    print(
        f"{args.batch} images of {args.size} x {args.size}, {args.policy}, "
        f"{'compiled' if args.jit else 'not compiled'}, Keras {keras.__version__} on "
        f"{BACKEND} {backend_version()}, {device_name()}; {args.rounds} rounds of "
        f"{args.steps} steps; ratios with quartiles"
    )
    rows = []
    for backbone in args.backbones:
        for mode in args.modes:
            for row in rows_of(backbone, mode, args):
                print(line_of(row), flush=True)
                rows.append(row)
            keras.backend.clear_session()
            if args.out:  # After each: a run that is cut off leaves what it has.
                write(rows, args.out)


if __name__ == "__main__":
    main()
