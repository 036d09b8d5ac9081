"""Resizing, cropping and flipping as pure functions of their seed. TensorFlow."""

from typing import Any

import tensorflow as tf

from keras_wsol.data.views import resize_before_crop


def resize(image: Any, size: tuple[int, int]) -> tf.Tensor:
    """Resizes an image: bilinear, half-pixel centres, antialiased.

    Args:
        image: Tensor `(H, W, 3)`.
        size: Height and width of the result; the aspect ratio is not kept.

    Returns:
        float32 tensor `(height, width, 3)`.
    """
    return crop_of_resized(image, size, (0, 0), size)


def crop_of_resized(
    image: Any, resized: tuple[int, int], corner: Any, size: tuple[int, int]
) -> tf.Tensor:
    """Resizes an image and crops it, in one step that makes only the crop's pixels.

    They are those of `tf.image.resize(image, resized, antialias=True)`, borders
    included, up to the rounding of float32: some 1e-4 of 255.

    Args:
        image: Tensor `(H, W, 3)`.
        resized: Height and width to resize to; the aspect ratio is not kept.
        corner: Integers or int32 tensor `(2,)`, top and left of the crop in the
            resized image.
        size: Height and width of the crop.

    Returns:
        float32 tensor `(height, width, 3)`.

    Example:
    >>> row = [[[0.0] * 3, [100.0] * 3, [200.0] * 3, [60.0] * 3]]
    >>> crop_of_resized(row, (1, 8), (0, 2), (1, 3))[0, :, 0].numpy().tolist()
    [75.0, 125.0, 175.0]
    """
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
    """ADL's augmentation: resize to 256/224 of `size`, crop and flip at random.

    Args:
        image: Tensor `(H, W, 3)`.
        size: Height and width of the result.
        seed: int64 tensor `(2,)`; the result is a function of it and the image.

    Returns:
        float32 tensor `(height, width, 3)`.
    """
    resized = resize_before_crop(size)
    draws = tf.random.stateless_uniform([3], seed)
    # Each offset is equally likely; a draw below 1 times n stays below n.
    room = [resized[0] - size[0] + 1, resized[1] - size[1] + 1]
    corner = tf.cast(draws[:2] * tf.constant(room, tf.float32), tf.int32)
    image = crop_of_resized(image, resized, corner, size)
    return tf.cond(draws[2] < 0.5, lambda: tf.reverse(image, [1]), lambda: image)
