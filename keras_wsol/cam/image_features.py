"""Features of images, batch by batch, for what is fitted to them."""

import sys
from collections.abc import Iterable, Iterator
from operator import length_hint
from typing import Any

import keras
from keras import ops

from keras_wsol.cam.score_map import look
from keras_wsol.cam.split import SplitModel
from keras_wsol.data import ImageDataset

_BATCH_SIZE = 32


def feature_batches(
    split: SplitModel, images: Any, verbose: bool | str
) -> Iterator[Any]:
    """Reads the features of an `ImageDataset` or of batches of images."""
    batches, count = _batches(images, split.input_size)
    bar = _progress_bar(count, verbose)
    number = 0
    for batch in batches:
        read = _images_of(batch)
        if not len(read):
            continue
        yield look(split, read).features
        number += 1
        bar.update(number)
    if not number:
        raise ValueError("`images` must hold images. Received none.")
    if number != count:
        bar.update(number, finalize=True)


def check_repeatable(images: Any) -> None:
    """Raises where batches can be read once only."""
    if isinstance(images, Iterable) and iter(images) is images:
        raise TypeError(
            "`images` must be a collection of batches that can be read several times, "
            f"such as a list, or an `ImageDataset`. Received an iterator: {images!r}."
        )


def _batches(images: Any, size: tuple[int, int]) -> tuple[Iterable[Any], int | None]:
    """Batches, and how many there are, if that is known."""
    if isinstance(images, ImageDataset):
        batches = images.evaluation_batches(_BATCH_SIZE, image_size=size, view="whole")
        return batches, -(-len(images) // _BATCH_SIZE)
    if _never_ends(images):
        raise ValueError(
            "`images` must end. Received batches that repeat, such as those for "
            f"training (of type {type(images).__name__}): pass the `ImageDataset`."
        )
    if not isinstance(images, Iterable) and not hasattr(images, "__getitem__"):
        raise TypeError(
            "`images` must be an `ImageDataset` or batches of images. Received an "
            f"object of type {type(images).__name__}."
        )
    return images, length_hint(images) or None


def _never_ends(batches: Any) -> bool:
    if isinstance(batches, keras.utils.PyDataset):
        return batches.num_batches is None
    cardinality = getattr(batches, "cardinality", None)  # of a `tf.data.Dataset`
    return callable(cardinality) and int(cardinality()) == -1


def _images_of(batch: Any) -> Any:
    if isinstance(batch, dict):
        batch = batch["images"]
    elif isinstance(batch, tuple):
        batch = batch[0]
    return ops.convert_to_tensor(batch)


def _progress_bar(count: int | None, verbose: bool | str) -> keras.utils.Progbar:
    shown = sys.stdout.isatty() if verbose == "auto" else bool(verbose)
    return keras.utils.Progbar(count, verbose=int(shown), unit_name="batch")
