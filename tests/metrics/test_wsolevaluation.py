import numpy as np
import pytest

from keras_wsol.metrics import MaxBoxAcc, MaxBoxAccV2
from tests.boxes.hard_maps import noise_maps, smooth_maps
from tests.reference import wsolevaluation_numpy as published

RULES = "wsolevaluation"


def test_the_grid_is_that_of_the_published_evaluator():
    grid = MaxBoxAcc(convention=RULES).thresholds
    np.testing.assert_array_equal(grid, np.arange(0, 1, 0.001))
    assert grid.dtype == np.float64


def random_batches(seed, height=17, width=23):
    """Batches of 6 and 3 maps with one to three whole true boxes."""
    rng = np.random.default_rng(seed)
    for count in (6, 3):
        smooth = smooth_maps(rng, count // 3, height, width)
        noise = noise_maps(rng, count - count // 3, height, width, levels=8)
        maps = np.concatenate([smooth, noise]).astype(np.float64)
        sides = rng.integers(0, (width, height), (2, count, 3, 2))
        boxes = np.concatenate([sides.min(0), sides.max(0)], axis=-1)
        boxes[rng.random((count, 3)) < 0.3] = -1
        for b, score_map in enumerate(maps):
            near = published.boxes_at(score_map, rng.uniform(0.2, 0.8), True)[-1]
            boxes[b, 0] = np.maximum(near + rng.integers(-1, 2, 4), 0)
            boxes[b, 0, 2:] = np.maximum(boxes[b, 0, 2:], boxes[b, 0, :2])
        yield boxes, maps


def without_padding(boxes):
    return [[box for box in each if box[0] >= 0] for each in boxes.tolist()]


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("v2", [False, True])
def test_accuracy_is_the_published_one(v2, seed):
    percents = (30, 50, 70) if v2 else (50,)
    new = MaxBoxAccV2 if v2 else MaxBoxAcc
    metric = new(num_thresholds=50, convention=RULES)
    for boxes, maps in random_batches(seed):
        metric.update_state(boxes, maps)
    boxes, maps = map(np.concatenate, zip(*random_batches(seed), strict=True))
    expected = published.max_box_acc(
        without_padding(boxes), maps, np.arange(0, 1, 0.02), percents, v2
    )
    assert 0 < np.mean(expected) < 100
    assert 100 * metric.result() == pytest.approx(np.mean(expected), rel=1e-14)


def test_conventions_differ():
    # A line of six cells, and four cells in a square.
    score_map = np.zeros((1, 5, 7))
    score_map[0, 0, :6] = score_map[0, 3:, :2] = 1
    line, square = [[[0.0, 0, 6, 1]]], [[[0.0, 3, 2, 4]]]
    for box, default, as_published in ((line, 1.0, 0.0), (square, 0.0, 1.0)):
        for convention, expected in (("default", default), (RULES, as_published)):
            metric = MaxBoxAcc(0.9, thresholds=[0.5], convention=convention)
            metric.update_state(np.array(box), score_map)
            assert metric.result() == expected


def test_an_overlap_of_exactly_the_threshold_is_right():
    # Boxes 0, 0 to 4, 1 (ten cells with the far edges) and 0, 0 to 2, 0 (three).
    score_map = np.zeros((1, 9, 9))
    score_map[0, 0, :4] = 1
    metric = MaxBoxAccV2((0.3, 0.3000001), thresholds=[0.0], convention=RULES)
    metric.update_state(np.array([[[0.0, 0, 2, 0]]]), score_map)
    assert metric.curve().tolist() == [[1.0], [0.0]]


@pytest.mark.parametrize("new", [MaxBoxAcc, MaxBoxAccV2])
def test_an_image_without_a_true_box_is_wrong(new):
    score_map = np.ones((2, 4, 5))
    metric = new(convention=RULES, num_thresholds=3)
    metric.update_state(np.full((2, 3, 4), -1.0), score_map)
    metric.update_state(np.zeros((2, 0, 4)), score_map)
    assert metric.result() == 0
    metric.update_state(np.array([[[0, 0, 4, 3]]] * 4), np.ones((4, 4, 5)))
    assert metric.result() == 0.5


@pytest.mark.parametrize("new", [MaxBoxAcc, MaxBoxAccV2])
def test_maps_outside_the_unit_interval(new):
    for bad in (np.nan, -0.1, 1.1):
        with pytest.raises(ValueError, match=r"must be in \[0, 1\]"):
            new(convention=RULES).update_state(
                np.zeros((1, 1, 4)), np.full((1, 4, 5), bad)
            )
