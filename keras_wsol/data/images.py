"""Image files: headers, orientation, views."""

from collections.abc import Callable
from typing import Any, NamedTuple

VIEWS = ("whole", "center_crop")

# ADL's code resizes to 256 and crops 224.
RESIZE_OVER_CROP = 256 / 224


def check_view(view: Any) -> None:
    """Raises unless `view` is known."""
    if view not in VIEWS:
        raise ValueError(f"`view` must be one of {list(VIEWS)}. Received: {view!r}.")


def resize_before_crop(image_size: tuple[int, int]) -> tuple[int, int]:
    """Returns the size that an image has before it is cropped to `image_size`."""
    height, width = image_size
    return round(height * RESIZE_OVER_CROP), round(width * RESIZE_OVER_CROP)


def view_geometry(
    view: str, image_size: tuple[int, int]
) -> tuple[tuple[int, int], tuple[int, int]]:
    """Returns how a view is made: the size to resize to, and where to cut."""
    if view == "whole":
        return image_size, (0, 0)
    height, width = resize_before_crop(image_size)
    return (height, width), (
        (height - image_size[0]) // 2,
        (width - image_size[1]) // 2,
    )


def view_box_transform(
    view: str, image_size: tuple[int, int]
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Returns scale and shift that take a box from [0, 1] to pixels of the view."""
    (height, width), (top, left) = view_geometry(view, image_size)
    scale = tuple(map(float, (width, height, width, height)))
    return scale, tuple(map(float, (left, top, left, top)))


ORIENTATIONS = ("exif", "stored")


def check_orientation(orientation: Any) -> None:
    """Raises unless `orientation` is known."""
    if orientation not in ORIENTATIONS:
        raise ValueError(
            f"`orientation` must be one of {list(ORIENTATIONS)}. Received: "
            f"{orientation!r}."
        )


def upright(image: Any, tag: Any) -> Any:
    """Turns an image by the value of its EXIF orientation tag, in a graph."""
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


def apart(function: Callable[[], Any]) -> Any:
    """Calls a function whose graph is prepared only if it comes to be run."""
    import tensorflow as tf

    if tf.executing_eagerly():
        return function()
    options = {"autograph": False, "experimental_attributes": {"_noinline": True}}
    return tf.function(function, **options)()


def length(encoded: Any) -> Any:
    """Number of bytes, an int64 scalar."""
    import tensorflow as tf

    return tf.cast(tf.strings.length(encoded), tf.int64)


def fields(
    encoded: Any, offset: Any, count: int, kind: str = "uint8", *, big: bool = False
) -> Any:
    """Reads numbers; what lies behind the end of the file is zero."""
    import tensorflow as tf

    # The kernel that pads knows no uint32.
    dtype = tf.as_dtype("int32" if kind == "uint32" else kind)
    size = count * dtype.size
    offset = tf.minimum(tf.cast(offset, tf.int64), length(encoded))
    piece = tf.strings.substr(encoded, offset, tf.constant(size, tf.int64))
    numbers = tf.io.decode_raw(piece, dtype, not big, fixed_length=size)
    numbers = tf.cast(numbers, tf.int64)
    return numbers & 0xFFFFFFFF if kind == "uint32" else numbers


# To walk over the segments of a file, as `read_header` does, takes as long as to
# decode a small photograph. Most files need no walk: the bytes that announce a frame
# are found
# once in them, and those that announce an orientation not at all.

# The second byte of a marker: what begins a frame, whatever its coding; what begins or
# ends the picture, or begins its data; what holds EXIF.
_FRAME, _END, _APP1 = 1, 2, 0xE1
_FRAME_KINDS = dict.fromkeys(range(0xC0, 0xD0), _FRAME)
_FRAME_KINDS |= {0xC4: 0, 0xC8: 0, 0xCC: 0, 0xD8: _END, 0xD9: _END, 0xDA: _END}


def sole_frame(encoded: Any) -> tuple[Any, Any, Any]:
    """Looks for the size of a JPEG at every place where it may stand."""
    import tensorflow as tf

    # A zero behind the end, so that each byte has one after it.
    data = tf.io.decode_raw(tf.strings.join([encoded, b"\0"]), tf.uint8)
    marks = tf.where(tf.equal(data, 0xFF))[:, 0]
    codes = tf.gather(data, marks + 1)
    kinds = [_FRAME_KINDS.get(code, 0) for code in range(256)]
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


# A step in a graph takes some 10 microseconds, and a file of one-byte blocks would have
# half a million of them a megabyte. Files have a few blocks before their first frame;
# what photo editors put there (XMP) is read as blocks of some 70 bytes.
MAX_STEPS = 50_000
# Blocks of pixels hold up to 255 bytes, and encoders fill them.
_FAIR_BLOCK = 32

EXTENSION, IMAGE = 0x21, 0x2C


def first_frame(encoded: Any) -> tuple[Any, Any]:
    """Finds the first frame of a GIF, in a graph."""
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
    """Cuts a GIF off behind its first frame, in a graph."""
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
    """Skips blocks as long as the first at once."""
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


# A decoder makes room for the picture that a file's header announces, and a header of
# gigapixels fits in a hundred bytes. Here the size is found by the rules of the decoder
# that will be used, so that what is too large can be refused before. Only operations on
# strings and numbers are used; no byte sequence makes them fail.

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
    """Reads size and orientation."""
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
