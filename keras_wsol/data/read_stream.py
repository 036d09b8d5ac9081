"""Reading images as one stream, of which some may be broken, in batches. TensorFlow."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from keras_wsol.data.batch_arguments import default_threads
from keras_wsol.data.byte_fields import apart
from keras_wsol.data.read_each import read_each

# Streams that race where the order of batches does not matter.
_STREAMS = 4
# Batches put together at once; each of them reads what it lacks.
_COMPLETED = 2


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How images are read.

    Attributes:
        deterministic: Whether batches come in their order; else as they are ready.
        threads: How many images are read at once; `None` for `default_threads`.
    """

    deterministic: bool = True
    threads: int | None = None


def read_stream(
    count: int,
    batch_size: int,
    read_one: Callable[[Any], tuple[Any, Any]],
    image_size: tuple[int, int],
    reading: Reading,
) -> tf.data.Dataset:
    """Reads images in parallel, as one stream from which broken ones are missing.

    `read_each` makes a data set for each batch, whose functions are prepared anew,
    which takes longer than to decode some small images. Here one data set reads all
    images. A broken image is missing from it, so that all after it come too early;
    those that a batch lacks are read, again or for the first time, by `read_each`. So
    a broken image costs one more reading in every later batch, at most all of them;
    memory does not grow.

    Args:
        count: Number of images.
        batch_size: Images in a batch; the last one may have fewer.
        read_one: Function of a number in [0, count), an int64 scalar, that gives the
            image as float32 `(height, width, 3)` of `image_size` and as stored,
            `(H, W, 3)`.
        image_size: Height and width of the images given.
        reading: In which order; if in none, `batch_size` must divide `count`.

    Returns:
        A data set of `(numbers, images, sizes, read)`: int64 `(B,)`; float32 `(B,
        height, width, 3)`; int32 `(B, 2)`, height and width of each image as stored;
        boolean `(B,)`. What could not be read is black, of size 1 by 1, and false.
    """
    threads = reading.threads or default_threads()
    if reading.deterministic:
        return _one_stream(count, batch_size, read_one, image_size, threads)
    batches = count // batch_size
    streams = min(_STREAMS, batches, threads)

    def stream(first: Any) -> tf.data.Dataset:
        """Every so manieth batch."""

        def number(own: Any) -> Any:
            batch = own // batch_size * streams + first
            return batch * batch_size + own % batch_size

        own_count = (batches - first + streams - 1) // streams * batch_size
        return _one_stream(
            own_count,
            batch_size,
            lambda own: read_one(number(own)),
            image_size,
            threads // streams,
        ).map(lambda own, *batch: (number(own), *batch))

    return tf.data.Dataset.range(streams).interleave(
        stream, cycle_length=streams, num_parallel_calls=streams, deterministic=False
    )


def _one_stream(
    count: Any,
    batch_size: int,
    read_one: Callable[[Any], tuple[Any, Any]],
    image_size: tuple[int, int],
    threads: int,
) -> tf.data.Dataset:
    count = tf.cast(count, tf.int64)

    def element(number: Any) -> tuple[Any, Any, Any]:
        image, stored = read_one(number)
        return number, tf.ensure_shape(image, (*image_size, 3)), tf.shape(stored)[:2]

    # They stand at the end, for the images that are missing.
    blank = (count, tf.zeros((*image_size, 3)), tf.ones(2, tf.int32))
    blanks = tf.data.Dataset.from_tensors(blank).repeat(count)

    def complete(batch: Any, given: Any) -> tuple[Any, Any, Any, Any]:
        begin = batch * batch_size
        numbers = tf.range(begin, tf.minimum(begin + batch_size, count))
        images, sizes, read = tf.cond(
            tf.reduce_all(tf.equal(given[0], numbers)),
            lambda: (*given[1:], tf.ones_like(numbers, tf.bool)),
            lambda: apart(lambda: _complete(numbers, given, read_one, image_size)),
        )
        return numbers, tf.ensure_shape(images, (None, *image_size, 3)), sizes, read

    elements = tf.data.Dataset.range(count)
    elements = elements.map(element, num_parallel_calls=threads, deterministic=True)
    elements = elements.ignore_errors().concatenate(blanks).take(count)
    batches = elements.batch(batch_size).enumerate()
    return batches.map(
        complete, num_parallel_calls=min(threads, _COMPLETED), deterministic=True
    )


def _complete(
    numbers: Any,
    given: tuple[Any, Any, Any],
    read_one: Callable[[Any], tuple[Any, Any]],
    image_size: tuple[int, int],
) -> tuple[Any, Any, Any]:
    """Images, sizes and readability of all `numbers`, of which some are given."""
    found, images, sizes = given
    count = tf.size(found)
    place = tf.minimum(tf.searchsorted(found, numbers), count - 1)
    there = tf.equal(tf.gather(found, place), numbers)
    missing = tf.boolean_mask(numbers, ~there)
    more, more_sizes, more_read = read_each(
        tf.size(missing), lambda slot: read_one(missing[slot]), image_size
    )
    behind = count - 1 + tf.cumsum(tf.cast(~there, tf.int32))
    place = tf.where(there, place, behind)
    return (
        tf.gather(tf.concat([images, more], axis=0), place),
        tf.gather(tf.concat([sizes, more_sizes], axis=0), place),
        tf.gather(tf.concat([tf.ones_like(there), more_read], axis=0), place),
    )
