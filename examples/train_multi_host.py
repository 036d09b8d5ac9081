"""Trains on several machines with Keras' DataParallel on the JAX backend.

    python examples/train_multi_host.py --data DIR --out runs/mine --method adl \
        --address 10.0.0.1:4321 --num-processes 2 --process-id 0     # on 10.0.0.1
    python examples/train_multi_host.py ... --process-id 1           # on the other

Each machine runs the same command but for --process-id, uses all its GPUs, and sees the
same DIR, which holds one folder of images for each class, and the same --out, where
process 0 writes checkpoint.npz, log.csv and model.keras. Interrupted, the same commands
go on after the last whole epoch. With --num-processes 1 it trains on the GPUs of one
machine. TensorFlow is not needed.

--batch-size is that of all machines together: each reads its part of every batch. To
JAX the devices are one: draws and batch normalization are those of the whole batch, so
that two processes train what one would with the same --batch-size. Measure the boxes
afterwards, in one process: `keras-wsol evaluate`.
"""

import argparse
import dataclasses
import hashlib
import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ["KERAS_BACKEND"] = "jax"

import keras
import numpy as np
from jax.experimental import multihost_utils
from smoke_data import write_image_folder

from keras_wsol import data, models, training


def main() -> None:
    """Runs the command line."""
    options = parse_options()
    if options.smoke:
        smoke()
    else:
        run(options)


def run(options: argparse.Namespace) -> None:
    """Trains as one of the processes."""
    process, count = options.process_id, options.num_processes
    if count > 1:
        # Before anything is computed. It also gives all processes one global seed.
        keras.distribution.initialize(options.address, count, process)
    # Each process reads its own part: Keras must not cut it again.
    keras.distribution.set_distribution(
        keras.distribution.DataParallel(auto_shard_dataset=False)
    )
    num_devices = len(keras.distribution.list_devices())
    if options.batch_size % num_devices:
        raise SystemExit(
            f"--batch-size {options.batch_size} cannot be shared by {num_devices} "
            "devices."
        )
    train = data.image_folder(options.data, "train")
    recipe = dataclasses.replace(
        training.RECIPES["ours-mobilenet-small"],
        backbone=options.backbone,
        method=options.method,
        weights=None if options.weights == "none" else options.weights,
        backbone_options={} if options.alpha is None else {"alpha": options.alpha},
        image_size=(options.image_size, options.image_size),
        batch_size=options.batch_size,
        epochs=options.epochs,
        rate=options.rate,
    )
    # The seed gives every process the same weights.
    model = recipe.build(class_names=train.class_names, seed=options.seed)
    recipe.compile(model, len(train))
    checkpoint = training.Checkpoint(Path(options.out) / "checkpoint.npz")
    done = int(checkpoint.restore(model))
    if len(set(gathered(np.array(done)).tolist())) > 1:
        raise SystemExit("All processes must see the same folder as --out.")
    batches = train.training_sequence(
        options.batch_size,
        seed=options.seed,
        start_step=done * train.steps_per_epoch(options.batch_size),
        image_size=recipe.image_size,
        shard=(process, count),
    )
    callbacks = []
    if process == 0:
        log = training.EpochLog(Path(options.out) / "log.csv", done)
        callbacks = [log, checkpoint]
    model.fit(
        batches,
        steps_per_epoch=batches.steps_per_epoch,
        initial_epoch=done,
        epochs=options.epochs,
        shuffle=False,  # the batches are shuffled already
        verbose=2 if process == 0 else 0,
        callbacks=callbacks,
    )
    if len(set(map(bytes, gathered(digest(model))))) > 1:
        raise SystemExit("The processes ended with different weights.")
    if process == 0:
        # `save` makes an optimizer to look at. With several processes a variable can
        # only be made in all of them at once: alone, process 0 would wait for ever.
        keras.distribution.set_distribution(None)
        model.save(Path(options.out) / "model.keras")
        print(f"{count} processes hold the same weights. Wrote {options.out}.")


def digest(model: keras.Model) -> np.ndarray:
    """Returns a hash of all weights and seeds, and of the optimizer's state."""
    found = hashlib.sha256()
    for variable in [*model.variables, *model.optimizer.variables]:
        found.update(np.ascontiguousarray(keras.ops.convert_to_numpy(variable)))
    return np.frombuffer(found.digest(), "uint8")


def gathered(value: np.ndarray) -> np.ndarray:
    """Returns a value of every process."""
    return np.asarray(multihost_utils.process_allgather(value[None], tiled=True))


def smoke() -> None:
    """Starts two processes on drawn images, then the same once more, to resume."""
    with tempfile.TemporaryDirectory() as folder:
        images = write_image_folder(Path(folder) / "images", per_class=10)
        for epochs in (1, 2):
            command = [sys.executable, __file__, "--data", str(images)]
            command += ["--out", f"{folder}/out", "--address", f"127.0.0.1:{a_port()}"]
            command += ["--num-processes", "2", "--alpha", "0.25", "--weights", "none"]
            command += ["--image-size", "32", "--batch-size", "8"]
            command += ["--epochs", str(epochs)]
            wait_for(
                [
                    subprocess.Popen(
                        [*command, "--process-id", str(process)],
                        env={**os.environ, "JAX_PLATFORMS": "cpu"},
                    )
                    for process in range(2)
                ]
            )


def wait_for(processes: list[subprocess.Popen]) -> None:
    """Waits until all have ended; if one fails, ends the others."""
    try:
        while any(process.poll() is None for process in processes):
            if any(process.returncode for process in processes):
                break
            time.sleep(0.1)
    finally:
        for process in processes:
            process.kill()
            process.wait()
    if any(process.returncode for process in processes):
        raise SystemExit("A process failed.")


def a_port() -> int:
    """Returns the number of a port that is free now."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def parse_options() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", help="folder with one folder of images a class")
    parser.add_argument("--out", help="folder for checkpoint, log and model")
    parser.add_argument("--address", help="host:port of process 0")
    parser.add_argument("--num-processes", type=int, default=1)
    parser.add_argument("--process-id", type=int, default=0)
    parser.add_argument("--backbone", default="mobilenet", choices=models.BACKBONES)
    parser.add_argument("--alpha", type=float, help="width of a MobileNet")
    parser.add_argument("--method", default="adl", choices=models.METHODS)
    parser.add_argument(
        "--weights", default="imagenet", help='"imagenet", "none" or a path'
    )
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--batch-size", type=int, default=64, help="of all machines")
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--rate", type=float, default=0.005, help="learning rate")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--smoke", action="store_true", help="two processes on drawn images"
    )
    options = parser.parse_args()
    if not options.smoke:
        if not (options.data and options.out):
            parser.error("--data and --out are needed (or --smoke)")
        if options.num_processes > 1 and not options.address:
            parser.error("--num-processes needs --address, host:port of process 0")
        if not 0 <= options.process_id < options.num_processes:
            parser.error("--process-id must be in [0, --num-processes)")
    return options


if __name__ == "__main__":
    main()
