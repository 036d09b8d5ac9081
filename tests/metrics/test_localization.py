import keras
import numpy as np
import pytest

from keras_wsol.metrics import GTKnownLoc, MeanBoxIoU, Top1Loc, Top5Loc
from keras_wsol.metrics.functional import best_iou
from tests.reference import max_box_acc_numpy

NONE = [-1.0, -1.0, -1.0, -1.0]

# Six images. Overlaps by eye, in cells: 8/16, 9/12 (with the second true box), 6/18,
# wrong class, a class that no model has, and an empty map.
TRUTH = {
    "boxes": np.array(
        [
            [[0, 0, 4, 4], NONE],
            [[9, 9, 10, 10], [0, 0, 3, 4]],
            [[0, 0, 4, 3], NONE],
            [[1, 1, 5, 4], NONE],
            [NONE, NONE],
            [[2, 2, 6, 5], NONE],
        ],
        "float32",
    ),
    "class_ids": np.array([3, 0, 2, 1, -1, 4]),
}
FOUND_BOXES = np.array(
    [
        [0, 0, 4, 2],
        [0, 0, 3, 3],
        [2, 0, 6, 3],
        [1, 1, 5, 4],
        [0, 0, 9, 9],
        [0, 0, 0, 0],
    ],
    "float32",
)


def found(class_ids):
    return {"boxes": FOUND_BOXES[:, None], "class_ids": np.array(class_ids)[:, None]}


def test_top1_loc_counted_by_eye():
    metric = Top1Loc()
    metric.update_state(TRUTH, found([3, 0, 2, 0, 0, 4]))
    assert float(metric.result()) == pytest.approx(2 / 6)
    metric = Top1Loc(iou_threshold=0.3)
    metric.update_state(TRUTH, found([3, 0, 2, 0, 0, 4]))
    assert float(metric.result()) == pytest.approx(3 / 6)


def test_gt_known_loc_counted_by_eye():
    metric = GTKnownLoc()
    metric.update_state(TRUTH, found([3, 0, 2, 1, 0, 4]))
    assert float(metric.result()) == pytest.approx(3 / 6)


def test_an_overlap_at_the_threshold_is_right():
    for iou_threshold, right in ((0.5, 1.0), (0.500001, 0.0)):
        for metric in (Top1Loc(iou_threshold), GTKnownLoc(iou_threshold)):
            first = {name: value[:1] for name, value in TRUTH.items()}
            metric.update_state(first, {k: v[:1] for k, v in found([3] * 6).items()})
            assert float(metric.result()) == right


def test_top1_loc_looks_at_the_first_class_alone():
    # The right class with the right box comes second.
    prediction = {
        "boxes": np.array([[[7.0, 7.0, 9.0, 9.0], [0.0, 0.0, 4.0, 4.0]]]),
        "class_ids": np.array([[2, 3]]),
    }
    truth = {"boxes": np.array([[[0.0, 0.0, 4.0, 4.0]]]), "class_ids": np.array([3])}
    for metric, expected in ((Top1Loc(), 0.0), (GTKnownLoc(), 1.0)):
        metric.update_state(truth, prediction)
        assert float(metric.result()) == expected


def test_gt_known_loc_does_not_count_the_box_of_another_class():
    metric = GTKnownLoc()
    metric.update_state(TRUTH, found([0, 1, 0, 0, 0, 0]))
    assert float(metric.result()) == 0


def test_top5_loc_wants_the_box_of_the_true_class():
    boxes = np.arange(6)[:, None] + [0.0, 0, 4, 4]
    prediction = {"boxes": boxes[None], "class_ids": np.array([[8, 6, 4, 2, 0, 1]])}
    # (true class, left edge of its true box): the fifth class counts, the sixth does
    # not, nor does the box of another class that is at the right place.
    for class_id, x, expected in (
        (8, 0.0, 1),
        (4, 2.0, 1),
        (0, 4.0, 1),
        (1, 5.0, 0),
        (4, 0.0, 0),
        (7, 2.0, 0),
    ):
        metric = Top5Loc()
        box = np.array([[[x, x, x + 4, x + 4]]])
        truth = {"boxes": box, "class_ids": np.array([class_id])}
        metric.update_state(truth, prediction)
        assert float(metric.result()) == expected
    metric = Top5Loc(top_k=6)
    metric.update_state({"boxes": box + 3, "class_ids": np.array([1])}, prediction)
    assert float(metric.result()) == 1


def test_top5_loc_of_too_few_classes():
    message = r"or 5 classes.*`Localizer\(model, top_k=5\)`.*Received: 1"
    with pytest.raises(ValueError, match=message):
        Top5Loc().update_state(TRUTH, found([3, 0, 2, 1, 0, 4]))
    for top_k, error in ((0, ValueError), (2.5, TypeError), (True, TypeError)):
        with pytest.raises(error, match="`top_k` must be an integer >= 1"):
            Top5Loc(top_k=top_k)


def test_mean_box_iou_counted_by_eye():
    metric = MeanBoxIoU()
    metric.update_state(TRUTH, found([3, 0, 2, 0, 0, 4]))
    # 8/16, 9/12, 6/18, another class, no class, the zero box.
    assert float(metric.result()) == pytest.approx((1 / 2 + 3 / 4 + 1 / 3) / 6)


def test_a_class_that_comes_twice_counts_by_its_first_box():
    truth = {"boxes": np.array([[[0.0, 0, 4, 4]]]), "class_ids": np.array([3])}
    first, second = [0.0, 0, 4, 3], [0.0, 0, 0, 1]  # their sum is the true box
    for boxes, expected in (
        ([first, second, first], 0.75),
        ([second, first, first], 0.0),
    ):
        prediction = {"boxes": np.array([boxes]), "class_ids": np.array([[3, 3, 1]])}
        metrics = [GTKnownLoc(), GTKnownLoc(0.9), MeanBoxIoU(), Top5Loc(top_k=3)]
        for metric in metrics:
            metric.update_state(truth, prediction)
        right = float(expected > 0.5)
        results = [float(metric.result()) for metric in metrics]
        assert results == [right, 0.0, expected, right]


def test_a_box_that_overlaps_nothing_is_wrong_at_any_threshold():
    truth = {"boxes": np.array([[[0.0, 0, 4, 4]]] * 3), "class_ids": np.ones(3, int)}
    boxes = np.array([[[0.0, 0, 0, 0]], [[4.0, 0, 8, 4]], [[3.0, 3, 9, 9]]])
    prediction = {"boxes": boxes, "class_ids": np.ones((3, 1), int)}
    for metric in (GTKnownLoc(0), Top1Loc(0), Top5Loc(0, top_k=1)):
        metric.update_state(truth, prediction)
        assert float(metric.result()) == pytest.approx(1 / 3)


def random_batches(seed=0):
    """Batches of 8 and 3 images with up to three true boxes."""
    rng = np.random.default_rng(seed)
    for count in (8, 8, 3):
        near = rng.uniform(0, 9, (count, 3, 2))
        true_boxes = np.concatenate([near, near + rng.uniform(2, 9, near.shape)], -1)
        true_boxes[rng.random((count, 3)) < 0.3] = -1
        class_ids = rng.integers(0, 3, count)
        boxes = np.abs(true_boxes[:, :2] + rng.uniform(-2, 2, (count, 2, 4)))
        picked = np.stack([rng.permutation(3)[:2] for _ in range(count)])
        truth = {"boxes": true_boxes.astype("float32"), "class_ids": class_ids}
        yield truth, {"boxes": boxes.astype("float32"), "class_ids": picked}


def counted(truth, prediction, iou_threshold, top1):
    """How many images are right, and how many count."""
    right = count = 0
    for b, true_id in enumerate(truth["class_ids"]):
        count += 1
        for k, class_id in enumerate(prediction["class_ids"][b][: 1 if top1 else None]):
            if class_id == true_id:
                box = prediction["boxes"][b, k]
                best = max_box_acc_numpy.best_iou([box], truth["boxes"][b])
                right += best >= iou_threshold
    return right, count


@pytest.mark.parametrize("iou_threshold", [0.1, 0.3, 0.5])
@pytest.mark.parametrize("metric_class", [Top1Loc, GTKnownLoc])
def test_equals_the_loops_on_random_batches(metric_class, iou_threshold):
    metric = metric_class(iou_threshold)
    right = count = 0
    for truth, prediction in random_batches():
        metric.update_state(truth, prediction)
        added = counted(truth, prediction, iou_threshold, metric_class is Top1Loc)
        right, count = right + added[0], count + added[1]
    assert 0 < right < count == 19
    assert float(metric.result()) == pytest.approx(right / count)


def test_sample_weights():
    metric = Top1Loc()
    weights = np.array([4.0, 0.0, 1.0, 1.0, 3.0, 0.0])
    metric.update_state(TRUTH, found([3, 0, 2, 0, 0, 4]), sample_weight=weights)
    assert float(metric.result()) == pytest.approx(4 / 9)


@pytest.mark.parametrize("metric_class", [Top1Loc, GTKnownLoc])
def test_reset_state_forgets(metric_class):
    metric = metric_class()
    metric.update_state(TRUTH, found([3, 0, 2, 1, 0, 4]))
    assert float(metric.result()) > 0
    metric.reset_state()
    assert float(metric.result()) == 0


@pytest.mark.parametrize("metric_class", [Top1Loc, GTKnownLoc])
def test_config_round_trip(metric_class):
    metric = metric_class(iou_threshold=0.7, name="mine")
    revived = keras.metrics.deserialize(keras.metrics.serialize(metric))
    assert type(revived) is metric_class
    assert (revived.iou_threshold, revived.name) == (0.7, "mine")


@pytest.mark.parametrize("metric_class", [Top1Loc, GTKnownLoc])
def test_bad_threshold(metric_class):
    with pytest.raises(ValueError, match=r"`iou_threshold` must be a number in \[0, 1"):
        metric_class(iou_threshold=50)
    with pytest.raises(TypeError, match=r"iou_threshold='0.5' \(of type str\)"):
        metric_class(iou_threshold="0.5")


ALL = pytest.mark.parametrize(
    ("metric_class", "arguments"),
    [
        (Top1Loc, {"iou_threshold": 0.1}),
        (Top5Loc, {"iou_threshold": 0.1, "top_k": 2}),
        (GTKnownLoc, {"iou_threshold": 0.1}),
        (MeanBoxIoU, {}),
    ],
)


@ALL
def test_shards_merge_to_the_whole(metric_class, arguments):
    whole, first = metric_class(**arguments), metric_class(**arguments)
    others = [metric_class(**arguments, name=name) for name in ("second", "third")]
    metrics = [first, *others]
    for metric, (truth, prediction) in zip(metrics, random_batches(), strict=True):
        metric.update_state(truth, prediction)
        whole.update_state(truth, prediction)
    before = [float(metric.result()) for metric in others]
    first.merge_state(iter(others))
    assert 0 < float(first.result()) == float(whole.result()) < 1
    assert [float(metric.result()) for metric in others] == before


def test_merging_what_does_not_belong_together():
    with pytest.raises(ValueError, match=r"same arguments.*differ: iou_threshold"):
        GTKnownLoc(0.5).merge_state([GTKnownLoc(0.3)])
    with pytest.raises(ValueError, match=r"others of one class, here GTKnownLoc.*Top1"):
        GTKnownLoc().merge_state([Top1Loc()])
    metric = MeanBoxIoU()
    with pytest.raises(ValueError, match="MeanBoxIoU, the metric itself"):
        metric.merge_state([metric])


@ALL
def test_classes_that_do_not_exist(metric_class, arguments):
    # Neither -7, -1 nor 99 is one, though a prediction names it: wrong.
    truth = {**TRUTH, "class_ids": np.array([3, 99, -7, -1, -1, 99])}
    prediction = {
        "boxes": np.repeat(FOUND_BOXES[:, None], 2, axis=1),
        "class_ids": np.array([[3, 0]] * 2 + [[-7, 1], [-1, 0], [0, -1], [2, 98]]),
    }
    metric = metric_class(**arguments)
    metric.update_state(truth, prediction)
    expected = (0.5 if metric_class is MeanBoxIoU else 1) / 6
    assert float(metric.result()) == pytest.approx(expected)


@ALL
def test_config_of_every_argument(metric_class, arguments):
    metric = metric_class(**arguments, name="mine")
    revived = keras.metrics.deserialize(keras.metrics.serialize(metric))
    assert revived.get_config() == metric.get_config()
    assert arguments.items() <= revived.get_config().items()


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="tf.function")
@ALL
def test_works_inside_a_graph(metric_class, arguments):
    import tensorflow as tf

    eager, metric = metric_class(**arguments), metric_class(**arguments)
    update = tf.function(
        lambda truth, prediction: metric.update_state(truth, prediction),
        reduce_retracing=True,
    )
    for truth, prediction in random_batches(1):
        eager.update_state(truth, prediction)
        update(
            {name: tf.constant(value) for name, value in truth.items()},
            {name: tf.constant(value) for name, value in prediction.items()},
        )
    assert 0 < float(metric.result()) == float(eager.result())


@pytest.mark.parametrize("xp", [np, keras.ops])
def test_best_iou_of_several_boxes_an_image(xp):
    rng = np.random.default_rng(2)
    near = rng.uniform(0, 9, (3, 4, 2))
    boxes = np.concatenate([near, near + rng.uniform(2, 9, near.shape)], -1)
    true_boxes = np.concatenate([boxes[:, :1] + 1, np.full((3, 1, 4), -1.0)], 1)
    boxes, true_boxes = boxes.astype("float32"), true_boxes.astype("float32")
    found = best_iou(xp.array(boxes), xp.array(true_boxes), xp)
    expected = [
        [max_box_acc_numpy.best_iou([box], true_boxes[n]) for box in boxes[n]]
        for n in range(3)
    ]
    np.testing.assert_allclose(
        keras.ops.convert_to_numpy(found), expected, rtol=1e-5, atol=1e-6
    )
    nothing = best_iou(xp.ones((3, 2, 4)), xp.zeros((3, 0, 4)), xp)
    np.testing.assert_array_equal(nothing, np.zeros((3, 2)))


def test_with_logits_the_box_is_that_of_the_true_class():
    # As `Localizer.evaluate` hands it over: one box, and the class second of three.
    truth = {"boxes": np.array([[[0.0, 0, 4, 4]]]), "class_ids": np.array([2])}
    out = {
        "boxes": np.array([[[0.0, 0, 4, 3]]]),
        "class_ids": np.array([[2]]),
        "logits": np.array([[0.0, 3.0, 1.0]]),
    }
    metrics = [Top1Loc(), Top5Loc(top_k=1), Top5Loc(top_k=2), Top5Loc(), GTKnownLoc()]
    for metric, expected in zip(metrics, (0, 0, 1, 1, 1), strict=True):
        metric.update_state(truth, out)
        assert float(metric.result()) == expected
