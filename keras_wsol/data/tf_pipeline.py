"""Batches by `tf.data`."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from keras_wsol.data.dataset import default_threads
from keras_wsol.data.images import (
    Header,
    apart,
    check_orientation,
    fields,
    only_frame,
    read_header,
    resize_before_crop,
    sole_frame,
    upright,
    view_box_transform,
    view_geometry,
)
from keras_wsol.data.numpy_pipeline import MAX_PIXELS

if TYPE_CHECKING:
    from keras_wsol.data.dataset import ImageDataset


def resize(image: Any, size: tuple[int, int]) -> tf.Tensor:
    """Resizes an image: bilinear, half-pixel centres, antialiased."""
    return crop_of_resized(image, size, (0, 0), size)


def crop_of_resized(
    image: Any, resized: tuple[int, int], corner: Any, size: tuple[int, int]
) -> tf.Tensor:
    """Resizes an image and crops it, in one step that makes only the crop's pixels."""
    image = tf.convert_to_tensor(image)
    stored = tf.cast(tf.shape(image)[:2], tf.float32)
    result = tf.raw_ops.ScaleAndTranslate(
        images=image[None],
        size=size,
        scale=tf.constant(resized, tf.float32) / stored,
        translation=-tf.cast(corner, tf.float32),
        kernel_type="triangle",
        antialias=True,
    )
    return tf.ensure_shape(result[0], (*size, 3))


def random_crop_and_flip(image: Any, size: tuple[int, int], seed: Any) -> tf.Tensor:
    """ADL's augmentation: resize to 256/224 of `size`, crop and flip at random."""
    resized = resize_before_crop(size)
    draws = tf.random.stateless_uniform([3], seed)
    # Each offset is equally likely; a draw below 1 times n stays below n.
    room = [resized[0] - size[0] + 1, resized[1] - size[1] + 1]
    corner = tf.cast(draws[:2] * tf.constant(room, tf.float32), tf.int32)
    image = crop_of_resized(image, resized, corner, size)
    return tf.cond(draws[2] < 0.5, lambda: tf.reverse(image, [1]), lambda: image)


# `read_each` reads as many images at once, whatever the machine. One of 50 megapixels
# takes 150 MB, and while it is decoded up to three times as much (a progressive JPEG).
# A stream reads as many as it has threads.
PARALLEL_DECODES = 4

# By format, which of the functions in `decode_rgb`: one for GIF, one for BMP.
_DECODERS = (0, 0, 0, 1, 2, 0)


def decode_rgb(
    encoded: Any, *, orientation: str = "stored", max_pixels: int = MAX_PIXELS
) -> tf.Tensor:
    """Decodes the content of a JPEG, PNG, GIF (first frame), BMP or WebP file."""
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
    """A decoder of every format, one however often graphs contain it."""
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
    """Reads each image of a batch; one that fails leaves the others untouched."""
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
    """Reads images in parallel, as one stream from which broken ones are missing."""
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


def training_batches(
    dataset: "ImageDataset",
    batch_size: int,
    seed: int,
    start_step: int,
    image_size: tuple[int, int],
    *,
    unreadable: str,
    deterministic: bool,
    threads: int | None,
) -> tf.data.Dataset:
    """See `ImageDataset.batches`."""
    reading = Reading(deterministic=deterministic, threads=threads)
    count = len(dataset)
    steps = dataset.steps_per_epoch(batch_size)
    if not steps:
        raise ValueError(
            f"A batch of {batch_size} needs as many images. The split "
            f"{dataset.split!r} of {dataset.name!r} has {count}."
        )
    source = _Source(dataset, unreadable)
    class_ids = tf.constant(dataset.class_ids, tf.int32)
    steps_done = tf.Variable(start_step, dtype=tf.int64, trainable=False)

    def one_pass(_: Any) -> tf.data.Dataset:
        begin = tf.identity(steps_done)
        first_epoch = begin // steps
        # Begun in the middle of an epoch, a pass goes on into the next.
        orders = [_order(count, seed, first_epoch + n) for n in (0, 1)]
        orders = tf.concat(orders, axis=0)

        def place(number: Any) -> tuple[Any, Any]:
            """Which image the slot has, and which draw of crop and flip."""
            step = begin + number // batch_size
            position = step % steps * batch_size + number % batch_size
            epoch = step // steps
            index = tf.gather(orders, (epoch - first_epoch) * count + position)
            return index, epoch * count + position

        def read_one(number: Any) -> tuple[Any, Any]:
            index, draw = place(number)
            stored = source.stored(index)
            key = tf.stack([tf.constant(seed, tf.int64), draw])
            return random_crop_and_flip(stored, image_size, key), stored

        def finish(numbers: Any, images: Any, _: Any, read: Any) -> tuple[Any, Any]:
            indices = place(numbers)[0]
            with tf.control_dependencies([source.note(indices, read)]):
                images, indices = _stand_in(
                    images, indices, read, tf.gather(source.paths, indices)
                )
            return images, tf.gather(class_ids, indices)

        batches = read_stream(
            steps * batch_size, batch_size, read_one, image_size, reading
        )
        return batches.map(
            finish,
            num_parallel_calls=tf.data.AUTOTUNE,
            deterministic=deterministic,
        )

    def count_pass(step: Any, batch: tuple[Any, Any]) -> tuple[Any, Any]:
        # Runs as the batch is taken, not as it is prefetched: the pass is over when
        # its last batch is in the hands of the caller.
        images, ids = batch

        def over() -> Any:
            with tf.control_dependencies([steps_done.assign_add(steps)]):
                return tf.identity(ids)

        return images, tf.cond(tf.equal(step, steps - 1), over, lambda: ids)

    passes = tf.data.Dataset.range(1).flat_map(one_pass).prefetch(tf.data.AUTOTUNE)
    batches = passes.enumerate().map(count_pass)
    batches = batches.apply(tf.data.experimental.assert_cardinality(steps))
    options = tf.data.Options()
    # A prefetch behind `count_pass` would run it before the batch is taken.
    options.experimental_optimization.inject_prefetch = False
    return batches.with_options(options)


def evaluation_batches(
    dataset: "ImageDataset",
    batch_size: int,
    with_boxes: bool,
    image_size: tuple[int, int],
    view: str,
    *,
    unreadable: str,
    threads: int | None,
) -> tf.data.Dataset:
    """See `ImageDataset.batches`."""
    reading = Reading(threads=threads)
    source = _Source(dataset, unreadable)
    class_ids = tf.constant(dataset.class_ids, tf.int32)
    stored_boxes = tf.constant(dataset.boxes, tf.float32) if with_boxes else None
    resize_to, corner = view_geometry(view, image_size)

    def read_one(index: Any) -> tuple[Any, Any]:
        stored = source.stored(index)
        return crop_of_resized(stored, resize_to, corner, image_size), stored

    def finish(indices: Any, images: Any, sizes: Any, read: Any) -> Any:
        with tf.control_dependencies([source.note(indices, read)]):
            images = tf.identity(images)
        ids = tf.where(read, tf.gather(class_ids, indices), -1)
        if not with_boxes:
            return images, ids
        boxes = tf.where(read[:, None, None], tf.gather(stored_boxes, indices), -1.0)
        return {
            "images": images,
            "class_ids": ids,
            "boxes": boxes_in_view(boxes, sizes, view, image_size),
            "sizes": sizes,
            "paths": tf.gather(source.paths, indices),
        }

    batches = read_stream(len(dataset), batch_size, read_one, image_size, reading)
    batches = batches.map(
        finish, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True
    )
    steps = -(-len(dataset) // batch_size)
    batches = batches.apply(tf.data.experimental.assert_cardinality(steps))
    return batches.prefetch(tf.data.AUTOTUNE)


def boxes_in_view(
    boxes: Any, sizes: Any, view: str, image_size: tuple[int, int]
) -> tf.Tensor:
    """`reading.boxes_in_view` in a graph, for a batch."""
    height, width = tf.unstack(tf.cast(sizes, tf.float32), axis=1)
    scale, shift = view_box_transform(view, image_size)
    unit = boxes / tf.stack([width, height, width, height], axis=1)[:, None]
    high = np.array([image_size[1], image_size[0]] * 2, "float32")
    moved = tf.clip_by_value(unit * scale - shift, 0.0, high)
    return tf.where(boxes[..., 2:3] < 0, -1.0, moved)


def _order(count: int, seed: int, epoch: Any) -> Any:
    """Indices of all images in the order of an epoch."""
    key = tf.stack([tf.constant(seed, tf.int64), epoch])
    return tf.random.experimental.stateless_shuffle(tf.range(count), seed=key)


def _stand_in(images: Any, indices: Any, read: Any, paths: Any) -> tuple[Any, Any]:
    """Puts the next image that could be read (cyclic) for each that could not."""

    def replaced() -> tuple[Any, Any]:
        size = tf.size(read)
        check = tf.debugging.Assert(
            tf.reduce_any(read),
            ["None of the images of a batch can be read:", _as_text(paths)],
        )
        slots = tf.range(size)
        ahead = (slots[None] - slots[:, None]) % size
        with tf.control_dependencies([check]):
            slots = tf.argmin(tf.where(read[None], ahead, size), axis=1)
        return tf.gather(images, slots), tf.gather(indices, slots)

    return tf.cond(tf.reduce_all(read), lambda: (images, indices), replaced)


def _as_text(paths: Any) -> tf.Tensor:
    """Paths with U+FFFD for what is not UTF-8, as an error's message has to be."""
    return tf.strings.unicode_transcode(paths, "UTF-8", "UTF-8", errors="replace")


class _Source:
    """The stored images of a data set, readable in a graph."""

    def __init__(self, dataset: "ImageDataset", unreadable: str) -> None:
        # The bytes that the disk has: a name need not be UTF-8, as TensorFlow wants
        # text to be.
        paths = [os.fsencode(path) for path in dataset.paths.astype(str).tolist()]
        self.paths = tf.constant(np.array(paths, "object"), tf.string)
        self._orientation = dataset.orientation
        self._records = dataset.records
        self._images = None if dataset.images is None else tf.constant(dataset.images)
        self._skipped = dataset.skipped.table() if unreadable == "skip" else None

    def stored(self, index: Any) -> Any:
        """The image as stored, uint8 `(H, W, 3)`."""
        if self._images is not None:
            return self._images[index]
        if self._records is None:
            content = tf.io.read_file(tf.gather(self.paths, index))
        else:
            # No operation of TensorFlow reads a part of a file at a given place.
            content = tf.numpy_function(self._records.content, [index], tf.string)
            content = tf.ensure_shape(content, ())
        return decode_rgb(content, orientation=self._orientation)

    def note(self, indices: Any, read: Any) -> Any:
        """Lists the images that could not be read, or fails and names them."""
        unread = tf.boolean_mask(tf.gather(self.paths, indices), ~read)
        if self._skipped is not None:
            return self._skipped.insert(unread, tf.ones_like(unread, tf.int64))
        message = "Cannot read the image (pass unreadable='skip' to go on):"
        return tf.debugging.Assert(
            tf.equal(tf.size(unread), 0), [message, _as_text(unread)]
        )
