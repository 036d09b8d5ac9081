"""Reading a batch of images of which some may be broken, inside a graph. TensorFlow."""

from collections.abc import Callable
from functools import cache
from typing import Any

import tensorflow as tf

from keras_wsol.data.byte_fields import apart, fields
from keras_wsol.data.gif import only_frame
from keras_wsol.data.image_header import Header, read_header
from keras_wsol.data.jpeg_frame import sole_frame
from keras_wsol.data.orientation import check_orientation, upright
from keras_wsol.data.reading import MAX_PIXELS

# `read_each` reads as many images at once, whatever the machine. One of 50 megapixels
# takes 150 MB, and while it is decoded up to three times as much (a progressive JPEG).
# A stream reads as many as it has threads.
PARALLEL_DECODES = 4

# By format, which of the functions in `decode_rgb`: one for GIF, one for BMP.
_DECODERS = (0, 0, 0, 1, 2, 0)


def decode_rgb(
    encoded: Any, *, orientation: str = "stored", max_pixels: int = MAX_PIXELS
) -> tf.Tensor:
    """Decodes the content of a JPEG, PNG, GIF (first frame), BMP or WebP file.

    The size is read from the file's header first. A file that claims more than
    `max_pixels`, or that decodes to another size than it claims, is an error; the first
    costs no memory.

    Args:
        encoded: Scalar string tensor.
        orientation: `"exif"` to turn a JPEG upright as its EXIF tag says, which is how
            viewers show it; `"stored"` to leave it as the file holds it, where boxes
            are in pixels of the stored image.
        max_pixels: Integer, height times width of the largest image decoded.

    Returns:
        uint8 tensor `(H, W, 3)`. Grey images get three equal channels, of 16 bits the
        upper eight are kept, and alpha is left out, not blended.

    Raises:
        ValueError: `orientation` is neither.
        tf.errors.InvalidArgumentError: When run: the file cannot be decoded.
    """
    check_orientation(orientation)
    upturned = orientation == "exif"
    encoded = tf.convert_to_tensor(encoded)
    sole, size, plain = sole_frame(encoded)
    image = tf.cond(
        sole & plain if upturned else sole,
        lambda: _decode_sole_frame(encoded, size, max_pixels),
        lambda: _any_decoder(upturned, max_pixels)(encoded),
    )
    return tf.ensure_shape(image, (None, None, 3))


def _decode_sole_frame(encoded: Any, size: Any, max_pixels: int) -> tf.Tensor:
    encoded = _not_too_large(encoded, size, max_pixels)
    return _as_claimed(tf.io.decode_jpeg(encoded, channels=3), size)


@cache
def _any_decoder(upturned: bool, max_pixels: int) -> Callable[[Any], tf.Tensor]:
    """A decoder of every format, one however often graphs contain it.

    Each pass over a data set prepares every function that its graphs contain.
    """
    return tf.function(
        lambda encoded: _decode_any(encoded, upturned, max_pixels),
        input_signature=[tf.TensorSpec((), tf.string)],
        autograph=False,
        experimental_attributes={"_noinline": True},
    )


def _decode_any(encoded: Any, upturned: bool, max_pixels: int) -> tf.Tensor:
    header = read_header(encoded, with_orientation=upturned)
    encoded = _not_too_large(encoded, header.size, max_pixels)
    image = tf.switch_case(
        tf.gather(_DECODERS, header.format),
        [
            lambda: _three_channels(_decode(encoded)),
            lambda: apart(lambda: _decode_gif(encoded, header)),
            lambda: apart(lambda: _decode_bmp(encoded)),
        ],
    )
    image = _as_claimed(image, header.size)
    return upright(image, header.orientation) if upturned else image


def _not_too_large(encoded: Any, size: Any, max_pixels: int) -> Any:
    pixels = tf.reduce_prod(size)
    # Each side, too: a product of the largest numbers of 32 bits would wrap around.
    fits = (pixels > 0) & (pixels <= max_pixels) & tf.reduce_all(size <= max_pixels)
    message = ["No image, or one of more than", max_pixels, "pixels:", size]
    return _checked(encoded, fits, message)


def _as_claimed(image: Any, size: Any) -> Any:
    decoded = tf.shape(image, tf.int64)[:2]
    same = tf.reduce_all(tf.equal(decoded, size))
    return _checked(image, same, ["The header claims", size, "of an image of", decoded])


def _checked(value: Any, condition: Any, message: list[Any]) -> Any:
    # `tf.debugging.Assert` makes two functions of each check in a graph.
    data = list(map(tf.convert_to_tensor, message))
    check = tf.raw_ops.Assert(condition=condition, data=data)
    with tf.control_dependencies([] if tf.executing_eagerly() else [check]):
        return tf.identity(value)


def _decode(encoded: Any) -> tf.Tensor:
    return tf.io.decode_image(encoded, channels=0, expand_animations=False)


def _three_channels(image: Any) -> tf.Tensor:
    # `channels=3` in the decoder would refuse a WebP file that has alpha.
    return tf.cond(
        tf.shape(image)[-1] < 3,
        lambda: tf.repeat(image[..., :1], 3, axis=-1),
        lambda: image[..., :3],
    )


def _decode_gif(encoded: Any, header: Header) -> tf.Tensor:
    image = _three_channels(_decode(only_frame(encoded, header.frame[0])))
    # What the first frame leaves open is black, as in it what is transparent.
    corner = header.frame[1:]
    after = header.size - corner - tf.shape(image, tf.int64)[:2]
    return tf.pad(image, tf.concat([tf.stack([corner, after], 1), [[0, 0]]], 0))


def _decode_bmp(encoded: Any) -> tf.Tensor:
    # TensorFlow takes compressed pixels for plain ones, and the number of a color for
    # a grey.
    compression = fields(encoded, 30, 1, "uint32")[0]
    plain = tf.equal(compression, 0) | tf.equal(compression, 3)
    message = ["A compressed BMP, of kind", compression]
    image = _decode(_checked(encoded, plain, message))

    def colored() -> tf.Tensor:
        place = 14 + fields(encoded, 14, 1, "uint32")[0]
        table = tf.reshape(fields(encoded, place, 4 * 256), (256, 4))
        table = tf.cast(table[:, 2::-1], tf.uint8)  # from blue, green, red, nothing
        return tf.gather(table, tf.cast(image[..., 0], tf.int32))

    eight_bits = tf.equal(tf.shape(image)[-1], 1)
    return tf.cond(eight_bits, colored, lambda: _three_channels(image))


def read_each(
    count: Any,
    read_one: Callable[[Any], tuple[Any, Any]],
    image_size: tuple[int, int],
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Reads each image of a batch; one that fails leaves the others untouched.

    An error inside `tf.map_fn` or `Dataset.map` fails the whole batch. The data set
    used here drops the image that the error comes from; its place is then known to be
    empty. No Python is called, so this works in a SavedModel, too.

    Args:
        count: Scalar int32 tensor, size of the batch; may be 0.
        read_one: Function of a slot in [0, count), an int32 scalar, that gives the
            image as float32 `(height, width, 3)` of `image_size` and as stored,
            `(H, W, 3)`; at most `PARALLEL_DECODES` calls run at once.
        image_size: Height and width of the images given.

    Returns:
        `(images, sizes, read)`: float32 `(count, height, width, 3)`; int32 `(count,
        2)`, height and width of each image as stored; boolean `(count,)`. What could
        not be read is black, of size 1 by 1, and false.

    Example:
    >>> def read_one(slot):
    ...     tf.debugging.assert_none_equal(slot, 1)
    ...     return tf.fill((1, 2, 3), 7.0), tf.zeros((4, 5, 3))
    >>> images, sizes, read = read_each(tf.constant(3), read_one, (1, 2))
    >>> images[:, 0, 0, 0].numpy().tolist(), read.numpy().tolist()
    ([7.0, 0.0, 7.0], [True, False, True])
    """
    slots = tf.range(count)

    def element(slot: Any) -> tuple[Any, Any, Any]:
        image, stored = read_one(slot)
        return slot, image, tf.shape(stored)[:2]

    # The last element stands for every image that is missing.
    blank = (count[None], tf.zeros((1, *image_size, 3)), tf.ones((1, 2), tf.int32))
    elements = (
        tf.data.Dataset.from_tensor_slices(slots)
        .map(element, num_parallel_calls=PARALLEL_DECODES, deterministic=True)
        .ignore_errors()
        .concatenate(tf.data.Dataset.from_tensor_slices(blank))
        .batch(tf.cast(count, tf.int64) + 1)
    )
    found, images, sizes = elements.get_single_element()
    place = tf.searchsorted(found, slots)
    read = tf.equal(tf.gather(found, place), slots)
    place = tf.where(read, place, tf.size(found) - 1)
    images = tf.ensure_shape(tf.gather(images, place), (None, *image_size, 3))
    return images, tf.gather(sizes, place), read
