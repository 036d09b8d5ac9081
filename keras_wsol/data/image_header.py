"""Size and orientation of an encoded image, read from its header in a graph.

A decoder makes room for the picture that a file's header announces, and a header of
gigapixels fits in a hundred bytes. Here the size is found by the rules of the decoder
that will be used, so that what is too large can be refused before. Only operations on
strings and numbers are used; no byte sequence makes them fail.
"""

from typing import Any, NamedTuple

from keras_wsol.data.byte_fields import apart, fields, length
from keras_wsol.data.gif import first_frame

JPEG, PNG, GIF, BMP, WEBP = range(1, 6)
UNKNOWN = 0
# Bytes up to the size, where its place is known.
_FIXED = (0, 0, 24, 0, 26, 30)

# The first bytes of each format; None stands for any.
_STARTS = (
    (JPEG, (0xFF, 0xD8, 0xFF)),
    (PNG, (*b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR",)),
    (GIF, (*b"GIF87a",)),
    (GIF, (*b"GIF89a",)),
    (BMP, (*b"BM",)),
    (WEBP, (*b"RIFF", None, None, None, None, *b"WEBP")),
)

# A JPEG's header has some ten segments. Each byte of rubbish between them is a step.
MAX_SEGMENTS = 4_096

# What the byte behind 0xFF says in a JPEG.
_SEGMENT, _ALONE, _FRAME, _END, _FILL = range(5)
_MARKERS = {_FRAME: {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}}
_MARKERS |= {_ALONE: {0x01, *range(0xD0, 0xD8)}, _END: {0xD8, 0xD9, 0xDA}}
_MARKERS |= {_FILL: {0x00, 0xFF}}
_KINDS = [
    next((kind for kind, codes in _MARKERS.items() if code in codes), _SEGMENT)
    for code in range(256)
]
_APP1, _EXIF = 0xE1, tuple(b"Exif\0\0")
_ORIENTATION_TAG, _SHORT = 0x0112, 3

_ANIMATION = 0x02  # a flag of a WebP's extended header


class Header(NamedTuple):
    """What the header of an encoded image says.

    Attributes:
        format: int32 scalar: `JPEG`, `PNG`, `GIF`, `BMP`, `WEBP` or `UNKNOWN`.
        size: int64 `(2,)`, height and width of the picture as it is stored; `(0, 0)`
            if the file is none of these or has no whole header. That of a GIF or WebP
            is its canvas, and of a GIF whose first frame reaches beyond it as much as
            both cover.
        orientation: int64 scalar in [1, 8]: the EXIF tag of a JPEG (segment APP1,
            before the frame's header); 1 where it is missing or broken, and for other
            formats. What XMP says is not looked at.
        frame: int64 `(3,)`: of a GIF, where the descriptor of its first frame starts,
            and top and left of the frame in the canvas.
    """

    format: Any
    size: Any
    orientation: Any
    frame: Any


def read_header(encoded: Any, *, with_orientation: bool = True) -> Header:
    """Reads size and orientation.

    A WebP of several frames has no size here: TensorFlow 2.21 writes past the end of
    its memory on one, which can end the process.

    Args:
        encoded: Scalar string tensor with the content of a file.
        with_orientation: Whether to look for the orientation.

    Returns:
        A `Header`.

    Example:
    >>> gif = b"GIF89a" + bytes([5, 0, 3, 0, 0, 0, 0]) + b"," + bytes(
    ...     [0, 0, 0, 0, 5, 0, 3, 0, 0])
    >>> header = read_header(gif)
    >>> header.size.numpy().tolist(), int(header.orientation)
    ([3, 5], 1)
    """
    import tensorflow as tf

    encoded = tf.convert_to_tensor(encoded)
    one, none = tf.constant(1, tf.int64), tf.zeros(3, tf.int64)

    def gif() -> tuple[Any, Any, Any]:
        canvas, frame = first_frame(encoded)
        return canvas, one, frame

    branches = {
        UNKNOWN: lambda: (tf.zeros(2, tf.int64), one, none),
        JPEG: lambda: (*apart(lambda: _jpeg(encoded, with_orientation)), none),
        PNG: lambda: (fields(encoded, 16, 2, "int32", big=True)[::-1], one, none),
        GIF: lambda: apart(gif),
        BMP: lambda: (apart(lambda: _bmp_size(encoded)), one, none),
        WEBP: lambda: (apart(lambda: _webp_size(encoded)), one, none),
    }
    kind = _format(encoded)
    size, orientation, frame = tf.switch_case(kind, branches)
    whole = length(encoded) >= tf.gather(tf.constant(_FIXED, tf.int64), kind)
    size = tf.where(whole & tf.reduce_all(size > 0), size, 0)
    return Header(kind, size, orientation, frame)


def _format(encoded: Any) -> Any:
    """`JPEG`, `PNG`, `GIF`, `BMP`, `WEBP` or `UNKNOWN`, by the first bytes."""
    import tensorflow as tf

    kinds, starts = zip(*_STARTS, strict=True)
    width = max(map(len, starts))
    bytes_, known = [[0] * width for _ in starts], [[False] * width for _ in starts]
    for row, start in enumerate(starts):
        for column, byte in enumerate(start):
            if byte is not None:
                bytes_[row][column], known[row][column] = byte, True
    head = fields(encoded, 0, width)
    same = tf.equal(head, tf.constant(bytes_, tf.int64)) | ~tf.constant(known)
    return tf.reduce_max(tf.where(tf.reduce_all(same, axis=1), kinds, UNKNOWN))


def _jpeg(encoded: Any, with_orientation: bool) -> tuple[Any, Any]:
    """Walks over the segments up to the frame's header, as libjpeg does."""
    import tensorflow as tf

    kinds = tf.constant(_KINDS, tf.int64)

    def step(position: Any, size: Any, exif: Any) -> tuple[Any, Any, Any]:
        data = fields(encoded, position, 10)
        kind = tf.where(tf.equal(data[0], 0xFF), tf.gather(kinds, data[1]), _FILL)
        span = 2 + 256 * data[2] + data[3]
        frame = tf.equal(kind, _FRAME) & (position + 9 <= end)
        high, low = data[5:9:2], data[6:9:2]
        size = tf.where(frame, 256 * high + low, size)
        if with_orientation:
            found = tf.equal(kind, _SEGMENT) & tf.equal(data[1], _APP1)
            found &= tf.reduce_all(tf.equal(data[4:], _EXIF)) & tf.equal(exif[1], 0)
            exif = tf.where(found, tf.stack([position + 10, span - 10]), exif)
        steps = tf.stack([span, 2, end, end, 1])
        return position + tf.gather(steps, kind), size, exif

    end = length(encoded)
    start = tf.constant(2, tf.int64), tf.zeros(2, tf.int64), tf.zeros(2, tf.int64)
    _, size, exif = tf.while_loop(
        lambda position, *_: position < end,
        step,
        start,
        maximum_iterations=MAX_SEGMENTS,
    )
    none = tf.constant(1, tf.int64)
    if not with_orientation:
        return size, none
    # A segment may announce more bytes than the file has.
    block = tf.strings.substr(encoded, tf.minimum(exif[0], end), tf.maximum(exif[1], 0))
    orientation = tf.cond(
        exif[1] > 0, lambda: apart(lambda: _orientation(block)), lambda: none
    )
    return size, orientation


def _orientation(tiff: Any) -> Any:
    """The tag in the first directory of an EXIF block, 1 if it is not as it must be."""
    import tensorflow as tf

    order = tf.strings.substr(tiff, 0, 4)
    little, big = tf.equal(order, b"II*\0"), tf.equal(order, b"MM\0*")

    def numbers(offset: Any, count: int, kind: str) -> Any:
        first = fields(tiff, offset, count, kind)
        return tf.where(little, first, fields(tiff, offset, count, kind, big=True))

    directory = numbers(4, 1, "uint32")[0]
    room = tf.maximum((length(tiff) - directory - 2) // 12, 0)
    entries = tf.minimum(numbers(directory, 1, "uint16")[0], room)
    # Twelve bytes an entry: tag, type, four of count, four of value.
    place = tf.stack([directory + 2, 12 * entries])
    place = tf.where(entries > 0, place, 0)
    pairs = tf.io.decode_raw(tf.strings.substr(tiff, *tf.unstack(place)), tf.uint8)
    pairs = tf.cast(tf.reshape(pairs, (-1, 6, 2)), tf.int64)
    weights = tf.where(little, [1, 256], [256, 1])
    tag, kind, first, second, value, _ = tf.unstack(
        tf.reduce_sum(pairs * tf.cast(weights, tf.int64), axis=-1), axis=1
    )
    count = tf.where(little, first + 65536 * second, 65536 * first + second)
    good = tf.equal(tag, _ORIENTATION_TAG) & tf.equal(kind, _SHORT)
    # Two values fit in the entry, too; the first counts.
    good &= (count >= 1) & (count <= 2) & (value >= 1) & (value <= 8)
    good &= little | big
    # The last of several entries counts, as for Pillow.
    return tf.concat([[1], tf.boolean_mask(value, good)], axis=0)[-1]


def _bmp_size(encoded: Any) -> Any:
    import tensorflow as tf

    # The header of OS/2, of 12 bytes, has shorter numbers. A negative height says
    # that the rows go downwards.
    old = tf.equal(fields(encoded, 14, 1, "uint32"), 12)
    short = fields(encoded, 18, 2, "uint16")
    return tf.abs(tf.where(old, short, fields(encoded, 18, 2, "int32")))[::-1]


def _webp_size(encoded: Any) -> Any:
    import tensorflow as tf

    place = tf.minimum(12, tf.strings.length(encoded))
    chunk = tf.strings.substr(encoded, place, 4)
    data = fields(encoded, 20, 10)
    lossy = fields(encoded, 26, 2, "uint16") & 0x3FFF
    bits = fields(encoded, 21, 1, "uint32")[0]
    lossless = tf.stack([bits & 0x3FFF, (bits // 16384) & 0x3FFF]) + 1
    three = tf.constant([1, 256, 65536], tf.int64)
    extended = tf.reduce_sum(tf.reshape(data[4:], (2, 3)) * three, axis=1) + 1
    size = tf.zeros(2, tf.int64)
    lossy_code = tf.reduce_all(tf.equal(data[3:6], [0x9D, 0x01, 0x2A]))
    size = tf.where(tf.equal(chunk, b"VP8 ") & lossy_code, lossy, size)
    size = tf.where(tf.equal(chunk, b"VP8L") & tf.equal(data[0], 0x2F), lossless, size)
    still = tf.equal(data[0] & _ANIMATION, 0)
    size = tf.where(tf.equal(chunk, b"VP8X") & still, extended, size)
    return size[::-1]
