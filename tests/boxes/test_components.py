import itertools
import re

import keras
import numpy as np
import pytest
from keras import ops

from keras_wsol.boxes import label_components, largest_boxes, top_boxes
from tests.boxes import opencv_components as opencv
from tests.boxes.hard_maps import hard_masks, noise_maps, smooth_maps

# Odd and even, high and wide, and a single row, column or cell.
SIZES = [(23, 38), (24, 17), (22, 36), (9, 41), (1, 37), (29, 1), (2, 2), (1, 1)]

# On TensorFlow the default is another algorithm than the one of every backend.
ALGORITHMS = pytest.mark.parametrize(
    "static_shapes",
    [
        pytest.param(True, id="tiles"),
        pytest.param(
            False, id="runs" if keras.backend.backend() == "tensorflow" else "default"
        ),
    ],
)
SIZED = pytest.mark.parametrize(("height", "width"), SIZES)


def to_numpy(result):
    return {name: ops.convert_to_numpy(value) for name, value in result.items()}


@ALGORITHMS
@SIZED
def test_labels_of_hard_masks(height, width, static_shapes):
    masks = hard_masks(height, width)
    batch = np.stack(list(masks.values()))
    labels = label_components(batch, static_shapes=static_shapes)
    assert keras.backend.standardize_dtype(labels.dtype) == "int32"
    expected = opencv.labels(batch)
    for name, found, wanted in zip(
        masks, ops.convert_to_numpy(labels), expected, strict=True
    ):
        np.testing.assert_array_equal(found, wanted, err_msg=name)


@ALGORITHMS
@SIZED
def test_largest_boxes_of_hard_masks(height, width, static_shapes):
    masks = hard_masks(height, width)
    batch = np.stack(list(masks.values()))
    # Scores below 1 where the mask is set, so that the threshold has something to do.
    scores = np.random.default_rng(0).uniform(0.6, 0.9, batch.shape) * batch
    boxes = largest_boxes(scores, 0.3, static_shapes=static_shapes)
    assert keras.backend.standardize_dtype(boxes.dtype) == "float32"
    expected = opencv.largest(batch)
    for name, found, wanted in zip(
        masks, ops.convert_to_numpy(boxes), expected, strict=True
    ):
        np.testing.assert_array_equal(found, wanted, err_msg=name)


@ALGORITHMS
@pytest.mark.parametrize(
    ("k", "min_share"), [(1, 0.0), (4, 0.0), (50, 0.0), (4, 0.05), (50, 0.3), (50, 1.0)]
)
def test_top_boxes_of_hard_masks(k, min_share, static_shapes):
    masks = hard_masks(13, 22)
    batch = np.stack(list(masks.values()))
    scores = np.where(batch, np.random.default_rng(1).uniform(0.3, 1, batch.shape), 0.1)
    thresholds = 0.25 / np.maximum(scores.max((1, 2)), 0.25)
    options = {"min_share": min_share, "static_shapes": static_shapes}
    found = to_numpy(top_boxes(scores, thresholds, k, **options))
    assert found["boxes"].shape == (len(batch), k, 4)
    assert {name: value.dtype.name for name, value in found.items()} == {
        "boxes": "float32",
        "areas": "int32",
        "mean_scores": "float32",
        "counts": "int32",
    }
    for n, name in enumerate(masks):
        expected = opencv.components(batch[n], min_share)[:k]
        assert found["counts"][n] == len(expected), name
        for rank in range(k):
            box, area, mean = (0, 0, 0, 0), 0, 0.0
            if rank < len(expected):
                box, area = expected[rank].box, expected[rank].area
                mean = scores[n][expected[rank].cells].mean()
            np.testing.assert_array_equal(found["boxes"][n, rank], box, err_msg=name)
            assert found["areas"][n, rank] == area, name
            assert found["mean_scores"][n, rank] == pytest.approx(mean, rel=2e-6), name


@ALGORITHMS
def test_every_mask_of_three_by_four(static_shapes):
    bits = itertools.product([False, True], repeat=12)
    masks = np.array(list(bits)).reshape(-1, 3, 4)
    labels = ops.convert_to_numpy(label_components(masks, static_shapes=static_shapes))
    np.testing.assert_array_equal(labels, opencv.labels(masks))
    boxes = largest_boxes(masks.astype("float32"), 0.0, static_shapes=static_shapes)
    np.testing.assert_array_equal(ops.convert_to_numpy(boxes), opencv.largest(masks))


@ALGORITHMS
def test_box_by_eye(static_shapes):
    # Left: three cells, the last one by a corner. Right: two cells and a higher score.
    score_map = [
        [0.0, 0.6, 0.0, 0.0, 0.0, 0.0],
        [0.0, 0.6, 0.0, 0.0, 1.0, 0.9],
        [0.0, 0.0, 0.7, 0.0, 0.0, 0.4],
    ]
    found = to_numpy(
        top_boxes(np.array([score_map]), 0.5, 3, static_shapes=static_shapes)
    )
    assert found["boxes"].tolist() == [[[1, 0, 3, 3], [4, 1, 6, 2], [0, 0, 0, 0]]]
    assert found["areas"].tolist() == [[3, 2, 0]]
    assert found["counts"].tolist() == [2]
    np.testing.assert_allclose(found["mean_scores"], [[1.9 / 3, 0.95, 0.0]], rtol=1e-6)


@ALGORITHMS
@pytest.mark.parametrize(
    ("min_share", "areas"),
    [(0.0, [5, 3, 1]), (0.2, [5, 3, 1]), (0.21, [5, 3, 0]), (0.61, [5, 0, 0])],
)
def test_a_component_needs_its_share_of_the_largest_one(
    min_share, areas, static_shapes
):
    score_map = [
        [1, 1, 1, 1, 1, 0, 0],
        [0, 0, 0, 0, 0, 0, 0],
        [1, 1, 1, 0, 0, 0, 1],
    ]
    options = {"min_share": min_share, "static_shapes": static_shapes}
    found = to_numpy(top_boxes(np.array([score_map]), 0.5, 3, **options))
    assert found["areas"].tolist() == [areas]
    assert found["counts"].tolist() == [sum(area > 0 for area in areas)]
    boxes = [[0, 0, 5, 1], [0, 2, 3, 3], [6, 2, 7, 3]]
    expected = [b if area else [0] * 4 for b, area in zip(boxes, areas, strict=True)]
    assert found["boxes"].tolist() == [expected]
    assert found["mean_scores"].tolist() == [[float(area > 0) for area in areas]]


@ALGORITHMS
def test_of_equal_components_the_first_in_row_major_order_wins(static_shapes):
    # The left one reaches further left and down, the right one is met first.
    score_map = [
        [0, 0, 0, 1, 0],
        [1, 0, 0, 1, 0],
        [1, 0, 0, 0, 0],
    ]
    found = to_numpy(
        top_boxes(np.array([score_map]), 0.5, 2, static_shapes=static_shapes)
    )
    assert found["boxes"].tolist() == [[[3, 0, 4, 2], [0, 1, 1, 3]]]


@ALGORITHMS
def test_a_cell_at_the_threshold_is_not_above_it(static_shapes):
    # float32(0.1) * 1 is float32(0.1), though 0.1 in float64 is less.
    maps = np.array([[[1.0, 0.1, 0.1]], [[0.5, 0.05, 0.06]]], np.float32)
    boxes = largest_boxes(maps, 0.1, static_shapes=static_shapes)
    # The second map has its own maximum.
    assert ops.convert_to_numpy(boxes).tolist() == [[0, 0, 1, 1], [0, 0, 1, 1]]
    boxes = largest_boxes(maps, 0.0999, static_shapes=static_shapes)
    assert ops.convert_to_numpy(boxes).tolist() == [[0, 0, 3, 1], [0, 0, 3, 1]]


@ALGORITHMS
@pytest.mark.parametrize("value", [0.0, np.nan, -1.0, np.inf])
@pytest.mark.parametrize("threshold", [0.0, 0.2, 1.0])
def test_map_without_a_cell_above_gets_the_zero_box(value, threshold, static_shapes):
    maps = np.zeros((3, 4, 5), np.float32)
    maps[0] = value
    maps[1, 1, 2:4] = 1.0
    found = to_numpy(top_boxes(maps, threshold, 2, static_shapes=static_shapes))
    none = [[0, 0, 0, 0], [0, 0, 0, 0]]
    wanted = none if threshold == 1.0 else [[2, 1, 4, 2], [0, 0, 0, 0]]
    assert found["boxes"].tolist() == [none, wanted, none]
    assert found["counts"].tolist() == [0, int(threshold < 1.0), 0]
    assert found["areas"][0].tolist() == found["mean_scores"][0].tolist() == [0, 0]


@ALGORITHMS
@pytest.mark.parametrize("where", [(0, 0), (2, 3), (3, 4)])
def test_one_nan_empties_its_map_only(where, static_shapes):
    maps = np.full((2, 4, 5), 0.5, np.float32)
    maps[(0, *where)] = np.nan
    boxes = largest_boxes(maps, 0.2, static_shapes=static_shapes)
    assert ops.convert_to_numpy(boxes).tolist() == [[0, 0, 0, 0], [0, 0, 5, 4]]


@pytest.mark.parametrize(
    "static_shapes",
    [
        pytest.param(True, id="tiles", marks=pytest.mark.slow),
        pytest.param(False, id="runs"),
    ],
)
def test_thresholds_of_every_shape(static_shapes):
    rng = np.random.default_rng(3)
    maps = np.concatenate([smooth_maps(rng, 2, 13, 18), noise_maps(rng, 1, 13, 18)])
    table = np.array([[0.1, 0.2, 0.3], [0.8, 0.5, 0.6]], np.float32)

    def boxes(thresholds):
        found = largest_boxes(maps, thresholds, static_shapes=static_shapes)
        return ops.convert_to_numpy(found)

    def expected(thresholds):
        each = zip(maps, thresholds, strict=True)
        return np.concatenate(
            [opencv.largest(opencv.above(m[None], t)) for m, t in each]
        )

    np.testing.assert_array_equal(boxes(table), [expected(row) for row in table])
    np.testing.assert_array_equal(boxes(table[0]), expected(table[0]))
    np.testing.assert_array_equal(boxes(0.2), expected([0.2] * 3))
    np.testing.assert_array_equal(
        boxes([[0.2], [0.7]]),
        [expected([t] * 3) for t in (0.2, 0.7)],
    )
    np.testing.assert_array_equal(boxes(ops.convert_to_tensor(table)), boxes(table))


@ALGORITHMS
@pytest.mark.parametrize("dtype", ["float16", "float64", "uint8"])
def test_scores_of_other_types(dtype, static_shapes):
    maps = np.array([[[0, 3, 8, 4, 5, 0, 6]], [[0, 2, 1, 1, 0, 0, 0]]], dtype)
    boxes = largest_boxes(maps, 0.5, static_shapes=static_shapes)
    assert keras.backend.standardize_dtype(boxes.dtype) == "float32"
    assert ops.convert_to_numpy(boxes).tolist() == [[2, 0, 3, 1], [1, 0, 2, 1]]


@ALGORITHMS
def test_no_maps(static_shapes):
    none = np.zeros((0, 5, 4), np.float32)
    assert largest_boxes(none, 0.2, static_shapes=static_shapes).shape == (0, 4)
    several = largest_boxes(none, [[0.2], [0.3]], static_shapes=static_shapes)
    assert several.shape == (2, 0, 4)
    top = top_boxes(none, 0.2, 3, static_shapes=static_shapes)
    assert {name: tuple(value.shape) for name, value in top.items()} == {
        "boxes": (0, 3, 4),
        "areas": (0, 3),
        "mean_scores": (0, 3),
        "counts": (0,),
    }
    labels = label_components(none > 0, static_shapes=static_shapes)
    assert labels.shape == (0, 5, 4)


def test_rounds_do_not_grow_with_the_length_of_a_path(monkeypatch):
    rounds = []

    def counted(cond, body, loop_vars, while_loop=ops.while_loop):
        def round_of(*state):
            rounds.append(state)
            return body(*state)

        return while_loop(cond, round_of, loop_vars)

    monkeypatch.setattr(ops, "while_loop", counted)
    masks = np.stack(list(hard_masks(96, 150).values()))
    label_components(masks, static_shapes=True)
    # The snake is 7,000 cells long; 7 rounds were enough when this was written.
    assert len(rounds) <= 8


def test_inside_a_functional_model():
    class Boxes(keras.layers.Layer):
        def call(self, score_maps):
            return largest_boxes(score_maps, 0.5)

    inputs = keras.Input((None, None))
    model = keras.Model(inputs, Boxes()(inputs))
    maps = noise_maps(np.random.default_rng(4), 3, 8, 11)
    found = model.predict(maps, verbose=0)
    np.testing.assert_array_equal(found, opencv.largest(opencv.above(maps, 0.5)))


MAPS = np.ones((3, 4, 5), np.float32)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: largest_boxes(MAPS[0], 0.2),
            ValueError,
            "`score_maps` must have shape (N, H, W). Received: score_maps.shape=(4, 5)."
            " For one map, use score_maps[None].",
        ),
        (
            lambda: label_components(MAPS[0] > 0),
            ValueError,
            "`masks` must have shape (N, H, W). Received: masks.shape=(4, 5)."
            " For one map, use masks[None].",
        ),
        (
            lambda: label_components(MAPS),
            TypeError,
            "`masks` must be boolean. Received: masks.dtype=float32. "
            "For a score map, compare it with a threshold first.",
        ),
        (
            lambda: largest_boxes(MAPS, [0.1, 0.2]),
            ValueError,
            "`cam_threshold` must have shape (), (N,), (T, 1) or (T, N) for the N=3 "
            "score maps. Received: cam_threshold.shape=(2,).",
        ),
        (
            lambda: largest_boxes(MAPS, [[0.1, 0.2]]),
            ValueError,
            "Received: cam_threshold.shape=(1, 2).",
        ),
        (
            lambda: largest_boxes(MAPS, np.zeros((1, 1, 3))),
            ValueError,
            "Received: cam_threshold.shape=(1, 1, 3).",
        ),
        (
            lambda: top_boxes(MAPS, [[0.1], [0.2]], 2),
            ValueError,
            "`cam_threshold` must have shape () or (N,) for the N=3 score maps. "
            "Received: cam_threshold.shape=(2, 1).",
        ),
        (
            lambda: largest_boxes(MAPS, 1.5),
            ValueError,
            "`cam_threshold` must be a number in [0, 1]. Received: cam_threshold=1.5.",
        ),
        (
            lambda: top_boxes(MAPS, [0.1, -0.1, 0.3], 2),
            ValueError,
            "`cam_threshold` must be a number in [0, 1]. Received: cam_threshold=-0.1.",
        ),
        (
            lambda: largest_boxes(MAPS, float("nan")),
            ValueError,
            "Received: cam_threshold=nan.",
        ),
        (
            lambda: largest_boxes(MAPS, "0.2"),
            TypeError,
            "`cam_threshold` must be a number in [0, 1]. "
            "Received: cam_threshold='0.2' (of type str).",
        ),
        (
            lambda: top_boxes(MAPS, 0.2, 0),
            ValueError,
            "`k` must be an integer >= 1. Received: k=0.",
        ),
        (
            lambda: top_boxes(MAPS, 0.2, 2.0),
            TypeError,
            "`k` must be an integer >= 1. Received: k=2.0 (of type float).",
        ),
        (
            lambda: top_boxes(MAPS, 0.2, True),
            TypeError,
            "`k` must be an integer >= 1. Received: k=True (of type bool).",
        ),
        (
            lambda: top_boxes(MAPS, 0.2, 2, min_share=1.5),
            ValueError,
            "`min_share` must be a number in [0, 1]. Received: min_share=1.5.",
        ),
    ],
)
def test_bad_arguments_by_their_message(call, error, message):
    with pytest.raises(error, match=re.escape(message)):
        call()
