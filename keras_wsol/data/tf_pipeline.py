"""Decoding and batches by TensorFlow."""

import os
from collections.abc import Callable
from contextlib import suppress
from functools import cache, partial
from typing import Any

import numpy as np
import tensorflow as tf

from keras_wsol.data.images import (
    GIF,
    JPEG,
    MAX_PIXELS,
    MAX_SCANS,
    PNG,
    TOO_MUCH,
    Size,
    boxes_in_view,
    default_threads,
    image_header,
    jpeg_orientation,
    jpeg_scans,
    most_png_bytes,
    resize_before_crop,
    view_geometry,
)
from keras_wsol.data.numpy_pipeline import size_beside


def resize(image: Any, size: Size) -> tf.Tensor:
    """Resizes an image: bilinear, half-pixel centres, antialiased."""
    return crop_of_resized(image, size, (0, 0), size)


def crop_of_resized(image: Any, resized: Size, corner: Any, size: Size) -> tf.Tensor:
    """Resizes an image and crops it, in one step that makes only the crop's pixels."""
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


def random_crop_and_flip(image: Any, size: Size, seed: Any) -> tf.Tensor:
    """ADL's augmentation: resize to 256/224 of `size`, crop and flip at random."""
    resized = resize_before_crop(size)
    draws = tf.random.stateless_uniform([3], seed)
    # Each offset is equally likely; a draw below 1 times n stays below n.
    room = [resized[0] - size[0] + 1, resized[1] - size[1] + 1]
    corner = tf.cast(draws[:2] * tf.constant(room, tf.float32), tf.int32)
    image = crop_of_resized(image, resized, corner, size)
    return tf.cond(draws[2] < 0.5, lambda: tf.reverse(image, [1]), lambda: image)


def decode_rgb(
    encoded: Any,
    *,
    orientation: str = "stored",
    max_pixels: int = MAX_PIXELS,
    gif: bool = False,
) -> tf.Tensor:
    """Decodes a JPEG, PNG, BMP, still WebP or, if `gif`, the first frame of a GIF."""
    kind, size = image_header(encoded)
    known = tf.reduce_all(size > 0) & (gif | tf.not_equal(kind, GIF))
    formats = f"JPEG, PNG, {'GIF, ' if gif else ''}BMP or still WebP"
    encoded = _checked(encoded, known, f"no {formats} image")
    pixels = tf.reduce_prod(size)
    fits = pixels <= max_pixels
    encoded = _checked(encoded, fits, f"more than {max_pixels} pixels")
    is_jpeg = tf.equal(kind, JPEG)
    length = tf.cast(tf.strings.length(encoded), tf.int64)
    few = tf.not_equal(kind, PNG) | (length <= most_png_bytes(pixels))
    few &= tf.cond(is_jpeg, lambda: jpeg_scans(encoded), lambda: 0) <= MAX_SCANS
    encoded = _checked(encoded, few, TOO_MUCH)
    decode = partial(tf.io.decode_image, encoded, expand_animations=False)
    others = kind > GIF  # BMP and WebP, whose decoders refuse to leave alpha out
    image = tf.cond(others, lambda: _rgb(decode(), encoded), lambda: decode(3))
    # So that boxes, which are in pixels, lie where they should.
    same = tf.reduce_all(tf.equal(tf.shape(image, tf.int64)[:2], size))
    image = _checked(image, same, "the header claims another size")
    if orientation == "exif":
        one = tf.constant(1, tf.int64)
        tag = tf.cond(is_jpeg, lambda: jpeg_orientation(encoded), lambda: one)
        image = upright(_checked(image, tag > 0, TOO_MUCH), tag)
    return tf.ensure_shape(image, (None, None, 3))


def _checked(value: Any, condition: Any, message: Any) -> Any:
    # `tf.debugging.Assert` makes two functions of each check in a graph.
    data = [tf.convert_to_tensor(message)]
    check = tf.raw_ops.Assert(condition=condition, data=data)
    with tf.control_dependencies([] if tf.executing_eagerly() else [check]):
        return tf.identity(value)


def _rgb(image: Any, encoded: Any) -> tf.Tensor:
    def colored() -> tf.Tensor:
        # Of a BMP, TensorFlow takes the number of a color for a grey.
        head = tf.io.decode_raw(encoded, tf.uint8, fixed_length=14 + 256 + 4 * 256)
        place = 14 + tf.cast(head[14], tf.int32)
        table = tf.reshape(head[place : place + 4 * 256], (256, 4))
        # From blue, green, red, nothing.
        return tf.gather(table[:, 2::-1], tf.cast(image[..., 0], tf.int32))

    return tf.cond(tf.shape(image)[-1] < 3, colored, lambda: image[..., :3])


# By EXIF tag, whether to flip rows and columns; from 5 on, after axes are swapped.
_FLIPS = np.zeros((9, 2), bool)
_FLIPS[[3, 4, 7, 8], 0] = _FLIPS[[2, 3, 6, 7], 1] = True


def upright(image: Any, tag: Any) -> Any:
    """Turns an image by the value of its EXIF orientation tag."""
    image = tf.cond(tag >= 5, lambda: tf.transpose(image, (1, 0, 2)), lambda: image)
    axes = tf.boolean_mask([0, 1], tf.gather(_FLIPS, tag))
    return tf.reverse(image, axes)


@cache
def _reader(orientation: str) -> Callable[[Any], tf.Tensor]:
    """From a path to an image; traced once, since that takes half a second."""

    @tf.function(input_signature=[tf.TensorSpec((), tf.string)], autograph=False)
    def read(path: Any) -> tf.Tensor:
        with tf.device("CPU:0"):
            content = tf.io.read_file(path)
            return decode_rgb(content, orientation=orientation, gif=True)

    return read.get_concrete_function()


def size_reader(orientation: str) -> Callable[[str], tuple[int, ...]]:
    """Makes a function that decodes a file; it raises a `ValueError` if it cannot.

    So it does if Pillow cannot, which reads single images.
    """
    read = _reader(orientation)

    def size_of(path: str) -> tuple[int, ...]:
        try:
            size = tuple(read(tf.constant(os.fsencode(path))).shape[:2])
        except tf.errors.ResourceExhaustedError:
            raise  # of the machine, not of the file
        except tf.errors.OpError as error:
            with suppress(ValueError):  # if the file looks good
                np.empty((_BYTES_A_PIXEL, *size_beside(path, orientation)), "uint8")
            # TensorFlow says before this where in the graph, and behind it which node.
            said = error.message.partition("\n\t [[")[0].rpartition("\n")[2]
            said = said.rpartition("}} ")[2]
            said = said.removeprefix("assertion failed: [").removesuffix("]")
            raise ValueError(said or type(error).__name__) from error
        if size != size_beside(path, orientation):
            raise ValueError("Pillow reads another size")
        return size

    return size_of


# `read_each` reads as many images at once, whatever the machine. One of 50 megapixels
# takes 150 MB, and while it is decoded up to three times as much (a progressive JPEG).
# Where that is missing, decoders say of a file that it is broken.
_BYTES_A_PIXEL = 3 + 9
PARALLEL_DECODES = 4


def read_each(
    count: Any, read_one: Callable[[Any], tuple[Any, Any]], image_size: Size
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


def or_no_memory(read: Any, encoded: Any, max_pixels: int) -> tf.Tensor:
    """Returns `read`, or fails if one may not be read for want of memory."""

    def claim(one: Any) -> Any:
        pixels = tf.reduce_prod(image_header(one)[1])
        return tf.where(pixels <= max_pixels, pixels, 0)

    def with_memory() -> Any:
        none = tf.zeros(PARALLEL_DECODES, tf.int64)
        claims = tf.data.Dataset.from_tensor_slices(encoded).map(claim).ignore_errors()
        claims = claims.concatenate(tf.data.Dataset.from_tensor_slices(none))
        claims = claims.batch(tf.size(encoded, tf.int64) + PARALLEL_DECODES)
        largest, _ = tf.math.top_k(claims.get_single_element(), PARALLEL_DECODES)
        megabytes = _BYTES_A_PIXEL * tf.reduce_sum(largest) // 2**20
        shape = tf.stack([tf.cast(megabytes, tf.int32), 2**20])
        with tf.device("CPU:0"):
            memory = tf.raw_ops.Empty(shape=shape, dtype=tf.uint8, init=False)
        with tf.control_dependencies([memory]):
            return tf.identity(read)

    return tf.cond(tf.reduce_all(read), lambda: read, with_memory)


class _Source:
    """The images of a table `dataset`, readable in a graph."""

    def __init__(self, dataset: Any) -> None:
        # The bytes that the disk has: a name need not be UTF-8, as TensorFlow wants
        # text to be.
        paths = [os.fsencode(path) for path in dataset.paths.astype(str).tolist()]
        self.paths = tf.constant(np.array(paths, "object"), tf.string)
        self.class_ids = tf.constant(dataset.class_ids, tf.int32)
        self._read = _reader(dataset.orientation)
        self._images = None if dataset.images is None else tf.constant(dataset.images)

    def batches(
        self, indices: Any, batch_size: int, view_of: Any, image_size: Size
    ) -> tf.data.Dataset:
        """Batches of indices, images and sizes; `view_of(number, image)` is the view.

        What cannot be read is an error that names the file.
        """
        count = tf.size(indices, tf.int64)

        def read(number: Any) -> tuple[Any, Any, Any]:
            index = tf.gather(indices, number)
            if self._images is None:
                stored = self._read(tf.gather(self.paths, index))
            else:
                stored = self._images[index]
            return number, view_of(number, stored), tf.shape(stored)[:2]

        # Stands at the end where an image is missing.
        blank = (count, tf.zeros((*image_size, 3)), tf.zeros(2, tf.int32))

        def named(expected: Any, found: tuple[Any, Any, Any]) -> tuple[Any, Any, Any]:
            number, image, size = found
            index = tf.gather(indices, expected)
            path = tf.gather(self.paths, index)
            # U+FFFD for what is not UTF-8, as an error's message has to be.
            path = tf.strings.unicode_transcode(path, "UTF-8", "UTF-8", "replace")
            message = tf.strings.join(["Cannot read the image: ", path])
            image = _checked(image, tf.equal(number, expected), message)
            return index, image, size

        return (
            tf.data.Dataset.range(count)
            .map(read, num_parallel_calls=default_threads(), deterministic=True)
            .ignore_errors(log_warning=True)
            .concatenate(tf.data.Dataset.from_tensors(blank))
            .take(count)
            .enumerate()
            .map(named)
            .batch(batch_size)
        )


def training_batches(
    dataset: Any, batch_size: int, seed: int, start_step: int, image_size: Size
) -> tf.data.Dataset:
    """See `ImageDataset.batches`."""
    count, steps = len(dataset), dataset.steps_per_epoch(batch_size)
    seed = tf.constant(seed, tf.int64)
    source = _Source(dataset)
    steps_done = tf.Variable(start_step, dtype=tf.int64, trainable=False)

    def order(epoch: Any) -> Any:
        key = tf.stack([seed, epoch])
        return tf.random.experimental.stateless_shuffle(tf.range(count), seed=key)

    def one_pass(_: Any) -> tf.data.Dataset:
        numbers = tf.range(steps * batch_size, dtype=tf.int64)
        step = tf.identity(steps_done) + numbers // batch_size
        epoch = step // steps
        position = step % steps * batch_size + numbers % batch_size
        # Begun in the middle of an epoch, a pass goes on into the next.
        orders = tf.stack([order(epoch[0]), order(epoch[0] + 1)])
        indices = tf.gather_nd(orders, tf.stack([epoch - epoch[0], position], axis=1))
        crops = epoch * count + position

        def view_of(number: Any, stored: Any) -> Any:
            key = tf.stack([seed, tf.gather(crops, number)])
            return random_crop_and_flip(stored, image_size, key)

        batches = source.batches(indices, batch_size, view_of, image_size)
        return batches.map(
            lambda chosen, images, _: (images, tf.gather(source.class_ids, chosen))
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
    dataset: Any, boxes: Any, batch_size: int, image_size: Size, view: str
) -> tf.data.Dataset:
    """See `ImageDataset.batches`; pairs where `boxes` is `None`."""
    source = _Source(dataset)
    resize_to, corner = view_geometry(view, image_size)
    stored_boxes = None if boxes is None else tf.constant(boxes, tf.float32)

    def view_of(_: Any, stored: Any) -> Any:
        return crop_of_resized(stored, resize_to, corner, image_size)

    def finish(indices: Any, images: Any, sizes: Any) -> Any:
        ids = tf.gather(source.class_ids, indices)
        if stored_boxes is None:
            return images, ids
        boxes = tf.gather(stored_boxes, indices)
        sides = tf.cast(sizes, tf.float32)
        return {
            "images": images,
            "class_ids": ids,
            "boxes": boxes_in_view(boxes, sides, view, image_size, tf),
            "sizes": sizes,
            "paths": tf.gather(source.paths, indices),
        }

    indices = tf.range(len(dataset), dtype=tf.int64)
    batches = source.batches(indices, batch_size, view_of, image_size).map(finish)
    steps = -(-len(dataset) // batch_size)
    batches = batches.apply(tf.data.experimental.assert_cardinality(steps))
    return batches.prefetch(tf.data.AUTOTUNE)
