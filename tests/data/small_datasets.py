"""Tiny data sets whose images can be told apart, in memory and as files."""

import errno
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from keras_wsol.data import ImageDataset

LETTERS = tuple("abcdefghijklmnopqrstuvwxyz")


def noise(count, height=24, width=40, seed=0):
    """uint8 images of noise: any two crops of them differ."""
    shape = (count, height, width, 3)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype="uint8")


def gradient(height=24, width=40):
    """A smooth uint8 image whose channels differ."""
    y, x = np.mgrid[:height, :width]
    channels = [255 * x / width, 255 * y / height, 127 * (x / width + y / height)]
    return np.stack(channels, axis=-1).astype("uint8")


def in_memory(images, **changes):
    """A data set of images in memory; image i is of class i."""
    count = len(images)
    return ImageDataset(
        **{
            "name": "tiny",
            "split": "train",
            "class_names": LETTERS[:count],
            "class_ids": np.arange(count, dtype="int32"),
            "paths": np.array([f"image {index}" for index in range(count)]),
            "images": images,
            **changes,
        }
    )


def as_files(folder, images, **changes):
    """The same of PNG files in `folder`."""
    paths = [folder / f"{index}.png" for index in range(len(images))]
    for path, image in zip(paths, images, strict=True):
        Image.fromarray(image).save(path)
    changes = {"paths": np.array([str(path) for path in paths]), **changes}
    return replace(
        in_memory(np.zeros((len(images), 1, 1, 3), "uint8"), **changes), images=None
    )


def renamed(dataset, index, name):
    """The same with another file name, bytes, for one image."""
    paths = dataset.paths.tolist()
    path = Path(paths[index]).with_name(os.fsdecode(name))
    try:
        Path(paths[index]).rename(path)
    except OSError as error:
        if error.errno != errno.EILSEQ:  # macOS: names there are UTF-8
            raise
        pytest.skip("This file system takes no such name.")
    paths[index] = str(path)
    return replace(dataset, paths=np.array(paths))


def arrays(batches):
    """The batches of one pass as (images, class ids)."""
    return [(images.numpy(), ids.numpy()) for images, ids in batches]


def assert_same(first, second):
    """Two lists of batches are equal to the bit."""
    assert len(first) == len(second)
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one[1], other[1])
        np.testing.assert_array_equal(one[0], other[0])
