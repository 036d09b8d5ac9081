import re

import numba
import numpy as np
import pytest
from keras import ops

from keras_wsol.boxes import largest_boxes, sweep_best_iou, sweep_largest_boxes
from keras_wsol.boxes.numba_loops import cells_by_level, compiled, component_history
from tests.boxes import opencv_components as opencv
from tests.boxes.hard_maps import hard_masks, noise_maps, smooth_maps

THRESHOLDS = np.linspace(0, 1, 37, endpoint=False)


def score_maps(height, width):
    """Smooth, noise, noise with many equal cells, and maps with no boxes at all."""
    rng = np.random.default_rng(height)
    return np.concatenate(
        [
            smooth_maps(rng, 3, height, width),
            0.3 * noise_maps(rng, 2, height, width),
            noise_maps(rng, 2, height, width, levels=5),
            np.zeros((1, height, width), np.float32),
        ]
    )


@pytest.mark.parametrize(("height", "width"), [(19, 26), (30, 13), (1, 17), (9, 1)])
def test_is_largest_boxes_at_every_threshold(height, width):
    maps = score_maps(height, width)
    found = sweep_largest_boxes(maps, THRESHOLDS)
    assert found.dtype == np.float32
    expected = largest_boxes(maps, THRESHOLDS[:, None])
    np.testing.assert_array_equal(found, ops.convert_to_numpy(expected))


def test_hard_masks():
    masks = np.stack(list(hard_masks(23, 38).values()))
    found = sweep_largest_boxes(masks.astype("float32"), [0.0, 0.5])
    expected = opencv.largest(masks)
    np.testing.assert_array_equal(found, [expected, expected])


def test_cells_at_a_threshold_in_float32():
    # Every score but the peak is a threshold's share of it, rounded to float32, and
    # so not above it. Where it was rounded up, it is above the share in float64.
    thresholds = np.arange(30, dtype=np.float32) / 30
    peaks = np.float32([0.7, 0.9])
    shares = np.random.default_rng(0).permutation(np.append(thresholds[1:], 1))
    maps = (shares * peaks[:, None]).reshape(2, 5, 6)
    exact = np.float64(thresholds) * np.float64(peaks[:, None])
    assert np.any(
        (thresholds * peaks[:, None]).astype(np.float64) > exact, axis=1
    ).all()
    found = sweep_largest_boxes(maps, thresholds)
    in_graph = ops.convert_to_numpy(largest_boxes(maps, thresholds[:, None]))
    for t, threshold in enumerate(thresholds):
        expected = opencv.largest(opencv.above(maps, threshold))
        np.testing.assert_array_equal(found[t], expected)
        np.testing.assert_array_equal(in_graph[t], expected)


def test_boxes_by_eye():
    score_map = [
        [0.9, 0.0, 0.5, 0.5, 0.0],
        [0.0, 0.0, 0.0, 0.0, 0.0],
        [0.0, 1.0, 0.0, 0.8, 0.8],
    ]
    found = sweep_largest_boxes(np.array([score_map]), [0.0, 0.5, 0.8, 0.9, 0.9])
    assert found[:, 0].tolist() == [
        [2, 0, 4, 1],  # ties with the pair below, and is met first
        [3, 2, 5, 3],  # 0.5 is not above 0.5
        [0, 0, 1, 1],
        [1, 2, 2, 3],
        [1, 2, 2, 3],
    ]


@pytest.mark.parametrize("value", [np.nan, np.inf, -1.0])
def test_maps_without_a_cell_above(value):
    maps = np.full((2, 3, 4), value, np.float32)
    maps[1] = 0
    maps[1, 1, 2] = value
    true_boxes = np.tile([[[0.0, 0, 4, 3]]], (2, 1, 1))
    assert not sweep_largest_boxes(maps, THRESHOLDS).any()
    assert not sweep_best_iou(maps, THRESHOLDS, true_boxes).any()


@pytest.mark.parametrize("convention", ["default", "wsolevaluation"])
def test_the_number_of_threads_changes_nothing(convention):
    maps = score_maps(12, 15)
    boxes = np.tile([[[2.0, 3, 9, 8]]], (len(maps), 1, 1))
    alone = sweep_largest_boxes(maps, THRESHOLDS, convention, jobs=1)
    best = sweep_best_iou(maps, THRESHOLDS, boxes, convention, jobs=1)
    for jobs in (2, 50, None):
        found = sweep_largest_boxes(maps, THRESHOLDS, convention, jobs=jobs)
        np.testing.assert_array_equal(found, alone)
        found = sweep_best_iou(maps, THRESHOLDS, boxes, convention, jobs=jobs)
        np.testing.assert_array_equal(found, best)


def test_no_maps():
    none = np.zeros((0, 5, 4), np.float32)
    assert sweep_largest_boxes(none, THRESHOLDS).shape == (37, 0, 4)
    assert sweep_best_iou(none, THRESHOLDS, np.zeros((0, 2, 4))).shape == (37, 0)


def overlap(a, b):
    """Intersection over union of two boxes; 0 if one is padding."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)]
    return width * height / (sum(areas) - width * height)


@pytest.mark.parametrize(("height", "width"), [(19, 26), (30, 13), (1, 17)])
def test_best_iou_of_all_components(height, width):
    maps = score_maps(height, width)
    rng = np.random.default_rng(1)
    # Quarters of cells, which float32 holds exactly.
    near = np.floor(rng.uniform(0, (2 * width, 2 * height), (len(maps), 3, 2))) / 4
    far = near + np.ceil(rng.uniform(0, (2 * width, 2 * height), near.shape)) / 4
    true_boxes = np.concatenate([near, far], axis=-1)
    true_boxes[::2, 1:] = -1
    true_boxes[1] = -1
    found = sweep_best_iou(maps, THRESHOLDS, true_boxes)
    assert found.dtype == np.float32
    expected = np.zeros_like(found)
    for t, threshold in enumerate(THRESHOLDS):
        for n, mask in enumerate(opencv.above(maps, threshold)):
            boxes = [component.box for component in opencv.components(mask)]
            if boxes:
                expected[t, n] = max(
                    overlap(box, true) for box in boxes for true in true_boxes[n]
                )
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert not found[:, 1].any()
    assert found[:, 0].any()


def test_best_iou_by_eye():
    score_map = [[1.0, 0.5, 0.0, 0.8, 0.8, 0.0]]
    true_boxes = [[[3, 0, 6, 1], [-1, -1, -1, -1]]]
    found = sweep_best_iou(np.array([score_map]), [0.0, 0.5, 0.8], true_boxes)
    # The largest component at 0 and at 0.5 is not what matters; at 0.8 it is gone.
    np.testing.assert_allclose(found[:, 0], [2 / 3, 2 / 3, 0.0])


def test_no_true_boxes():
    maps = score_maps(7, 9)
    assert not sweep_best_iou(maps, THRESHOLDS, np.zeros((len(maps), 0, 4))).any()


def test_cells_by_level_equals_the_loops():
    rng = np.random.default_rng(6)
    thresholds = np.sort(rng.random(50, dtype=np.float32))
    for score_map in score_maps(8, 11)[:7]:
        score_map = score_map - np.float32(0.1)
        cuts = thresholds * score_map.max()
        order, joined = cells_by_level(score_map, cuts)
        assert joined.tolist() == [(score_map > cut).sum() for cut in cuts]
        rows, columns = order // 13 - 1, order % 13 - 1
        for count, cut in zip(joined, cuts, strict=True):
            above = np.zeros((8, 11), bool)
            above[rows[:count], columns[:count]] = True
            np.testing.assert_array_equal(above, score_map > cut)


@pytest.mark.parametrize("peak", [1e-44, 1e-30, 1e30, 3e38])
def test_maps_of_any_scale(peak):
    maps = (score_maps(6, 7)[:5] * np.float32(peak)).astype(np.float32)
    found = sweep_largest_boxes(maps, THRESHOLDS)
    expected = [opencv.largest(opencv.above(maps, t)) for t in THRESHOLDS]
    np.testing.assert_array_equal(found, expected)


def test_compiled_or_not_the_history_is_the_same():
    cells = np.pad(noise_maps(np.random.default_rng(2), 1, 6, 9)[0], 1).ravel()
    order = np.argsort(-cells)[:54].astype(np.int32)
    found = component_history(order, 6, 9)
    for one, other in zip(found, component_history.py_func(order, 6, 9), strict=True):
        np.testing.assert_array_equal(one, other)


def test_works_where_machine_code_cannot_be_kept(monkeypatch):
    def njit(*args, cache=False, njit=numba.njit, **options):
        if cache:  # as Numba does in a read-only installation without a home
            raise RuntimeError("cannot cache function: no locator available")
        return njit(*args, **options)

    monkeypatch.setattr(numba, "njit", njit)
    assert compiled(lambda a, b: 2 * a + b)(3, 4) == 10


MAPS = np.ones((3, 4, 5), np.float32)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: sweep_largest_boxes(MAPS[0], [0.2]),
            "`score_maps` must have shape (N, H, W). Received: score_maps.shape="
            "(4, 5). For one map, use score_maps[None].",
        ),
        (
            lambda: sweep_largest_boxes(MAPS, 0.2),
            "`thresholds` must have shape (T,). Received: thresholds.shape=().",
        ),
        (
            lambda: sweep_largest_boxes(MAPS, [0.2, 1.0]),
            "`thresholds` must ascend in [0, 1). Received: thresholds=[0.2 1. ].",
        ),
        (
            lambda: sweep_best_iou(MAPS, [0.3, 0.2], np.zeros((3, 1, 4))),
            "`thresholds` must ascend in [0, 1). Received: thresholds=[0.3 0.2].",
        ),
        (
            lambda: sweep_best_iou(MAPS, [0.2, np.nan], np.zeros((3, 1, 4))),
            "`thresholds` must ascend in [0, 1). Received: thresholds=[0.2 nan].",
        ),
        (
            lambda: sweep_best_iou(MAPS, [0.2], np.zeros((3, 4))),
            "`true_boxes` must have shape (N, M, 4) for the N=3 score maps. "
            "Received: true_boxes.shape=(3, 4).",
        ),
        (
            lambda: sweep_best_iou(MAPS, [0.2], np.zeros((2, 1, 4))),
            "Received: true_boxes.shape=(2, 1, 4).",
        ),
        (
            lambda: sweep_largest_boxes(MAPS, [0.2], jobs=0),
            "`jobs` must be an integer >= 1. Received: jobs=0.",
        ),
    ],
)
def test_bad_arguments_by_their_message(call, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        call()
