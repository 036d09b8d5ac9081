"""Batches by NumPy and Pillow, where TensorFlow is not installed."""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Lock
from typing import Any

import keras
import numpy as np

from keras_wsol.arguments import check_integer
from keras_wsol.data.images import (
    boxes_in_view,
    default_threads,
    resize_before_crop,
    view_geometry,
)


def evaluation_batches(
    dataset: Any, batch_size: int, image_size: tuple[int, int], view: str
) -> Iterator[dict[str, np.ndarray]]:
    """See `ImageDataset.numpy_batches`."""
    for start in range(0, len(dataset), batch_size):
        indices = np.arange(start, min(start + batch_size, len(dataset)))
        stored = [dataset.image(index) for index in indices]
        sizes = np.array([image.shape[:2] for image in stored], "int32")
        boxes = np.zeros((len(indices), 0, 4))
        if dataset.boxes is not None:
            boxes = dataset.boxes[indices]
        yield {
            "images": np.stack([_resize(image, view, image_size) for image in stored]),
            "class_ids": dataset.class_ids[indices].astype("int32"),
            "boxes": boxes_in_view(boxes, sizes, view, image_size),
            "sizes": sizes,
            "paths": dataset.paths[indices].astype(str),
        }


def _resize(image: np.ndarray, view: str, image_size: tuple[int, int]) -> np.ndarray:
    from PIL import Image

    (height, width), (top, left) = view_geometry(view, image_size)
    # Pillow's bilinear filter is antialiased; it resizes one float channel at a time.
    channels = [
        Image.fromarray(image[..., channel].astype("float32")).resize(
            (width, height), Image.Resampling.BILINEAR
        )
        for channel in range(3)
    ]
    resized = np.stack([np.asarray(channel) for channel in channels], axis=-1)
    return resized[top : top + image_size[0], left : left + image_size[1]]


# What the draws of an order and of a crop begin with, so that no two are the same.
_ORDER, _CROP = 0, 1
# Batches that are read while the model works on the one before.
_AHEAD = 2


class TrainingBatches(keras.utils.PyDataset):
    """Shuffled, cropped and flipped batches of a data set, for ever."""

    def __init__(
        self,
        dataset: Any,
        batch_size: int,
        *,
        seed: int,
        start_step: int,
        size: tuple[int, int],
        shard: tuple[int, int],
    ) -> None:
        super().__init__()
        check_integer("batch_size", batch_size)
        self.steps_per_epoch = dataset.steps_per_epoch(batch_size)
        if not self.steps_per_epoch:
            raise ValueError(
                f"A batch of {batch_size} needs as many images. The split "
                f"{dataset.split!r} of {dataset.name!r} has {len(dataset)}."
            )
        # NumPy takes no negative ones.
        self._seed = check_integer("seed", seed, -(2**63), 2**63 - 1) % 2**64
        self._start_step = check_integer("start_step", start_step, 0)
        self._dataset = dataset
        self._batch_size = batch_size
        self._image_size = size
        self._slots = _slots(shard, batch_size)
        self._pool = ThreadPoolExecutor(
            default_threads(), thread_name_prefix="training_batches"
        )
        self._begun: dict[int, list[Future]] = {}
        self._lock = Lock()

    @property
    def num_batches(self) -> None:
        """`None`: there is no last batch."""
        return

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns batch `start_step + index`."""
        found = [image.result() for image in self._take(index)]
        images, class_ids = zip(*found, strict=True)
        return np.stack(images).astype("float32"), np.array(class_ids, "int32")

    def _take(self, index: int) -> list[Future]:
        """The images of a batch, begun by now, as are those of the next ones."""
        wanted = range(index, index + 1 + _AHEAD)
        with self._lock:
            for other in self._begun.keys() - set(wanted):
                for image in self._begun.pop(other):
                    image.cancel()
            for one in wanted:
                if one not in self._begun:
                    self._begun[one] = self._begin(self._start_step + one)
            return self._begun.pop(index)

    def _begin(self, step: int) -> list[Future]:
        epoch, step_of_epoch = divmod(step, self.steps_per_epoch)
        count = len(self._dataset)
        first = step_of_epoch * self._batch_size
        order = np.random.default_rng((_ORDER, self._seed, epoch)).permutation(count)
        return [
            self._pool.submit(
                self._example, order[first + slot], epoch * count + first + slot
            )
            for slot in self._slots
        ]

    def _example(self, index: int, crop: int) -> tuple[np.ndarray, int]:
        draw = np.random.default_rng((_CROP, self._seed, crop)).random
        image = random_crop_and_flip(self._dataset.image(index), self._image_size, draw)
        return image, self._dataset.class_ids[index]


def random_crop_and_flip(
    image: np.ndarray, size: tuple[int, int], draw: Callable[[int], np.ndarray]
) -> np.ndarray:
    """`tf_pipeline.random_crop_and_flip` with Pillow."""
    from PIL import Image

    height, width = resize_before_crop(size)
    uniform = draw(3)
    # Each offset is equally likely; a draw below 1 times n stays below n.
    top = int(uniform[0] * (height - size[0] + 1))
    left = int(uniform[1] * (width - size[1] + 1))
    # Only what is kept gets resized. The filter sees what lies beside it, too.
    down, right = image.shape[0] / height, image.shape[1] / width
    box = (left * right, top * down, (left + size[1]) * right, (top + size[0]) * down)
    limits = (image.shape[1], image.shape[0])  # not to be passed by rounding
    box = (*box[:2], min(box[2], limits[0]), min(box[3], limits[1]))
    cut = Image.fromarray(image).resize(
        (size[1], size[0]), Image.Resampling.BILINEAR, box=box
    )
    pixels = np.asarray(cut)
    return pixels[:, ::-1] if uniform[2] < 0.5 else pixels


def _slots(shard: tuple[int, int], batch_size: int) -> range:
    """The places of a batch that a process gets."""
    if np.shape(shard) != (2,):
        raise ValueError(f"`shard` must be (index, count). Received: shard={shard!r}.")
    count = check_integer("shard", shard[1])
    index = check_integer("shard", shard[0], 0, count - 1)
    if batch_size % count:
        raise ValueError(
            "`batch_size` is that of all processes together, and must be a multiple "
            f"of their number. Received: batch_size={batch_size} with {count}."
        )
    size = batch_size // count
    return range(index * size, (index + 1) * size)
