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
    return tf.image.resize(image, size, method="bilinear", antialias=True)


def random_crop_and_flip(image: Any, size: tuple[int, int], seed: Any) -> tf.Tensor:
    """ADL's augmentation: resize to 256/224 of `size`, crop and flip at random.

    Args:
        image: Tensor `(H, W, 3)`.
        size: Height and width of the result.
        seed: int64 tensor `(2,)`; the result is a function of it and the image.

    Returns:
        float32 tensor `(height, width, 3)`.
    """
    height, width = resize_before_crop(size)
    image = resize(image, (height, width))
    draws = tf.random.stateless_uniform([3], seed)
    # Each offset is equally likely; a draw below 1 times n stays below n.
    top = tf.cast(draws[0] * (height - size[0] + 1), tf.int32)
    left = tf.cast(draws[1] * (width - size[1] + 1), tf.int32)
    image = tf.image.crop_to_bounding_box(image, top, left, *size)
    return tf.cond(draws[2] < 0.5, lambda: tf.reverse(image, [1]), lambda: image)
