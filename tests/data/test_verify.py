"""Files that cannot be read: left out at the door, named if they break later."""

import json
import os
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from keras_wsol.data import image_folder, images, tf_pipeline
from keras_wsol.data.dataset import verified, verify
from tests.data.handmade import encode, large_png
from tests.data.small_datasets import as_files, gradient, in_memory, noise, renamed

SIZE = (14, 21)
BOXES = np.tile(np.array([4, 6, 20, 18], "float32"), (9, 1, 1))
GOOD = [0, 2, 8]


def spoil(dataset):
    """Leaves images 0, 2 and 8 of nine as they are, but for the height of 2."""
    paths = list(map(Path, dataset.paths))
    half = encode(gradient(48, 80), "JPEG", quality=95)
    frames = [Image.fromarray(x) for x in (gradient(), 255 - gradient())]
    paths[1].write_bytes(b"no image")
    paths[2].write_bytes(encode(gradient(31, 40), "WEBP"))
    paths[3].unlink()
    paths[4].write_bytes(half[: len(half) // 2])
    paths[5].write_bytes(encode(gradient(), "TIFF"))
    paths[6].write_bytes(large_png(7100, 7100))
    # TensorFlow would overwrite memory: the process ends, at once or later.
    animation = encode(frames[0], "WEBP", save_all=True, append_images=frames[1:])
    paths[7].write_bytes(animation)
    return dataset


@pytest.fixture
def spoiled(tmp_path):
    return spoil(as_files(tmp_path, noise(9), boxes=BOXES))


@pytest.fixture
def without_tensorflow(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)


FORMATS = "no JPEG, PNG, GIF, BMP or"
REASONS = {
    "1.png": FORMATS,
    "3.png": "No such file or directory",
    "4.png": "Invalid JPEG data|truncated",
    "5.png": FORMATS,
    "6.png": "more than 50000000 pixels",
    "7.png": FORMATS,
}


def check(dataset, reasons):
    with pytest.warns(UserWarning, match=r"of 9 images cannot be .*1\.png \(no JPEG"):
        whole = verified(dataset, True)
    assert len(whole) + len(whole.left_out) == 9
    for (path, reason), (name, expected) in zip(
        whole.left_out, reasons.items(), strict=True
    ):
        assert Path(path).name == name
        assert re.search(expected, reason)
        assert "\n" not in reason
    return whole


def test_broken_files_are_left_out_with_the_reason(spoiled):
    whole = check(spoiled, REASONS)
    assert whole.sizes.tolist() == [[24, 40], [31, 40], [24, 40]]
    assert whole.sizes.dtype == np.int32
    assert whole.paths.tolist() == spoiled.paths[GOOD].tolist()
    assert whole.class_ids.tolist() == GOOD
    assert (whole.name, whole.split, whole.boxes.shape) == ("tiny", "train", (3, 1, 4))
    [batch] = whole.batches(4, with_boxes=True, image_size=SIZE)
    np.testing.assert_array_equal(batch["sizes"], whole.sizes)
    # What comes of it knows of them.
    assert whole.take([1], "one").left_out == whole.left_out
    assert whole.take([1], "one").sizes.tolist() == [[31, 40]]


def test_pillow_finds_the_same_where_tensorflow_is_missing(spoiled, without_tensorflow):
    reasons = {**REASONS, "6.png": "7100 x 7100 are more than 50000000 pixels"}
    assert check(spoiled, reasons).class_ids.tolist() == GOOD


@pytest.mark.parametrize("good", [True, False])
def test_what_no_memory_can_be_had_for_is_not_left_out(good, tmp_path, monkeypatch):
    # TensorFlow says of both that they are broken, as where memory is missing.
    path = tmp_path / "a.jpg"
    path.write_bytes(encode(gradient(), "JPEG")[: None if good else 20])

    def fail(_):
        raise tf.errors.InvalidArgumentError(None, None, "Invalid JPEG data")

    monkeypatch.setattr(tf_pipeline, "_reader", lambda orientation: fail)
    monkeypatch.setattr(tf_pipeline, "_BYTES_A_PIXEL", 10**13)
    if good:
        with pytest.raises(MemoryError):
            verify([path])
    else:
        assert verify([path])[1] == ((str(path), "Invalid JPEG data"),)


def test_without_verification_nothing_is_opened(spoiled):
    assert verified(spoiled, False) is spoiled
    assert spoiled.sizes is None


def test_images_in_memory_have_sizes():
    whole = verified(in_memory(noise(2)), True)
    assert whole.sizes.tolist() == [[24, 40]] * 2
    assert whole.left_out == ()


def test_a_data_set_of_broken_files_is_an_error(spoiled):
    with pytest.raises(ValueError, match=r"must be an image. 2 of 2 .*1\.png"):
        verified(spoiled.take([1, 3], "two"), True)


def test_sizes_are_of_upright_images(tmp_path):
    tags = Image.Exif()
    tags[0x0112] = 6
    path = tmp_path / "a.jpg"
    path.write_bytes(encode(gradient(), "JPEG", exif=tags))
    for orientation, size in (("stored", [24, 40]), ("exif", [40, 24])):
        assert verify([path], orientation)[0].tolist() == [size]


def test_verdicts_are_kept_while_a_file_is_unchanged(spoiled, tmp_path, monkeypatch):
    opened = []
    reader = tf_pipeline.size_reader

    def spy(orientation):
        size_of = reader(orientation)
        return lambda path: opened.append(Path(path).name) or size_of(path)

    monkeypatch.setattr(tf_pipeline, "size_reader", spy)
    cache = tmp_path / "run" / "verified.jsonl"

    def look(orientation="stored"):
        opened.clear()
        return verify(spoiled.paths, orientation, cache)

    first = look()
    assert len(opened) == 8
    again = look()
    assert opened == []
    np.testing.assert_array_equal(first[0], again[0])
    assert first[1] == again[1]
    # Another time of change, another size, a file that was missing.
    os.utime(spoiled.paths[0], (1, 1))
    Path(spoiled.paths[8]).write_bytes(b"broken since")
    Path(spoiled.paths[3]).write_bytes(encode(gradient(5, 6), "PNG"))
    sizes, left_out = look()
    assert sorted(opened) == ["0.png", "3.png", "8.png"]
    assert sizes[[0, 3, 8]].tolist() == [[24, 40], [5, 6], [0, 0]]
    assert spoiled.paths[8] in dict(left_out)
    # Another question; other files of the list stay in it.
    look("exif")
    assert len(opened) == 9
    verify(spoiled.paths[:1], "stored", cache)
    lines = [json.loads(line) for line in cache.read_text().splitlines()]
    assert {line["path"] for line in lines} == set(spoiled.paths)
    assert len(lines) == 9


def test_a_verdict_with_a_size_that_is_none_is_refused(tmp_path, spoiled):
    cache = tmp_path / "verdicts.jsonl"
    verified(spoiled, cache)
    good = cache.read_text()
    lines = [json.loads(line) for line in good.splitlines()]
    place = next(n for n, line in enumerate(lines) if line["size"])
    for size in ([-5, 3], [4], [0, 3]):
        lines[place]["size"] = size
        cache.write_text("".join(json.dumps(line) + "\n" for line in lines))
        with pytest.raises(ValueError, match="holds something else"):
            verified(spoiled, cache)


@pytest.mark.parametrize(
    "text",
    [b"my notes\n", b"\xff\n", b"null\n", b'{"size": "q"}\n', b'{"size": [-5, 3]}\n'],
)
def test_a_file_of_something_else_is_not_written_over(text, tmp_path, spoiled):
    notes = tmp_path / "notes.txt"
    notes.write_bytes(text)
    with pytest.raises(ValueError, match=r"the path of a file of verdicts.*notes\.txt"):
        verified(spoiled, notes)
    assert notes.read_bytes() == text


def test_what_was_seen_before_an_interruption_is_kept(spoiled, tmp_path, monkeypatch):
    monkeypatch.setattr(images, "_BLOCK", 2)
    judge, cache = images._judge, tmp_path / "verified.jsonl"

    def interrupted(*args):
        if args[-1] == spoiled.paths[5]:
            raise KeyboardInterrupt
        return judge(*args)

    monkeypatch.setattr(images, "_judge", interrupted)
    with pytest.raises(KeyboardInterrupt):
        verify(spoiled.paths, "stored", cache)
    assert len(cache.read_text().splitlines()) == 4  # of five, one is missing


def ids_until_an_error(dataset, batch_size, named, **options):
    """Class ids of the batches before the error, which has to name an image."""
    came = []
    message = re.escape(f"Cannot read the image: {dataset.paths[named]}]")
    batches = dataset.batches(batch_size, image_size=SIZE, **options)
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        came.extend(ids.numpy().tolist() for _, ids in batches)
    return came


@pytest.mark.parametrize(
    ("breaks", "before"),
    [([3, 4], [[0, 1]]), ([4], [[0, 1], [2, 3]]), ([*range(5)], [])],
)
def test_a_file_that_breaks_later_is_named(tmp_path, breaks, before):
    dataset = as_files(tmp_path, noise(5))
    for index in breaks:
        Path(dataset.paths[index]).write_bytes(b"broken since")
    assert ids_until_an_error(dataset, 2, breaks[0]) == before


def test_a_file_that_breaks_later_is_named_in_training(tmp_path):
    dataset = as_files(tmp_path, noise(5))
    Path(dataset.paths[2]).write_bytes(b"broken since")
    came = ids_until_an_error(dataset, 1, 2, training=True, seed=1)
    shuffled = tf.random.experimental.stateless_shuffle(tf.range(5), seed=[1, 0])
    order = shuffled.numpy().tolist()
    assert [index for [index] in came] == order[: order.index(2)] != []


def test_pillow_names_the_file(spoiled):
    for index in (1, 3, 4):
        message = re.escape(f"Cannot read the image: {spoiled.paths[index]} ")
        two = spoiled.take([0, index], "two")
        with pytest.raises(ValueError, match=message):
            list(two.numpy_batches(4, image_size=SIZE))
        with pytest.raises(ValueError, match=message):
            two.training_sequence(2, image_size=SIZE)[0]


def test_a_name_that_is_not_utf8(tmp_path):
    dataset = renamed(
        as_files(tmp_path, noise(3), boxes=BOXES[:3]), 1, b"\xff \xc3\xbc.png"
    )
    whole = verified(dataset, tmp_path / "verified.jsonl")
    assert whole.left_out == ()
    for batches in (whole.numpy_batches, whole.evaluation_batches):
        [batch] = batches(3, image_size=SIZE)
        assert batch["paths"].tolist() == dataset.paths.tolist()
    [(_, ids)] = whole.batches(3, training=True, image_size=SIZE)
    assert sorted(ids.numpy().tolist()) == [0, 1, 2]
    Path(dataset.paths[1]).write_bytes(b"no image")
    with pytest.raises(tf.errors.InvalidArgumentError) as error:
        list(whole.batches(1, image_size=SIZE))
    assert "/\ufffd ü.png]" in str(error.value)


def test_the_warning_points_to_who_opened_the_folder(tmp_path):
    for name in "ab":
        (tmp_path / name).mkdir()
        as_files(tmp_path / name, noise(2))
    (tmp_path / "b" / "1.png").write_bytes(b"no image")
    with pytest.warns(UserWarning, match="1 of 4 images") as record:
        dataset = image_folder(tmp_path)
    assert record[0].filename == __file__
    assert (len(dataset), len(dataset.left_out)) == (3, 1)
    assert replace(dataset, split="x").left_out == dataset.left_out
