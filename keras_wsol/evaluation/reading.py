"""A data set, or batches of one, as NumPy batches in the view that is evaluated."""

import importlib.util
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np

from keras_wsol.data import ImageDataset
from keras_wsol.data.reading import boxes_in_view
from keras_wsol.data.views import resize_before_crop

KEYS = ("images", "class_ids", "boxes")


def view_batches(
    source: Any, view: str, image_size: tuple[int, int], batch_size: int
) -> Iterator[dict[str, np.ndarray]]:
    """Gives the batches of a split in a view, with boxes in pixels of the view.

    Args:
        source: An `ImageDataset`, or an iterable of dictionaries with `"images"`,
            `"class_ids"` and `"boxes"`, such as `ImageDataset.batches` gives. Given
            batches are taken as the whole image; for `"center_crop"` they are resized
            to 256/224 of `image_size` unless they have that size, then cut.
        view: `"whole"` or `"center_crop"`.
        image_size: Height and width of the view.
        batch_size: Images in a batch of an `ImageDataset`.

    Yields:
        Dictionaries of arrays; `"images"` are of `image_size`.

    Raises:
        ValueError: A batch lacks an entry.
    """
    if isinstance(source, ImageDataset):
        yield from _dataset_batches(source, view, image_size, batch_size)
        return
    for batch in source:
        if not isinstance(batch, dict) or not set(KEYS) <= set(batch):
            raise ValueError(
                f"Evaluation needs batches that are dictionaries with {list(KEYS)}, "
                "such as `dataset.batches(32, with_boxes=True)`. Received: "
                f"{sorted(batch) if isinstance(batch, dict) else type(batch)}."
            )
        arrays = {key: np.asarray(value) for key, value in batch.items()}
        yield _in_view(arrays, view, image_size)


def _dataset_batches(
    dataset: ImageDataset, view: str, image_size: tuple[int, int], batch_size: int
) -> Iterator[dict[str, np.ndarray]]:
    if dataset.boxes is None:
        raise ValueError(
            f"The split {dataset.split!r} of {dataset.name!r} has no boxes, so "
            "localization cannot be measured on it."
        )
    options = {"image_size": image_size, "view": view, "unreadable": "skip"}
    if importlib.util.find_spec("tensorflow") is None:
        yield from dataset.numpy_batches(batch_size, **options)
        return
    for batch in dataset.batches(batch_size, with_boxes=True, **options):
        yield {key: value.numpy() for key, value in batch.items()}


def _in_view(
    batch: dict[str, np.ndarray], view: str, image_size: tuple[int, int]
) -> dict[str, np.ndarray]:
    images, boxes = batch["images"], batch["boxes"]
    stored = images.shape[1:3]
    size = image_size if view == "whole" else resize_before_crop(image_size)
    if stored != size:
        resized = keras.ops.image.resize(
            images.astype("float32"),
            size,
            interpolation="bilinear",
            antialias=True,
            data_format="channels_last",
        )
        images = keras.ops.convert_to_numpy(resized)
    top, left = (size[0] - image_size[0]) // 2, (size[1] - image_size[1]) // 2
    images = images[:, top : top + image_size[0], left : left + image_size[1]]
    moved = boxes_in_view(boxes.reshape(-1, 4), stored, view, image_size)
    return {**batch, "images": images, "boxes": moved.reshape(boxes.shape)}
