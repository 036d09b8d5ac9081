import numpy as np
import pytest

from keras_wsol.boxes import sweep_largest_boxes
from keras_wsol.evaluation.measure import ERRORS, box_errors, enclosing_boxes
from tests.models.painted import blob_images
from tests.reference import box_errors_numpy
from tests.reference.max_box_acc_numpy import boxes_at

NONE = [-1, -1, -1, -1]
# Drawn by hand around the true box 10, 10, 30, 20, of 200 pixels: the box, the box of
# all components, whether the class is right, the word.
TRUE_BOX = [10, 10, 30, 20]
CASES = {
    "exact": ([10, 10, 30, 20], None, True, "right"),
    "IoU of exactly one half": ([10, 10, 20, 20], None, True, "right"),
    "right, of another class": ([10, 10, 30, 20], None, False, "wrong class"),
    "one pixel less than half": ([10, 10, 19, 20], None, True, "too small"),
    "a part, of another class": ([10, 10, 19, 20], None, False, "too small"),
    "one of ten columns inside": ([1, 12, 11, 16], None, True, "elsewhere"),
    # 9 of its 10 columns: exactly 90 %.
    "a part, 90 % inside": ([9, 12, 19, 16], None, True, "too small"),
    "a part, 80 % inside": ([8, 12, 18, 16], None, True, "elsewhere"),
    "twice and more around it": ([10, 10, 51, 20], None, True, "too large"),
    # 18 of the 20 columns.
    "around 90 % of it": ([12, 0, 60, 30], None, True, "too large"),
    "around 85 % of it": ([13, 0, 60, 30], None, True, "elsewhere"),
    "beside it": ([31, 10, 51, 20], None, True, "elsewhere"),
    "half across it": ([20, 10, 40, 20], None, True, "elsewhere"),
    "two halves": ([10, 10, 19, 20], [10, 10, 30, 20], True, "several parts"),
    "two halves, of another class": (
        *([10, 10, 19, 20], [10, 10, 30, 20]),
        *(False, "several parts"),
    ),
    "parts far apart": ([10, 10, 19, 20], [10, 10, 60, 60], True, "too small"),
    "right, and a speck far off": ([10, 10, 30, 20], [0, 0, 60, 60], True, "right"),
    "nothing": ([0, 0, 0, 0], None, True, "no box"),
    "nothing, of another class": ([0, 0, 0, 0], None, False, "no box"),
}


@pytest.mark.parametrize("case", CASES)
def test_boxes_drawn_by_hand(case):
    box, enclosing, class_right, word = CASES[case]
    found = box_errors(
        np.array([box]),
        np.array([box if enclosing is None else enclosing]),
        np.array([[TRUE_BOX, NONE]]),
        np.array([class_right]),
    )
    assert found.tolist() == [word]
    assert word in ERRORS


def test_the_true_box_is_the_one_of_best_iou():
    # Inside of the large one, but nearer to the small one, which it sticks out of.
    true_boxes = np.array([[[0, 0, 100, 100], [20, 20, 30, 30]]])
    boxes = np.array([[18, 18, 35, 33]])
    found = box_errors(boxes, boxes, true_boxes, np.array([True]))
    assert found.tolist() == ["too large"]
    found = box_errors(boxes, boxes, true_boxes[:, :1], np.array([True]))
    assert found.tolist() == ["too small"]


@pytest.mark.parametrize("true_boxes", [np.zeros((2, 0, 4)), np.full((2, 3, 4), -1)])
def test_without_a_true_box_a_box_is_elsewhere(true_boxes):
    boxes = np.array([[3, 4, 9, 8], [0, 0, 0, 0]])
    found = box_errors(boxes, boxes, true_boxes, np.array([True, True]))
    assert found.tolist() == ["elsewhere", "no box"]


def test_every_word_as_in_loops():
    rng = np.random.default_rng(0)
    maps = np.concatenate([x[..., 0] for x in blob_images(300, (20, 30), 4)[None]])
    maps = np.where(rng.random((300, 20, 1)) < 0.2, 0, maps) / 255
    maps = maps.astype("float32")
    maps[::17] = 0
    near = rng.integers(0, 12, (300, 2, 2))
    true_boxes = np.concatenate([near, near + rng.integers(3, 16, near.shape)], -1)
    true_boxes[rng.random((300, 2)) < 0.4] = -1
    right = rng.random(300) < 0.7
    boxes = sweep_largest_boxes(maps, [0.4])[0]
    true_boxes[::5, 1] = boxes[::5] + rng.integers(0, 2, (60, 4))
    found = box_errors(boxes, enclosing_boxes(maps, 0.4), true_boxes, right)
    parts = [boxes_at(score_map, 0.4) if score_map.any() else [] for score_map in maps]
    expected = [
        box_errors_numpy.error(*each)
        for each in zip(parts, true_boxes, right, strict=True)
    ]
    assert found.tolist() == expected
    assert set(expected) == set(ERRORS)


def test_enclosing_boxes():
    score_maps = np.zeros((5, 4, 6), "float32")
    score_maps[0, 1, 2] = 1
    score_maps[1, 0, 5] = score_maps[1, 3, 1] = 0.8
    score_maps[1, 2, 0] = 0.4  # at half of the maximum, not above it
    score_maps[2, 2, 3], score_maps[2, 0, 0] = 0.9, np.nan
    score_maps[3] = 1
    found = enclosing_boxes(score_maps, 0.5)
    assert found.tolist() == [
        [2, 1, 3, 2],
        [1, 0, 6, 4],
        [0, 0, 0, 0],
        [0, 0, 6, 4],
        [0, 0, 0, 0],
    ]
