"""Bounding-box dictionaries, given to Keras' own layers."""

import dataclasses

import keras
import numpy as np
import pytest

from keras_wsol.data import to_keras_boxes
from tests.data.small_datasets import in_memory, noise

# 24 x 40 to 12 x 10: y by a half, x by a quarter.
BOXES = np.array([[[8, 6, 20, 18], [-1] * 4], [[0, 0, 40, 24], [4, 2, 36, 22]]])
SEEN = [[[2, 3, 5, 9], [-1] * 4], [[0, 0, 10, 12], [1, 1, 9, 11]]]


@pytest.fixture(scope="module")
def dataset():
    ids = np.array([1, 0], "int32")
    return in_memory(noise(2), boxes=BOXES.astype("float32"), class_ids=ids)


@pytest.mark.parametrize(
    ("layout", "key"), [("keras", "labels"), ("keras_cv", "classes")]
)
def test_boxes_and_a_class_for_each(dataset, layout, key):
    options = {"image_size": (12, 10)}
    batches = dataset.batches(2, with_boxes=True, **options)
    [in_numpy] = dataset.numpy_batches(2, **options)
    [in_graph] = batches.map(lambda batch: to_keras_boxes(batch, layout))
    for found in (to_keras_boxes(in_numpy, layout), in_graph):
        assert set(found) == {"images", "bounding_boxes"}
        assert set(found["bounding_boxes"]) == {"boxes", key}
        np.testing.assert_array_equal(found["bounding_boxes"]["boxes"], SEEN)
        ids = np.asarray(found["bounding_boxes"][key])
        assert ids.dtype == "int32"
        assert ids.tolist() == [[1, -1], [0, 0]]
        np.testing.assert_allclose(found["images"], in_numpy["images"], atol=2e-3)


def test_a_layer_of_keras_takes_it(dataset):
    [batch] = dataset.batches(2, image_size=(12, 10), with_boxes=True)
    found = to_keras_boxes(batch)
    flip = keras.layers.RandomFlip("horizontal", bounding_box_format="xyxy", seed=0)
    # It writes its results into the dictionary that it is given.
    draws = [
        flip({**found, "bounding_boxes": dict(found["bounding_boxes"])}, training=True)
        for _ in range(12)
    ]
    x0, x1 = SEEN[0][0][0], SEEN[0][0][2]
    flipped = [
        not np.array_equal(draw["images"][0], found["images"][0]) for draw in draws
    ]
    assert 0 < sum(flipped) < len(draws)
    for turned, draw in zip(flipped, draws, strict=True):
        expected = [10 - x1, 3, 10 - x0, 9] if turned else [x0, 3, x1, 9]
        box = np.array(draw["bounding_boxes"]["boxes"])[0, 0]
        np.testing.assert_allclose(box, expected, atol=1e-4)


def test_unknown_library():
    with pytest.raises(ValueError, match=r"`library` must be one of \['keras', 'kera"):
        to_keras_boxes({}, "coco")


def test_a_box_that_a_view_has_cut_away_has_no_class(dataset):
    corner = np.array([[[0, 0, 2, 2], [-1] * 4], [[0, 0, 40, 24], [4, 2, 36, 22]]])
    some = dataclasses.replace(dataset, boxes=corner.astype("float32"))
    options = {"image_size": (16, 16), "view": "center_crop"}
    for batch in (
        next(iter(some.numpy_batches(2, **options))),
        next(iter(some.batches(2, with_boxes=True, **options))),
    ):
        found = to_keras_boxes(batch)["bounding_boxes"]
        assert np.asarray(found["labels"]).tolist() == [[-1, -1], [0, 0]]
