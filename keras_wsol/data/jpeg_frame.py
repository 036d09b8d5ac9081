"""The size of a JPEG that has only one place where it can stand, in a graph.

To walk over the segments of a file, as `image_header` does, takes as long as to decode
a small photograph. Most files need no walk: the bytes that announce a frame are found
once in them, and those that announce an orientation not at all.
"""

from typing import Any

from keras_wsol.data.byte_fields import fields

# The second byte of a marker: what begins a frame, whatever its coding; what begins or
# ends the picture, or begins its data; what holds EXIF.
_FRAME, _END, _APP1 = 1, 2, 0xE1
_KINDS = dict.fromkeys(range(0xC0, 0xD0), _FRAME)
_KINDS |= {0xC4: 0, 0xC8: 0, 0xCC: 0, 0xD8: _END, 0xD9: _END, 0xDA: _END}


def sole_frame(encoded: Any) -> tuple[Any, Any, Any]:
    """Looks for the size of a JPEG at every place where it may stand.

    A decoder takes the size from behind the two bytes of a marker. If these stand at
    one place of the file only, it is that size or none.

    Args:
        encoded: Scalar string tensor, a file.

    Returns:
        `(sole, size, plain)`: boolean scalar, whether the file begins as a JPEG and
        there is just one such place, which comes before all data; int64 `(2,)`, the
        height and width at the first such place, `(0, 0)` without one; boolean
        scalar, whether the file has no EXIF block for certain.

    Example:
    >>> sole, size, plain = sole_frame(
    ...     bytes([0xFF, 0xD8, 0xFF, 0xC0, 0, 11, 8, 0, 3, 0, 5, 1]))
    >>> bool(sole), size.numpy().tolist(), bool(plain)
    (True, [3, 5], True)
    """
    import tensorflow as tf

    # A zero behind the end, so that each byte has one after it.
    data = tf.io.decode_raw(tf.strings.join([encoded, b"\0"]), tf.uint8)
    marks = tf.where(tf.equal(data, 0xFF))[:, 0]
    codes = tf.gather(data, marks + 1)
    kinds = [_KINDS.get(code, 0) for code in range(256)]
    kinds = tf.gather(tf.constant(kinds), tf.cast(codes, tf.int32))
    frames = tf.boolean_mask(marks, tf.equal(kinds, _FRAME))
    count = tf.size(frames)
    # The picture begins, then its frame.
    opening = tf.boolean_mask(kinds, kinds > 0)[:2]
    first = tf.reduce_all(tf.equal(tf.pad(opening, [[0, 2]])[:2], [_END, _FRAME]))
    begins = tf.equal(tf.strings.substr(encoded, 0, 3), b"\xff\xd8\xff")
    # Behind the end, there are zeros.
    place = tf.concat([frames, tf.size(data, tf.int64)[None]], axis=0)[0]
    size = fields(encoded, place + 5, 2, "uint16", big=True)
    plain = ~tf.reduce_any(tf.equal(codes, _APP1))
    return begins & first & tf.equal(count, 1), size, plain
