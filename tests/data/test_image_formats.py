"""Every format that a folder may hold, read by TensorFlow and by Pillow."""

import struct
import zlib

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from keras_wsol.data.images import read_image
from keras_wsol.data.tf_pipeline import decode_rgb
from tests.data.small_datasets import gradient

RGB = gradient(24, 40)
GREY = RGB[..., 0]
ALPHA = np.dstack([RGB, 255 - RGB[..., :1]])
THREE_GREYS = np.repeat(GREY[..., None], 3, axis=2)


def with_tensorflow(path):
    return decode_rgb(tf.io.read_file(str(path))).numpy()


def with_pillow(path):
    return read_image(str(path))


both = pytest.mark.parametrize("read", [with_tensorflow, with_pillow])


@both
@pytest.mark.parametrize(
    ("name", "stored", "options", "expected"),
    [
        ("rgb.png", RGB, {}, RGB),
        ("grey.png", GREY, {}, THREE_GREYS),
        ("alpha.png", ALPHA, {}, RGB),  # alpha is left out, not blended
        ("rgb.bmp", RGB, {}, RGB),
        ("grey.bmp", GREY, {}, THREE_GREYS),
        ("rgb.webp", RGB, {"lossless": True}, RGB),
        ("alpha.webp", ALPHA, {"lossless": True, "exact": True}, RGB),
        # 16 bits: the upper eight.
        ("deep.png", GREY.astype("uint16") * 257, {}, THREE_GREYS),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_lossless_formats(read, name, stored, options, expected, tmp_path):
    Image.fromarray(stored).save(tmp_path / name, **options)
    image = read(tmp_path / name)
    assert image.dtype == np.uint8
    np.testing.assert_array_equal(image, expected)


@both
@pytest.mark.parametrize("name", ["palette.png", "palette.gif"])
def test_palettes(read, name, tmp_path):
    palette = Image.fromarray(RGB).quantize(16)
    palette.save(tmp_path / name)
    expected = np.asarray(palette.convert("RGB"))
    np.testing.assert_array_equal(read(tmp_path / name), expected)


@both
def test_first_frame_of_an_animation(read, tmp_path):
    frames = [Image.fromarray(image).quantize(16) for image in (RGB, 255 - RGB)]
    frames[0].save(tmp_path / "two.gif", save_all=True, append_images=frames[1:])
    image = read(tmp_path / "two.gif")
    np.testing.assert_array_equal(image, np.asarray(frames[0].convert("RGB")))


@both
@pytest.mark.parametrize(
    ("stored", "expected"),
    [
        (Image.fromarray(RGB), RGB),
        (Image.fromarray(GREY), THREE_GREYS),
        (Image.fromarray(RGB).convert("CMYK"), RGB),
    ],
    ids=["rgb", "grey", "cmyk"],
)
def test_jpeg(read, stored, expected, tmp_path):
    stored.save(tmp_path / "a.jpg", quality=95)
    image = read(tmp_path / "a.jpg")
    np.testing.assert_allclose(image, expected.astype(float), atol=12)


def chunk(kind, content):
    checksum = struct.pack(">I", zlib.crc32(kind + content))
    return struct.pack(">I", len(content)) + kind + content + checksum


def test_a_header_that_lies_about_its_size_is_a_named_file_too(tmp_path):
    # A PNG of 60,000 x 60,000 pixels in 80 bytes: Pillow has an error of its own.
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    path = tmp_path / "bomb.png"
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b""))
        + chunk(b"IEND", b"")
    )
    with pytest.raises(ValueError, match=f"Cannot read the image: {path}"):
        read_image(str(path))


def test_a_damaged_header_is_a_named_file_too(tmp_path):
    path = tmp_path / "short.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", b"\0\0\0\x08"))
    with pytest.raises(ValueError, match=f"Cannot read the image: {path}"):
        read_image(str(path))


def test_decoding_in_a_map_is_decoding_eagerly(tmp_path):
    Image.fromarray(RGB).save(tmp_path / "a.jpg", quality=90)
    content = tf.io.read_file(str(tmp_path / "a.jpg"))
    [mapped] = tf.data.Dataset.from_tensors(content).map(decode_rgb)
    np.testing.assert_array_equal(mapped, decode_rgb(content))
