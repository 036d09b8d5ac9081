"""Data sets to batches with `tf.data`. Needs TensorFlow."""

import os
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from keras_wsol.data.augmentation import crop_of_resized, random_crop_and_flip
from keras_wsol.data.read_each import decode_rgb
from keras_wsol.data.read_stream import Reading, read_stream
from keras_wsol.data.views import view_box_transform, view_geometry

if TYPE_CHECKING:
    from keras_wsol.data.dataset import ImageDataset


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
    """`reading.boxes_in_view` in a graph, for a batch.

    Args:
        boxes: float32 `(B, M, 4)` in pixels of the stored image, padded with -1.
        sizes: int32 `(B, 2)`, height and width of the stored images.
        view: `"whole"` or `"center_crop"`.
        image_size: Height and width of the view.

    Returns:
        float32 `(B, M, 4)` in pixels of the view, clipped to it; padding stays -1.
    """
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
    """Puts the next image that could be read (cyclic) for each that could not.

    So every step of every pass has the same number of images.
    """

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
