"""`keras-wsol train`: images sorted by class to a localizer."""

import argparse
from typing import TYPE_CHECKING

from keras_wsol.commands import run_folder
from keras_wsol.commands.command import Command, say
from keras_wsol.commands.fitting import build, fit
from keras_wsol.commands.train_arguments import add_arguments
from keras_wsol.commands.train_recipe import settle

if TYPE_CHECKING:
    from keras_wsol.data import ImageDataset

# Where and how to run, not what comes out.
NOT_CONFIGURATION = {"command", "debug", "data", "out"}


def _run(options: argparse.Namespace) -> None:
    train, val = _splits(options)
    settle(options)
    say(f"{train}\n{val}")
    kept = {k: v for k, v in vars(options).items() if k not in NOT_CONFIGURATION}
    run_folder.claim(options.out, {**kept, "class_names": train.class_names})
    say("Loading Keras ...")
    from keras_wsol import models

    model = build(options, train)
    fit(model, train, val, options)
    run_folder.list_unreadable(options.out, {*train.skipped.paths, *val.skipped.paths})
    path = options.out / "localizer.keras"
    models.Localizer(model).save(path)
    print(f"Wrote {path}. Next: keras-wsol localize --model {path} --images ...")


def _splits(options: argparse.Namespace) -> tuple["ImageDataset", "ImageDataset"]:
    """Opens what is learned from, and what is not."""
    from keras_wsol import data

    if options.dataset == "cub":
        train = data.cub200(options.data, "train-weaksup")
        return train, data.cub200(options.data, "train-fullsup")
    # The same whatever --seed is, so that runs are compared on the same images.
    train = data.image_folder(options.data, "train")
    if train.num_classes < 2:
        raise ValueError(
            f"{options.data} must hold a folder of images for each of at least two "
            f"classes. Received: {list(train.class_names)}."
        )
    return train, data.image_folder(options.data, "val")


COMMAND = Command(
    summary="images sorted by class to a model that finds the objects",
    usage="--data DIR --out DIR",
    description="""\
Trains a classifier from class labels alone and makes a localizer of it: a model that
gives class, score map and box of an image. No box is needed.

With --recipe, it is trained as a paper or its code has it: places, options, images
seen, schedule, decay and multipliers; `print(keras_wsol.training.RECIPES[NAME])` shows
them with their sources. Where the recipe keeps the model with the lowest error on the
validation images, that is best.keras and the localizer's.

Into --out go localizer.keras, log.csv, config.json, checkpoint.npz and, where files
cannot be read, unreadable.txt. Interrupted, the same command goes on where it was,
ten minutes before at most; other options in the same folder are refused.""",
    example="keras-wsol train --data birds --method dgdm --epochs 12 --out runs/birds",
    interrupted="The same command goes on where it was, ten minutes before at most.",
    add_arguments=add_arguments,
    run=_run,
)
