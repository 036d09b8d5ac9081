"""Trains on all GPUs of one machine with TensorFlow's MirroredStrategy.

    python examples/train_multi_device.py --data DIR --out runs/mine --method adl \
        --backbone resnet50 --batch-size 256

DIR holds one folder of images for each class, or, with --cub, CUB-200-2011. Into --out
go checkpoint.npz, from which the same command goes on, log.csv and localizer.keras;
with --cub, also metrics.json. --devices N takes N logical CPUs instead, to try it out.

--batch-size is that of all GPUs together, of which each gets its share, and --rate is
for 32 images a step: it is scaled with the batch (the linear rule of Goyal et al.,
2017, https://arxiv.org/abs/1706.02677). Every GPU draws the same numbers for its share:
with the default `draw="batch"` one decision for the whole batch, as on one GPU. Batch
normalization sees a GPU's share; AverageReplicas joins the statistics.
"""

import argparse
import dataclasses
import os
import tempfile
from pathlib import Path

import tensorflow as tf
from smoke_data import write_cub

import keras_wsol as wsol
from keras_wsol import data, evaluation, models, training

BASE_BATCH = 32  # the batch that --rate is for


def main() -> None:
    """Runs the command line."""
    options = parse_options()
    if options.smoke:
        with tempfile.TemporaryDirectory() as folder:
            options.data = str(write_cub(Path(folder) / "data"))
            options.out, options.cub = str(Path(folder) / "out"), True
            run(options)
    else:
        run(options)


def run(options: argparse.Namespace) -> None:
    """Trains on all devices; saves and measures what came out."""
    strategy = tf.distribute.MirroredStrategy(devices(options.devices))
    replicas = strategy.num_replicas_in_sync
    if options.batch_size % replicas:
        raise SystemExit(
            f"--batch-size {options.batch_size} cannot be shared by {replicas} devices."
        )
    recipe = dataclasses.replace(
        training.RECIPES["ours-mobilenet-small"],
        backbone=options.backbone,
        method=options.method,
        weights=None if options.weights == "none" else options.weights,
        backbone_options={} if options.alpha is None else {"alpha": options.alpha},
        image_size=(options.image_size, options.image_size),
        batch_size=options.batch_size,
        epochs=options.epochs,
        rate=options.rate * options.batch_size / BASE_BATCH,
    )
    print(
        f"{replicas} devices, {options.batch_size // replicas} images each, rate "
        f"{recipe.rate}"
    )
    train, held_out = splits(options)
    with strategy.scope():
        model = recipe.build(class_names=train.class_names, seed=options.seed)
        recipe.compile(model, len(train))
        done, callbacks = recipe.resume(model, options.out)
    options_of_view = recipe.evaluation_options()
    model.fit(
        recipe.batches(train, seed=options.seed, epochs_done=done),
        steps_per_epoch=recipe.steps_per_epoch(len(train)),
        validation_data=held_out.batches(**options_of_view) if len(held_out) else None,
        initial_epoch=done,
        epochs=options.epochs,
        shuffle=False,  # the batches are shuffled already
        verbose=2,
        # First, so that what is saved is the mean of the replicas.
        callbacks=[training.AverageReplicas(), *callbacks],
    )
    localizer = wsol.fit_localizer(model, train)
    if options.cub:
        test = data.cub200(options.data, "test")
        report = evaluation.evaluate(localizer, test, tune_on=held_out)
        report.to_json(Path(options.out) / "metrics.json")
        localizer.cam_threshold = report.tuned.cam_threshold
        print(report.to_markdown())
    localizer.save(Path(options.out) / "localizer.keras")
    print(f"Wrote {options.out}.")


def devices(logical_cpus: int | None) -> list[str] | None:
    """Returns the names of the devices to train on; `None` for all GPUs."""
    # Where replicas wait for each other, each holds a thread; with one thread a core,
    # two replicas on two cores leave none for the batches that they wait for.
    tf.config.threading.set_inter_op_parallelism_threads(max(16, os.cpu_count() or 1))
    if logical_cpus is None:
        if not tf.config.list_physical_devices("GPU"):
            raise SystemExit("No GPU found. --devices 2 takes two logical CPUs.")
        return None
    # Before anything is computed: TensorFlow cannot do it later.
    tf.config.set_logical_device_configuration(
        tf.config.list_physical_devices("CPU")[0],
        [tf.config.LogicalDeviceConfiguration()] * logical_cpus,
    )
    return [f"CPU:{index}" for index in range(logical_cpus)]


def splits(options: argparse.Namespace) -> tuple[data.ImageDataset, data.ImageDataset]:
    """Opens the training images and those that are held out."""
    if options.cub:
        return tuple(
            data.cub200(options.data, split)
            for split in ("train-weaksup", "train-fullsup")
        )
    return tuple(data.image_folder(options.data, split) for split in ("train", "val"))


def parse_options() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", help="folder of images, or root of CUB-200-2011")
    parser.add_argument("--out", help="folder for checkpoint, log and model")
    parser.add_argument("--cub", action="store_true", help="--data is CUB-200-2011")
    parser.add_argument("--devices", type=int, help="logical CPUs, instead of all GPUs")
    parser.add_argument("--backbone", default="mobilenet", choices=models.BACKBONES)
    parser.add_argument("--alpha", type=float, help="width of a MobileNet")
    parser.add_argument("--method", default="adl", choices=models.METHODS)
    parser.add_argument(
        "--weights", default="imagenet", help='"imagenet", "none" or a path'
    )
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--batch-size", type=int, default=64, help="of all devices")
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--rate", type=float, default=0.005, help="for 32 images")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--smoke", action="store_true", help="an epoch on drawn images and two CPUs"
    )
    options = parser.parse_args()
    if options.smoke:
        options.devices, options.weights, options.epochs = 2, "none", 1
        options.batch_size, options.image_size, options.alpha = 8, 32, 0.25
    elif not (options.data and options.out):
        parser.error("--data and --out are needed (or --smoke)")
    return options


if __name__ == "__main__":
    main()
