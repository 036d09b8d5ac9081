"""Image files: views, reading with Pillow, headers in a graph, verification."""

import functools
import json
import os
import struct
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_wsol.arguments import check_choice, check_integer
from keras_wsol.files import replaced

Size = tuple[int, int]  # height and width
VIEWS = ("whole", "center_crop")
MAX_PIXELS = 50_000_000  # of an image that is decoded: 150 MB


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


# --- With Pillow ---

# What a graph reads, too. Pillow knows many more: a file that says it is PostScript,
# for one, would be run by Ghostscript.
PILLOW_FORMATS = ("JPEG", "PNG", "GIF", "BMP", "WEBP")  # and MPO, as a JPEG
_ORIENTATION_TAG = 0x0112
# Kind and count of values that fit into a directory's entry, where the first of them
# is the tag: SHORT, of which two fit, and LONG, which some phones write.
_IN_PLACE = ((3, 1), (3, 2), (4, 1))
# What Pillow raises on broken files.
BROKEN = (OSError, EOFError, SyntaxError, ValueError, LookupError, ArithmeticError)
BROKEN += (struct.error, zlib.error)


def read_image(path: str, *, orientation: str = "stored") -> np.ndarray:
    """Reads an image file as RGB, uint8 `(H, W, 3)`."""
    try:
        return decode_image(path, orientation)
    except ValueError as error:
        raise ValueError(f"Cannot read the image: {path} ({error}).") from error


def decode_image(
    file: Any, orientation: str = "stored", max_pixels: int = MAX_PIXELS
) -> np.ndarray:
    """Decodes an image, a path or an open file, as RGB."""
    from PIL import Image

    with _opened(file) as image:
        if image.width * image.height > max_pixels:
            raise ValueError(
                f"{image.width} x {image.height} are more than {max_pixels} pixels"
            )
        turn = _TURNS[exif_orientation(image)] if orientation == "exif" else None
        if turn is not None:
            image = image.transpose(Image.Transpose(turn))
        if image.mode.startswith("I;16"):
            image = Image.fromarray((np.asarray(image) // 256).astype("uint8"))
        return np.asarray(image.convert("RGB"))


def read_size(path: Any, orientation: str = "stored") -> Size:
    """Reads height and width of an image from its header."""
    try:
        with _opened(path) as image:
            turned = orientation == "exif" and exif_orientation(image) >= 5
            return image.size if turned else image.size[::-1]
    except ValueError as error:
        raise ValueError(f"Cannot read the image: {path} ({error}).") from error


@contextmanager
def _opened(file: Any) -> Iterator[Any]:
    """Opens an image; what goes wrong with it inside is a `ValueError`."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(file, formats=PILLOW_FORMATS) as image:
            yield image
    except UnidentifiedImageError as error:
        raise ValueError("no JPEG, PNG, GIF, BMP or WebP image") from error
    except (*BROKEN, Image.DecompressionBombError) as error:
        raise ValueError(str(error) or type(error).__name__) from error


# By EXIF tag, Pillow's `Transpose`.
_TURNS = (None, None, 0, 3, 1, 5, 4, 6, 2)


def exif_orientation(image: Any) -> int:
    """The EXIF tag of a JPEG; as in a graph, not of its XMP, and not of a PNG."""
    if image.format not in ("JPEG", "MPO"):
        return 1
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
        if tag == _ORIENTATION_TAG and (kind, values) in _IN_PLACE:
            number = "H" if kind == 3 else "I"
            (value,) = struct.unpack_from(f"{order}{number}", tiff, start + 8)
            found = value if 1 <= value <= 8 else found
    return found


# --- In a graph: what a header says, before anything is decoded ---

UNKNOWN, JPEG, PNG, GIF, BMP, WEBP = range(6)


def image_header(encoded: Any) -> tuple[Any, Any]:
    """Reads format and stored size, int64 `(2,)`, from the first bytes, in a graph.

    The size is (0, 0) if the file is no image, a compressed BMP or a WebP of several
    frames, which would corrupt memory in TensorFlow. A broken JPEG is an error.
    """
    import tensorflow as tf

    start = tf.strings.join([tf.strings.substr(encoded, 0, 32), bytes(64)])

    def has(text: bytes, place: int = 0) -> Any:
        return tf.equal(tf.strings.substr(start, place, len(text)), text)

    def numbers(place: int, kind: Any, little_endian: bool = True) -> Any:
        data = tf.strings.substr(start, place, 8)
        return tf.cast(tf.io.decode_raw(data, kind, little_endian)[:2], tf.int64)

    webp = has(b"RIFF")
    lossy = webp & has(b"WEBPVP8 ", 8) & has(b"\x9d\x01\x2a", 23)
    lossless = webp & has(b"WEBPVP8L", 8) & has(b"\x2f", 20)
    extended = webp & has(b"WEBPVP8X", 8)
    animated = numbers(20, tf.uint8)[0] // 2 % 2
    png, jpeg = has(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"), has(b"\xff\xd8\xff")
    # TensorFlow takes compressed pixels for plain ones.
    bmp = has(b"BM") & (has(b"\0", 30) | has(b"\3", 30))
    known = [jpeg, png, has(b"GIF8"), bmp, lossy, lossless, extended]
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


def jpeg_orientation(encoded: Any) -> Any:
    """Reads the EXIF orientation of a JPEG in a graph; 1 if missing or broken."""
    import tensorflow as tf

    # Most files have none, and a walk over the segments takes a millisecond.
    some = tf.strings.regex_full_match(encoded, rb"\C*Exif\x00\x00\C*")
    one = tf.ones((), tf.int64)
    return tf.cond(some, lambda: _orientation(_exif_block(encoded)), lambda: one)


# How far the second byte of a JPEG's marker says to go: 0 by the segment's length, -1
# to the end, since the picture's frame begins or it ends.
_STEPS = np.zeros(256, "int64")
_STEPS[[0x00, 0xFF]], _STEPS[[0x01, *range(0xD0, 0xD8)]] = 1, 2
_STEPS[[*{*range(0xC0, 0xD0), 0xD8, 0xD9, 0xDA} - {0xC4, 0xC8, 0xCC}]] = -1


def _exif_block(encoded: Any) -> Any:
    """What the first EXIF segment before the frame holds, empty if there is none."""
    import tensorflow as tf

    data = tf.io.decode_raw(tf.strings.join([encoded, bytes(10)]), tf.uint8)
    end = tf.size(data, tf.int64) - 10
    steps = tf.constant(_STEPS)

    def step(position: Any, _: Any) -> tuple[Any, Any]:
        head = tf.cast(data[position : position + 10], tf.int64)
        step = tf.where(tf.equal(head[0], 0xFF), tf.gather(steps, head[1]), 1)
        span = 2 + 256 * head[2] + head[3]
        found = tf.equal(step, 0) & tf.equal(head[1], 0xE1)
        found &= tf.reduce_all(tf.equal(head[4:], [*b"Exif\0\0"]))
        following = position + tf.where(tf.equal(step, 0), span, step)
        block = tf.stack([position + 10, span - 10])
        following = tf.where(found | (step < 0), end, following)
        return following, tf.where(found, block, 0)

    start = tf.constant(2, tf.int64), tf.zeros(2, tf.int64)
    _, block = tf.while_loop(lambda position, _: position < end, step, start)
    # A segment may announce more bytes than the file has.
    return tf.strings.substr(encoded, tf.minimum(block[0], end), block[1])


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
    good = tf.equal(tag, _ORIENTATION_TAG) & tf.reduce_any(known, axis=1)
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
    lines = cache.read_text("utf-8").splitlines() if cache.is_file() else []
    try:
        verdicts = list(map(json.loads, lines))
        return {tuple(v[key] for key in _KEY): v for v in verdicts if "size" in v}
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
