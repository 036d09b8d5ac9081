"""What `serve_bytes` takes and refuses."""

import io
import re
from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image, ImageOps

from keras_wsol.data.numpy_pipeline import read_image
from keras_wsol.export import export_saved_model
from tests.data.handmade import behind_start, encode, exif, large_png, segment
from tests.data.hard_files import full_png, with_scans
from tests.export.conftest import LIMIT
from tests.export.encoded import broken, jpegs, lossless
from tests.models.painted import blob_images, painted_classifier

pytestmark = [
    pytest.mark.export,
    pytest.mark.skipif(
        keras.backend.backend() != "tensorflow", reason="a SavedModel is TensorFlow's"
    ),
]

PICTURE = blob_images(1, (75, 110), seed=5)[0]
FILES = {name: file for name, (file, _) in lossless(PICTURE).items()} | jpegs(PICTURE)


def test_what_is_read_for_training_is_what_is_served(exported, expected, tmp_path):
    found = exported.call("serve_bytes", list(FILES.values()))
    assert found["valid"][:, 0].all()
    for row, (name, file) in enumerate(FILES.items()):
        (tmp_path / "image").write_bytes(file)
        image = read_image(tmp_path / "image", orientation="exif")
        wanted = expected(image[None])
        # Two decoders of JPEG differ by a few steps of 255.
        for key, tolerance in (("boxes", 0.5), ("score_maps", 0.02)):
            np.testing.assert_allclose(
                found[key][row, 0], wanted[key][0, 0], atol=tolerance, err_msg=name
            )


# A bright bar right of the middle and above it, as a viewer shows it.
BAR = (60, 12, 84, 28)  # x0, y0, x1, y1


def bar():
    image = np.full((72, 108, 3), 20, "uint8")
    x0, y0, x1, y1 = BAR
    image[y0:y1, x0:x1] = 230
    return image


def held(value, order):
    """The bar, stored as a camera does that was held as an EXIF tag says."""
    # The stored image is the one that Pillow turns into what is shown.
    inverse = {6: 8, 8: 6}.get(value, value)
    picture = Image.fromarray(bar())
    picture.getexif()[0x0112] = inverse
    stored = encode(ImageOps.exif_transpose(picture), "JPEG", quality=95)
    file = behind_start(stored, segment(0xE1, exif(value, order=order)))
    with Image.open(io.BytesIO(file)) as image:
        assert ImageOps.exif_transpose(image).size == (108, 72)
    return file


def test_the_box_lies_where_a_viewer_shows_the_object(exported):
    cases = [(value, order) for value in range(1, 9) for order in "<>"]
    files = [held(*case) for case in cases]
    found = exported.call("serve_bytes", files)
    plain = exported.call("serve_bytes", [encode(bar(), "JPEG", quality=95)])
    for row, case in enumerate(cases):
        # A cell of the map is 12 pixels; the bar begins and ends in the midst of none.
        name = str(case)
        box = found["boxes"][row, 0]
        np.testing.assert_allclose(box, BAR, atol=8, err_msg=name)
        np.testing.assert_allclose(box, plain["boxes"][0, 0], atol=1, err_msg=name)


def refused():
    """Files that are too much for a limit, or of several frames."""
    larger = blob_images(1, (LIMIT // 100 + 1, 100), seed=2)[0]
    frames = {"save_all": True, "append_images": [Image.fromarray(PICTURE[::-1])]}
    return {
        **{f"large {kind}": encode(larger, kind) for kind in ("PNG", "JPEG", "BMP")},
        "large webp": encode(larger, "WEBP"),
        "gif": encode(PICTURE[:40], "GIF"),
        "animated gif": encode(PICTURE[:40], "GIF", **frames),
        "animated webp": encode(PICTURE, "WEBP", **frames),
        "60 megapixels": large_png(6_000, 10_000),
        "scans": with_scans(1000),
        "a gigabyte behind a pixel": full_png(1024),
    }


BAD = broken(PICTURE) | refused()


def test_a_bad_file_leaves_the_others_untouched(exported):
    good = [FILES["png"], FILES["jpeg"], FILES["webp"]]
    expected = exported.call("serve_bytes", good)
    assert expected["valid"].all()
    files = [good[0], *BAD.values(), *good[1:]]
    found = exported.call("serve_bytes", files)
    for key, values in found.items():
        kept = values[[0, -2, -1]]
        np.testing.assert_array_equal(kept, expected[key], err_msg=key)
        nothing = b"" if key == "class_names" else 0
        for name, value in zip(BAD, values[1:-2], strict=True):
            assert (value == nothing).all(), (key, name)


def test_files_of_which_none_can_be_read(exported):
    found = exported.call("serve_bytes", [b"", b"?"])
    assert found["score_maps"].shape == (2, 2, 24, 36)
    assert not found["score_maps"].any()
    assert not found["valid"].any()


def highest_memory(function):
    """How many bytes the process grows by at most while `function` runs."""
    process = Path("/proc/self")

    def kilobytes(name):
        line = re.search(rf"{name}:\s+(\d+)", (process / "status").read_text())
        return int(line[1])

    (process / "clear_refs").write_text("5")  # forgets the highest so far
    before = kilobytes("VmRSS")
    function()
    return 1024 * (kilobytes("VmHWM") - before)


def test_a_bomb_is_refused_before_it_takes_memory(exported):
    bomb = large_png(6_000, 10_000)
    exported.call("serve_bytes", [bomb])
    try:
        grown = highest_memory(lambda: exported.call("serve_bytes", [bomb] * 8))
    except OSError:
        pytest.skip("the kernel does not tell the highest use of memory")
    assert grown < 30e6  # one decoded image has 60 MB, or 180 MB as RGB


@pytest.mark.parametrize(
    ("value", "error"), [(0, ValueError), (-1, ValueError), (1.5, TypeError)]
)
def test_a_limit_that_is_none(value, error, tmp_path):
    message = rf"`max_pixels` must be an integer >= 1. Received: max_pixels={value}"
    with pytest.raises(error, match=message):
        export_saved_model(painted_classifier(), tmp_path / "1", max_pixels=value)
    assert not list(tmp_path.iterdir())
