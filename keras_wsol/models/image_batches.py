"""Images for what is fitted to them, from a data set or from batches."""

import importlib.util
from collections.abc import Iterable, Iterator
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_wsol.data import ImageDataset

BATCH_SIZE = 32


def image_batches(source: Any, image_size: tuple[int, int]) -> Iterable[Any]:
    """Returns batches that can be read as often as their source can.

    Args:
        source: An `ImageDataset`, whose unreadable files are left out, or an iterable
            of batches.
        image_size: Height and width at which a data set is read.

    Raises:
        TypeError: `source` is neither.
        ValueError: `source` never ends.
    """
    if isinstance(source, ImageDataset):
        return _DatasetBatches(source, image_size)
    if _never_ends(source):
        raise ValueError(
            "`batches` must end. Received one that repeats, such as batches for "
            f"training (of type {type(source).__name__}): pass the `ImageDataset` "
            "itself."
        )
    if not isinstance(source, Iterable) and not hasattr(source, "__getitem__"):
        raise TypeError(
            "`batches` must be an `ImageDataset` or batches of images. Received an "
            f"object of type {type(source).__name__}."
        )
    return source


def images_of(batch: Any) -> Any:
    """Returns the images of a batch, without those that could not be read.

    Args:
        batch: Images `(B, H, W, 3)`, or a tuple that begins with them, or a dictionary
            with `"images"`. The second entry or `"class_ids"`, if it is an array of
            integers `(B,)`, is -1 where an image could not be read; others do not
            count.

    Returns:
        A tensor of images.

    Example:
    >>> images = images_of((np.ones((2, 4, 5, 3)), np.array([-1, 0])))
    >>> tuple(images.shape)
    (1, 4, 5, 3)
    """
    if isinstance(batch, dict):
        images, class_ids = batch["images"], batch.get("class_ids")
    elif isinstance(batch, tuple):
        images, class_ids = batch[0], batch[1] if len(batch) > 1 else None
    else:
        images, class_ids = batch, None
    images = ops.convert_to_tensor(images)
    if not hasattr(class_ids, "shape"):  # boxes, names, or nothing
        return images
    ids = ops.convert_to_numpy(class_ids)
    if ids.shape != (len(images),) or ids.dtype.kind not in "iu" or -1 not in ids:
        return images
    return ops.convert_to_tensor(ops.convert_to_numpy(images)[ids != -1])


def _never_ends(source: Any) -> bool:
    if isinstance(source, keras.utils.PyDataset):
        return source.num_batches is None
    cardinality = getattr(source, "cardinality", None)  # of a `tf.data.Dataset`
    return callable(cardinality) and int(cardinality()) == -1


class _DatasetBatches:
    """The images of a data set, read anew each time."""

    def __init__(self, dataset: ImageDataset, image_size: tuple[int, int]) -> None:
        self._dataset = dataset
        self._options = {"image_size": image_size, "unreadable": "skip"}
        self._batches: Any = None
        if importlib.util.find_spec("tensorflow") is not None:
            # Made once: its graph takes seconds.
            self._batches = dataset.batches(BATCH_SIZE, **self._options)

    def __iter__(self) -> Iterator[Any]:
        if self._batches is None:
            yield from self._dataset.numpy_batches(BATCH_SIZE, **self._options)
            return
        for images, class_ids in self._batches:
            yield np.asarray(images), np.asarray(class_ids)

    def __len__(self) -> int:
        return -(-len(self._dataset) // BATCH_SIZE)
