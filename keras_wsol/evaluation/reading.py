"""A data set, or batches of one, as NumPy batches in the view that is evaluated."""

import importlib.util
import os
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np

from keras_wsol.data import ImageDataset
from keras_wsol.data.images import resize_before_crop
from keras_wsol.data.numpy_pipeline import boxes_in_view

KEYS = ("images", "class_ids", "boxes")


def view_batches(
    source: Any, view: str, image_size: tuple[int, int], batch_size: int
) -> Iterator[dict[str, np.ndarray]]:
    """Gives the batches of a split in a view, with boxes in pixels of the view."""
    if isinstance(source, ImageDataset):
        if source.boxes is not None:
            check_true_boxes(source.boxes, source.paths)
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
        _check_batch(arrays)
        yield _with_text_paths(_in_view(arrays, view, image_size))


def check_true_boxes(boxes: np.ndarray, paths: np.ndarray | None = None) -> None:
    """Raises where a true box cannot be meant."""
    given = ~(boxes == -1).all(axis=-1)
    fits = np.isfinite(boxes).all(axis=-1) & (boxes[..., 2:] >= boxes[..., :2]).all(-1)
    wrong = np.argwhere(given & ~fits)
    if len(wrong):
        image, place = wrong[0]
        name = f"image {image}" if paths is None else str(paths[image])
        raise ValueError(
            "True boxes must be finite x0, y0, x1, y1 with x0 <= x1 and y0 <= y1, or "
            f"rows of -1. Received: {boxes[image, place].tolist()} for {name}, and "
            f"{len(wrong) - 1} more such boxes."
        )


def has_area(boxes: np.ndarray) -> np.ndarray:
    """Says which boxes `(..., 4)` have an area, boolean `(...)`."""
    return (boxes[..., 2:] > boxes[..., :2]).all(axis=-1)


def _check_batch(batch: dict[str, np.ndarray]) -> None:
    images, class_ids, boxes = (batch[key] for key in KEYS)
    count = len(images) if images.ndim else 0
    if (
        images.shape[3:] != (3,)
        or class_ids.shape != (count,)
        or class_ids.dtype.kind not in "iu"
        or boxes.ndim != 3
        or boxes.shape[::2] != (count, 4)
    ):
        raise ValueError(
            "A batch must hold images (B, H, W, 3), integer class_ids (B,) and boxes "
            f"(B, M, 4). Received: {images.shape}, {class_ids.shape} of "
            f"{class_ids.dtype} and {boxes.shape}."
        )
    if class_ids.min(initial=0) < -1:
        raise ValueError(
            "`class_ids` must be at least 0, or -1 for an image that could not be "
            f"read. Received: {np.unique(class_ids[class_ids < -1])[:8]}."
        )
    check_true_boxes(boxes, batch.get("paths"))


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
        yield _with_text_paths({key: value.numpy() for key, value in batch.items()})


def _with_text_paths(batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Turns the bytes that tf.data gives for paths into text."""
    if "paths" not in batch:
        return batch
    texts = [
        os.fsdecode(path) if isinstance(path, bytes) else str(path)
        for path in batch["paths"].tolist()
    ]
    return {**batch, "paths": np.array(texts)}


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
