"""The images that `keras-wsol localize` is given."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from keras_wsol.data import ImageDataset


def given_images(
    paths: Sequence[Path], by_class: bool, class_names: Sequence[str] | None
) -> "ImageDataset":
    """Opens images and folders of images."""
    from keras_wsol import data

    if by_class:
        if len(paths) != 1:
            raise ValueError(
                "--class-ids known needs one folder in --images, which holds a folder "
                f"of images for each class. Received: {len(paths)} paths."
            )
        return data.image_folder(paths[0], class_names=class_names)
    if len(paths) == 1 and paths[0].is_dir():
        return data.image_files(paths[0])
    files = []
    for path in paths:
        files.extend(data.image_files(path).paths if path.is_dir() else [str(path)])
    return data.ImageDataset(
        name="images",
        split="all",
        class_names=("unknown",),
        class_ids=np.zeros(len(files), "int32"),
        paths=np.array(files),
        orientation="exif",
    )
