"""Batches for training, read with Pillow and NumPy: no TensorFlow needed."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from numbers import Integral
from threading import Lock
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from keras_wsol.data.batch_arguments import (
    check_integer,
    check_threads,
    check_view_of_batches,
    default_threads,
)
from keras_wsol.data.views import resize_before_crop

if TYPE_CHECKING:
    from keras_wsol.data.dataset import ImageDataset

# What the draws of an order and of a crop begin with, so that no two are the same.
_ORDER, _CROP = 0, 1
# Batches that are read while the model works on the one before.
_AHEAD = 2


class TrainingBatches(keras.utils.PyDataset):
    """Shuffled, cropped and flipped batches of a data set, for ever.

    What `ImageDataset.batches(training=True)` gives on TensorFlow, for JAX and PyTorch
    without it: images are resized to 256/224 of `image_size` (bilinear, antialiased,
    aspect ratio ignored), cropped to it at random and flipped at random; every pass
    has an order of its own, and only full batches come. The random numbers are
    NumPy's, so the crops are of the same kind as TensorFlow's but not the same, and
    pixels are rounded to whole numbers.

    Batch `i` is a pure function of `seed` and `start_step + i`, whatever the machine
    does, so nothing is lost or repeated by looking at one, and a resumed run goes on
    exactly. As there is no end, `fit` has to be told how long an epoch is:

        batches = TrainingBatches(train, 32, seed=0)
        model.fit(
            batches, steps_per_epoch=batches.steps_per_epoch, epochs=12, shuffle=False
        )

    Threads of its own read ahead; `workers` of `PyDataset` must stay 1, since Keras
    drops a batch of more as `fit` begins.

    Args:
        dataset: The images, in files or in memory.
        batch_size: Images in a batch, of all processes together.
        seed: Integer.
        start_step: Integer >= 0, the number of batches that came before.
        image_size: Height and width of the images given.
        unreadable: What to do with a file that is missing or no image: `"raise"` an
            error that names it, or `"skip"` it: the next image of the batch comes in
            its place, and `dataset.skipped` lists it.
        shard: `(index, count)`: gives the part `index` of each batch that is cut into
            `count` equal parts, one for each process. The parts of all, in their
            order, are the batch of `(0, 1)`, which is the default.
        threads: Integer >= 1, threads that read. Default: one for each CPU, up to 16.

    Raises:
        ValueError: An argument is out of range, or there are fewer images than
            `batch_size`; or, as a batch is taken, a file is unreadable.

    Example:
        >>> from keras_wsol import data
        >>> train = data.synthetic(num_images=12, num_classes=3, image_size=64)
        >>> batches = TrainingBatches(train, 4, image_size=(32, 48), shard=(1, 2))
        >>> images, class_ids = batches[0]
        >>> images.shape, class_ids.shape, batches.steps_per_epoch
        ((2, 32, 48, 3), (2,), 3)
    """

    def __init__(
        self,
        dataset: "ImageDataset",
        batch_size: int = 32,
        *,
        seed: int = 0,
        start_step: int = 0,
        image_size: tuple[int, int] = (224, 224),
        unreadable: str = "raise",
        shard: tuple[int, int] = (0, 1),
        threads: int | None = None,
    ) -> None:
        super().__init__()
        check_view_of_batches(batch_size, image_size, "whole", unreadable)
        self.steps_per_epoch = dataset.steps_per_epoch(batch_size)
        if not self.steps_per_epoch:
            raise ValueError(
                f"A batch of {batch_size} needs as many images. The split "
                f"{dataset.split!r} of {dataset.name!r} has {len(dataset)}."
            )
        check_integer("seed", seed, low=None)
        check_integer("start_step", start_step, low=0)
        check_threads(threads)
        self._dataset = dataset
        self._batch_size = batch_size
        self._seed = int(seed) % 2**64  # NumPy takes no negative ones
        self._start_step = int(start_step)
        self._image_size = tuple(image_size)
        self._unreadable = unreadable
        self._slots = _slots(shard, batch_size)
        self._pool = ThreadPoolExecutor(
            default_threads() if threads is None else threads,
            thread_name_prefix="training_batches",
        )
        self._begun: dict[int, list[Future]] = {}
        self._lock = Lock()

    @property
    def num_batches(self) -> None:
        """`None`: there is no last batch."""
        return

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns batch `start_step + index`.

        Args:
            index: Integer >= 0.

        Returns:
            `(images, class_ids)`: float32 `(B / count, height, width, 3)` in [0, 255]
            and int32 `(B / count,)`.
        """
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
        indices = order[first : first + self._batch_size]
        draws = epoch * count + first + np.arange(self._batch_size)
        return [
            self._pool.submit(self._example, indices, draws, slot)
            for slot in self._slots
        ]

    def _example(
        self, indices: np.ndarray, draws: np.ndarray, slot: int
    ) -> tuple[np.ndarray, int]:
        """The image of a slot, or of the next one (cyclic) that can be read."""
        for one in (*range(slot, len(indices)), *range(slot)):
            index = indices[one]
            try:
                stored = self._dataset.image(index)
            except ValueError:
                if self._unreadable == "raise":
                    raise
                self._dataset.skipped.add(self._dataset.paths[index])
                continue
            draw = np.random.default_rng((_CROP, self._seed, int(draws[one]))).random
            image = random_crop_and_flip(stored, self._image_size, draw)
            return image, self._dataset.class_ids[index]
        raise ValueError(
            "None of the images of a batch can be read: "
            f"{self._dataset.paths[indices].tolist()}."
        )


def random_crop_and_flip(
    image: np.ndarray, size: tuple[int, int], draw: Callable[[int], np.ndarray]
) -> np.ndarray:
    """`augmentation.random_crop_and_flip` with Pillow.

    Args:
        image: uint8 `(H, W, 3)`.
        size: Height and width of the result.
        draw: Function of a count that gives as many numbers in [0, 1).

    Returns:
        uint8 `(height, width, 3)`.
    """
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


def _slots(shard: Any, batch_size: int) -> range:
    """The places of a batch that a process gets."""
    if (
        np.shape(shard) != (2,)
        or not all(isinstance(part, Integral) for part in shard)
        or not 0 <= shard[0] < shard[1]
    ):
        raise ValueError(
            "`shard` must be (index, count) with 0 <= index < count. Received: "
            f"shard={shard!r}."
        )
    index, count = shard
    if batch_size % count:
        raise ValueError(
            "`batch_size` is that of all processes together, and must be a multiple "
            f"of their number. Received: batch_size={batch_size} with {count}."
        )
    size = batch_size // count
    return range(index * size, (index + 1) * size)
