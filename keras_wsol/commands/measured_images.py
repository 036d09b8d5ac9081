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
    """Opens CUB-200-2011.

    Args:
        root: Its folder.
        tune_on: Name of a split; `"none"`; or `None` for `"train-fullsup"`.

    Returns:
        The test split, and the one to choose a threshold on.

    Raises:
        FileNotFoundError: A file is missing.
        ValueError: There is no such split.
    """
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
    """Opens a folder of images by class.

    Args:
        root: The folder.
        class_names: Names by class id, if the model knows them.
        boxes: CSV file of the boxes to measure.
        tune_on: CSV file of boxes to choose a threshold on; `"none"` or `None`.
        only_val: Whether to measure only images that `keras-wsol train` did not learn
            from.

    Returns:
        The images to measure, and those to choose a threshold on.

    Raises:
        FileNotFoundError: A file is missing.
        ValueError: A file or folder is wrong, or no image with a box is in the
            validation split.
    """
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
