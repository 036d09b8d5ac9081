"""What study_cub40.py reads from a trained model, and the images that it reads."""

from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import study_boxes
from study_reads import Read
from study_runs import Run
from study_training import BATCH_SIZE, TENSORFLOW

from keras_wsol import data, models


def localizer_of(
    model: keras.Model,
    read: Read,
    train: data.ImageDataset,
    run: Run,
    fitted: dict[tuple[str, str, int], Any] | None = None,
) -> models.Localizer:
    """Makes the localizer of a read; what it needs is fitted to the training images.

    Args:
        model: The classifier.
        read: What is read.
        train: The training images.
        run: Says the size.
        fitted: What earlier reads of the model were fitted; this one's is added.

    Returns:
        The localizer.
    """
    options = dict(read.options)
    size = read.image_size or run.image_size
    if size != run.image_size:
        model = models.with_input_size(model, (size, size))
    fits = {
        "component": ("component", models.fit_component),
        "discriminant": ("discriminant", models.fit_foreground),
        "boxes": ("discriminant", study_boxes.fit_true_boxes),
    }
    if read.fit:
        option, fit = fits[read.fit]
        fitted = {} if fitted is None else fitted
        key = (read.fit, read.layer, size)
        if key not in fitted:
            fitted[key] = fit(model, WholeImages(train, size), layer=read.layer)
        options[option] = fitted[key]
    return models.Localizer(
        model,
        score_map=read.score_map,
        layer=read.layer,
        map_options=options,
        guided_filter=read.guided_filter is not None,
        guided_filter_options=read.guided_filter,
        second_look=read.second_look is not None,
        second_look_options=read.second_look,
    )


class WholeImages:
    """Images as they are evaluated: whole, without augmentation.

    Args:
        dataset: The images.
        image_size: Height and width.
    """

    def __init__(self, dataset: data.ImageDataset, image_size: int) -> None:
        self._dataset = dataset
        self._options = {"image_size": (image_size, image_size)}

    def __iter__(self) -> Iterator[dict[str, np.ndarray]]:
        if not TENSORFLOW:
            yield from self._dataset.numpy_batches(BATCH_SIZE, **self._options)
            return
        options = {**self._options, "with_boxes": True}
        for batch in self._dataset.batches(BATCH_SIZE, **options):
            yield {key: value.numpy() for key, value in batch.items()}


def boxed_images(dataset: data.ImageDataset, run: Run) -> tuple[np.ndarray, np.ndarray]:
    """Returns images and their first boxes in shares of the side.

    Args:
        dataset: The images.
        run: Says the size.

    Returns:
        uint8 `(N, H, W, 3)` and float32 `(N, 4)`.
    """
    batches = list(WholeImages(dataset, run.image_size))
    images = np.concatenate([batch["images"].astype("uint8") for batch in batches])
    true = np.concatenate([batch["boxes"][:, 0] for batch in batches])
    return images, (true / run.image_size).astype("float32")
