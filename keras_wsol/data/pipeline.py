"""Data sets to batches with `tf.data`. Needs TensorFlow."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from keras_wsol.data.augmentation import random_crop_and_flip, resize
from keras_wsol.data.read_each import decode_rgb, read_each
from keras_wsol.data.views import view_box_transform, view_geometry

if TYPE_CHECKING:
    from keras_wsol.data.dataset import ImageDataset


def training_batches(
    dataset: "ImageDataset",
    batch_size: int,
    seed: int,
    start_step: int,
    image_size: tuple[int, int],
    unreadable: str,
) -> tf.data.Dataset:
    """See `ImageDataset.batches`."""
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

    def batch(orders: Any, begin: Any, step: Any) -> tuple[Any, Any, Any]:
        epoch, step_of_epoch = step // steps, step % steps
        positions = step_of_epoch * batch_size + tf.range(batch_size, dtype=tf.int64)
        indices = tf.gather(orders[epoch - begin // steps], positions)
        draws = epoch * count + positions

        def prepare(image: Any, slot: Any) -> Any:
            key = tf.stack([tf.constant(seed, tf.int64), draws[slot]])
            return random_crop_and_flip(image, image_size, key)

        images, _, read = source.read(indices, prepare, image_size)
        # The next image that could be read stands in, so that every step of every
        # pass has the same number of images.
        stand_in = _next_read(read, tf.gather(source.paths, indices))
        return (
            step - begin,
            tf.gather(images, stand_in),
            tf.gather(class_ids, tf.gather(indices, stand_in)),
        )

    def one_pass(_: Any) -> tf.data.Dataset:
        begin = tf.identity(steps_done)
        epoch = begin // steps
        # Begun in the middle of an epoch, a pass goes on into the next.
        orders = tf.stack([_order(count, seed, epoch + n) for n in (0, 1)])
        return tf.data.Dataset.range(begin, begin + steps).map(
            lambda step: batch(orders, begin, step),
            num_parallel_calls=tf.data.AUTOTUNE,
            deterministic=True,
        )

    def count_pass(step: Any, images: Any, ids: Any) -> tuple[Any, Any]:
        # Runs as the batch is taken, not as it is prefetched: the pass is over when
        # its last batch is in the hands of the caller.
        def over() -> Any:
            with tf.control_dependencies([steps_done.assign_add(steps)]):
                return tf.identity(ids)

        return images, tf.cond(tf.equal(step, steps - 1), over, lambda: ids)

    passes = tf.data.Dataset.range(1).flat_map(one_pass).prefetch(tf.data.AUTOTUNE)
    batches = passes.map(count_pass)
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
    unreadable: str,
) -> tf.data.Dataset:
    """See `ImageDataset.batches`."""
    source = _Source(dataset, unreadable)
    class_ids = tf.constant(dataset.class_ids, tf.int32)
    stored_boxes = tf.constant(dataset.boxes, tf.float32) if with_boxes else None
    resize_to, (top, left) = view_geometry(view, image_size)

    def prepare(image: Any, _: Any) -> Any:
        image = resize(image, resize_to)
        return image[top : top + image_size[0], left : left + image_size[1]]

    def batch(indices: Any) -> Any:
        images, sizes, read = source.read(indices, prepare, image_size)
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

    indices = tf.data.Dataset.range(len(dataset)).batch(batch_size)
    batches = indices.map(
        batch, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True
    )
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


def _next_read(read: Any, paths: Any) -> Any:
    """For each slot, itself if it was read, else the next one (cyclic) that was."""
    size = tf.size(read)
    check = tf.debugging.Assert(
        tf.reduce_any(read), ["None of the images of a batch can be read:", paths]
    )
    slots = tf.range(size)
    ahead = (slots[None] - slots[:, None]) % size
    with tf.control_dependencies([check]):
        return tf.argmin(tf.where(read[None], ahead, size), axis=1)


class _Source:
    """The stored images of a data set, readable in a graph."""

    def __init__(self, dataset: "ImageDataset", unreadable: str) -> None:
        self.paths = tf.constant(dataset.paths.astype(str))
        self._orientation = dataset.orientation
        self._images = None if dataset.images is None else tf.constant(dataset.images)
        self._skipped = dataset.skipped.table() if unreadable == "skip" else None

    def read(
        self,
        indices: Any,
        prepare: Callable[[Any, Any], Any],
        image_size: tuple[int, int],
    ) -> tuple[Any, Any, Any]:
        """Reads a batch: images `(B, h, w, 3)`, sizes `(B, 2)`, readable `(B,)`."""

        def read_one(slot: Any) -> tuple[Any, Any]:
            stored = self._stored(indices[slot])
            return prepare(stored, slot), stored

        images, sizes, read = read_each(tf.size(indices), read_one, image_size)
        unread = tf.boolean_mask(tf.gather(self.paths, indices), ~read)
        with tf.control_dependencies([self._note(unread)]):
            return tf.identity(images), sizes, read

    def _stored(self, index: Any) -> Any:
        if self._images is not None:
            return self._images[index]
        content = tf.io.read_file(self.paths[index])
        return decode_rgb(content, orientation=self._orientation)

    def _note(self, unread: Any) -> Any:
        if self._skipped is not None:
            return self._skipped.insert(unread, tf.ones_like(unread, tf.int64))
        message = ["Cannot read the image (pass unreadable='skip' to go on):", unread]
        return tf.debugging.Assert(tf.equal(tf.size(unread), 0), message)
