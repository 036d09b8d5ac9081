"""The first frame of a GIF, cut out of the file before anything is decoded."""

from typing import Any

from keras_wsol.data.byte_fields import fields, length

# Far more than files have; a crafted file ends here and not minutes later.
MAX_EXTENSIONS = 1_000
MAX_SUB_BLOCKS = 200_000

EXTENSION, IMAGE = 0x21, 0x2C


def first_frame(encoded: Any) -> tuple[Any, Any]:
    """Finds the first frame of a GIF, in a graph.

    TensorFlow decodes every frame of a GIF, and makes its picture as large as the
    largest of them, so that a few bytes could claim any amount of memory. `only_frame`
    leaves one frame, whose size this function tells.

    Args:
        encoded: Scalar string tensor that begins as a GIF does.

    Returns:
        `(canvas, frame)`, int64: `(2,)`, height and width of the picture, which a frame
        that reaches over the border makes larger; `(3,)`, where the frame's descriptor
        starts, and top and left of the frame in the picture. Without a frame, all are
        0.
    """
    import tensorflow as tf

    data = _padded(encoded)
    width, height = tf.unstack(fields(encoded, 6, 2, "uint16"))
    kind, start = _behind_extensions(data, 13 + _table(_at(data, 10)))
    place = fields(encoded, start + 1, 4, "uint16")
    left, top, frame_width, frame_height = tf.unstack(place)
    canvas = tf.stack(
        [tf.maximum(top + frame_height, height), tf.maximum(left + frame_width, width)]
    )
    found = tf.equal(kind, IMAGE) & (frame_width * frame_height > 0)
    found &= start + 9 <= length(encoded)
    return tf.where(found, canvas, 0), tf.where(found, tf.stack([start, top, left]), 0)


def only_frame(encoded: Any, start: Any) -> Any:
    """Cuts a GIF off behind its first frame, in a graph.

    Args:
        encoded: Scalar string tensor, a GIF.
        start: int64 scalar, where the descriptor of its first frame starts.

    Returns:
        Scalar string tensor: a GIF of that frame alone, moved to the corner of its
        picture; empty if the file ends within the frame.
    """
    import tensorflow as tf

    data = _padded(encoded)
    # The descriptor, its colours, one byte, and then the pixels.
    pixels = start + 11 + _table(_at(data, start + 9))
    end = _behind_sub_blocks(data, pixels)
    place = tf.minimum(start + 5, length(encoded))
    head = tf.strings.substr(encoded, tf.zeros_like(place), place - 4)
    rest = tf.strings.substr(encoded, place, end - place)
    whole = tf.strings.join([head, b"\0\0\0\0", rest, b";"])
    return tf.where(end > 0, whole, "")


def _behind_extensions(data: Any, position: Any) -> tuple[Any, Any]:
    """The first byte that starts no extension, and its position."""
    import tensorflow as tf

    def skip(_: Any, position: Any) -> tuple[Any, Any]:
        position = _behind_sub_blocks(data, position + 2)
        return _at(data, position), position

    return tf.while_loop(
        lambda kind, _: tf.equal(kind, EXTENSION),
        skip,
        (_at(data, position), position),
        maximum_iterations=MAX_EXTENSIONS,
    )


def _behind_sub_blocks(data: Any, position: Any) -> Any:
    """Behind the empty block that ends a chain; 0 if the file ends before it."""
    import tensorflow as tf

    def skip(size: Any, position: Any) -> tuple[Any, Any]:
        position = position + size + 1
        return _at(data, position), position

    size, position = tf.while_loop(
        lambda size, _: size > 0,
        skip,
        (_at(data, position), position),
        maximum_iterations=MAX_SUB_BLOCKS,
    )
    ended = tf.equal(size, 0) & (position < tf.size(data, tf.int64) - 1)
    return tf.where(ended, position + 1, 0)


def _padded(encoded: Any) -> Any:
    """The file's bytes and a zero, at which every walk ends."""
    import tensorflow as tf

    return tf.io.decode_raw(tf.strings.join([encoded, b"\0"]), tf.uint8)


def _at(data: Any, position: Any) -> Any:
    import tensorflow as tf

    last = tf.size(data, tf.int64) - 1
    return tf.cast(tf.gather(data, tf.minimum(last, position)), tf.int64)


def _table(flags: Any) -> Any:
    """Bytes of the table of colours that a descriptor's flags announce."""
    import tensorflow as tf

    colors = tf.bitwise.left_shift(tf.constant(2, tf.int64), flags & 7)
    return tf.where(flags >= 128, 3 * colors, 0)
