import keras
import numpy as np
import pytest

from keras_wsol.metrics import MaxBoxAcc, MaxBoxAccV2
from keras_wsol.metrics.functional import largest_boxes_and_iou, threshold_grid
from keras_wsol.models.tune import best_index
from tests.boxes.hard_maps import noise_maps, smooth_maps
from tests.reference import max_box_acc_numpy

METRICS = pytest.mark.parametrize("metric_class", [MaxBoxAcc, MaxBoxAccV2])

# A large faint blob on the left, a small bright one on the right.
TWO_BLOBS = np.array(
    [
        [0.4, 0.4, 0.0, 0.0, 0.0],
        [0.4, 0.4, 0.0, 0.0, 0.9],
        [0.4, 0.4, 0.0, 0.0, 1.0],
        [0.0, 0.0, 0.0, 0.0, 0.0],
    ],
    "float32",
)
LEFT, RIGHT = [0, 0, 2, 3], [4, 1, 5, 3]
# One hill: 6 cells above 0.2, 2 above 0.7.
HILL = np.array(
    [
        [0.0, 0.0, 0.0, 0.0, 0.0],
        [0.0, 0.3, 0.8, 0.3, 0.0],
        [0.0, 0.3, 1.0, 0.3, 0.0],
        [0.0, 0.0, 0.0, 0.0, 0.0],
    ],
    "float32",
)


def largest_box_ious(*arguments):
    return largest_boxes_and_iou(*arguments)[1].T


def truth(*boxes):
    return np.array(boxes, "float32")[None]


def test_the_grid_of_the_published_evaluator():
    # numpy.arange(0, 1, 0.001) there.
    grid = threshold_grid(1000)
    np.testing.assert_allclose(grid, np.arange(0, 1, 0.001), atol=1e-7)
    assert grid.dtype == "float32"
    assert grid.max() < 1


@pytest.mark.parametrize(
    ("true_box", "expected"),
    [
        # The largest component is the left one below 0.4, the right one from there.
        (LEFT, 1.0),
        (RIGHT, 1.0),
        # 3 of the left one's 6 cells: exactly 0.5.
        ([0, 0, 1, 3], 1.0),
        # Both together: 6 of 15 cells.
        ([0, 0, 5, 3], 0.0),
    ],
)
def test_max_box_acc_by_eye(true_box, expected):
    metric = MaxBoxAcc(num_thresholds=10)
    metric.update_state(truth(true_box), TWO_BLOBS[None])
    assert float(metric.result()) == expected


def test_one_threshold_serves_all_images():
    # The left blob of the one image needs a threshold below 0.4, the top of the
    # other image's hill one above 0.3: thresholds from 0.3 on do for both. With the
    # right blob, whose thresholds begin at 0.4, and the hill as a whole, which needs
    # one below 0.3, never both images are right.
    metric = MaxBoxAcc(num_thresholds=20)
    metric.update_state(truth(LEFT), TWO_BLOBS[None])
    metric.update_state(truth([2, 1, 3, 3]), HILL[None])
    assert float(metric.result()) == 1.0
    metric.reset_state()
    metric.update_state(truth(RIGHT), TWO_BLOBS[None])
    metric.update_state(truth([1, 1, 4, 3]), HILL[None])
    assert float(metric.result()) == 0.5


def test_the_curve_by_eye():
    metric = MaxBoxAcc(num_thresholds=10)
    maps = np.stack([TWO_BLOBS, HILL])
    metric.update_state(np.array([[RIGHT], [[1, 1, 4, 3]]], "float32"), maps)
    # RIGHT from 0.4 on (0.9: one of its two cells, IoU 0.5); the hill up to 0.2. A cell
    # of 0.3 is not above a threshold of 0.3.
    expected = [0.5, 0.5, 0.5, 0, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5]
    np.testing.assert_array_equal(metric.curve(), expected)
    assert metric.curve().shape == metric.thresholds.shape


def test_v2_looks_at_every_component():
    # At 0 the right blob is not the largest, yet found.
    for metric_class, expected in ((MaxBoxAcc, 0.0), (MaxBoxAccV2, 1.0)):
        metric = metric_class(num_thresholds=2)  # 0 and 0.5
        metric.thresholds = np.array([0.0, 0.1], "float32")
        metric.update_state(truth(RIGHT), TWO_BLOBS[None])
        assert float(metric.result()) == expected


def test_v2_averages_three_overlaps():
    # The left blob against its upper half: 0.5, right at 0.3 and 0.5.
    metric = MaxBoxAccV2(num_thresholds=10)
    metric.update_state(truth([0, 0, 1, 3]), TWO_BLOBS[None])
    assert float(metric.result()) == pytest.approx(2 / 3)


def test_v2_has_a_best_threshold_for_each_overlap():
    # The hill is boxed as a whole up to 0.2, from 0.3 on by its middle column.
    whole, column, top = [1, 1, 4, 3], [2, 1, 3, 3], [2, 1, 3, 2]
    boxes = np.array([[whole], [whole], [column], [top]], "float32")
    metric = MaxBoxAccV2(iou_thresholds=(0.3, 0.9), num_thresholds=10)
    metric.update_state(boxes, np.stack([HILL] * 4))
    # Overlaps are 1, 1, 1/3, 1/6, then 1/3, 1/3, 1, 1/2: at 0.3 the column is best,
    # right for all four; at 0.9 the whole, right for two.
    assert float(metric.result()) == pytest.approx((4 / 4 + 2 / 4) / 2)


def random_batches(seed=0, height=17, width=23):
    """Batches of 6, 6 and 2: smooth and noisy maps, one to three true boxes."""
    rng = np.random.default_rng(seed)
    for count in (6, 6, 2):
        half = count // 2
        smooth = smooth_maps(rng, half, height, width)
        noise = noise_maps(rng, count - half, height, width, levels=8)
        maps = np.concatenate([smooth, noise])
        near = rng.uniform(0, 0.4, (count, 3, 2)) * (width, height)
        far = near + rng.uniform(0.3, 0.6, near.shape) * (width, height)
        boxes = np.concatenate([near, far], -1).astype("float32")
        boxes[rng.random((count, 3)) < 0.3] = -1
        # One true box an image is near the one at some threshold.
        for b, score_map in enumerate(maps):
            near = max_box_acc_numpy.boxes_at(score_map, rng.uniform(0.2, 0.8))[0]
            boxes[b, 0] = np.abs(near + rng.uniform(-1, 1, 4))
        yield boxes, maps


def all_of(batches):
    return [np.concatenate(parts) for parts in zip(*batches, strict=True)]


@pytest.mark.parametrize("iou_threshold", [0.3, 0.5, 0.7])
def test_max_box_acc_equals_the_loops(iou_threshold):
    metric = MaxBoxAcc(iou_threshold, num_thresholds=40)
    for boxes, maps in random_batches():
        metric.update_state(boxes, maps)
    boxes, maps = all_of(random_batches())
    ious = max_box_acc_numpy.largest_box_ious(boxes, maps, metric.thresholds)
    curve = max_box_acc_numpy.accuracy(ious, iou_threshold)
    assert len(set(curve)) > 2
    np.testing.assert_allclose(metric.curve(), curve, rtol=1e-6)
    assert float(metric.result()) == pytest.approx(max(curve))


def test_v2_equals_the_loops():
    metric = MaxBoxAccV2(num_thresholds=40)
    for boxes, maps in random_batches(1):
        metric.update_state(boxes, maps)
    boxes, maps = all_of(random_batches(1))
    expected = max_box_acc_numpy.max_box_acc_v2(boxes, maps, metric.thresholds)
    assert 0.2 < expected < 1
    assert float(metric.result()) == pytest.approx(expected)


def test_largest_box_ious_equals_the_loops():
    boxes, maps = all_of(random_batches(2))
    thresholds = np.linspace(0, 0.95, 13, dtype="float32")
    found = largest_box_ious(boxes, maps, thresholds)
    expected = max_box_acc_numpy.largest_box_ious(boxes, maps, thresholds)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


@METRICS
def test_an_image_without_true_box_or_with_an_empty_map_is_wrong(metric_class):
    metric = metric_class(num_thresholds=5)
    metric.update_state(np.full((1, 2, 4), -1.0), HILL[None])
    metric.update_state(truth([1, 1, 4, 3]), np.zeros((1, 4, 5)))
    metric.update_state(np.zeros((1, 0, 4)), HILL[None])
    metric.update_state(truth([1, 1, 4, 3]), HILL[None])
    assert float(metric.result()) == 0.25


@METRICS
def test_tensors_of_the_backend_do_as_well_as_arrays(metric_class):
    metric = metric_class(num_thresholds=5)
    tensors = [keras.ops.convert_to_tensor(x) for x in (truth([1, 1, 4, 3]), [HILL])]
    metric.update_state(*tensors)
    assert float(metric.result()) == 1


@METRICS
def test_reset_state_forgets(metric_class):
    metric = metric_class(num_thresholds=5)
    metric.update_state(truth([1, 1, 4, 3]), HILL[None])
    metric.reset_state()
    assert float(metric.result()) == 0
    metric.update_state(truth([1, 1, 4, 3]), HILL[None])
    assert float(metric.result()) == 1


@pytest.mark.parametrize(
    ("accuracy", "index"),
    [([1, 1, 1], 1), ([0, 1, 1, 0], 2), ([3, 1, 2], 0), ([0, 2, 0, 2, 0, 2], 3)],
)
def test_best_index_is_the_middle_of_the_best(accuracy, index):
    assert best_index(np.array(accuracy)) == index


def test_config_round_trip():
    for metric, arguments in (
        (MaxBoxAcc(0.7, num_thresholds=33, name="mine"), {"iou_threshold": 0.7}),
        (
            MaxBoxAccV2((0.4, 0.8), num_thresholds=33, name="mine"),
            {"iou_thresholds": (0.4, 0.8)},
        ),
    ):
        revived = keras.metrics.deserialize(keras.metrics.serialize(metric))
        assert type(revived) is type(metric)
        common = {"num_thresholds": 33, "convention": "default", "name": "mine"}
        for name, value in {**arguments, **common}.items():
            assert getattr(revived, name) == value
        np.testing.assert_array_equal(revived.thresholds, metric.thresholds)


@METRICS
def test_thresholds_of_its_own(metric_class):
    # The right blob is alone from 0.4 on.
    for thresholds, expected in (([0.5], 1.0), ([0.1, 0.39], 0.0)):
        if metric_class is MaxBoxAccV2:
            metric = MaxBoxAccV2((0.9,), thresholds=thresholds)
            metric.update_state(truth([0, 0, 5, 3]), TWO_BLOBS[None])
            expected = 0.0
        else:
            metric = MaxBoxAcc(0.9, thresholds=thresholds)
            metric.update_state(truth(RIGHT), TWO_BLOBS[None])
        assert metric.result() == expected
        assert metric.num_thresholds == len(thresholds)
        revived = keras.metrics.deserialize(keras.metrics.serialize(metric))
        np.testing.assert_array_equal(revived.thresholds, metric.thresholds)
        assert revived.get_config() == metric.get_config()


@METRICS
@pytest.mark.parametrize("thresholds", [[], 0.2, [0.3, 0.2], [0.5, 1.0], [np.nan]])
def test_bad_thresholds(metric_class, thresholds):
    with pytest.raises(ValueError, match="`thresholds` must"):
        metric_class(thresholds=thresholds)


@METRICS
@pytest.mark.parametrize("convention", ["default", "wsolevaluation"])
def test_shards_merge_to_the_whole(metric_class, convention):
    def new(name):
        return metric_class(num_thresholds=40, convention=convention, name=name)

    whole, first, *others = map(new, ("whole", "first", "second", "third"))
    for metric, (boxes, maps) in zip([first, *others], random_batches(3), strict=True):
        metric.update_state(boxes, maps)
        whole.update_state(boxes, maps)
    first.merge_state(others)
    assert 0 < first.result() == whole.result() < 1
    np.testing.assert_array_equal(first.curve(), whole.curve())
    # Best of each shard is not best of all: what is merged are the counts.
    at_once = new("at_once")
    at_once.update_state(*all_of(random_batches(3)))
    np.testing.assert_array_equal(first.curve(), at_once.curve())


def test_merging_other_grids():
    with pytest.raises(ValueError, match="These differ: num_thresholds"):
        MaxBoxAcc(num_thresholds=4).merge_state([MaxBoxAcc(num_thresholds=5)])


@METRICS
def test_no_overlap_is_wrong_at_any_threshold(metric_class):
    metric = metric_class(0.0 if metric_class is MaxBoxAcc else (0.0,), 5)
    metric.update_state(truth([0, 0, 1, 1]), HILL[None])
    metric.update_state(truth([0, 0, 1, 1]), 0 * HILL[None])
    metric.update_state(truth([0, 0, 2, 2]), HILL[None])
    assert metric.result() == pytest.approx(1 / 3)


def test_an_error_of_the_callers_own_array_is_not_taken_for_a_symbolic_tensor():
    class Broken:
        def __array__(self, dtype=None, copy=None):
            raise TypeError("the file is cut off")

    with pytest.raises(TypeError, match="the file is cut off"):
        MaxBoxAcc().update_state(truth([1, 1, 4, 3]), Broken())


def test_symbolic_tensors_of_keras_are_refused():
    with pytest.raises(ValueError, match=r"concrete arrays.*`Top5Loc`"):
        MaxBoxAcc().update_state(keras.Input((2, 4)), keras.Input((5, 7)))


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="tf.function")
@METRICS
def test_refused_in_a_graph(metric_class):
    import tensorflow as tf

    metric = metric_class(num_thresholds=5)
    update = tf.function(
        lambda boxes, maps: metric.update_state(boxes, maps), autograph=False
    )
    with pytest.raises(ValueError, match=r"concrete arrays.*`evaluation.evaluate`"):
        update(tf.constant(truth(LEFT)), tf.constant(HILL[None]))


@METRICS
def test_wrong_shapes(metric_class):
    metric = metric_class(num_thresholds=5)
    message = r"`true_boxes` must have shape \(B, M, 4\) and `score_maps` \(B, H, W\)"
    for boxes, maps in (
        (np.zeros((1, 4)), HILL[None]),
        (truth(LEFT), HILL),
        (truth(LEFT), np.stack([HILL, HILL])),
    ):
        with pytest.raises(ValueError, match=message):
            metric.update_state(boxes, maps)


@METRICS
def test_unknown_convention(metric_class):
    with pytest.raises(ValueError, match=r"`convention` must be one of \['default', "):
        metric_class(convention="opencv")


def test_bad_iou_thresholds():
    with pytest.raises(ValueError, match=r"`iou_threshold` must be a number in \[0, 1"):
        MaxBoxAcc(iou_threshold=50)
    with pytest.raises(ValueError, match=r"`iou_thresholds` must be a number"):
        MaxBoxAccV2(iou_thresholds=(0.3, 50))


@METRICS
@pytest.mark.parametrize("num_thresholds", [0, -1])
def test_a_grid_without_thresholds(metric_class, num_thresholds):
    with pytest.raises(ValueError, match="`num_thresholds` must be"):
        metric_class(num_thresholds=num_thresholds)


@METRICS
@pytest.mark.parametrize("convention", ["default", "wsolevaluation"])
@pytest.mark.parametrize(
    "box", [[3, 0, 1, 2], [0, 3, 2, 1], [0, 0, np.nan, 2], [0, 0, np.inf, 2]]
)
def test_true_boxes_that_are_none(metric_class, convention, box):
    boxes = np.full((3, 2, 4), -1.0)
    boxes[2, 1] = box
    metric = metric_class(num_thresholds=5, convention=convention)
    with pytest.raises(ValueError, match=r"finite x0, y0.*\] for image 2, and 0 more"):
        metric.update_state(boxes, np.stack([HILL] * 3))
    assert float(metric.count) == 0


@METRICS
@pytest.mark.parametrize("bad", [-0.1, 1.1, np.inf, -np.inf])
def test_maps_outside_the_unit_interval(metric_class, bad):
    maps = np.stack([HILL, HILL])
    maps[1, 2, 2] = bad
    with pytest.raises(ValueError, match=r"must be in \[0, 1\].*score_maps\[1\]"):
        metric_class(num_thresholds=5).update_state(np.array([[LEFT]] * 2), maps)
    if metric_class is MaxBoxAcc:
        with pytest.raises(ValueError, match=r"must be in \[0, 1\].*score_maps\[1\]"):
            largest_box_ious(np.array([[LEFT]] * 2), maps, np.array([0.5]))


@METRICS
def test_a_map_with_a_nan_has_no_box(metric_class):
    maps = np.stack([HILL, HILL, np.full_like(HILL, np.nan)])
    maps[1, 0, 0] = np.nan
    boxes = np.array([[[1, 1, 4, 3]]] * 3, "float32")
    metric = metric_class(num_thresholds=5)
    metric.update_state(boxes, maps)
    assert metric.result() == pytest.approx(1 / 3)
    ious = largest_box_ious(boxes, maps, np.array([0.0, 0.2], "float32"))
    assert ious.tolist() == [[1, 0, 0]] * 2


def test_overlaps_are_numpy_and_leave_the_backend_alone(monkeypatch):
    def used(*args, **kwargs):
        raise AssertionError("an operation of the backend")

    for name in ("maximum", "minimum", "where", "expand_dims", "max"):
        monkeypatch.setattr(keras.ops, name, used)
    thresholds = np.array([0.0, 0.5], "float32")
    found = largest_box_ious(truth([1, 1, 4, 3]), HILL[None], thresholds)
    np.testing.assert_allclose(found, [[1], [1 / 3]], rtol=1e-6)
    assert found.dtype == "float32"
    nothing = largest_box_ious(np.zeros((1, 0, 4)), HILL[None], thresholds)
    assert nothing.tolist() == [[0], [0]]


@METRICS
def test_batches_of_a_localizer_are_refused_with_the_way_out(metric_class):
    with pytest.raises(ValueError, match=r"or batches: use `evaluation.evaluate`"):
        metric_class().update_state({"boxes": 0}, {"score_maps": 0})
