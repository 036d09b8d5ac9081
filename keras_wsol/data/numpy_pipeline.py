"""Batches by NumPy and Pillow, where TensorFlow is not installed."""

import struct
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from numbers import Integral
from threading import Lock
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from keras_wsol.data.dataset import (
    check_integer,
    check_threads,
    check_view_of_batches,
    default_threads,
)
from keras_wsol.data.images import (
    check_orientation,
    resize_before_crop,
    view_box_transform,
    view_geometry,
)

if TYPE_CHECKING:
    from keras_wsol.data.dataset import ImageDataset

# The largest image that is decoded, unless told otherwise: 150 MB.
MAX_PIXELS = 50_000_000
# What a graph reads, too. Pillow knows many more: a file that says it is PostScript,
# for one, would be run by Ghostscript.
FORMATS = ("JPEG", "PNG", "GIF", "BMP", "WEBP")  # and MPO, as a JPEG
_ORIENTATION_TAG = 0x0112
# What Pillow raises on broken files.
BROKEN = (
    OSError,
    EOFError,
    SyntaxError,
    ValueError,
    LookupError,
    ArithmeticError,
    struct.error,
    zlib.error,
)


def read_image(
    path: str, *, orientation: str = "stored", max_pixels: int = MAX_PIXELS
) -> np.ndarray:
    """Reads an image file as RGB."""
    check_orientation(orientation)
    try:
        return decode_image(path, orientation, max_pixels)
    except ValueError as error:
        raise ValueError(f"Cannot read the image: {path} ({error}).") from error


def decode_image(
    file: Any, orientation: str = "stored", max_pixels: int = MAX_PIXELS
) -> np.ndarray:
    """Decodes an image as RGB."""
    from PIL import Image

    with _opened(file) as image:
        if image.width * image.height > max_pixels:
            raise ValueError(
                f"{image.width} x {image.height} are more than {max_pixels} pixels"
            )
        if orientation == "exif":
            image = _upright(image)
        if image.mode.startswith("I;16"):
            image = Image.fromarray((np.asarray(image) // 256).astype("uint8"))
        return np.asarray(image.convert("RGB"))


@contextmanager
def _opened(file: Any) -> Iterator[Any]:
    """Opens an image; what goes wrong with it inside is a `ValueError`."""
    from PIL import Image

    try:
        with Image.open(file, formats=FORMATS) as image:
            yield image
    except (*BROKEN, Image.DecompressionBombError) as error:
        raise ValueError(str(error) or type(error).__name__) from error


def read_size(path: str, orientation: str = "stored") -> tuple[int, int]:
    """Reads height and width of an image from its header."""
    try:
        with _opened(path) as image:
            turned = orientation == "exif" and exif_orientation(image) >= 5
            return image.size if turned else image.size[::-1]
    except ValueError as error:
        raise ValueError(f"Cannot read the image: {path} ({error}).") from error


def exif_orientation(image: Any) -> int:
    """Returns the EXIF tag that says how a JPEG was held."""
    # As in a graph: JPEG's EXIF alone counts, not what Pillow finds in XMP or PNG.
    if image.format not in ("JPEG", "MPO"):
        return 1
    image.info.pop("xmp", None)
    try:
        tag = image.getexif().get(_ORIENTATION_TAG, 1)
    except BROKEN:
        return 1  # a broken tag is none
    return tag if tag in range(1, 9) else 1


def _upright(image: Any) -> Any:
    from PIL import ImageOps

    return ImageOps.exif_transpose(image) if exif_orientation(image) > 1 else image


def boxes_in_view(
    boxes: np.ndarray, size: tuple[int, int], view: str, image_size: tuple[int, int]
) -> np.ndarray:
    """Moves boxes from an image as stored into a view of it."""
    height, width = size
    scale, shift = view_box_transform(view, image_size)
    unit = boxes / np.array([width, height, width, height], "float32")
    moved = unit * np.array(scale, "float32") - np.array(shift, "float32")
    high = np.array([image_size[1], image_size[0]] * 2, "float32")
    moved = np.clip(moved, 0, high)
    return np.where(boxes[:, 2:3] < 0, -1.0, moved).astype("float32")


def evaluation_batches(
    dataset: "ImageDataset",
    batch_size: int,
    image_size: tuple[int, int],
    view: str,
    unreadable: str,
) -> Iterator[dict[str, Any]]:
    """See `ImageDataset.numpy_batches`."""
    for start in range(0, len(dataset), batch_size):
        indices = range(start, min(start + batch_size, len(dataset)))
        examples = [
            _example(dataset, index, image_size, view, unreadable) for index in indices
        ]
        yield {key: np.stack([e[key] for e in examples]) for key in examples[0]}


def _example(
    dataset: "ImageDataset",
    index: int,
    image_size: tuple[int, int],
    view: str,
    unreadable: str,
) -> dict[str, Any]:
    boxes = np.zeros((0, 4), "float32")
    if dataset.boxes is not None:
        boxes = dataset.boxes[index]
    class_id = dataset.class_ids[index]
    try:
        stored = dataset.image(index)
    except ValueError:
        if unreadable == "raise":
            raise
        dataset.skipped.add(dataset.paths[index])
        stored = np.zeros((1, 1, 3), "uint8")
        boxes, class_id = np.full_like(boxes, -1.0), -1
    return {
        "images": _resize(stored, view, image_size),
        "class_ids": np.int32(class_id),
        "boxes": boxes_in_view(boxes, stored.shape[:2], view, image_size),
        "sizes": np.array(stored.shape[:2], "int32"),
        "paths": str(dataset.paths[index]),
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
    """`augmentation.random_crop_and_flip` with Pillow."""
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
