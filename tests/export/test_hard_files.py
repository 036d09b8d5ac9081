"""Does every reader take the same files, and see the same in them?"""

import importlib.util

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_wsol.data import ImageDataset, check, tf_pipeline
from keras_wsol.data.dataset import verify
from keras_wsol.data.numpy_pipeline import read_image, read_size
from tests.data.hard_files import HARD

pytestmark = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="a SavedModel is TensorFlow's"
)
SIZE = (24, 36)


def of_files(folder):
    """The hard files as a data set, each under a name of another format."""
    paths = [folder / f"{index}.jpg" for index in range(len(HARD))]
    for path, (file, _) in zip(paths, HARD.values(), strict=True):
        path.write_bytes(file)
    return ImageDataset(
        name="hard",
        split="test",
        class_names=("a",),
        class_ids=np.zeros(len(paths), int),
        paths=np.array(list(map(str, paths))),
        boxes=np.ones((len(paths), 1, 4), "float32"),
        orientation="exif",
    )


@pytest.fixture(scope="module")
def hard(tmp_path_factory):
    return of_files(tmp_path_factory.mktemp("hard"))


def taken(sizes):
    return {name for name, size in zip(HARD, sizes, strict=True) if all(size)}


EXPECTED = {name for name, (_, good) in HARD.items() if good}


def test_verification_with_and_without_tensorflow(hard, monkeypatch):
    sizes, left_out = verify(hard.paths, "exif")
    assert taken(sizes) == EXPECTED
    report = check(hard)
    unreadable = [f.path for f in report.findings if f.problem == "unreadable"]
    assert unreadable == [path for path, _ in left_out]
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    by_pillow, left_out_too = verify(hard.paths, "exif")
    np.testing.assert_array_equal(by_pillow, sizes)
    assert [path for path, _ in left_out_too] == [path for path, _ in left_out]


def reads(read):
    """Whether `read` does not say that it cannot."""
    try:
        read()
    except (ValueError, tf.errors.InvalidArgumentError):
        return False
    return True


def test_which_files_are_read(hard):
    decode = tf_pipeline._reader("exif")
    for path, (name, (_, good)) in zip(hard.paths, HARD.items(), strict=True):
        by_pillow = reads(lambda path=path: read_image(path, orientation="exif"))
        by_tensorflow = reads(lambda path=path: decode(path))
        expected = {True, False} if good is None else {good}
        assert {by_pillow, by_tensorflow} == expected, name


def test_what_is_read(hard):
    good = hard.take([name in EXPECTED for name in HARD], "good")
    by_tensorflow = good.batches(1, image_size=SIZE, with_boxes=True)
    by_pillow = good.numpy_batches(1, image_size=SIZE)
    names = [name for name in HARD if name in EXPECTED]
    decoded = zip(names, good.paths, by_tensorflow, by_pillow, strict=True)
    for index, (name, path, one, other) in enumerate(decoded):
        expected = [[*read_size(path, "exif")]]
        assert one["sizes"].numpy().tolist() == other["sizes"].tolist() == expected
        assert [[*good.image(index).shape[:2]]] == expected
        lossy = "jpeg" in name or "turned" in name or "film" in name
        tolerance = 12 if lossy else 0.1
        np.testing.assert_allclose(
            one["images"], other["images"], atol=tolerance, err_msg=name
        )
    [(images, _)] = good.batches(len(good), training=True, image_size=SIZE)
    drawn, _ = good.training_sequence(len(good), image_size=SIZE)[0]
    assert images.shape == drawn.shape


@pytest.mark.export
def test_what_is_served(exported, hard):
    found = exported.call("serve_bytes", [file for file, _ in HARD.values()])
    valid = {name for name, x in zip(HARD, found["valid"][:, 0], strict=True) if x}
    either = {name for name, (_, good) in HARD.items() if good is None}
    # GIF is for data sets alone.
    assert valid - either == {name for name in EXPECTED if "gif" not in name}
    for row, name in enumerate(HARD):
        if name in valid - either:
            height, width = read_image(hard.paths[row], orientation="exif").shape[:2]
            x1, y1 = found["boxes"][row, 0, 2:]
            assert x1 <= width, name
            assert y1 <= height, name
