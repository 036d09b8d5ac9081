"""The chosen threshold, against loops and against what one sees."""

import dataclasses

import numpy as np
import pytest
from keras import ops

from keras_wsol import data
from keras_wsol.evaluation import evaluate
from keras_wsol.metrics import GTKnownLoc
from keras_wsol.models import Localizer
from tests.evaluation.painted_split import NAMES, in_view, split_of
from tests.labels.rectangles import draw, localizer
from tests.models.painted import expected_maps, painted_classifier
from tests.reference.max_box_acc_numpy import largest_box_ious

CUTS = np.linspace(0, 1, 40, endpoint=False, dtype="float32")


def expected_ious(model, split):
    """IoU of each image at each threshold, one by one, `(N, T)`."""
    images, boxes = in_view(split, "whole", (24, 36))
    _, _, maps = expected_maps(model, images)
    of_true = maps[np.arange(len(split)), split.class_ids]
    return largest_box_ious(boxes, of_true, CUTS).T


def middle_of_best(curve):
    best = [i for i, value in enumerate(curve) if value > max(curve) - 1e-9]
    return best[len(best) // 2]


@pytest.fixture(scope="module")
def split():
    return split_of("held-out", 9)


@pytest.fixture(scope="module")
def ious(split):
    return expected_ious(painted_classifier(), split)


@pytest.fixture(scope="module")
def painted():
    localizer = Localizer(painted_classifier(class_names=NAMES))
    localizer.compile(run_eagerly=True)  # nothing is compiled anew for each threshold
    return localizer


@pytest.mark.parametrize("criterion", ["mean_iou", "gt_known_loc"])
def test_figures_are_those_of_loops(criterion, split, ious, painted):
    found = painted.tune(
        split,
        criterion,
        num_thresholds=40,
        draws=50,
        seed=3,
    )
    by = {"mean_iou": ious, "gt_known_loc": (ious >= 0.5).astype(float)}
    best = middle_of_best(by[criterion].mean(axis=0))
    assert found.cam_threshold == painted.cam_threshold == CUTS[best]
    assert (
        painted.notes["threshold"] == f"tuned on 9 images of 'held-out' by {criterion}"
    )
    assert found.criterion == criterion
    assert found.num_images == 9
    np.testing.assert_allclose(found.thresholds, CUTS)
    np.testing.assert_allclose(found.mean_iou_curve, ious.mean(0), atol=1e-5)
    np.testing.assert_allclose(found.gt_known_curve, (ious >= 0.5).mean(0), atol=1e-9)
    assert found.mean_iou == pytest.approx(ious[:, best].mean(), abs=1e-5)
    assert found.gt_known_loc == pytest.approx((ious[:, best] >= 0.5).mean())

    rng = np.random.default_rng(3)
    chosen, held_out = [], {name: [] for name in by}
    for counts in rng.multinomial(9, [1 / 9] * 9, 50):
        drawn = [n for n, count in enumerate(counts) for _ in range(count)]
        rest = [n for n in range(9) if n not in drawn]
        index = middle_of_best(by[criterion][drawn].mean(axis=0))
        chosen.append(CUTS[index])
        for name, values in by.items():
            if rest:
                held_out[name].append(values[rest, index].mean())
    low, high = np.quantile(chosen, [0.025, 0.975])
    assert found.interval == pytest.approx((low, high))
    assert low < high
    for name, values in held_out.items():
        value = getattr(found, f"held_out_{name}")
        assert value == pytest.approx(np.mean(values), abs=1e-5)


def test_the_threshold_of_maps_that_one_knows():
    """Objects are the brighter half of what the class sees: the cut is above 1/2."""
    # In cells of 4 pixels: all of it at 100, the object at 200.
    boxes = [(4 * number, 8, 4 * number + 8, 16) for number in range(6)]
    images = [draw((24, 36), (0, 100, (0, 4, 36, 20)), (0, 200, box)) for box in boxes]
    names = ("red", "green", "blue")
    some = data.ImageDataset(
        name="painted",
        split="held-out",
        class_names=names,
        class_ids=np.zeros(6, "int32"),
        paths=np.array([f"{number}.png" for number in range(6)]),
        images=np.stack(images),
        boxes=np.array(boxes, "float32")[:, None],
    )
    tuned = localizer(class_names=names)
    found = tuned.tune(some, draws=20)
    # The step from 1/2 to 1 is crossed half way: at 3/4 the box is exact. A map is cut
    # there before it is smoothed again, so a small range of cuts gives that box.
    assert found.cam_threshold == pytest.approx(0.75, abs=0.07)
    assert found.mean_iou == 1
    assert found.held_out_mean_iou == 1
    assert found.interval[0] == found.interval[1] == pytest.approx(found.cam_threshold)
    assert found.num_images == 6
    box = tuned.predict({"images": some.image(0)[None], "class_ids": np.zeros(1, int)})
    box = box["boxes"][0, 0]
    np.testing.assert_allclose(box, some.boxes[0, 0])


@pytest.mark.parametrize(
    "name", ["tests", "testing", "testset", "test2017", "birds-TEST", "test-boxes"]
)
def test_what_is_called_a_test_split_is_refused(name, split, painted):
    with pytest.raises(ValueError, match="the test split must not see"):
        painted.tune(dataclasses.replace(split, split=name))
    with pytest.raises(ValueError, match="the test split must not see"):
        painted.tune(dataclasses.replace(split, name=name))


def test_latest_is_no_test_split(split, painted):
    painted.tune(dataclasses.replace(split, split="latest", name="contest2017"))


def test_a_test_split_is_refused(split, painted):
    test = dataclasses.replace(split, split="test")
    message = "Thresholds are chosen on this split.*`allow_test=True`.*split='test'"
    before = painted.cam_threshold
    with pytest.raises(ValueError, match=message):
        painted.tune(test)
    assert painted.cam_threshold == before
    options = {"num_thresholds": 20, "draws": 5}
    found = painted.tune(test, allow_test=True, **options)
    # Two results are compared by identity: they hold arrays.
    assert found != painted.tune(split, **options)
    assert hash(found)


def test_batches_do_as_well(split, painted):
    batches = split.evaluation_batches(4, image_size=(24, 36), view="whole")
    one, other = (
        painted.tune(source, num_thresholds=20, draws=5) for source in (split, batches)
    )
    assert one.cam_threshold == other.cam_threshold
    assert one.mean_iou == pytest.approx(other.mean_iou)
    assert painted.notes["threshold"] == "tuned on 9 images by mean_iou"
    # Of their own size, boxes are in their pixels.
    names = {"images": split.images, "class_ids": split.class_ids, "boxes": split.boxes}
    larger = painted.tune([names], num_thresholds=20, draws=5)
    np.testing.assert_allclose(larger.mean_iou_curve, one.mean_iou_curve, atol=0.02)


def test_the_cut_out_centre_is_that_of_evaluate(split, painted):
    options = {"num_thresholds": 20, "draws": 5, "view": "center_crop"}
    names = {"images": split.images, "class_ids": split.class_ids, "boxes": split.boxes}
    of_split, of_batches = (painted.tune(x, **options) for x in (split, [names]))
    whole = painted.tune(split, num_thresholds=20, draws=5)
    assert (of_split.mean_iou_curve != whole.mean_iou_curve).any()
    np.testing.assert_allclose(
        of_batches.mean_iou_curve, of_split.mean_iou_curve, atol=1e-3
    )
    painted.cam_threshold = 0.0  # on the grid
    for source, tuned in ((split, of_split), ([names], of_batches)):
        report = evaluate(painted, source, None, "center_crop", num_thresholds=20)
        np.testing.assert_array_equal(report.gt_known_curve, tuned.gt_known_curve)
        np.testing.assert_allclose(
            report.images.iou.mean(axis=0), tuned.mean_iou_curve, atol=1e-6
        )


def test_a_model_of_one_logit_takes_every_image_for_its_one_class(split):
    one, many = (
        Localizer(painted_classifier(num_classes=count), score_map="channel_mean")
        for count in (1, 7)
    )
    options = {"num_thresholds": 20, "draws": 5}
    found, expected = (each.tune(split, **options) for each in (one, many))
    np.testing.assert_array_equal(found.mean_iou_curve, expected.mean_iou_curve)
    batch = {"images": split.images, "class_ids": split.class_ids, "boxes": split.boxes}
    report = evaluate(one, split)
    assert report.top1_cls == 1
    assert "so Top-1 Cls is 100 %" in report.notes["classes"]
    assert report.fixed.gt_known_loc == evaluate(many, [batch]).fixed.gt_known_loc
    assert evaluate(one, [batch]).fixed == report.fixed
    one.compile(metrics=[GTKnownLoc()])
    right = one.evaluate(batch, verbose=0, return_dict=True)["gt_known_loc"]
    assert right == pytest.approx(report.fixed.gt_known_loc)
    out = one(split.images[:2], class_ids=[[3, -1], [0, -1]])
    assert ops.convert_to_numpy(out["class_ids"]).tolist() == [[0, -1], [0, -1]]
    assert ops.convert_to_numpy(out["valid"]).tolist() == [[True, False]] * 2


def test_a_short_last_batch_is_filled_up(split, painted, monkeypatch):
    shapes, predict = [], painted.predict_on_batch

    def predicted(inputs):
        shapes.append(inputs["images"].shape)
        return predict(inputs)

    monkeypatch.setattr(painted, "predict_on_batch", predicted)
    found = painted.tune(split, batch_size=4, num_thresholds=20, draws=5)
    assert shapes == [(4, 24, 36, 3)] * 3
    assert found.num_images == 9


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"criterion": "iou"}, "`criterion` must be one of"),
        ({"draws": 0}, "`draws` must be an integer >= 1"),
        ({"num_thresholds": 0}, "`num_thresholds` must be an integer"),
    ],
)
def test_arguments(options, message, split, painted):
    with pytest.raises(ValueError, match=message):
        painted.tune(split, **options)


def test_wrong_images(split, painted):
    with pytest.raises(ValueError, match="has no boxes"):
        painted.tune(dataclasses.replace(split, boxes=None))
    with pytest.raises(ValueError, match="at least two images"):
        painted.tune(split.take([0], "one"))
    batch = {"images": split.images[:2], "class_ids": [0, 7], "boxes": split.boxes[:2]}
    with pytest.raises(ValueError, match=r"`class_ids` must be in \[0, 7\).*\[7\]"):
        painted.tune([batch])
    with pytest.raises(ValueError, match=r"Missing: \['boxes'\]"):
        painted.tune([{"images": 0, "class_ids": 0}])
    batch["class_ids"] = [0, 1]
    with pytest.raises(ValueError, match=r"boxes \(B, M, 4\)\. Received: .*\(2, 4\)"):
        painted.tune([{**batch, "boxes": split.boxes[:2, 0]}])
    inverted = split.boxes[:2, :, [2, 3, 0, 1]]
    with pytest.raises(ValueError, match=r"True boxes must be .* for image 0"):
        painted.tune([{**batch, "boxes": inverted}])
    with pytest.raises(ValueError, match="`view` must be one of"):
        painted.tune(split, view="half")


def test_maps_of_classes_need_those_of_the_model(split, painted):
    unknown = dataclasses.replace(
        split, class_names=("unknown",), class_ids=np.zeros_like(split.class_ids)
    )
    fewer = dataclasses.replace(unknown, class_names=NAMES[1:])
    other = dataclasses.replace(split, class_names=NAMES[::-1])
    for each in (unknown, fewer, other):
        with pytest.raises(ValueError, match="must know the classes of 'painted'"):
            painted.tune(each)
    nameless = Localizer(painted_classifier())
    with pytest.raises(ValueError, match="must know the classes of 'painted'"):
        nameless.tune(unknown)
    assert nameless.tune(split, draws=5).num_images == 9
    # A map without classes is the same for each.
    free = Localizer(painted_classifier(class_names=NAMES), score_map="channel_mean")
    found = [free.tune(each, draws=5).cam_threshold for each in (unknown, split)]
    assert found[0] == found[1]
