"""Size, orientation and limit from header bytes: whole files, handmade ones, noise."""

import io
import re
import struct
import warnings

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageOps

from keras_wsol.data.images import (
    MAX_SEGMENTS,
    fields,
    first_frame,
    read_header,
    upright,
)
from keras_wsol.data.images import read_image
from keras_wsol.data.tf_pipeline import PARALLEL_DECODES, decode_rgb, read_each
from tests.data.handmade import (
    COLORS,
    behind_start,
    chunk,
    downward_bmp,
    encode,
    exif,
    frame_of,
    gif,
    large_png,
    old_bmp,
    segment,
)
from tests.data.small_datasets import gradient

TEXT = tf.TensorSpec((), tf.string)
in_graph = tf.function(read_header, input_signature=[TEXT])
decode_stored = tf.function(lambda x: decode_rgb(x), input_signature=[TEXT])
decode_upright = tf.function(
    lambda x: decode_rgb(x, orientation="exif"), input_signature=[TEXT]
)


def size_of(file):
    return tuple(in_graph(file).size.numpy().tolist())


def tag_of(file):
    return int(in_graph(file).orientation)


def with_pillow(file):
    with warnings.catch_warnings(), Image.open(io.BytesIO(file)) as image:
        warnings.simplefilter("ignore")
        if image.mode == "I;16":
            image = Image.fromarray((np.asarray(image) // 256).astype("uint8"))
        return np.asarray(image.convert("RGB"))


WRITERS = {
    "jpeg": lambda x: encode(x, "JPEG"),
    "jpeg, progressive": lambda x: encode(x, "JPEG", progressive=True),
    "jpeg, grey": lambda x: encode(x[..., 0], "JPEG"),
    "jpeg, cmyk": lambda x: encode(Image.fromarray(x).convert("CMYK"), "JPEG"),
    "png": lambda x: encode(x, "PNG"),
    "png, palette": lambda x: encode(Image.fromarray(x).quantize(16), "PNG"),
    "png, 16 bits": lambda x: encode(x[..., 0].astype("uint16") * 257, "PNG"),
    "gif": lambda x: encode(Image.fromarray(x).quantize(16), "GIF"),
    "bmp": lambda x: encode(x, "BMP"),
    "bmp, grey": lambda x: encode(x[..., 0], "BMP"),
    "bmp, palette": lambda x: encode(Image.fromarray(x).convert("P"), "BMP"),
    "bmp, downward": downward_bmp,
    "webp": lambda x: encode(x, "WEBP"),
    "webp, lossless": lambda x: encode(x, "WEBP", lossless=True),
    "webp, alpha": lambda x: encode(np.dstack([x, x[..., 0]]), "WEBP"),
}


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("size", [(1, 1), (1, 700), (513, 2), (24, 40)])
def test_sizes_of_every_format(name, size):
    image = gradient(*size)
    file = WRITERS[name](image)
    assert (size_of(file), tag_of(file)) == (size, 1)
    decoded = decode_stored(file).numpy()
    np.testing.assert_allclose(decoded, with_pillow(file).astype(float), atol=8)


def test_eagerly_as_in_a_graph():
    for name, write in WRITERS.items():
        file = write(gradient(7, 12))
        header = read_header(file)
        found = (header.size.numpy().tolist(), int(header.orientation))
        assert found == ([7, 12], 1), name


def test_the_header_of_os2_is_measured_but_not_decoded():
    file = old_bmp(gradient(9, 300))
    assert size_of(file) == with_pillow(file).shape[:2] == (9, 300)
    with pytest.raises(tf.errors.InvalidArgumentError):
        decode_stored(file)


def test_a_compressed_bmp_is_refused_and_not_taken_for_noise():
    file = bytearray(encode(gradient(9, 30)[..., 0], "BMP"))
    file[30] = 1
    with pytest.raises(tf.errors.InvalidArgumentError, match="A compressed BMP"):
        decode_stored(bytes(file))


@pytest.mark.parametrize(
    "file",
    [
        b"",
        b"GIF89a",
        b"no image at all, but long enough for any header",
        b"\xff\xd8\xff",
        b"\xff\xd8" + segment(0xE0, b"JFIF"),
        b"\xff\xd8\xff\xd9" + encode(gradient(), "JPEG")[2:],
        b"\x89PNG\r\n\x1a\n" + chunk(b"tEXt", b"before the header"),
        encode(gradient(), "PNG")[:23],
        encode(gradient(), "BMP")[:25],
        encode(gradient(), "WEBP")[:29],
        b"RIFF0000WEBPVP8 0000\0\0\0\x9d\x01\x2b" + bytes(20),
        encode(gradient(), "TIFF"),
        gif((3, 5)),
        gif((3, 5), ((0, 0), np.zeros((0, 4), int))),
    ],
    ids=range(14),
)
def test_what_is_no_image_has_no_size(file):
    assert (size_of(file), tag_of(file)) == ((0, 0), 1)
    with pytest.raises(tf.errors.InvalidArgumentError, match="No image"):
        decode_stored(file)


@pytest.mark.parametrize("alpha", [False, True])
def test_a_webp_of_two_frames_is_kept_from_the_decoder(alpha):
    # It would overwrite memory: the process ends, at once or later.
    frames = [Image.fromarray(x) for x in (gradient(), 255 - gradient())]
    if alpha:
        frames = [frame.convert("RGBA") for frame in frames]
    file = encode(frames[0], "WEBP", save_all=True, append_images=frames[1:])
    assert size_of(file) == (0, 0)
    with pytest.raises(tf.errors.InvalidArgumentError, match="No image"):
        decode_stored(file)


# What libjpeg skips, and the size is still found.
JPEG = encode(gradient(20, 36), "JPEG", quality=95)
FRAME = frame_of(JPEG)


@pytest.mark.parametrize(
    "rubbish",
    [b"\xff\xff\xff", b"\x00\x01\x02", b"\xff\x00", b"\xff\x01", b"\xff\xe5\0\0"],
    ids=["fill", "bytes", "stuffed", "alone", "length 0"],
)
def test_rubbish_between_the_segments_of_a_jpeg(rubbish):
    file = JPEG[:FRAME] + rubbish + JPEG[FRAME:]
    assert size_of(file) == (20, 36)
    np.testing.assert_array_equal(decode_stored(file), decode_stored(JPEG))


def test_endless_rubbish_ends():
    file = JPEG[:FRAME] + bytes(2 * MAX_SEGMENTS) + JPEG[FRAME:]
    assert size_of(file) == (0, 0)


def test_a_size_in_a_comment_is_none():
    lie = b"\xff\xc0\x00\x0b\x08\x00\x01\x00\x01\x01\x01\x11\x00"
    assert size_of(behind_start(JPEG, segment(0xFE, lie))) == (20, 36)
    # Nor is that of a preview in the EXIF block.
    assert size_of(behind_start(JPEG, segment(0xE1, exif(1) + JPEG))) == (20, 36)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("value", range(1, 9))
def test_orientation_turns_as_pillow_does(value, order):
    file = behind_start(JPEG, segment(0xE1, exif(value, order=order)))
    assert (size_of(file), tag_of(file)) == ((20, 36), value)
    with Image.open(io.BytesIO(file)) as image:
        assert image.getexif()[0x0112] == value
        expected = np.asarray(ImageOps.exif_transpose(image))
    found = decode_upright(file).numpy()
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected.astype(float), atol=8)
    np.testing.assert_array_equal(decode_stored(file), decode_stored(JPEG))


@pytest.mark.parametrize("value", range(1, 9))
def test_upright_on_numbers(value):
    # The same picture of 2 x 3 as a viewer shows it, from Pillow's transpositions.
    stored = np.arange(6, dtype="uint8").reshape(2, 3)
    image = Image.fromarray(stored)
    image.getexif()[0x0112] = value
    expected = np.asarray(ImageOps.exif_transpose(image))
    found = upright(stored[..., None], tf.constant(value, tf.int64))[..., 0]
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    "pieces",
    [
        [segment(0xE0, b"JFIF\0\1\1\0\0\1\0\1\0\0"), segment(0xE1, exif(6))],
        [segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0"), segment(0xE1, exif(6))],
        [segment(0xE2, bytes(60_000))] * 3 + [segment(0xE1, exif(6))],
        [b"\xff\xff", segment(0xE1, exif(6))],
        [segment(0xE1, exif(6)), segment(0xFE, exif(3))],
        [segment(0xE1, exif(6, count=2))],
    ],
    ids=["behind JFIF", "behind XMP", "behind a profile", "fill", "first", "two"],
)
def test_orientation_behind_other_segments(pieces):
    assert tag_of(behind_start(JPEG, *pieces)) == 6


@pytest.mark.parametrize(
    "block",
    [
        exif(0),
        exif(9),
        exif(6, kind=7),
        exif(6, count=3),
        exif(6, count=65_536 + 1),
        exif(6, magic=43),
        exif(6, directory=200),
        exif(6, kind=2),
        exif(6, directory=2**32 - 1),
        exif(6)[:20],
        exif(6)[:30],
        b"Exif\0\0",
        b"Exif\0\0II*",
        exif(6).replace(b"Exif", b"exif"),
        exif(6).replace(b"\x12\x01", b"\x13\x01"),
        b'http://ns.adobe.com/xap/1.0/\0<x tiff:Orientation="6"/>',
    ],
    ids=range(16),
)
def test_a_broken_or_missing_orientation_is_one(block, tmp_path):
    file = behind_start(JPEG, segment(0xE1, block))
    assert (size_of(file), tag_of(file)) == ((20, 36), 1)
    (tmp_path / "a.jpg").write_bytes(file)
    # Pillow's side does not trip over it either.
    assert read_image(str(tmp_path / "a.jpg"), orientation="exif").shape == (20, 36, 3)


def test_a_block_longer_than_the_file():
    start = b"\xff\xd8\xff\xe1\xff\xff" + exif(6)
    for end in range(3, len(start) + 1):
        assert size_of(start[:end]) == (0, 0)
        # Twelve bytes and four lie behind the entry.
        assert tag_of(start[:end]) == (6 if end >= len(start) - 16 else 1)


@pytest.mark.parametrize("value", range(1, 9))
def test_reading_with_pillow_agrees(value, tmp_path):
    file = behind_start(JPEG, segment(0xE1, exif(value)))
    path = tmp_path / "a.jpg"
    path.write_bytes(file)
    for orientation, decode in (("exif", decode_upright), ("stored", decode_stored)):
        found = read_image(str(path), orientation=orientation)
        expected = decode(file).numpy().astype(float)
        assert found.shape == expected.shape
        np.testing.assert_allclose(found, expected, atol=8)
    np.testing.assert_array_equal(read_image(str(path)), found)


@pytest.mark.parametrize("file_format", ["PNG", "WEBP"])
def test_the_orientation_of_other_formats_is_not_looked_at(file_format, tmp_path):
    image = gradient(20, 36)
    tags = Image.Exif()
    tags[0x0112] = 6
    file = encode(image, file_format, exif=tags, lossless=True)
    with Image.open(io.BytesIO(file)) as opened:
        assert ImageOps.exif_transpose(opened).size == (20, 36)  # it is there
    (tmp_path / "a").write_bytes(file)
    np.testing.assert_array_equal(decode_upright(file), image)
    found = read_image(str(tmp_path / "a"), orientation="exif")
    np.testing.assert_array_equal(found, image)


def test_another_orientation_is_refused(tmp_path):
    message = re.escape("one of ['exif', 'stored']. Received: 'upright'")
    with pytest.raises(ValueError, match=message):
        decode_rgb(b"", orientation="upright")
    with pytest.raises(ValueError, match=message):
        read_image(str(tmp_path), orientation="upright")


# GIF: a picture of 6 x 8 whose first frame is 2 x 3.
PART = np.array([[1, 2, 3], [3, 1, 2]])


def test_a_first_frame_within_the_picture():
    expected = np.zeros((6, 8, 3), "uint8")
    expected[3:5, 4:7] = np.array(COLORS)[PART]
    file = gif((6, 8), ((3, 4), PART))
    assert size_of(file) == (6, 8)
    np.testing.assert_array_equal(decode_stored(file), expected)
    np.testing.assert_array_equal(with_pillow(file), expected)


def test_a_first_frame_over_the_border_makes_the_picture_larger():
    file = gif((6, 8), ((5, 1), PART))
    assert size_of(file) == with_pillow(file).shape[:2] == (7, 8)
    np.testing.assert_array_equal(decode_stored(file), with_pillow(file))


@pytest.mark.parametrize(
    "extensions",
    [
        b"!\xf9\x04\0\0\0\0\0",
        b"!\xff\x0bNETSCAPE2.0\x03\x01\0\0\0" + b"!\xfe\x03,,,\x02!!\0",
        b"!\xfe" + (b"\xff" + b"," * 255) * 40 + b"\0",
    ],
    ids=["control", "loop and comment", "long"],
)
def test_extensions_before_the_first_frame(extensions):
    whole = np.arange(48).reshape(6, 8) % 4
    file = gif((6, 8), ((0, 0), whole), extensions=extensions)
    canvas, frame = first_frame(tf.constant(file))
    assert canvas.numpy().tolist() == [6, 8]
    assert frame.numpy().tolist() == [25 + len(extensions), 0, 0]
    np.testing.assert_array_equal(decode_stored(file), np.array(COLORS)[whole])


def test_later_frames_are_not_decoded():
    # TensorFlow makes the picture as large as the largest frame of all.
    whole = np.arange(48).reshape(6, 8) % 4
    huge = np.zeros((1, 1), int)
    file = gif((6, 8), ((0, 0), whole), ((0, 0), huge))
    place = file.rindex(struct.pack("<HH", 1, 1))
    file = file[:place] + struct.pack("<HH", 30_000, 30_000) + file[place + 4 :]
    np.testing.assert_array_equal(decode_stored(file), np.array(COLORS)[whole])
    larger = gif((6, 8), ((0, 0), whole), ((0, 0), np.zeros((9, 9), int)))
    assert tf.io.decode_image(larger, expand_animations=False).shape == (9, 9, 3)
    np.testing.assert_array_equal(decode_stored(larger), np.array(COLORS)[whole])


def test_a_gif_cut_within_its_first_frame():
    whole = np.arange(48).reshape(6, 8) % 4
    file = gif((6, 8), ((0, 0), whole), ((0, 0), whole))
    one = gif((6, 8), ((0, 0), whole))
    decode_stored(file[: len(one) - 1])
    for end in (len(one) - 2, len(one) - 8, 36):
        with pytest.raises(tf.errors.InvalidArgumentError):
            decode_stored(file[:end])


# The limit.

LIMITED = ["jpeg", "png", "gif", "bmp", "webp", "webp, lossless", "webp, alpha"]


@pytest.mark.parametrize("name", LIMITED)
def test_the_limit_is_the_largest_size_allowed(name, tmp_path):
    file = WRITERS[name](gradient(20, 36))
    path = tmp_path / "a"
    path.write_bytes(file)
    assert decode_rgb(file, max_pixels=720).shape == (20, 36, 3)
    assert read_image(str(path), max_pixels=720).shape == (20, 36, 3)
    with pytest.raises(tf.errors.InvalidArgumentError, match="more than"):
        decode_rgb(file, max_pixels=719)
    message = "a .36 x 20 are more than 719 pixels"
    with pytest.raises(ValueError, match=message):
        read_image(str(path), max_pixels=719)


# Where each format keeps its size, and a claim of two gigapixels or the most it can.
CLAIMS = {
    "jpeg": (None, struct.pack(">HH", 40_000, 50_000), (40_000, 50_000)),
    "png": (16, struct.pack(">II", 50_000, 40_000), (40_000, 50_000)),
    "png, overflow": (16, struct.pack(">II", 2**31 - 1, 2**31 - 1), (2**31 - 1,) * 2),
    "gif": (6, struct.pack("<HH", 50_000, 40_000), (40_000, 50_000)),
    "bmp": (18, struct.pack("<ii", 50_000, -40_000), (40_000, 50_000)),
    "bmp, overflow": (18, struct.pack("<ii", 2**31 - 1, -(2**31)), (2**31, 2**31 - 1)),
    "webp": (26, struct.pack("<HH", 16_383, 16_382), (16_382, 16_383)),
    "webp, lossless": (
        21,
        struct.pack("<I", 16_382 | 16_381 << 14),
        (16_382, 16_383),
    ),
    "webp, alpha": (24, b"\x4f\xc3\0\x3f\x9c\0", (40_000, 50_000)),
}


@pytest.mark.parametrize("name", CLAIMS)
def test_a_claim_of_gigapixels_is_read_and_refused(name):
    place, claim, size = CLAIMS[name]
    file = WRITERS[name.removesuffix(", overflow")](gradient(20, 36))
    if place is None:
        place = frame_of(file) + 5
    file = file[:place] + claim + file[place + len(claim) :]
    assert size_of(file) == size
    with pytest.raises(tf.errors.InvalidArgumentError, match="more than"):
        decode_stored(file)


def test_sixty_megapixels_in_fifteen_kilobytes():
    file = large_png(6_000, 10_000)
    assert len(file) < 15_000
    assert size_of(file) == (6_000, 10_000)
    with pytest.raises(tf.errors.InvalidArgumentError, match="more than"):
        decode_stored(file)


def test_at_most_a_few_decode_at_once():
    @tf.function(input_signature=[tf.TensorSpec((), tf.int32)])
    def read(count):
        return read_each(count, lambda _: (tf.zeros((2, 3, 3)),) * 2, (2, 3))

    graph = read.get_concrete_function().graph
    maps = [op for op in graph.get_operations() if op.type.startswith("ParallelMap")]
    assert [int(tf.get_static_value(op.inputs[-1])) for op in maps] == [4]
    assert PARALLEL_DECODES == 4


def test_numbers_behind_the_end_are_zero():
    found = [
        fields(b"\x81\x02\x03", place, 2, "uint16", big=True) for place in range(5)
    ]
    assert [x.numpy().tolist() for x in found] == [
        [0x8102, 0x0300],
        [0x0203, 0],
        [0x0300, 0],
        [0, 0],
        [0, 0],
    ]


# Noise: 200 files with some bits wrong or the end cut off.


def damaged():
    rng = np.random.default_rng(4)
    image = gradient(20, 36)
    tagged = behind_start(JPEG, segment(0xE1, exif(6, order=">")))
    files = [*(write(image) for write in WRITERS.values()), tagged]
    files.append(gif((20, 36), ((3, 4), np.arange(300).reshape(12, 25) % 4)))
    for number in range(200):
        file = bytearray(files[number % len(files)])
        if number % 3 == 0:
            del file[rng.integers(1, len(file)) :]
        else:
            # Half of the flips hit the header.
            for end in (60, len(file))[: 1 + number % 2]:
                file[rng.integers(end)] ^= 1 << rng.integers(8)
        yield bytes(file)


def test_damaged_files_never_fail_a_batch_and_agree_with_pillow():
    files = list(damaged())
    headers = [in_graph(file) for file in files]
    sizes = tf.stack([header.size for header in headers])
    tags = tf.stack([header.orientation for header in headers])
    assert (sizes.numpy() >= 0).all()
    assert ((tags.numpy() >= 1) & (tags.numpy() <= 8)).all()

    @tf.function
    def read_all(files):
        def read_one(slot):
            image = decode_rgb(files[slot], max_pixels=10**6)
            return tf.image.resize(image, (2, 3)), image

        return read_each(tf.size(files), read_one, (2, 3))

    _, decoded, read = read_all(tf.constant(files))
    both = 0
    for file, size, seen, good in zip(files, sizes, decoded, read, strict=True):
        if not good:
            continue
        np.testing.assert_array_equal(size, seen)
        try:
            expected = with_pillow(file)
        except (OSError, SyntaxError, ValueError):
            continue
        both += 1
        assert tuple(seen.numpy()) == expected.shape[:2]
    # Else nothing was compared.
    assert both > 40
    assert int((~read.numpy()).sum()) > 40
