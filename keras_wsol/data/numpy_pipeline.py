"""Reading by Pillow, and batches by NumPy, where TensorFlow is not installed."""

import functools
import io
import struct
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import Any

import keras
import numpy as np

from keras_wsol.arguments import check_integer
from keras_wsol.data.images import (
    BROKEN,
    MAX_PIXELS,
    ORIENTATION_TAG,
    PILLOW_FORMATS,
    Size,
    boxes_in_view,
    check_bytes,
    default_threads,
    exif_orientation,
    resize_before_crop,
    view_geometry,
)


def read_image(path: str, *, orientation: str = "stored") -> np.ndarray:
    """Reads an image file as RGB, uint8 `(H, W, 3)`."""
    try:
        return decode_image(path, orientation)
    except ValueError as error:
        raise ValueError(f"Cannot read the image: {path} ({error}).") from error


# By EXIF tag, Pillow's `Transpose`.
_TURNS = (None, None, 0, 3, 1, 5, 4, 6, 2)


def decode_image(
    file: Any, orientation: str = "stored", max_pixels: int = MAX_PIXELS
) -> np.ndarray:
    """Decodes an image, a path or an open file, as RGB."""
    from PIL import Image, ImageChops

    with _opened(file, max_pixels) as image:
        turn = _TURNS[exif_orientation(image)] if orientation == "exif" else None
        if turn is not None:
            image = image.transpose(Image.Transpose(turn))
        if image.mode == "CMYK" and "adobe" not in image.info:
            image = ImageChops.invert(image)  # Adobe's are stored inverted, others not
        if image.mode.startswith("I;16"):
            image = Image.fromarray((np.asarray(image) // 256).astype("uint8"))
        pixels = np.asarray(image.convert("RGB"))
        if image.format == "GIF" and "transparency" in image.info:  # black, as there
            shown = np.asarray(image) != image.info["transparency"]
            pixels = pixels * shown[..., None]
        return pixels


def read_size(path: Any, orientation: str = "stored") -> Size:
    """Reads height and width of an image from its header."""
    try:
        with _opened(path) as image:
            return _size(image, orientation)
    except ValueError as error:
        raise ValueError(f"Cannot read the image: {path} ({error}).") from error


def size_beside(path: str, orientation: str) -> Size:
    """Reads the size of what another decoder reads; a `ValueError` if Pillow cannot."""
    with _opened(path, MAX_PIXELS) as image:
        # Of JPEG, what the other one decodes is decoded here, too.
        if image.format not in ("JPEG", "MPO"):
            image.load()
        return _size(image, orientation)


def _size(image: Any, orientation: str) -> Size:
    turned = orientation == "exif" and exif_orientation(image) >= 5
    return image.size if turned else image.size[::-1]


def turned_otherwise(path: str, orientation: str) -> bool:
    """Whether other readers turn an image by its EXIF tag, and a data set does not.

    OpenCV and Pillow's `exif_transpose` turn PNG and WebP files, too, and Pillow also
    follows a tag in XMP.
    """
    data = Path(path).read_bytes()
    tags = (b"eXIf", b"Raw profile type exif", b"tiff:Orientation")
    if data.startswith(b"\x89PNG") and not any(tag in data for tag in tags):
        return False  # Pillow would decode it to look for one at the end
    with _opened(io.BytesIO(data)) as image:
        ours = exif_orientation(image) if orientation == "exif" else 1
        try:
            theirs = image.getexif().get(ORIENTATION_TAG, 1)
        except BROKEN:
            theirs = 1  # nobody turns by a tag that cannot be read
    return ours != (theirs if theirs in range(1, 9) else 1)


@contextmanager
def _opened(file: Any, max_pixels: float = np.inf) -> Iterator[Any]:
    """Opens an image; what goes wrong with it inside is a `ValueError`.

    So is what Pillow would read, and a graph would not.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        data = file.read() if hasattr(file, "read") else Path(file).read_bytes()
        check_bytes(data)
        opened = functools.partial(Image.open, io.BytesIO(data), formats=PILLOW_FORMATS)
        if data.startswith(b"\x89PNG"):
            opened().verify()  # its checksums, to the end
        with opened() as image:
            if image.width * image.height > max_pixels:
                size = f"{image.width} x {image.height}"
                raise ValueError(f"{size} are more than {max_pixels} pixels")
            whole = (0, 0, *struct.unpack("<HH", data[6:10]))
            if image.format == "GIF" and image.tile[0][1] != whole:
                raise ValueError("the header claims another size")
            yield image
    except UnidentifiedImageError as error:
        raise ValueError("no JPEG, PNG, GIF, BMP or still WebP image") from error
    except (*BROKEN, Image.DecompressionBombError) as error:
        raise ValueError(str(error) or type(error).__name__) from error


# --- Batches ---


def evaluation_batches(
    dataset: Any, batch_size: int, image_size: Size, view: str
) -> Iterator[dict[str, np.ndarray]]:
    """See `ImageDataset.numpy_batches`."""
    boxes = np.zeros((len(dataset), 0, 4)) if dataset.boxes is None else dataset.boxes
    for start in range(0, len(dataset), batch_size):
        indices = np.arange(start, min(start + batch_size, len(dataset)))
        stored = [dataset.image(index) for index in indices]
        sizes = np.array([image.shape[:2] for image in stored], "int32")
        yield {
            "images": np.stack([_resize(image, view, image_size) for image in stored]),
            "class_ids": dataset.class_ids[indices].astype("int32"),
            "boxes": boxes_in_view(boxes[indices], sizes, view, image_size),
            "sizes": sizes,
            "paths": dataset.paths[indices].astype(str),
        }


def _resize(image: np.ndarray, view: str, image_size: Size) -> np.ndarray:
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

    num_batches = None

    def __init__(
        self,
        dataset: Any,
        batch_size: int,
        seed: int,
        start_step: int,
        image_size: Size,
        shard: tuple[int, int],
    ) -> None:
        super().__init__()
        self.steps_per_epoch = dataset.steps_per_epoch(batch_size)
        self._dataset = dataset
        self._batch_size = batch_size
        self._seed = int(seed) % 2**64  # NumPy takes no negative ones
        self._start_step = start_step
        self._image_size = image_size
        self._slots = _slots(shard, batch_size)
        # Not the workers of Keras, which lose the batch that it looks at before `fit`.
        self._pool = ThreadPoolExecutor(default_threads())
        self._begun: dict[int, Iterator] = {}
        self._lock = Lock()

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns batch `start_step + index`."""
        wanted = range(index, index + 1 + _AHEAD)
        with self._lock:
            begun = {one: self._begun.get(one) or self._begin(one) for one in wanted}
            found, self._begun = begun.pop(index), begun
        images, class_ids = zip(*found, strict=True)
        return np.stack(images).astype("float32"), np.array(class_ids, "int32")

    def _begin(self, index: int) -> Iterator[tuple[np.ndarray, int]]:
        epoch, step = divmod(self._start_step + index, self.steps_per_epoch)
        count = len(self._dataset)
        order = np.random.default_rng((_ORDER, self._seed, epoch)).permutation(count)
        places = [step * self._batch_size + slot for slot in self._slots]
        crops = [epoch * count + place for place in places]
        return self._pool.map(self._example, order[places], crops)

    def _example(self, index: int, crop: int) -> tuple[np.ndarray, int]:
        draws = np.random.default_rng((_CROP, self._seed, crop)).random(3)
        cut = random_crop_and_flip(self._dataset.image(index), self._image_size, draws)
        return cut, self._dataset.class_ids[index]


def random_crop_and_flip(image: np.ndarray, size: Size, draws: Any) -> np.ndarray:
    """`tf_pipeline.random_crop_and_flip` with Pillow, by three draws below 1."""
    from PIL import Image

    height, width = resize_before_crop(size)
    # Each offset is equally likely; a draw below 1 times n stays below n.
    top = int(draws[0] * (height - size[0] + 1))
    left = int(draws[1] * (width - size[1] + 1))
    # Only what is kept gets resized. The filter sees what lies beside it, too.
    down, right = image.shape[0] / height, image.shape[1] / width
    box = (left * right, top * down, (left + size[1]) * right, (top + size[0]) * down)
    # Not to be passed by rounding.
    box = (*box[:2], min(box[2], image.shape[1]), min(box[3], image.shape[0]))
    cut = Image.fromarray(image).resize(
        (size[1], size[0]), Image.Resampling.BILINEAR, box=box
    )
    pixels = np.asarray(cut)
    return pixels[:, ::-1] if draws[2] < 0.5 else pixels


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
