"""Turning an image the way a camera's EXIF tag says it was held."""

from typing import Any

ORIENTATIONS = ("exif", "stored")


def check_orientation(orientation: Any) -> None:
    """Raises unless `orientation` is known.

    Args:
        orientation: What the caller passed: `"exif"`, images are turned upright as a
            viewer shows them, or `"stored"`, they stay as the file holds them.

    Raises:
        ValueError: It is none of `ORIENTATIONS`.
    """
    if orientation not in ORIENTATIONS:
        raise ValueError(
            f"`orientation` must be one of {list(ORIENTATIONS)}. Received: "
            f"{orientation!r}."
        )


def upright(image: Any, tag: Any) -> Any:
    """Turns an image by the value of its EXIF orientation tag, in a graph.

    Args:
        image: Tensor `(H, W, C)`.
        tag: Integer tensor, in [1, 8]: 1 changes nothing, 2 mirrors, 3 turns by 180
            degrees, 4 flips, 6 turns clockwise and 8 anticlockwise; 5 and 7 mirror
            along the two diagonals.

    Returns:
        Tensor `(H, W, C)`, or `(W, H, C)` for a tag from 5 to 8.

    Example:
    >>> turned = upright([[[1], [2], [3]]], 8)
    >>> turned.shape.as_list(), turned[:, 0, 0].numpy().tolist()
    ([3, 1, 1], [3, 2, 1])
    """
    import tensorflow as tf

    image, tag = tf.convert_to_tensor(image), tf.convert_to_tensor(tag)

    def one_of(*tags: int) -> Any:
        return tf.reduce_any(tf.equal(tag, tf.constant(tags, tag.dtype)))

    def turn() -> Any:
        flips = [one_of(3, 4, 7, 8), one_of(2, 3, 6, 7)]
        axes = tf.boolean_mask([0, 1], flips)
        swapped = tf.cond(
            tag >= 5, lambda: tf.transpose(image, (1, 0, 2)), lambda: image
        )
        return tf.reverse(swapped, axes)

    return tf.cond(tag > 1, turn, lambda: image)
