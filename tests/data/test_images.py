"""Sizes, orientation, the limit and broken files: in a graph, and with Pillow."""

import io
import itertools
import struct
import zlib

import numpy as np
import pytest
import tensorflow as tf
from PIL import EpsImagePlugin, Image, ImageOps

from keras_wsol.data.images import image_header, jpeg_orientation
from keras_wsol.data.numpy_pipeline import (
    decode_image,
    exif_orientation,
    read_image,
    read_size,
)
from keras_wsol.data.tf_pipeline import (
    PARALLEL_DECODES,
    decode_rgb,
    or_no_memory,
    read_each,
    upright,
)
from tests.data.handmade import (
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

TEXT = [tf.TensorSpec((), tf.string)]
in_graph = tf.function(lambda x: image_header(x)[1], input_signature=TEXT)
tag_in_graph = tf.function(jpeg_orientation, input_signature=TEXT)
decode_stored = tf.function(lambda x: decode_rgb(x, gif=True), input_signature=TEXT)
decode_upright = tf.function(
    lambda x: decode_rgb(x, orientation="exif", gif=True), input_signature=TEXT
)
decode_served = tf.function(
    lambda x: decode_rgb(x, orientation="exif", max_pixels=720), input_signature=TEXT
)


def size_of(file):
    return tuple(in_graph(file).numpy().tolist())


def tag_of(file):
    return int(tag_in_graph(file))


def refused(decode, file):
    """What the decoder says of a file that it refuses."""
    with pytest.raises(tf.errors.InvalidArgumentError) as error:
        decode(file)
    return str(error.value)


def written(file, folder):
    path = folder / "a"
    path.write_bytes(file)
    return str(path)


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


RGB = gradient(24, 40)
GREYS = np.repeat(RGB[..., :1], 3, axis=2)
PALETTE = Image.fromarray(RGB).quantize(16)
OF_PALETTE = np.asarray(PALETTE.convert("RGB"))


def alpha(image):
    return np.dstack([image, 255 - image[..., 0]])


# File, what it shows, and by how much two decoders may differ.
SHOWN = {
    "jpeg": (encode(RGB, "JPEG", quality=95), RGB, 12),
    "jpeg, progressive": (encode(RGB, "JPEG", quality=95, progressive=True), RGB, 12),
    "jpeg, grey": (encode(RGB[..., 0], "JPEG", quality=95), GREYS, 12),
    "jpeg, cmyk": (
        encode(Image.fromarray(RGB).convert("CMYK"), "JPEG", quality=95),
        *(RGB, 12),
    ),
    "png": (encode(RGB, "PNG"), RGB, 0),
    "png, grey": (encode(RGB[..., 0], "PNG"), GREYS, 0),
    "png, alpha": (encode(alpha(RGB), "PNG"), RGB, 0),  # left out, not blended
    "png, palette": (encode(PALETTE, "PNG"), OF_PALETTE, 0),
    # 16 bits: the upper eight.
    "png, 16 bits": (encode(RGB[..., 0].astype("uint16") * 257, "PNG"), GREYS, 0),
    "gif": (encode(PALETTE, "GIF"), OF_PALETTE, 0),
    "gif, two frames": (
        encode(PALETTE, "GIF", save_all=True, append_images=[Image.fromarray(GREYS)]),
        *(OF_PALETTE, 0),
    ),
    "bmp": (encode(RGB, "BMP"), RGB, 0),
    "bmp, grey": (encode(RGB[..., 0], "BMP"), GREYS, 0),
    "bmp, palette": (encode(PALETTE, "BMP"), OF_PALETTE, 0),
    "bmp, downward": (downward_bmp(RGB), RGB, 0),
    "webp": (encode(RGB, "WEBP", quality=95), RGB, 40),
    "webp, lossless": (encode(RGB, "WEBP", lossless=True), RGB, 0),
    "webp, alpha": (encode(alpha(RGB), "WEBP", lossless=True, exact=True), RGB, 0),
}


@pytest.mark.parametrize("name", SHOWN)
def test_every_format_by_tensorflow_and_by_pillow(name, tmp_path):
    file, expected, tolerance = SHOWN[name]
    path = written(file, tmp_path)
    assert size_of(file) == read_size(path) == (24, 40)
    for found in (decode_stored(file).numpy(), read_image(path)):
        assert found.dtype == np.uint8
        np.testing.assert_allclose(found, expected.astype(float), atol=tolerance)
    # As one that serves, at a limit of fewer pixels.
    assert "more than 720 pixels" in refused(decode_served, file) or "gif" in name
    with pytest.raises(ValueError, match="40 x 24 are more than 959 pixels"):
        decode_image(path, max_pixels=959)
    assert decode_image(path, max_pixels=960).shape == (24, 40, 3)


@pytest.mark.parametrize("size", [(1, 700), (513, 2)])
def test_sizes_of_more_than_a_byte(size):
    for name, write in WRITERS.items():
        file = write(gradient(*size))
        assert size_of(file) == size, name
        assert image_header(file)[1].numpy().tolist() == [*size], name


def test_the_limit_is_the_largest_size_allowed():
    for name, write in WRITERS.items():
        if name != "gif":
            assert decode_served(write(gradient(20, 36))).shape == (20, 36, 3), name
            larger = write(gradient(7, 103))  # by a pixel
            assert "more than 720 pixels" in refused(decode_served, larger), name


def test_serving_refuses_gif():
    file = gif((3, 5), ((0, 0), np.ones((3, 5), int)))
    assert decode_stored(file).shape == (3, 5, 3)
    assert "no JPEG, PNG, BMP or still WebP" in refused(decode_served, file)


def test_bmp_that_tensorflow_would_read_wrong():
    assert refused(decode_stored, old_bmp(gradient(9, 300)))
    file = bytearray(encode(gradient(9, 30)[..., 0], "BMP"))
    file[30] = 1
    assert "no JPEG, PNG, GIF, BMP" in refused(decode_stored, bytes(file))


def test_a_gif_whose_frame_is_no_whole_picture():
    # TensorFlow would give the frame alone, and boxes would lie elsewhere.
    part = np.array([[1, 2, 3], [3, 1, 2]])
    assert "another size" in refused(decode_stored, gif((6, 8), ((3, 4), part)))


NO_IMAGES = [
    b"",
    b"GIF89a",
    b"no image at all, but long enough for any header",
    b"\x89PNG\r\n\x1a\n" + chunk(b"tEXt", b"before the header"),
    encode(gradient(), "PNG")[:23],
    encode(gradient(), "BMP")[:21],
    encode(gradient(), "WEBP")[:26],
    b"RIFF0000WEBPVP8 0000\0\0\0\x9d\x01\x2b" + bytes(20),
    encode(gradient(), "TIFF"),
]


@pytest.mark.parametrize("place", range(len(NO_IMAGES)))
def test_what_is_no_image_has_no_size(place):
    file = NO_IMAGES[place]
    assert 0 in size_of(file)
    assert "no JPEG, PNG, GIF, BMP or still WebP image" in refused(decode_stored, file)


@pytest.mark.parametrize("with_alpha", [False, True])
def test_a_webp_of_two_frames_is_kept_from_the_decoder(with_alpha):
    # It would overwrite memory: the process ends, at once or later.
    frames = [Image.fromarray(x) for x in (gradient(), 255 - gradient())]
    if with_alpha:
        frames = [frame.convert("RGBA") for frame in frames]
    file = encode(frames[0], "WEBP", save_all=True, append_images=frames[1:])
    assert size_of(file) == (0, 0)
    for decode in (decode_stored, decode_served):
        assert "or still WebP image" in refused(decode, file)


JPEG = encode(gradient(20, 36), "JPEG", quality=95)
LIE = b"\xff\xc0\x00\x0b\x08\x00\x01\x00\x01\x01\x01\x11\x00"


@pytest.mark.parametrize(
    "file",
    [
        *(b"\xff\xd8\xff", b"\xff\xd8" + segment(0xE0, b"JFIF")),
        *(b"\xff\xd8\xff\xd9" + JPEG[2:], JPEG[: len(JPEG) // 2]),
    ],
    ids=range(4),
)
def test_broken_jpegs(file):
    assert refused(decode_stored, file)


@pytest.mark.parametrize(
    "pieces",
    [[b"\xff\xff\xff"], [segment(0xFE, LIE)], [segment(0xE1, exif(1) + JPEG)]],
    ids=["fill", "a size in a comment", "a preview"],
)
def test_what_libjpeg_skips(pieces):
    file = behind_start(JPEG, *pieces)
    assert (size_of(file), tag_of(file)) == ((20, 36), 1)
    np.testing.assert_array_equal(decode_stored(file), decode_stored(JPEG))


@pytest.mark.parametrize("kind", [3, 4], ids=["short", "long"])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("value", range(1, 9))
def test_orientation_turns_as_pillow_does(value, order, kind, tmp_path):
    file = behind_start(JPEG, segment(0xE1, exif(value, order=order, kind=kind)))
    path = written(file, tmp_path)
    assert (size_of(file), tag_of(file)) == ((20, 36), value)
    with Image.open(path) as image:
        expected = np.asarray(ImageOps.exif_transpose(image))
    assert read_size(path, "exif") == expected.shape[:2]
    for found in (decode_upright(file).numpy(), read_image(path, orientation="exif")):
        assert found.shape == expected.shape
        np.testing.assert_allclose(found, expected.astype(float), atol=8)
    np.testing.assert_array_equal(decode_stored(file), decode_stored(JPEG))
    # The same on numbers.
    numbers = Image.fromarray(np.arange(6, dtype="uint8").reshape(2, 3))
    numbers.getexif()[0x0112] = value
    turned = upright(np.asarray(numbers)[..., None], tf.constant(value, tf.int64))
    np.testing.assert_array_equal(turned[..., 0], ImageOps.exif_transpose(numbers))


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


def test_both_readers_take_the_same_orientation_of_any_block():
    """Of each kind of number and count, and of blocks with a changed byte."""
    kinds = itertools.product("<>", range(18), (1, 2, 3))
    blocks = [exif(6, order=x, kind=kind, count=n) for x, kind, n in kinds]
    rng = np.random.default_rng(0)
    for block in [exif(6), exif(8, order=">", kind=4)] * 200:
        changed = bytearray(block)
        changed[rng.integers(6, len(block))] = rng.integers(256)
        blocks.append(bytes(changed[: rng.integers(20, 2 * len(block))]))
    found = []
    for block in blocks:
        file = behind_start(JPEG, segment(0xE1, block), segment(0xE1, exif(3)))
        with Image.open(io.BytesIO(file)) as image:
            found.append((exif_orientation(image), tag_of(file)))
    differing = [
        block for block, (one, other) in zip(blocks, found, strict=True) if one != other
    ]
    assert differing == []
    assert {6, 8, 1} <= {one for one, _ in found}


def test_a_block_longer_than_the_file():
    start = b"\xff\xd8\xff\xe1\xff\xff" + exif(6)
    for end in range(3, len(start) + 1):
        # Twelve bytes and four lie behind the entry.
        assert tag_of(start[:end]) == (6 if end >= len(start) - 16 else 1)


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

    @tf.function
    def read_all(files):
        def read_one(slot):
            image = decode_rgb(
                files[slot], orientation="exif", max_pixels=10**6, gif=True
            )
            return tf.image.resize(image, (2, 3)), image

        return read_each(tf.size(files), read_one, (2, 3))

    _, sizes, read = read_all(tf.constant(files))
    both = 0
    for file, size, good in zip(files, sizes.numpy(), read.numpy(), strict=True):
        assert tag_of(file) in range(1, 9)
        try:
            expected = decode_image(io.BytesIO(file), "exif", 10**6)
        except ValueError:
            continue
        both += good
        assert not good or tuple(size) == expected.shape[:2]
    # Else nothing was compared.
    assert both > 40
    assert int((~read.numpy()).sum()) > 40


@pytest.mark.parametrize("broken", [[3], [1, 2], [0, 1, 2, 3]])
def test_read_each_eagerly_and_in_a_map(broken):
    def read_one(slot):
        for index in broken:
            tf.debugging.assert_none_equal(slot, index)
        height = slot + 1
        value = tf.cast(slot + 10, tf.float32)
        return tf.fill((2, 3, 3), value), tf.zeros((height, 2 * height, 3))

    def read(count):
        return read_each(count, read_one, (2, 3))

    good = np.array([slot not in broken for slot in range(4)])
    mapped = tf.data.Dataset.from_tensors(tf.constant(4)).map(read)
    for images, sizes, found in (read(tf.constant(4)), next(iter(mapped))):
        assert found.numpy().tolist() == good.tolist()
        values = np.where(good, np.arange(4) + 10, 0).reshape(4, 1, 1, 1)
        np.testing.assert_array_equal(images, values + np.zeros((2, 3, 3)))
        heights = np.where(good, np.arange(4) + 1, 1)
        assert sizes.numpy()[:, 0].tolist() == heights.tolist()
    images, sizes, found = read(tf.constant(0))
    assert (images.shape, sizes.shape, found.shape) == ((0, 2, 3, 3), (0, 2), (0,))


def test_missing_memory_is_no_broken_file():
    claim = struct.pack(">II", 10**7, 10**7)  # a petabyte
    huge = SHOWN["png"][0][:16] + claim + SHOWN["png"][0][24:]

    @tf.function(input_signature=[tf.TensorSpec((None,), tf.string), tf.TensorSpec(())])
    def read_all(files, limit):
        def read_one(slot):
            image = decode_rgb(files[slot], max_pixels=tf.cast(limit, tf.int64))
            return tf.image.resize(image, (2, 3)), image

        read = read_each(tf.size(files), read_one, (2, 3))[2]
        return or_no_memory(read, files, tf.cast(limit, tf.int64))

    good, cut = JPEG, JPEG[: len(JPEG) // 2]
    files = [huge, good, cut, b"", JPEG[:30]]
    assert read_all(files, 1e6).numpy().tolist() == [False, True, False, False, False]
    assert read_all([good], 1e15).numpy().tolist() == [True]
    with pytest.raises(tf.errors.ResourceExhaustedError, match="OOM when allocating"):
        read_all(files, 1e15)


# With Pillow alone.


def test_a_jpeg_of_two_pictures_gives_the_first(tmp_path):
    path = tmp_path / "a.jpg"
    second = Image.fromarray(gradient(4, 6))
    Image.fromarray(RGB).save(path, "MPO", save_all=True, append_images=[second])
    with Image.open(path) as image:
        assert image.format == "MPO"
    assert read_image(str(path)).shape == (24, 40, 3)


@pytest.mark.parametrize("name", ["TIFF", "PPM", "TGA", "PCX", "ICO", "ICNS"])
def test_other_formats_are_refused_whatever_their_name(name, tmp_path):
    path = tmp_path / "a.jpg"
    path.write_bytes(encode(RGB, name))
    with Image.open(path) as image:
        image.load()  # Pillow could
    for read in (read_image, read_size):
        with pytest.raises(ValueError, match=r"Cannot read the image: .*a\.jpg"):
            read(str(path))


def test_postscript_is_not_run(tmp_path, monkeypatch):
    def run(*_, **__):
        raise AssertionError("Ghostscript was called")

    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", run)
    path = tmp_path / "a.png"
    path.write_bytes(encode(RGB, "EPS"))
    with Image.open(path) as image, pytest.raises(AssertionError, match="Ghostscript"):
        image.load()  # it would be
    with pytest.raises(ValueError, match="Cannot read the image"):
        read_image(str(path))


@pytest.mark.parametrize(
    "error",
    [
        OSError("truncated"),
        EOFError(),
        SyntaxError("broken PNG file"),
        ValueError("bad"),
        IndexError("list index out of range"),
        KeyError("mode"),
        ZeroDivisionError("division by zero"),
        OverflowError(),
        struct.error("unpack requires a buffer of 4 bytes"),
        zlib.error("Error -3"),
        Image.DecompressionBombError("bomb"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_whatever_pillow_raises_the_file_cannot_be_read(error, tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    path.write_bytes(encode(RGB, "PNG"))

    def fail(*_, **__):
        raise error

    said = str(error).strip("'") or type(error).__name__
    with monkeypatch.context() as patch:
        patch.setattr(Image.Image, "convert", fail)
        with pytest.raises(ValueError, match=rf"a\.png \(.*{said}"):
            read_image(str(path))
        with pytest.raises(ValueError, match=said):
            decode_image(path)
    with monkeypatch.context() as patch:
        patch.setattr(Image, "open", fail)
        with pytest.raises(ValueError, match=rf"a\.png \(.*{said}"):
            read_size(str(path))
