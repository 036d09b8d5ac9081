"""How many images a second does training take in, beside plain Keras and PyTorch?

    KERAS_BACKEND=jax python -m tests.benchmarks.train_step \\
        --backbones resnet50 --batch 256 --steps 10 --out results/train_step.csv

A row is a network in one process with the others of its backbone and dtype policy, in
turns as in `layer_overhead.py`; its ratio is the median over rounds of its time by that
of `keras`, with the quartiles.

- `keras`: the backbone of `keras.applications` with its own pooling and Dense head.
- `cam, 7x7`: ours with Keras' own strides. The same sums: what it is away from 1 is the
  preprocessing, which is inside, and noise.
- `cam`, then the methods: 14x14 maps for 224 pixels, as in the papers, which is more to
  compute (`multiply_adds`); `ratio_to_cam` is what the method itself costs.
- `torch`: ResNet50 alone, written in plain PyTorch with channels last and, under a
  mixed policy, AMP (`torch_resnet50.py`), where PyTorch is installed; `torch, adl` is
  the yardstick of `adl`.

A step is forward pass, backward pass and an update of SGD with momentum; images are
random and already on the device. On a GPU with JAX and PyTorch in one process, set
XLA_PYTHON_CLIENT_PREALLOCATE=false.
"""

import argparse
import datetime
import importlib.util
import shlex
import statistics
import sys
from pathlib import Path

import keras
import numpy as np

from keras_wsol.models import BACKBONES, METHODS, build_classifier, multiply_adds
from tests.benchmarks.device_steps import compiles, device_name, make_turn
from tests.benchmarks.layer_overhead import backend_version, seconds, write

BACKEND = keras.backend.backend()
PLAIN = {"resnet50": "ResNet50", "mobilenet": "MobileNet", "vgg16": "VGG16"}
POLICIES = ("float32", "mixed_bfloat16", "mixed_float16")
NUM_CLASSES = 200
REFERENCE = "keras"


def arguments():
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.train_step",
        description=__doc__,
        epilog="The backend is chosen by the environment: KERAS_BACKEND=tensorflow, "
        "jax or torch.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--backbones", nargs="+", default=["resnet50"], choices=list(PLAIN))
    methods = ["cam", "adl", "dfm", "dgdm"]
    add("--methods", nargs="+", default=methods, choices=METHODS, metavar="NAME")
    add("--policies", nargs="+", default=POLICIES, choices=POLICIES, metavar="NAME")
    add("--batch", type=int, default=8, help="images a step (%(default)s)")
    add("--size", type=int, default=224, help="side in pixels (%(default)s)")
    add("--rounds", type=int, default=10, help="turns of each (%(default)s)")
    add("--steps", type=int, default=1, help="steps a turn (%(default)s)")
    add("--warm-up", type=int, default=1, help="turns before (%(default)s)")
    add(
        "--jit",
        action=argparse.BooleanOptionalAction,
        help="compile: XLA, or torch.compile; by default on for JAX, and for "
        "TensorFlow on a GPU, as in fit",
    )
    add("--no-torch", action="store_true", help="leave plain PyTorch out")
    add("--out", type=Path, metavar="FILE.csv", help="also write the table here")
    return parser.parse_args()


def plain_keras(backbone, args):
    shape = (args.size, args.size, 3)
    constructor = getattr(keras.applications, PLAIN[backbone])
    return constructor(
        weights=None,
        input_shape=shape,
        classes=NUM_CLASSES,
        classifier_activation=None,
    )


def ours(backbone, method, args, **options):
    return build_classifier(
        backbone,
        method,
        NUM_CLASSES,
        weights=None,
        input_shape=(args.size, args.size, 3),
        backbone_options=options,
    )


def compiled(model, policy, args):
    optimizer = keras.optimizers.SGD(1e-4, momentum=0.9)
    if policy == "mixed_float16":
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


def networks(backbone, policy, args):
    """Name to a compiled Keras model."""
    made = {REFERENCE: plain_keras(backbone, args)}
    if 7 in BACKBONES[backbone].map_sizes:
        made["cam, 7x7"] = ours(backbone, "cam", args, map_size=7)
    made |= {method: ours(backbone, method, args) for method in args.methods}
    return {name: compiled(model, policy, args) for name, model in made.items()}


def rows_of(backbone, policy, args):
    keras.config.set_dtype_policy(policy)
    rng = np.random.default_rng(0)
    images = rng.uniform(0, 255, (args.batch, args.size, args.size, 3))
    images = images.astype("float32")
    class_ids = rng.integers(0, NUM_CLASSES, args.batch).astype("int32")
    data = tuple(keras.ops.convert_to_tensor(array) for array in (images, class_ids))
    models = networks(backbone, policy, args)
    turns = {
        name: make_turn(model, data, "train", args.jit)
        for name, model in models.items()
    }
    counts = {name: multiply_adds(model) for name, model in models.items()}
    versions = [f"keras {keras.__version__}", f"{BACKEND} {backend_version()}"]
    if backbone == "resnet50" and not args.no_torch and _has_torch():
        from tests.benchmarks import torch_resnet50

        # Compiled on a GPU alone: on a CPU that takes minutes.
        jit = torch_resnet50.torch.cuda.is_available() and args.jit is not False
        for name, adl in {"torch": False, "torch, adl": True}.items():
            turns[name] = torch_resnet50.make_turn(
                images / 255, class_ids, NUM_CLASSES, policy, jit, adl
            )
            counts[name] = counts.get("adl" if adl else REFERENCE, "")
        versions.append(f"torch {torch_resnet50.torch.__version__}")
    times = seconds(turns, args)
    for name, taken in times.items():
        low, middle, high = np.quantile(
            _ratios(taken, times[REFERENCE]), [0.25, 0.5, 0.75]
        )
        to_cam = np.median(_ratios(taken, times["cam"])) if "cam" in times else None
        yield {
            "backbone": backbone,
            "network": name,
            "backend": "torch" if name in ("torch", "torch, adl") else BACKEND,
            "policy": policy,
            "device": device_name(),
            "batch": args.batch,
            "size": args.size,
            "jit": args.jit,
            "rounds": args.rounds,
            "median_s": f"{statistics.median(taken):.5f}",
            "images_per_s": f"{args.batch / statistics.median(taken):.2f}",
            "ratio": f"{middle:.3f}",
            "ratio_low": f"{low:.3f}",
            "ratio_high": f"{high:.3f}",
            "ratio_to_cam": "" if to_cam is None else f"{to_cam:.3f}",
            "multiply_adds": counts[name],
            "versions": ", ".join(dict.fromkeys(versions)),
            "command": f"KERAS_BACKEND={BACKEND} "
            + shlex.join(
                ["python", "-m", "tests.benchmarks.train_step", *sys.argv[1:]]
            ),
            "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        }


def _has_torch():
    return importlib.util.find_spec("torch") is not None


def _ratios(times, reference):
    return np.array(times) / np.array(reference)


def main():
    args = arguments()
    if args.jit is None:
        args.jit = compiles()
    print(
        f"{args.batch} images of {args.size} x {args.size}, "
        f"{'compiled' if args.jit else 'not compiled'}, Keras {keras.__version__} on "
        f"{BACKEND} {backend_version()}, {device_name()}; {args.rounds} rounds of "
        f"{args.steps} steps; ratios of times with quartiles"
    )
    rows = []
    for backbone in args.backbones:
        for policy in args.policies:
            for row in rows_of(backbone, policy, args):
                print(
                    f"{backbone:10} {policy:15} {row['network']:10}"
                    f"{row['images_per_s']:>9} images/s   x {row['ratio']} "
                    f"[{row['ratio_low']}, {row['ratio_high']}]   of cam: "
                    f"{row['ratio_to_cam']}",
                    flush=True,
                )
                rows.append(row)
            keras.backend.clear_session()
            if args.out:  # After each: a run that is cut off leaves what it has.
                write(rows, args.out)


if __name__ == "__main__":
    main()
