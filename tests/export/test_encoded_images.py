"""What `serve_bytes` takes and refuses; on a classifier of two layers."""

import io
import re

import keras
import numpy as np
import pytest
from PIL import Image, ImageOps

from keras_wsol.data.numpy_pipeline import read_image
from keras_wsol.export import export_saved_model
from keras_wsol.models import Localizer
from tests.data.handmade import behind_start, encode, exif, gif, large_png, segment
from tests.export.encoded import broken, jpegs, lossless
from tests.models.painted import blob_images, painted_classifier

pytestmark = [
    pytest.mark.export,
    pytest.mark.skipif(
        keras.backend.backend() != "tensorflow", reason="a SavedModel is TensorFlow's"
    ),
]

SIZE = (24, 36)
PICTURE = blob_images(1, (75, 110), seed=5)[0]
LIMIT = 75 * 110


@pytest.fixture(scope="module")
def localizer():
    # The map of the class of the brightest pixels is the image's own brightness.
    kernel = np.stack([np.ones(3), -np.ones(3)], axis=1)
    return Localizer(painted_classifier(SIZE, 2, kernel=kernel), cam_threshold=0.5)


def loaded(localizer, path, **options):
    import tensorflow as tf

    model = tf.saved_model.load(export_saved_model(localizer, path, **options))
    signature = model.signatures["serve_bytes"]

    def serve(*files):
        strings = tf.constant(files, tf.string, (len(files),))
        found = signature(image_bytes=strings)
        return {name: value.numpy() for name, value in found.items()}

    serve.model = model  # a signature alone does not keep it
    return serve


@pytest.fixture(scope="module")
def serve(localizer, tmp_path_factory):
    return loaded(localizer, tmp_path_factory.mktemp("saved") / "1")


@pytest.fixture(scope="module")
def serve_small(localizer, tmp_path_factory):
    path = tmp_path_factory.mktemp("saved") / "1"
    return loaded(localizer, path, max_pixels=LIMIT)


def of(localizer, image):
    found = localizer(image[None])
    return {k: keras.ops.convert_to_numpy(v)[0] for k, v in found.items()}


FILES = {name: file for name, (file, _) in lossless(PICTURE).items()} | jpegs(PICTURE)


@pytest.mark.parametrize("name", FILES)
def test_what_is_read_for_training_is_what_is_served(name, serve, localizer, tmp_path):
    (tmp_path / "image").write_bytes(FILES[name])
    expected = of(localizer, read_image(tmp_path / "image", orientation="exif"))
    found = serve(FILES[name])
    assert found["valid"].all()
    # Two decoders of JPEG differ by a few steps of 255.
    np.testing.assert_allclose(found["boxes"][0], expected["boxes"], atol=0.5)
    np.testing.assert_allclose(
        found["score_maps"][0], expected["score_maps"], atol=0.02
    )


# A bright bar right of the middle and above it, as a viewer shows it.
BAR = (60, 12, 84, 28)  # x0, y0, x1, y1


def bar():
    image = np.full((72, 108, 3), 20, "uint8")
    x0, y0, x1, y1 = BAR
    image[y0:y1, x0:x1] = 230
    return image


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("value", range(1, 9))
def test_the_box_lies_where_a_viewer_shows_the_object(value, order, serve):
    shown = bar()
    # The stored image is the one that Pillow turns into what is shown.
    inverse = {6: 8, 8: 6}.get(value, value)
    picture = Image.fromarray(shown)
    picture.getexif()[0x0112] = inverse
    stored = encode(ImageOps.exif_transpose(picture), "JPEG", quality=95)
    file = behind_start(stored, segment(0xE1, exif(value, order=order)))
    with Image.open(io.BytesIO(file)) as image:
        assert ImageOps.exif_transpose(image).size == (108, 72)
    found = serve(file)
    plain = serve(encode(shown, "JPEG", quality=95))
    # A cell of the map is 12 pixels; the bar begins and ends in the midst of none.
    np.testing.assert_allclose(found["boxes"][0, 0], BAR, atol=8)
    np.testing.assert_allclose(found["boxes"], plain["boxes"], atol=1)
    np.testing.assert_allclose(found["scores"], plain["scores"], atol=1e-2)


def refused():
    """Files that are too large for the smaller limit, or only say so."""
    small = np.arange(48).reshape(6, 8) % 4
    claims = bytearray(gif((6, 8), ((0, 0), small)))
    claims[6:10] = b"\xff\xff\xff\xff"
    larger = blob_images(1, (LIMIT // 100 + 1, 100), seed=2)[0]
    return {
        "png": encode(larger, "PNG"),
        "jpeg": encode(larger, "JPEG"),
        "webp": encode(larger, "WEBP"),
        "bmp": encode(larger, "BMP"),
        "gif": encode(larger, "GIF"),
        "gif, canvas": bytes(claims),
        "60 megapixels": large_png(6_000, 10_000),
    }


BAD = broken(PICTURE) | refused()


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_leaves_the_others_untouched(name, serve_small):
    good = [FILES["png"], FILES["jpeg"], FILES["webp"]]
    expected = serve_small(*good)
    assert expected["valid"].all()
    found = serve_small(good[0], BAD[name], *good[1:], BAD[name])
    for key, values in found.items():
        np.testing.assert_array_equal(values[[0, 2, 3]], expected[key], err_msg=key)
        assert not values[[1, 4]].any(), key


def test_the_default_limit_is_fifty_megapixels(serve):
    # What the smaller limit refuses is fit to be read.
    found = serve(*refused().values())
    assert found["valid"][:, 0].tolist() == [True] * 5 + [False] * 2
    found = serve(large_png(5_000, 10_000), large_png(5_001, 10_000))
    assert found["valid"][:, 0].tolist() == [True, False]
    np.testing.assert_allclose(found["boxes"][0, 0], (0, 0, 10_000, 2_500), atol=250)
    assert not found["boxes"][1].any()


def highest_memory(function):
    """How many bytes the process grows by at most while `function` runs."""
    from pathlib import Path

    process = Path("/proc/self")

    def kilobytes(name):
        line = re.search(rf"{name}:\s+(\d+)", (process / "status").read_text())
        return int(line[1])

    (process / "clear_refs").write_text("5")  # forgets the highest so far
    before = kilobytes("VmRSS")
    function()
    return 1024 * (kilobytes("VmHWM") - before)


def test_a_bomb_is_refused_before_it_takes_memory(serve):
    bomb = large_png(6_000, 10_000)
    serve(bomb)
    try:
        grown = highest_memory(lambda: serve(*[bomb] * 8))
    except OSError:
        pytest.skip("the kernel does not tell the highest use of memory")
    assert grown < 30e6  # one decoded image has 60 MB, or 180 MB as RGB


def test_an_empty_batch(serve):
    found = serve()
    assert found["boxes"].shape == (0, 1, 4)
    assert found["valid"].shape == (0, 1)


@pytest.mark.parametrize("value", [0, -1, 1.5, "50", None])
def test_a_limit_that_is_none(value, localizer, tmp_path):
    message = re.escape(
        f"`max_pixels` must be an integer of at least 1. Received: max_pixels={value!r}"
    )
    with pytest.raises(ValueError, match=message):
        export_saved_model(localizer, tmp_path / "1", max_pixels=value)
    assert not list(tmp_path.iterdir())
