"""How long a GIF may keep the walk to its first frame busy; files of encoders pass."""

import io
import time

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from keras_wsol.data import images as walk
from keras_wsol.data.tf_pipeline import decode_rgb, read_each
from tests.data.handmade import COLORS, encode, gif

WHOLE = np.arange(48).reshape(6, 8) % 4
FILE = gif((6, 8), ((0, 0), WHOLE))
PIXELS = 25 + 10 + 1  # where the first block of pixels starts
DECODED = np.array(COLORS)[WHOLE]
decode = tf.function(
    lambda x: decode_rgb(x), input_signature=[tf.TensorSpec((), tf.string)]
)


def behind(*blocks):
    """A file with one comment of these blocks before its frame."""
    comment = b"!\xfe" + b"".join(blocks) + b"\0"
    return gif((6, 8), ((0, 0), WHOLE), extensions=comment)


CRAFTED = {
    "one chain": behind(b"\x01," * 500_000),
    "many chains": behind((b"\x01," * 150_000 + b"\0!\xfe") * 3),
    "empty comments": behind(b"\0!\xfe" * 330_000),
    "pixels": FILE[:PIXELS] + b"\x01\x07" * 500_000 + b"\0;",
    "pixels, changing": FILE[:PIXELS] + b"\x20" + bytes(32) + b"\x01\x07" * 500_000,
}


@tf.function(input_signature=[tf.TensorSpec((None,), tf.string)])
def read(files):
    def one(slot):
        image = decode_rgb(files[slot])
        return tf.image.resize(image, (2, 3)), image

    return read_each(tf.size(files), one, (2, 3))[-1]


def seconds(file):
    """Seconds to read it between two good files, and whether each was read."""
    start = time.perf_counter()
    good = read(tf.constant([FILE, file, FILE])).numpy().tolist()
    return time.perf_counter() - start, good


@pytest.fixture(scope="module")
def longest():
    """Seconds of the most blocks that are allowed before a frame."""
    file = behind(b"\x01," * (walk.MAX_STEPS - 10))
    assert seconds(file)[1] == [True, True, True]
    return seconds(file)[0]


@pytest.mark.parametrize("name", CRAFTED)
def test_a_file_of_tiny_blocks_is_refused_soon(name, longest):
    # As much work as allowed, whatever the size of the file.
    file = CRAFTED[name]
    assert 900_000 < len(file) < 1_100_000
    took, good = seconds(file)
    assert good == [True, False, True]
    assert took < 4 * longest


@pytest.mark.parametrize("name", ["one chain", "many chains", "empty comments"])
def test_the_limit_counts_every_step_before_the_frame(name, monkeypatch):
    monkeypatch.setattr(walk, "MAX_STEPS", 50)
    looks = []
    at = walk._at
    monkeypatch.setattr(walk, "_at", lambda *x: looks.append(None) or at(*x))
    canvas, frame = walk.first_frame(tf.constant(CRAFTED[name][:1_000] + FILE))
    assert canvas.numpy().tolist() + frame.numpy().tolist() == [0] * 5
    assert len(looks) <= 50 + 2


def test_stopped_on_a_length_that_looks_like_a_frame(monkeypatch):
    # 44 is both a length and the mark of a frame.
    file = behind((b"," + b"\x01" * 44) * 9)
    for limit in range(12):
        monkeypatch.setattr(walk, "MAX_STEPS", limit)
        found = walk.first_frame(tf.constant(file))[1].numpy()
        # One step for the comment's head, nine blocks, the empty one.
        assert (found[0] > 0) == (limit >= 11), limit


@pytest.mark.parametrize("sizes", [(1,), (255,), (200, 254), (40, 40, 3)])
def test_pixels_in_blocks_of_any_length(sizes):
    rng = np.random.default_rng(0)
    blocks = [bytes([size]) + rng.bytes(size) for size in sizes * 10]
    whole = FILE[:PIXELS] + b"".join(blocks) + b"\0"
    start = tf.constant(25, tf.int64)
    # The frame stands in the corner already, so that nothing else changes.
    assert walk.only_frame(tf.constant(whole + FILE), start).numpy() == whole + b";"
    assert walk.only_frame(tf.constant(whole[:-1]), start).numpy() == b""


def written(images, **options):
    images = [Image.fromarray(image, "P") for image in images]
    for image in images:
        image.putpalette(bytes(range(256)) * 3)
    rest = {"save_all": True, "append_images": images[1:]} if images[1:] else {}
    return encode(images[0], "GIF", **rest, **options)


def noise(height, width, seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (height, width), dtype="uint8")


FILES = {
    "12 megapixels": lambda: written([noise(3_000, 4_000)]),
    "12 megapixels of one color": lambda: written([np.zeros((3_000, 4_000), "uint8")]),
    "many frames": lambda: written([noise(30, 43, seed) for seed in range(100)]),
    "large frames": lambda: written([noise(700, 900, seed) for seed in range(2)]),
    "long comment": lambda: written([noise(30, 43)], comment=b"x" * 200_000),
}


@pytest.mark.parametrize("name", FILES)
def test_files_of_pillow_pass(name):
    file = FILES[name]()
    with Image.open(io.BytesIO(file)) as image:
        expected = np.asarray(image.convert("RGB"))
    assert (decode(file).numpy() == expected).all()
