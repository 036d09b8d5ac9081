"""Reading images with Pillow, where TensorFlow is not at hand."""

import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_wsol.data.orientation import check_orientation
from keras_wsol.data.views import view_box_transform, view_geometry

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
    """Reads an image file as RGB.

    Args:
        path: Path of a JPEG, PNG, GIF (first frame), BMP or WebP file.
        orientation: `"exif"` to turn a JPEG upright as its EXIF tag says, which is how
            viewers show it; `"stored"` to leave it as the file holds it, where boxes
            are in pixels of the stored image.
        max_pixels: Integer, height times width of the largest image decoded.

    Returns:
        uint8 `(H, W, 3)`.

    Raises:
        ValueError: `orientation` is neither; or the file is missing, no readable image
            or too large; the message names it.
    """
    check_orientation(orientation)
    try:
        return decode_image(path, orientation, max_pixels)
    except ValueError as error:
        raise ValueError(f"Cannot read the image: {path} ({error}).") from error


def decode_image(
    file: Any, orientation: str = "stored", max_pixels: int = MAX_PIXELS
) -> np.ndarray:
    """Decodes an image as RGB.

    Args:
        file: Path, or a file that is open for reading.
        orientation: As in `read_image`.
        max_pixels: As in `read_image`.

    Returns:
        uint8 `(H, W, 3)`.

    Raises:
        ValueError: It is missing, no readable image or too large.
    """
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
    """Reads height and width of an image from its header.

    Args:
        path: Path of a JPEG, PNG, GIF (first frame), BMP or WebP file.
        orientation: As in `read_image`.

    Returns:
        Height and width of what `read_image` gives.

    Raises:
        ValueError: The file is missing or no image; the message names it.
    """
    try:
        with _opened(path) as image:
            turned = orientation == "exif" and exif_orientation(image) >= 5
            return image.size if turned else image.size[::-1]
    except ValueError as error:
        raise ValueError(f"Cannot read the image: {path} ({error}).") from error


def exif_orientation(image: Any) -> int:
    """Returns the EXIF tag that says how a JPEG was held.

    Args:
        image: Open image of Pillow.

    Returns:
        Integer in [1, 8], see `orientation.upright`; 1 where there is none, where it
        is broken, and for other formats than JPEG, whose tags are not looked at.
    """
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
    """Moves boxes from an image as stored into a view of it.

    Args:
        boxes: `(M, 4)` in pixels of the stored image, padded with -1.
        size: Height and width of the stored image.
        view: `"whole"` or `"center_crop"`.
        image_size: Height and width of the view.

    Returns:
        float32 `(M, 4)` in pixels of the view, clipped to it; padding stays -1.

    Example:
    >>> box = np.array([[10.0, 20.0, 30.0, 40.0]])
    >>> boxes_in_view(box, (50, 100), "whole", (100, 100)).tolist()
    [[10.0, 40.0, 30.0, 80.0]]
    """
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
