"""Any folder of images whose classes nobody knows."""

from pathlib import Path

import numpy as np

from keras_wsol.data.dataset import ImageDataset, existing_folder
from keras_wsol.data.image_folder import EXTENSIONS, images_below

UNKNOWN = "unknown"


def image_files(root: str | Path) -> ImageDataset:
    """Opens all images in a folder and the folders below it, without classes.

    Args:
        root: The folder. What counts as an image is said in `image_folder`.

    Returns:
        The images, sorted by path, all of one class, `"unknown"`, JPEG files upright
        as their EXIF tag says; without boxes.

    Raises:
        FileNotFoundError: `root` is no folder.
        ValueError: There is no image.
    """
    root = existing_folder(root)
    paths = images_below(root)
    if not paths:
        raise ValueError(
            f"{root} must hold images ({', '.join(EXTENSIONS)}). It has none."
        )
    return ImageDataset(
        name=root.resolve().name,
        split="all",
        class_names=(UNKNOWN,),
        class_ids=np.zeros(len(paths), "int32"),
        paths=np.array(paths),
        orientation="exif",
    )
