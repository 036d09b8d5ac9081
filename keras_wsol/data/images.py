"""Image files: views, limits, headers in a graph, verification."""

import functools
import json
import os
import re
import struct
import zlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_wsol.arguments import check_choice, check_integer
from keras_wsol.files import replaced

Size = tuple[int, int]  # height and width
VIEWS = ("whole", "center_crop")
MAX_PIXELS = 50_000_000  # of an image that is decoded: 150 MB
MAX_SCANS = 100  # of a JPEG; encoders write ten
MAX_SEGMENTS = 1000  # of a JPEG
TOO_MUCH = "more scans, segments or bytes than such a picture takes"


def check_view(view: Any) -> str:
    """Returns `view` if it is known, else raises."""
    return check_choice("view", view, VIEWS)


def check_image_size(image_size: Any, low: int = 1) -> Size:
    """Returns height and width if both are integers of at least `low`, else raises."""
    if np.shape(image_size) != (2,):
        received = f"Received: image_size={image_size!r}."
        raise ValueError(f"`image_size` must be (height, width). {received}")
    height, width = (check_integer("image_size", side, low) for side in image_size)
    return height, width


def default_threads() -> int:
    """Returns how many images are read at once: each may take hundreds of MB."""
    return min(os.cpu_count() or 1, 16)


def resize_before_crop(image_size: Size) -> Size:
    """Returns the size before a crop: ADL's code resizes to 256 and crops 224."""
    height, width = image_size
    return round(height * 256 / 224), round(width * 256 / 224)


def view_geometry(view: str, image_size: Size) -> tuple[Size, Size]:
    """Returns how a view is made: the size to resize to, and where to cut."""
    if view == "whole":
        return image_size, (0, 0)
    height, width = resize_before_crop(image_size)
    corner = (height - image_size[0]) // 2, (width - image_size[1]) // 2
    return (height, width), corner


def boxes_in_view(
    boxes: Any, sizes: Any, view: str, image_size: Size, xp: Any = np
) -> Any:
    """Moves boxes `(..., M, 4)` of images of `sizes` `(..., 2)` into a view of them.

    Rows of -1 stay. `xp` is NumPy, or TensorFlow with `sizes` as float32.
    """
    if xp is np:
        boxes, sizes = np.asarray(boxes, "float32"), np.asarray(sizes, "float32")
    (height, width), (top, left) = view_geometry(view, image_size)
    scale = np.array([width, height, width, height], "float32")
    shift = np.array([left, top, left, top], "float32")
    high = np.array([image_size[1], image_size[0]] * 2, "float32")
    rows, columns = sizes[..., 0], sizes[..., 1]
    stored = xp.stack([columns, rows, columns, rows], -1)[..., None, :]
    moved = xp.maximum(boxes / stored * scale - shift, np.float32(0))
    return xp.where(boxes[..., 2:3] < 0, np.float32(-1), xp.minimum(moved, high))


# --- Formats ---

# What a graph reads, too. Pillow knows many more: a file that says it is PostScript,
# for one, would be run by Ghostscript.
PILLOW_FORMATS = ("JPEG", "PNG", "GIF", "BMP", "WEBP")  # and MPO, as a JPEG
# What Pillow raises on broken files.
BROKEN = (OSError, EOFError, SyntaxError, ValueError, LookupError, ArithmeticError)
BROKEN += (struct.error, zlib.error)


def is_plain_bmp(has: Callable[..., Any]) -> Any:
    """Whether TensorFlow reads a BMP as it is; `has(place, *texts)` looks at bytes."""
    bits = (bytes([number, 0, 0, 0, 0, 0]) for number in (8, 24, 32))
    # With masks for the colors, but the usual ones.
    masks = b"\0\0\xff\0\0\xff\0\0\xff"
    plain = has(28, *bits) | has(28, b"\x20\0\3\0\0\0") & has(54, masks)
    return plain & has(14, *(bytes([size, 0, 0, 0]) for size in (40, 52, 56, 108, 124)))


def most_png_bytes(pixels: Any) -> Any:
    """Eight bytes a pixel, and some. What is packed behind them is unpacked, too."""
    return 8 * pixels + 2**19


# A marker, the length of what follows, and the number of channels: no other bytes of a
# picture look like it. It may take no more bytes, and yet the time of all pixels.
_SCAN = re.compile(rb"\xff\xda\x00(?:\x06\x00|\x08\x01|\x0a\x02|\x0c\x03|\x0e\x04)")


def check_bytes(data: bytes) -> None:
    """Raises a `ValueError` for what Pillow would read, and a graph would not."""

    def has(place: int, *texts: bytes) -> bool:
        return data[place : place + len(texts[0])] in texts

    good = few = True
    if has(0, b"BM") and len(data) > 34:
        start, width, height = struct.unpack("<I4xii", data[10:26])
        size = start + (width * data[28] + 31) // 32 * 4 * abs(height)
        good = is_plain_bmp(has) and size == len(data)
    elif has(0, b"\x89PNG") and len(data) > 24:
        good = b"IEND\xaeB`\x82" in data
        width, height = struct.unpack(">II", data[16:24])
        few = len(data) <= most_png_bytes(width * height)
    elif has(0, b"RIFF") and has(12, b"VP8X"):
        good = not data[20:21] or not data[20] & 2  # of several frames
    elif has(0, b"\xff\xd8"):
        few = len(_SCAN.findall(data)) <= MAX_SCANS
    if not good:
        raise ValueError("no JPEG, PNG, GIF, BMP or still WebP image")
    if not few:
        raise ValueError(TOO_MUCH)


ORIENTATION_TAG = 0x0112
# Kind and count of values that fit into a directory's entry, where the first of them
# is the tag: SHORT, of which two fit, and LONG, which some phones write.
_IN_PLACE = ((3, 1), (3, 2), (4, 1))


def exif_orientation(image: Any) -> int:
    """The EXIF tag of a JPEG; as in a graph, not of its XMP, and not of a PNG."""
    if image.format not in ("JPEG", "MPO"):
        return 1
    if len(image.applist) > MAX_SEGMENTS:
        raise ValueError(TOO_MUCH)
    # Pillow's own takes it from more kinds of numbers, and joins blocks.
    mark = b"Exif\0\0"
    found = (x for name, x in image.applist if name == "APP1" and x.startswith(mark))
    tiff = next(found, b"")[len(mark) :]
    found, order = 1, {b"II*\0": "<", b"MM\0*": ">"}.get(tiff[:4])
    if order is None or len(tiff) < 8:
        return found
    (place,) = struct.unpack_from(f"{order}I", tiff, 4)
    if place + 2 > len(tiff):
        return found
    (count,) = struct.unpack_from(f"{order}H", tiff, place)
    for start in range(place + 2, min(place + 2 + 12 * count, len(tiff) - 11), 12):
        tag, kind, values = struct.unpack_from(f"{order}HHI", tiff, start)
        if tag == ORIENTATION_TAG and (kind, values) in _IN_PLACE:
            number = "H" if kind == 3 else "I"
            (value,) = struct.unpack_from(f"{order}{number}", tiff, start + 8)
            found = value if 1 <= value <= 8 else found
    return found


# --- In a graph: what a header says, before anything is decoded ---

UNKNOWN, JPEG, PNG, GIF, BMP, WEBP = range(6)


def image_header(encoded: Any) -> tuple[Any, Any]:
    """Reads format and stored size, int64 `(2,)`, from the first bytes, in a graph.

    The size is (0, 0) if the file is no image, a BMP that TensorFlow reads wrong, or a
    WebP of several frames, which would corrupt memory. A broken JPEG is an error.
    """
    import tensorflow as tf

    start = tf.strings.join([tf.strings.substr(encoded, 0, 80), bytes(80)])

    def has(place: int, *texts: bytes) -> Any:
        found = tf.strings.substr(start, place, len(texts[0]))
        return tf.reduce_any(tf.equal(found, [*texts]))

    def numbers(place: int, kind: Any, little_endian: bool = True) -> Any:
        data = tf.strings.substr(start, place, 8)
        return tf.cast(tf.io.decode_raw(data, kind, little_endian)[:2], tf.int64)

    webp = has(0, b"RIFF")
    lossy = webp & has(8, b"WEBPVP8 ") & has(23, b"\x9d\x01\x2a")
    lossless = webp & has(8, b"WEBPVP8L") & has(20, b"\x2f")
    extended = webp & has(8, b"WEBPVP8X")
    animated = numbers(20, tf.uint8)[0] // 2 % 2
    png, jpeg = has(0, b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"), has(0, b"\xff\xd8\xff")
    bmp = has(0, b"BM") & is_plain_bmp(has)
    known = [jpeg, png, has(0, b"GIF8"), bmp, lossy, lossless, extended]
    place = tf.reduce_sum(tf.where(known, [*range(1, 8)], 0))
    none = tf.zeros(2, tf.int64)
    # Width and height, in one number each where they are no whole bytes or words.
    both, wide = numbers(21, tf.int64)[0] % 2**28, numbers(24, tf.int64)[0] % 2**48
    sizes = [
        none,
        tf.cond(
            jpeg,
            lambda: tf.io.extract_jpeg_shape(encoded, tf.int64)[1::-1],
            lambda: none,
        ),
        numbers(16, tf.int32, little_endian=False),
        numbers(6, tf.uint16),
        tf.abs(numbers(18, tf.int32)),  # negative where the rows go downwards
        numbers(26, tf.uint16) % 2**14,
        tf.stack([both % 2**14, both // 2**14]) + 1,
        (tf.stack([wide % 2**24, wide // 2**24]) + 1) * (1 - animated),
    ]
    return tf.minimum(place, WEBP), tf.stack(sizes)[place, ::-1]


def jpeg_scans(encoded: Any) -> Any:
    """Counts the scans of a JPEG in a graph, with those of previews in it."""
    import tensorflow as tf

    data = tf.io.decode_raw(tf.strings.join([encoded, bytes(5)]), tf.uint8)
    places = tf.where(tf.equal(data[:-4], 0xFF) & tf.equal(data[1:-3], 0xDA))[:, 0]
    zero, length, count = (tf.gather(data, places + step) for step in (2, 3, 4))
    scans = tf.equal(zero, 0) & tf.equal(length, 6 + 2 * count) & (count < 5)
    return tf.size(tf.where(scans))


def jpeg_orientation(encoded: Any) -> Any:
    """Reads the EXIF orientation of a JPEG in a graph; 1 if missing or broken.

    0 stands for more segments than may be looked at.
    """
    import tensorflow as tf

    # Most files have none, and a walk over the segments takes a millisecond.
    some = tf.strings.regex_full_match(encoded, rb"\C*Exif\x00\x00\C*")
    one = tf.ones((), tf.int64)

    def look() -> Any:
        block, done = _exif_block(encoded)
        return tf.where(done, _orientation(block), 0)

    return tf.cond(some, look, lambda: one)


def _exif_block(encoded: Any) -> tuple[Any, Any]:
    """What the first EXIF segment before the pixels holds, empty if there is none.

    And whether the search came to an end.
    """
    import tensorflow as tf

    data = tf.io.decode_raw(tf.strings.join([encoded, bytes(10)]), tf.uint8)
    end = tf.size(data, tf.int64) - 10
    places = tf.where(tf.equal(data[:-10], 0xFF))[:, 0]
    # What is no marker of a segment, libjpeg passes over.
    names = tf.cast(tf.gather(data, places + 1), tf.int32)
    others = tf.reduce_any(tf.equal(names[:, None], [0, 1, 0xFF]), axis=1)
    marks = tf.boolean_mask(places, ~(others | tf.equal(names // 8, 0xD0 // 8)))
    marks = tf.concat([marks, [end]], axis=0)

    def step(position: Any, _: Any) -> tuple[Any, Any]:
        place = tf.gather(marks, tf.searchsorted(marks, position[None])[0])
        head = tf.cast(data[place : place + 10], tf.int64)
        span = 256 * head[2] + head[3]
        found = tf.equal(head[1], 0xE1)
        found &= tf.reduce_all(tf.equal(head[4:], [*b"Exif\0\0"]))
        # The picture begins, another one does, or it ends.
        over = tf.reduce_any(tf.equal(head[1], [0, 0xD8, 0xD9, 0xDA]))
        following = tf.where(found | over, end, place + 2 + span)
        return following, tf.where(found, tf.stack([place + 10, span - 8]), 0)

    start = tf.constant(2, tf.int64), tf.zeros(2, tf.int64)
    last, block = tf.while_loop(
        lambda place, _: place < end, step, start, maximum_iterations=MAX_SEGMENTS
    )
    # A segment may announce more bytes than the file has.
    text = tf.strings.substr(encoded, tf.minimum(block[0], end), block[1])
    return text, last >= end


def _orientation(tiff: Any) -> Any:
    """The tag in the first directory of an EXIF block, 1 if it is not as it must be."""
    import tensorflow as tf

    length = tf.cast(tf.strings.length(tiff), tf.int64)
    data = tf.io.decode_raw(tf.strings.join([tiff, bytes(16)]), tf.uint8)
    data = tf.cast(data, tf.int64)
    order = tf.strings.substr(tiff, 0, 4)
    little, big = tf.equal(order, b"II*\0"), tf.equal(order, b"MM\0*")
    weights = tf.where(little, *tf.unstack(tf.constant([[1, 256], [256, 1]], tf.int64)))

    def pairs(place: Any, count: Any) -> Any:
        return tf.reshape(data[place : place + 2 * count], (-1, 2)) @ weights[:, None]

    def long(first: Any, second: Any) -> Any:
        return tf.where(little, first + 65536 * second, 65536 * first + second)

    directory = tf.minimum(long(*tf.unstack(pairs(4, 2)[:, 0], 2)), length)
    room = tf.maximum((length - directory - 2) // 12, 0)
    entries = tf.minimum(pairs(directory, 1)[0, 0], room)
    # Twelve bytes an entry: tag, type, four of count, four of value.
    rows = tf.reshape(pairs(directory + 2, 6 * entries), (-1, 6))
    tag, kind, first, second, value, rest = tf.unstack(rows, axis=1)
    given = tf.stack([kind, long(first, second)], axis=1)
    known = tf.reduce_all(tf.equal(given[:, None], _IN_PLACE), axis=2)
    value = tf.where(tf.equal(kind, 4), long(value, rest), value)
    good = tf.equal(tag, ORIENTATION_TAG) & tf.reduce_any(known, axis=1)
    good &= (value >= 1) & (value <= 8) & (little | big)
    # The last of several entries counts, as for Pillow.
    return tf.concat([[1], tf.boolean_mask(value, good)], axis=0)[-1]


# --- Verification ---

_BLOCK = 512  # files between two steps of the bar
_KEY = ("path", "bytes", "mtime", "orientation", "decoder")


def judge_files(
    paths: Sequence[str],
    orientation: str,
    decoder: tuple[str, Callable[[str], Size]],
    cache: str | Path | None = None,
) -> tuple[np.ndarray, tuple[tuple[str, str], ...]]:
    """Reads every file once, in threads, by a named decoder that gives its size.

    Returns sizes as read, zeros for broken files, and (path, reason) of these. `cache`
    is a JSON Lines file of verdicts, which hold while a file's size and mtime do.
    """
    known = {} if cache is None else _read_verdicts(Path(cache))
    judge = functools.partial(_judge, known, orientation, *decoder)
    shown = len(paths) > 10 * _BLOCK and keras.config.is_interactive_logging_enabled()
    bar = keras.utils.Progbar(len(paths), unit_name="file", verbose=int(shown))
    verdicts: list[dict[str, Any]] = []
    try:
        with ThreadPoolExecutor(default_threads()) as threads:
            for start in range(0, len(paths), _BLOCK):
                block = map(str, paths[start : start + _BLOCK])
                verdicts += threads.map(judge, block)
                bar.update(len(verdicts))
    finally:
        if cache is not None:
            _write_verdicts(Path(cache), known, verdicts)
    sizes = [verdict["size"] or (0, 0) for verdict in verdicts]
    left_out = ((v["path"], v["reason"]) for v in verdicts if v["size"] is None)
    return np.array(sizes, "int32").reshape(-1, 2), tuple(left_out)


def _judge(
    known: dict[tuple, dict], orientation: str, decoder: str, size_of: Any, path: str
) -> dict[str, Any]:
    verdict = {"path": path, "size": None, "reason": ""}
    try:
        found = Path(path).stat()
        key = (path, found.st_size, found.st_mtime_ns, orientation, decoder)
        if key in known:
            return known[key]
        verdict |= dict(zip(_KEY, key, strict=True))
        verdict["size"] = [*map(int, size_of(path))]
    except OSError as error:
        verdict["reason"] = error.strerror or str(error)
    except ValueError as error:
        verdict["reason"] = str(error)
    return verdict


def _read_verdicts(cache: Path) -> dict[tuple, dict]:
    try:
        lines = cache.read_text("utf-8").splitlines() if cache.is_file() else []
        verdicts = [each for each in map(json.loads, lines) if "size" in each]
        for size in (each["size"] for each in verdicts):
            if size is not None and not (len(size) == 2 and min(size) > 0):
                raise ValueError(f"no size of an image: {size}")
        return {tuple(each[key] for key in _KEY): each for each in verdicts}
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"`verify` must be a boolean or the path of a file of verdicts. {cache} "
            "holds something else."
        ) from error


def _write_verdicts(cache: Path, known: dict, verdicts: Sequence[dict]) -> None:
    # A missing file has no size and time, and is looked for each time.
    found = {tuple(v[k] for k in _KEY): v for v in verdicts if "bytes" in v}
    newest = {key[0]: verdict for key, verdict in {**known, **found}.items()}
    if found.keys() - known.keys():
        lines = (json.dumps(verdict) + "\n" for verdict in newest.values())
        with replaced(cache) as temporary:
            temporary.write_text("".join(lines), "utf-8")
