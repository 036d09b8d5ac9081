import re

import keras
import numpy as np
import pytest
from keras import ops

from keras_wsol.boxes import iou
from keras_wsol.boxes.iou import has_area, pairwise_iou


def overlap(boxes_a, boxes_b):
    return ops.convert_to_numpy(iou(boxes_a, boxes_b))


def by_counting_cells(a, b):
    """Overlap of two boxes with whole numbers, cell by cell, in a 12 x 15 map."""
    y, x = np.mgrid[:12, :15]
    in_a = (x >= a[0]) & (x < a[2]) & (y >= a[1]) & (y < a[3])
    in_b = (x >= b[0]) & (x < b[2]) & (y >= b[1]) & (y < b[3])
    return (in_a & in_b).sum() / max((in_a | in_b).sum(), 1)


def test_equals_counting_cells():
    rng = np.random.default_rng(0)
    corners = np.sort(rng.integers(0, 12, (2, 40, 2, 2)), axis=2)
    boxes = corners.reshape(2, 40, 4)
    found = overlap(boxes[0], boxes[1][:30])
    assert found.shape == (40, 30)
    assert found.dtype == np.float32
    expected = [[by_counting_cells(a, b) for b in boxes[1][:30]] for a in boxes[0]]
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert 0.1 < (found > 0).mean() < 0.9


def test_one_cell_overlaps_itself_exactly():
    # Keras' own compute_iou gives 0.9999999: a threshold of 1 would miss it.
    assert overlap([[2, 3, 3, 4]], [[2, 3, 3, 4]]).tolist() == [[1.0]]


def test_the_far_edge_is_exclusive():
    assert overlap([[0, 0, 2, 3]], [[2, 0, 4, 3], [1, 0, 4, 3]]).tolist() == [
        [0.0, np.float32(3 / 12)]
    ]


def test_boxes_without_area_overlap_nothing():
    nothing = [[0, 0, 0, 0], [-1, -1, -1, -1], [2, 2, 2, 5], [3, 4, 1, 2]]
    boxes = [*nothing, [-2, -2, 9, 9]]
    assert overlap(nothing, boxes).tolist() == np.zeros((4, 5)).tolist()
    assert overlap(boxes, nothing).tolist() == np.zeros((5, 4)).tolist()


def test_nan_overlaps_nothing():
    assert overlap([[0, 0, np.nan, 4]], [[0, 0, 4, 4]]).tolist() == [[0.0]]


def test_arrays_of_numpy_give_the_same():
    rng = np.random.default_rng(3)
    near = rng.uniform(0, 5, (2, 6, 2))
    boxes = np.concatenate([near, near + rng.uniform(-1, 5, near.shape)], axis=-1)
    boxes = boxes.astype("float32")
    boxes[1, 4:] = -1
    found = pairwise_iou(boxes, boxes[:, :5])
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, overlap(boxes, boxes[:, :5]))
    # What overlaps itself is what has an area.
    itself = np.diagonal(pairwise_iou(boxes, boxes), axis1=1, axis2=2)
    np.testing.assert_array_equal(has_area(boxes), itself > 0)
    assert 0 < has_area(boxes).mean() < 1


def test_what_has_an_area_by_eye():
    none = [[-1] * 4, [0] * 4, [2, 3, 2, 9], [2, 3, 5, 3], [5, 3, 2, 9], [5, 9, 6, 3]]
    boxes = np.array([[2, 3, 3, 4], *none])
    assert has_area(boxes).tolist() == [True] + [False] * 6
    assert has_area(boxes[None]).tolist() == [has_area(boxes).tolist()]


def test_leading_dimensions():
    rng = np.random.default_rng(1)
    near = rng.uniform(0, 5, (2, 3, 5, 2))
    boxes_a = np.concatenate([near, near + rng.uniform(0, 5, near.shape)], axis=-1)
    boxes_b = boxes_a[0, :, :4] + 0.5
    found = overlap(boxes_a, boxes_b)
    assert found.shape == (2, 3, 5, 4)
    for t in range(2):
        for n in range(3):
            expected = overlap(boxes_a[t, n], boxes_b[n])
            np.testing.assert_array_equal(found[t, n], expected)


def test_equals_keras_on_large_boxes():
    rng = np.random.default_rng(2)
    near = rng.uniform(0, 100, (3, 6, 2))
    boxes = np.concatenate([near, near + rng.uniform(9, 99, near.shape)], axis=-1)
    boxes = boxes.astype("float32")
    theirs = keras.utils.bounding_boxes.compute_iou(boxes, boxes[:, :5], "xyxy")
    np.testing.assert_allclose(
        overlap(boxes, boxes[:, :5]), ops.convert_to_numpy(theirs), rtol=1e-5
    )


@pytest.mark.parametrize(
    ("boxes_a", "boxes_b", "message"),
    [
        (
            np.zeros(4),
            np.zeros((3, 4)),
            "`boxes_a` must have shape (N, 4), or (..., N, 4). "
            "Received: boxes_a.shape=(4,). For one box, use boxes_a[None].",
        ),
        (
            np.zeros((3, 4)),
            np.zeros((4, 3)),
            "`boxes_b` must have shape (N, 4), or (..., N, 4). "
            "Received: boxes_b.shape=(4, 3).",
        ),
    ],
)
def test_bad_shapes_by_their_message(boxes_a, boxes_b, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        iou(boxes_a, boxes_b)
