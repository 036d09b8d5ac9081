"""Which files Pillow may open, and what it may raise on broken ones."""

import struct
import zlib

import numpy as np
import pytest
from PIL import EpsImagePlugin, Image

from keras_wsol.data.images import decode_image, read_image, read_size
from tests.data.handmade import encode
from tests.data.small_datasets import gradient

IMAGE = gradient(20, 36)


@pytest.mark.parametrize("name", ["JPEG", "PNG", "GIF", "BMP", "WEBP"])
def test_formats_that_a_graph_reads(name, tmp_path):
    path = tmp_path / "a"
    path.write_bytes(encode(IMAGE, name))
    assert read_image(str(path)).shape == (20, 36, 3)
    assert read_size(str(path)) == (20, 36)


def test_a_jpeg_of_two_pictures_gives_the_first(tmp_path):
    path = tmp_path / "a.jpg"
    second = Image.fromarray(gradient(4, 6))
    Image.fromarray(IMAGE).save(path, "MPO", save_all=True, append_images=[second])
    with Image.open(path) as image:
        assert image.format == "MPO"
    assert read_image(str(path)).shape == (20, 36, 3)


@pytest.mark.parametrize("name", ["TIFF", "PPM", "TGA", "PCX", "ICO", "ICNS"])
def test_other_formats_are_refused_whatever_their_name(name, tmp_path):
    path = tmp_path / "a.jpg"
    path.write_bytes(encode(IMAGE, name))
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
    path.write_bytes(encode(IMAGE, "EPS"))
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
    path.write_bytes(encode(IMAGE, "PNG"))

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


def test_damaged_files_give_an_image_or_a_value_error(tmp_path):
    rng = np.random.default_rng(3)
    files = [encode(IMAGE, name) for name in ("JPEG", "PNG", "GIF", "BMP", "WEBP")]
    path, refused = tmp_path / "a", 0
    for number in range(200):
        file = bytearray(files[number % 5])
        if number % 2:
            del file[rng.integers(1, len(file)) :]
        for end in (60, len(file)):
            file[rng.integers(min(end, len(file)))] ^= 1 << rng.integers(8)
        path.write_bytes(file)
        try:
            image = read_image(str(path), orientation="exif", max_pixels=10**6)
            assert image.shape[2:] == (3,)
        except ValueError:
            refused += 1
    assert 50 < refused < 200
