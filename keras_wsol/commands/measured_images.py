"""The images that `keras-wsol evaluate` measures, and those that it tunes on."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from keras_wsol.data import ImageDataset

NOTHING = "none"


def cub_splits(
    root: Path, tune_on: str | None
) -> "tuple[ImageDataset, ImageDataset | None]":
    """Opens CUB-200-2011."""
    from keras_wsol import data

    test = data.cub200(root, "test")
    if tune_on == NOTHING:
        return test, None
    return test, data.cub200(root, tune_on or "train-fullsup")


def folder_splits(
    root: Path,
    class_names: Sequence[str] | None,
    boxes: Path,
    tune_on: str | None,
    only_val: bool = False,
) -> "tuple[ImageDataset, ImageDataset | None]":
    """Opens a folder of images by class."""
    from keras_wsol import data

    images = data.image_folder(root, class_names=class_names)
    test = data.boxes_from_csv(images, boxes)
    if only_val:
        val = data.image_folder(root, "val", class_names=class_names)
        test = test.take(np.isin(test.paths, val.paths), "val")
        if not len(test):
            raise ValueError(
                f"{boxes} must have boxes of images in the validation split, of which "
                f"{root} has {len(val)}. It has none of these."
            )
    if tune_on in (None, NOTHING):
        return test, None
    return test, data.boxes_from_csv(images, tune_on)
