import re

import numpy as np
import pytest

from keras_wsol.boxes import sweep_best_iou, sweep_largest_boxes
from keras_wsol.boxes.sweep import inclusive_iou, whole_boxes
from tests.boxes.hard_maps import hard_masks, noise_maps, smooth_maps
from tests.reference import wsolevaluation_numpy as published

THRESHOLDS = np.arange(0, 1, 0.027)
RULES = "wsolevaluation"


def score_maps(height, width):
    rng = np.random.default_rng(height)
    maps = np.concatenate(
        [
            smooth_maps(rng, 3, height, width),
            0.3 * noise_maps(rng, 2, height, width),
            noise_maps(rng, 2, height, width, levels=3),
            np.zeros((1, height, width)),
            np.ones((1, height, width)),
        ]
    )
    return maps.astype(np.float64)


def true_boxes(count, height, width):
    rng = np.random.default_rng(width)
    sides = rng.integers(0, (width, height), (2, count, 3, 2))
    return np.concatenate([sides.min(0), sides.max(0)], axis=-1)


def expected_boxes(maps, thresholds):
    return [[published.boxes_at(m, t)[0] for m in maps] for t in thresholds]


@pytest.mark.parametrize(("height", "width"), [(19, 26), (30, 13), (1, 17), (9, 1)])
def test_largest_boxes_are_the_published_ones(height, width):
    maps = score_maps(height, width)
    found = sweep_largest_boxes(maps, THRESHOLDS, RULES)
    np.testing.assert_array_equal(found, expected_boxes(maps, THRESHOLDS))


@pytest.mark.parametrize(("height", "width"), [(19, 26), (30, 13), (1, 17), (9, 1)])
def test_best_ious_are_the_published_ones(height, width):
    maps = score_maps(height, width)
    boxes = true_boxes(len(maps), height, width)
    found = sweep_best_iou(maps, THRESHOLDS, boxes, RULES)
    assert found.dtype == np.float64
    expected = published.best_ious(boxes, maps, THRESHOLDS, all_contours=True)
    np.testing.assert_array_equal(found, expected)
    assert len(np.unique(expected)) > 2


def test_hard_masks():
    masks = np.stack(list(hard_masks(23, 38).values())).astype(np.float64)
    # All at once, too: a picture with a grey value for each.
    maps = np.concatenate([masks, masks[:12].cumsum(axis=0)[-1:] / 12])
    boxes = true_boxes(len(maps), 23, 38)
    thresholds = np.arange(0, 1, 0.09)
    found = sweep_largest_boxes(maps, thresholds, RULES)
    np.testing.assert_array_equal(found, expected_boxes(maps, thresholds))
    found = sweep_best_iou(maps, thresholds, boxes, RULES)
    expected = published.best_ious(boxes, maps, thresholds, all_contours=True)
    np.testing.assert_array_equal(found, expected)


def test_many_small_pictures():
    rng = np.random.default_rng(3)
    for _ in range(100):
        height, width, levels = rng.integers(1, 9, 3)
        maps = np.floor(rng.random((2, height, width)) * (levels + 1)) / (levels + 1)
        boxes = true_boxes(2, height, width)
        thresholds = np.arange(0, 1, 0.11)
        found = sweep_largest_boxes(maps, thresholds, RULES)
        np.testing.assert_array_equal(found, expected_boxes(maps, thresholds))
        found = sweep_best_iou(maps, thresholds, boxes, RULES)
        expected = published.best_ious(boxes, maps, thresholds, all_contours=True)
        np.testing.assert_array_equal(found, expected)


def test_the_thousand_thresholds_of_the_paper():
    rng = np.random.default_rng(4)
    maps = np.concatenate([smooth_maps(rng, 1, 31, 22), noise_maps(rng, 1, 31, 22)])
    maps = maps.astype(np.float64)
    thresholds = np.arange(0, 1, 0.001)
    found = sweep_largest_boxes(maps, thresholds, RULES)
    np.testing.assert_array_equal(found, expected_boxes(maps, thresholds))


def picture(*rows):
    """A map of zeros and ones: `#` is one."""
    return np.array([[cell == "#" for cell in row] for row in rows], np.float64)


@pytest.mark.parametrize(
    ("rows", "box"),
    [
        # Two single cells have area 0: of equals, the last in row-major order.
        (("#....", ".....", "...#.", "....."), [3, 2, 4, 3]),
        # A line has area 0, however long, and a square of four cells area 1.
        (("#####.", "......", "##....", "##....", "......"), [0, 2, 2, 4]),
        # Seven cells in three corners: a triangle of half a cell beats the line.
        (("######", "......", "##....", "#.....", "......"), [0, 2, 2, 4]),
        # The hole of the ring counts as inside: 16 against the square's 9.
        (
            ("#####....", "#...#.###", "#...#.###", "#...#.###", "#####.###"),
            [0, 0, 5, 4],
        ),
        # Diagonal cells are one component: a diamond of area 2, and not two lines.
        ((".#....", "#.#.##", ".#..##", "......"), [0, 0, 3, 3]),
        # The uppermost cell lies on the hole's border, too, which is met first.
        (
            ("..#...", ".#.#..", "#...#.", "#.#.#.", "#.#.#.", ".###..", "......"),
            [0, 0, 5, 6],
        ),
        # One cell behind the contour, but no farther than the last cell.
        (("...", "...", "..#", "..#"), [2, 2, 2, 3]),
        (("...", "...", "..."), [0, 0, 0, 0]),
    ],
)
def test_largest_box_by_eye(rows, box):
    found = sweep_largest_boxes(picture(*rows)[None], [0.0, 0.5], RULES)
    assert found[:, 0].tolist() == [box, box]


def test_holes_have_boxes_by_eye():
    rows = ("........", ".######.", ".#...##.", ".#...##.", ".######.", "........")
    # Around: 1, 1 to 6, 4, so far edges at 7 and 5. The hole: cells 2, 2 to 4, 3, so
    # its border goes from 1, 1 to 5, 4, and its far edges lie at 6 and 5.
    maps = picture(*rows)[None]
    around, hole = [1, 1, 7, 5], [1, 1, 6, 5]
    for box, expected in ((around, 1.0), (hole, 1.0), ([1, 1, 5, 5], 25 / 30)):
        found = sweep_best_iou(maps, [0.5], np.array([[box]]), RULES)
        assert found.tolist() == [[expected]]


def test_a_cell_on_two_borders_by_eye():
    # The uppermost cell belongs to the border around and to that of the hole.
    maps = picture(".#....", "#.##..", ".#....", "......")[None]
    for box in ([0, 0, 4, 3], [0, 0, 3, 3]):
        found = sweep_best_iou(maps, [0.5], np.array([[box]]), RULES)
        assert found.tolist() == [[1.0]]


def test_grey_values_and_cuts_are_cut_down():
    # 0.999 is grey value 254; the cut at 0.998 is int(0.998 * 255) = 254, too.
    maps = np.array([[[1.0, 0.999, 0.5, 0.0]]])
    found = sweep_largest_boxes(maps, [0.5, 0.99, 0.998], RULES)
    # 0.5 is 127, and int(0.5 * 255) = 127 is not above it.
    assert found[:, 0].tolist() == [[0, 0, 2, 0], [0, 0, 2, 0], [0, 0, 1, 0]]


def test_maps_and_thresholds_stay_float64():
    # 0.7 in float32 is less: int(0.7 * 250) is then 174. The map's maximum is 250.
    maps = np.array([[[250.5 / 255, 175.5 / 255, 0.0]]])
    for thresholds, right in ((np.array([0.7]), 1), (np.float32([0.7]), 2)):
        found = sweep_largest_boxes(maps, thresholds, RULES)
        assert found[0, 0].tolist() == [0, 0, right, 0]
    # Grey value 51 in float64; in float32 arithmetic 0.2 - 1e-9 would be 0.2.
    maps = np.array([[[0.2, 0.2 - 1e-9]]])
    assert sweep_largest_boxes(maps, [0.99], RULES)[0, 0].tolist() == [0, 0, 1, 0]


def test_a_black_map_has_the_box_of_the_first_cell():
    maps = np.zeros((2, 5, 7))
    boxes = np.array([[[0, 0, 1, 1], [2, 2, 3, 3]], [[-1] * 4, [1, 1, 2, 2]]])
    found = sweep_best_iou(maps, [0.0, 0.5], boxes, RULES)
    assert found.tolist() == [[0.25, 0.0]] * 2
    assert not sweep_best_iou(maps, [0.0], np.full((2, 1, 4), -1), RULES).any()


def test_whole_boxes():
    # 25 * 224 / 350 is 16; in float32, 25 / 350 * 224 is 16.000002.
    in_float32 = np.float32(25 / 350) * np.float32(224)
    below = np.nextafter(np.float32(16), np.float32(0))
    boxes = np.float32([[1.9, below, in_float32, 40.99], [-1] * 4])
    assert whole_boxes(boxes).tolist() == [[1, 16, 16, 40], [-1] * 4]
    exact = np.array([[0, 0, 15.9999999, 16]])
    assert whole_boxes(exact).tolist() == [[0, 0, 15, 16]]


def test_whole_boxes_of_boxes_scaled_in_float32():
    rng = np.random.default_rng(5)
    too_low = 0
    for _ in range(2000):
        # 56th parts of the image are whole in a map of 224.
        size = 56 * rng.integers(2, 22, 2)
        sides = rng.integers(0, 57, (2, 2)) * size // 56
        box = [*sides.min(0), *sides.max(0)]
        # As `ImageDataset.batches` scales them.
        scaled = np.float32(box) / np.float32([*size, *size]) * np.float32(224)
        expected = published.scaled_box(box, size, (224, 224))
        assert whole_boxes(scaled).tolist() == expected
        too_low += scaled.astype(int).tolist() != expected
        box = np.sort(rng.integers(0, size, (2, 2)), axis=0).ravel()
        scaled = np.float32(box) / np.float32([*size, *size]) * np.float32(224)
        assert whole_boxes(scaled).tolist() == published.scaled_box(
            box, size, (224, 224)
        )
    assert too_low > 100


def test_inclusive_iou_equals_the_loops():
    a, b = true_boxes(9, 20, 30)[:, 0], true_boxes(7, 25, 20)[:, 0]
    expected = [[published.iou(one, other) for other in b] for one in a]
    np.testing.assert_array_equal(inclusive_iou(a, b), expected)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: sweep_largest_boxes(np.ones((1, 2, 3)), [0.2], "opencv"),
            "`convention` must be one of ['default', 'wsolevaluation', 'adl']. "
            "Received: convention='opencv'.",
        ),
        (
            lambda: sweep_largest_boxes(np.full((1, 2, 3), np.nan), [0.2], RULES),
            "`score_maps` must be in [0, 1] and hold no NaN",
        ),
        (
            lambda: sweep_largest_boxes(np.full((1, 2, 3), 1.01), [0.2], RULES),
            "`score_maps` must be in [0, 1] and hold no NaN",
        ),
        (
            lambda: sweep_best_iou(
                np.ones((1, 2, 3)), [0.2], np.array([[[3, 0, 2, 1]]]), RULES
            ),
            "True boxes must be x0, y0, x1, y1 with 0 <= x0 <= x1 and 0 <= y0 <= y1, "
            "or padding of -1. Received: [3, 0, 2, 1].",
        ),
        (
            lambda: whole_boxes(np.array([-0.5, 0, 2, 1])[None]),
            "Received: [-0.5, 0.0, 2.0, 1.0].",
        ),
    ],
)
def test_bad_arguments_by_their_message(call, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        call()
