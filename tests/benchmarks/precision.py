"""Does a model learn the embedded data as well in mixed precision, compiled or not?

    KERAS_BACKEND=tensorflow python -m tests.benchmarks.precision --out results/p.csv

Trains the network of `tests/training/embedded.py` under every dtype policy, with
`jit_compile` off and on, for every method and seed, and measures Top-1 accuracy and
GT-known Loc on the test split. The seed fixes weights, order and draws; draws under XLA
may be others. Printed at the end: the range over seeds in float32 without compiling,
which is how far training alone moves a figure, and how far every other way is from the
float32 training of the same seed. `loss_scale` is what it was at the end: it starts at
32,768 and is halved for each step whose gradients overflow, which is left out.
"""

import argparse
import csv
import datetime
import itertools
import shlex
import sys
import time
from pathlib import Path

import keras

from tests.benchmarks.device_steps import device_name
from tests.training import embedded

BACKEND = keras.backend.backend()
METHODS = ("cam", "adl", "dfm", "dgdm", "cagd", "sagd")
POLICIES = ("float32", "mixed_bfloat16", "mixed_float16")
REFERENCE = ("float32", False)
FIGURES = ("top1_cls", "gt_known_loc")


def arguments():
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.precision",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--methods", nargs="+", default=METHODS, choices=METHODS, metavar="NAME")
    add("--policies", nargs="+", default=POLICIES, choices=POLICIES, metavar="NAME")
    add("--seeds", type=int, default=5, help="in float32, not compiled (%(default)s)")
    add("--other-seeds", type=int, default=2, help="in all other ways (%(default)s)")
    add("--no-jit", action="store_true", help="leave out what is compiled")
    add("--out", type=Path, metavar="FILE.csv", help="also write the table here")
    return parser.parse_args()


def ways(args):
    """Policy, whether it is compiled, and seeds; the reference first."""
    yield *REFERENCE, range(args.seeds)
    for policy, jit in itertools.product(
        args.policies, [False, True][: 2 - args.no_jit]
    ):
        if (policy, jit) != REFERENCE:
            yield policy, jit, range(args.other_seeds)


def row(method, policy, jit, seed):
    keras.backend.clear_session()
    model = embedded.build(method, policy, jit, seed)
    start = time.perf_counter()
    losses = embedded.train(model, seed)
    seconds = time.perf_counter() - start
    accuracy, gt_known = embedded.measure(model)
    scale = getattr(model.optimizer, "dynamic_scale", None)
    return {
        "method": method,
        "policy": policy,
        "jit": jit,
        "seed": seed,
        "top1_cls": f"{accuracy:.4f}",
        "gt_known_loc": f"{gt_known:.4f}",
        "last_loss": f"{losses[-1]:.5f}",
        "loss_scale": "" if scale is None else f"{float(scale):.0f}",
        "train_s": f"{seconds:.1f}",
        "backend": BACKEND,
        "device": device_name(),
        "versions": f"keras {keras.__version__}, {BACKEND} "
        f"{__import__(BACKEND).__version__}",
        "command": f"KERAS_BACKEND={BACKEND} "
        + shlex.join(["python", "-m", "tests.benchmarks.precision", *sys.argv[1:]]),
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
    }


def write(rows, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def summary(rows):
    """Lines: for each method the range over seeds, then each way's distance."""
    found = {
        (r["method"], (r["policy"], r["jit"]), r["seed"]): [
            float(r[f]) for f in FIGURES
        ]
        for r in rows
    }
    for method in dict.fromkeys(key[0] for key in found):
        seeds = [
            v for (m, way, _), v in found.items() if (m, way) == (method, REFERENCE)
        ]
        spread = "  ".join(
            f"{name} {min(values):.3f} to {max(values):.3f}"
            for name, values in zip(FIGURES, zip(*seeds, strict=True), strict=True)
        )
        yield f"{method}: float32, {len(seeds)} seeds: {spread}"
        for way in dict.fromkeys(key[1] for key in found if key[1] != REFERENCE):
            pairs = [
                (values, found[method, REFERENCE, seed])
                for (m, w, seed), values in found.items()
                if (m, w) == (method, way) and (method, REFERENCE, seed) in found
            ]
            largest = [
                max((one[i] - other[i] for one, other in pairs), key=abs)
                for i in range(len(FIGURES))
            ]
            text = "  ".join(
                f"{name} {difference:+.3f}"
                for name, difference in zip(FIGURES, largest, strict=True)
            )
            yield f"    {way[0]:15}{'jit' if way[1] else '   '}  at most {text}"


def main():
    args = arguments()
    rows = []
    for policy, jit, seeds in ways(args):
        for method, seed in itertools.product(args.methods, seeds):
            rows.append(row(method, policy, jit, seed))
            print(
                "  ".join(str(value) for value in list(rows[-1].values())[:9]),
                flush=True,
            )
            if args.out:  # After each: a run that is cut off leaves what it has.
                write(rows, args.out)
    print("\n".join(summary(rows)))


if __name__ == "__main__":
    main()
