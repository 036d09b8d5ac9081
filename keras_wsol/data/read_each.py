"""Reading a batch of images of which some may be broken, inside a graph. TensorFlow."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf


def decode_rgb(encoded: Any) -> tf.Tensor:
    """Decodes the content of a JPEG, PNG, GIF (first frame), BMP or WebP file.

    Args:
        encoded: Scalar string tensor.

    Returns:
        uint8 tensor `(H, W, 3)`. Grey images get three equal channels; alpha is left
        out. EXIF orientation is not applied.
    """
    image = tf.io.decode_image(encoded, channels=0, expand_animations=False)
    # Alpha is left out. `channels=3` would refuse a WebP file that has it.
    grey = tf.shape(image)[-1] < 3
    image = tf.gather(image, tf.where(grey, [0, 0, 0], [0, 1, 2]), axis=-1)
    return tf.ensure_shape(image, (None, None, 3))


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
            `(H, W, 3)`. Called in parallel.
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
        .map(element, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
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
