"""Files that are missing or broken: an error that names them, or skipped and listed."""

import os
import re
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from keras_wsol.data.dataset import SkippedFiles
from keras_wsol.data.tf_pipeline import read_each
from tests.data.small_datasets import as_files, gradient, noise, renamed

SIZE = (14, 21)
BROKEN = [1, 2, 6]
BOXES = np.tile(np.array([4, 6, 20, 18], "float32"), (9, 1, 1))


def spoil(dataset):
    """Makes image 1 garbage, 2 missing, and 6 half a JPEG."""
    garbage, missing, half = (dataset.paths[index] for index in BROKEN)
    Path(garbage).write_bytes(b"no image")
    Path(missing).unlink()
    Image.fromarray(gradient(48, 80)).save(half, format="JPEG", quality=95)
    whole = Path(half).read_bytes()
    Path(half).write_bytes(whole[: len(whole) // 2])
    return dataset


@pytest.fixture
def dataset(tmp_path):
    return spoil(as_files(tmp_path, noise(9), boxes=BOXES))


def lost(dataset):
    return tuple(sorted(str(dataset.paths[index]) for index in BROKEN))


@pytest.mark.parametrize(
    ("index", "training"), [(1, False), (2, False), (6, False), (2, True)]
)
def test_raise_names_the_file(dataset, index, training):
    pair = dataset.take([0, index], "two")
    batches = pair.batches(2, training=training, image_size=SIZE)
    with pytest.raises(tf.errors.InvalidArgumentError, match="Cannot read") as error:
        list(batches)
    assert dataset.paths[index] in str(error.value)
    assert dataset.paths[0] not in str(error.value)


@pytest.mark.parametrize("index", BROKEN)
def test_pillow_raises_and_names_the_file(dataset, index):
    message = re.escape(f"Cannot read the image: {dataset.paths[index]} ")
    with pytest.raises(ValueError, match=message):
        list(dataset.take([0, index], "two").numpy_batches(4, image_size=SIZE))
    with pytest.raises(ValueError, match=message):
        dataset.image(index)


def test_skipping_in_evaluation_leaves_the_others_untouched(dataset, tmp_path):
    (tmp_path / "whole").mkdir()
    whole = as_files(tmp_path / "whole", noise(9), boxes=BOXES)
    options = {"with_boxes": True, "image_size": (12, 10)}
    expected = list(whole.batches(4, **options))
    found = list(dataset.batches(4, unreadable="skip", **options))
    ids = np.concatenate([batch["class_ids"] for batch in found])
    assert ids.tolist() == [0, -1, -1, 3, 4, 5, -1, 7, 8]
    read = ids >= 0
    for key, value in (("images", 0.0), ("boxes", -1.0)):
        here = np.concatenate([batch[key] for batch in found])
        there = np.concatenate([batch[key] for batch in expected])
        np.testing.assert_array_equal(here[read], there[read])
        assert (here[~read] == value).all()
    paths = np.concatenate([batch["paths"] for batch in found])
    assert [path.decode() for path in paths] == dataset.paths.tolist()
    assert dataset.skipped.paths == lost(dataset)


def test_skipping_with_pillow_is_the_same(dataset):
    options = {"image_size": (12, 10), "view": "center_crop", "unreadable": "skip"}
    pillow = list(dataset.numpy_batches(4, **options))
    assert dataset.skipped.paths == lost(dataset)
    batches = list(dataset.batches(4, with_boxes=True, **options))
    for mine, theirs in zip(batches, pillow, strict=True):
        for key in ("class_ids", "boxes", "sizes"):
            np.testing.assert_array_equal(mine[key], theirs[key])
        np.testing.assert_allclose(mine["images"], theirs["images"], atol=2e-3)
    assert len(dataset.skipped) == 3


def test_pairs_without_boxes_have_class_minus_one(dataset):
    pairs = dataset.batches(9, image_size=SIZE, unreadable="skip")
    [(images, ids)] = list(pairs)
    assert ids.numpy().tolist() == [0, -1, -1, 3, 4, 5, -1, 7, 8]
    assert not images.numpy()[[1, 2, 6]].any()


def test_skipping_in_training_keeps_the_steps_and_takes_the_next_image(
    dataset, tmp_path
):
    (tmp_path / "whole").mkdir()
    options = {"training": True, "seed": 1, "image_size": SIZE}
    whole = as_files(tmp_path / "whole", noise(9)).batches(4, **options)
    broken = dataset.batches(4, unreadable="skip", **options)
    assert broken.cardinality() == 2
    for _ in range(2):
        expected, found = list(whole), list(broken)
        assert len(expected) == len(found) == 2
        for (images, ids), (other_images, other_ids) in zip(
            expected, found, strict=True
        ):
            stand_in = [
                next(s % 4 for s in range(slot, slot + 4) if ids[s % 4] not in BROKEN)
                for slot in range(4)
            ]
            np.testing.assert_array_equal(other_ids, ids.numpy()[stand_in])
            np.testing.assert_array_equal(other_images, images.numpy()[stand_in])
    assert dataset.skipped.paths == lost(dataset)


def test_batch_of_unreadable_images_cannot_be_filled(dataset):
    pair = dataset.take([1, 6], "two")
    batches = pair.batches(2, training=True, image_size=SIZE, unreadable="skip")
    with pytest.raises(tf.errors.InvalidArgumentError, match="None of the images"):
        list(batches)


def test_nothing_is_listed_where_all_can_be_read(tmp_path):
    dataset = as_files(tmp_path, noise(3))
    list(dataset.batches(2, image_size=SIZE, unreadable="skip"))
    assert dataset.skipped.paths == ()
    assert len(dataset.skipped) == 0


def test_skipped_files_are_a_sorted_set_from_both_sources():
    skipped = SkippedFiles()
    table = skipped.table()
    assert skipped.table() is table
    table.insert(tf.constant(["ü b", "a"]), tf.constant([1, 1], tf.int64))
    skipped.add("c")
    skipped.add("a")
    assert skipped.paths == ("a", "c", "ü b")
    assert len(skipped) == 3


@pytest.fixture
def oddly_named(tmp_path):
    """Three files, the second with a name that is not UTF-8."""
    dataset = as_files(tmp_path, noise(3), boxes=BOXES[:3])
    return renamed(dataset, 1, b"\xff \xc3\xbc.png")


def test_a_name_that_is_not_utf8_is_read(oddly_named):
    [pillow] = oddly_named.numpy_batches(3, image_size=SIZE)
    [batch] = oddly_named.batches(3, with_boxes=True, image_size=SIZE)
    assert batch["class_ids"].numpy().tolist() == [0, 1, 2]
    np.testing.assert_allclose(batch["images"], pillow["images"], atol=2e-3)
    assert list(map(os.fsdecode, batch["paths"].numpy())) == pillow["paths"].tolist()
    [(_, ids)] = oddly_named.batches(3, training=True, image_size=SIZE)
    assert sorted(ids.numpy().tolist()) == [0, 1, 2]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "Cannot read the image"),
        ({"training": True}, "Cannot read the image"),
        ({"training": True, "unreadable": "skip"}, "None of the images of a batch"),
    ],
    ids=str,
)
def test_an_error_names_a_file_whose_name_is_not_utf8(oddly_named, options, message):
    Path(oddly_named.paths[1]).write_bytes(b"no image")
    batches = oddly_named.take([1], "one").batches(1, image_size=SIZE, **options)
    with pytest.raises(tf.errors.InvalidArgumentError, match=message) as error:
        list(batches)
    assert "/\ufffd ü.png]" in str(error.value)


def test_a_name_that_is_not_utf8_is_listed(oddly_named):
    Path(oddly_named.paths[1]).write_bytes(b"no image")
    [(_, ids)] = oddly_named.batches(3, image_size=SIZE, unreadable="skip")
    assert ids.numpy().tolist() == [0, -1, 2]
    assert oddly_named.skipped.paths == (oddly_named.paths[1],)


def failing(broken):
    def read_one(slot):
        for index in broken:
            tf.debugging.assert_none_equal(slot, index)
        height = slot + 1
        value = tf.cast(slot + 10, tf.float32)
        return tf.fill((2, 3, 3), value), tf.zeros((height, 2 * height, 3))

    return read_one


@pytest.mark.parametrize("broken", [[], [0], [3], [1, 2], [0, 1, 2, 3]])
def test_read_each_eagerly_and_in_a_map(broken):
    expected_read = [slot not in broken for slot in range(4)]
    values = [slot + 10.0 if slot not in broken else 0.0 for slot in range(4)]
    heights = [slot + 1 if slot not in broken else 1 for slot in range(4)]
    widths = [2 * slot + 2 if slot not in broken else 1 for slot in range(4)]

    def read(count):
        return read_each(count, failing(broken), (2, 3))

    mapped = tf.data.Dataset.from_tensors(tf.constant(4)).map(read)
    for images, sizes, found in (read(tf.constant(4)), next(iter(mapped))):
        assert found.numpy().tolist() == expected_read
        assert images.shape == (4, 2, 3, 3)
        blocks = np.reshape(values, (4, 1, 1, 1)) + np.zeros((2, 3, 3))
        np.testing.assert_array_equal(images, blocks)
        assert sizes.numpy().T.tolist() == [heights, widths]


def test_read_each_of_none():
    images, sizes, found = read_each(tf.constant(0), failing([]), (2, 3))
    assert (images.shape, sizes.shape, found.shape) == ((0, 2, 3, 3), (0, 2), (0,))
