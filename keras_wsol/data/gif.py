"""The first frame of a GIF, cut out of the file before anything is decoded."""

from typing import Any

from keras_wsol.data.byte_fields import fields, length

# A step in a graph takes some 10 microseconds, and a file of one-byte blocks would have
# half a million of them a megabyte. Files have a few blocks before their first frame;
# what photo editors put there (XMP) is read as blocks of some 70 bytes.
MAX_STEPS = 50_000
# Blocks of pixels hold up to 255 bytes, and encoders fill them.
_FAIR_BLOCK = 32

EXTENSION, IMAGE = 0x21, 0x2C


def first_frame(encoded: Any) -> tuple[Any, Any]:
    """Finds the first frame of a GIF, in a graph.

    TensorFlow decodes every frame of a GIF, and makes its picture as large as the
    largest of them, so that a few bytes could claim any amount of memory. `only_frame`
    leaves one frame, whose size this function tells. It walks over at most `MAX_STEPS`
    blocks in all, so that no file keeps it busy for long.

    Args:
        encoded: Scalar string tensor that begins as a GIF does.

    Returns:
        `(canvas, frame)`, int64: `(2,)`, height and width of the picture, which a frame
        that reaches over the border makes larger; `(3,)`, where the frame's descriptor
        starts, and top and left of the frame in the picture. Without a frame, or with
        more blocks before it than allowed, all are 0.
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
        picture; empty if the file ends within the frame, or the frame is cut into far
        more pieces than an encoder makes.
    """
    import tensorflow as tf

    data = _padded(encoded)
    # The descriptor, its colours, one byte, and then the pixels.
    pixels = start + 11 + _table(_at(data, start + 9))
    end = _behind_pixels(data, pixels)
    place = tf.minimum(start + 5, length(encoded))
    head = tf.strings.substr(encoded, tf.zeros_like(place), place - 4)
    rest = tf.strings.substr(encoded, place, end - place)
    whole = tf.strings.join([head, b"\0\0\0\0", rest, b";"])
    return tf.where(end > 0, whole, "")


def _behind_extensions(data: Any, position: Any) -> tuple[Any, Any]:
    """The first byte that starts no extension, and its position; 0 if not found."""
    import tensorflow as tf

    # An extension: its mark, its kind, and blocks up to an empty one. One loop for all
    # of them, so that one limit holds for the file.
    def step(byte: Any, position: Any, inside: Any) -> tuple[Any, Any, Any]:
        position += tf.where(inside, byte + 1, 2)
        inside = tf.not_equal(byte, 0) | ~inside
        return _at(data, position), position, inside

    byte, position, inside = tf.while_loop(
        lambda byte, _, inside: inside | tf.equal(byte, EXTENSION),
        step,
        (_at(data, position), position, tf.constant(False)),
        maximum_iterations=MAX_STEPS,
        parallel_iterations=1,
    )
    # Stopped by the limit, it may stand on a length that looks like a mark.
    return tf.where(~inside, byte, 0), tf.where(~inside, position, 0)


def _behind_pixels(data: Any, position: Any) -> Any:
    """Behind the empty block that ends a frame; 0 if the file ends before it."""
    import tensorflow as tf

    def step(size: Any, position: Any) -> tuple[Any, Any]:
        position = position + size + 1
        return _at(data, position), position

    position = _behind_equal_blocks(data, position)
    limit = tf.minimum(MAX_STEPS, 64 + tf.size(data) // _FAIR_BLOCK)
    size, position = tf.while_loop(
        lambda size, _: size > 0,
        step,
        (_at(data, position), position),
        maximum_iterations=limit,
        parallel_iterations=1,
    )
    ended = tf.equal(size, 0) & (position < tf.size(data, tf.int64) - 1)
    return tf.where(ended, position + 1, 0)


def _behind_equal_blocks(data: Any, position: Any) -> Any:
    """Skips blocks as long as the first at once; of a frame, mostly all but the last.

    Small ones are left to the loop and its limit.
    """
    import tensorflow as tf

    size = _at(data, position)
    last = tf.size(data, tf.int64) - 1
    lengths = data[tf.minimum(position, last) :: tf.maximum(size, _FAIR_BLOCK) + 1]
    # The file's end differs, so that there is a first place that does.
    other = tf.not_equal(tf.cast(lengths, tf.int64), size)
    other = tf.concat([other, [True]], axis=0)
    blocks = tf.argmax(other, output_type=tf.int64)
    return position + tf.where(size >= _FAIR_BLOCK, blocks * (size + 1), 0)


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
