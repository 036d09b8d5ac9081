"""Data that is not as it has to be: a clear error, or a value that is defined."""

import dataclasses

import numpy as np
import pytest

from keras_wsol.data import ImageDataset
from keras_wsol.evaluation import compare, evaluate, tune_threshold
from keras_wsol.models import Localizer
from tests.evaluation.painted_split import NAMES, split_of
from tests.models.painted import painted_classifier

COUNT = 9


@pytest.fixture(scope="module")
def model():
    return painted_classifier(class_names=NAMES)


@pytest.fixture(scope="module")
def split():
    return split_of("test", COUNT, seed=2)


def run(model, test, tune_on=None, view="whole", **arguments):
    arguments = {"batch_size": 4, "num_thresholds": 10, **arguments}
    return evaluate(Localizer(model), test, tune_on, view, **arguments)


def batch_of(split, **changes):
    return {
        "images": split.images.astype("float32"),
        "class_ids": split.class_ids,
        "boxes": split.boxes,
        **changes,
    }


def with_boxes(split, boxes):
    return dataclasses.replace(split, boxes=np.asarray(boxes, "float32"))


def changed_box(split, image, place, box):
    boxes = split.boxes.copy()
    boxes[image, place] = box
    return boxes


# Score maps and logits


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_images_that_are_not_finite_have_no_box_and_no_class(value, model, split):
    # The whole of their features, maps and logits is then NaN.
    images = split.images.astype("float32")
    images[[1, 6]] = value
    report = run(model, [batch_of(split, images=images)], gallery=COUNT)
    assert report.num_images == COUNT
    assert report.results.errors[[1, 6]].tolist() == ["no box"] * 2
    assert report.results.iou[[1, 6]].tolist() == [0, 0]
    assert report.results.predicted_ids[[1, 6]].tolist() == [-1, -1]
    assert np.isnan(report.results.scores[[1, 6]]).all()
    assert not np.isnan(np.delete(report.results.scores, [1, 6])).any()
    assert not report.gallery[1].score_map.any()
    whole = run(model, [batch_of(split)]).results
    others = np.delete(np.arange(COUNT), [1, 6])
    assert report.results.errors[others].tolist() == whole.errors[others].tolist()
    assert np.isfinite(list(report.errors.values())).all()


def test_an_empty_map_has_no_box(split):
    # No feature speaks for any class.
    model = painted_classifier(kernel=np.zeros((3, 7)), class_names=NAMES)
    report = run(model, split)
    assert set(report.results.errors) == {"no box"}
    assert (report.results.boxes == 0).all()
    assert report.oracle.gt_known_loc == 0
    assert report.errors["no box"] == 1


# True boxes


@pytest.mark.parametrize(
    "box",
    [
        [30, 4, 10, 20],  # x1 < x0
        [10, 20, 30, 4],  # y1 < y0
        [10, np.nan, 30, 20],
        [10, 4, np.inf, 20],
        [30, 4, -5, 20],
    ],
)
def test_inverted_boxes_are_refused_by_the_name_of_their_image(box, model, split):
    boxes = changed_box(split, 5, 1, box)
    message = r"True boxes must be finite x0, y0, x1, y1 with x0 <= x1.* for {}, and 0 "
    with pytest.raises(ValueError, match=message.format("test/5")):
        run(model, with_boxes(split, boxes))
    with pytest.raises(ValueError, match=message.format("image 5")):
        run(model, [batch_of(split, boxes=boxes)])
    with pytest.raises(ValueError, match=message.format("test/5")):
        tune_threshold(model, with_boxes(split, boxes), draws=2, allow_test=True)


def test_boxes_across_the_border_are_cut(model, split):
    # 50 x 31 pixels.
    outside = with_boxes(split, changed_box(split, 3, 0, [-20, -9, 40, 99]))
    inside = with_boxes(split, changed_box(split, 3, 0, [0, 0, 40, 31]))
    one, other = (run(model, each).results for each in (outside, inside))
    np.testing.assert_array_equal(one.true_boxes, other.true_boxes)
    np.testing.assert_array_equal(one.iou, other.iou)


@pytest.mark.parametrize("box", [[60, 40, 70, 50], [10, 4, 10, 20], [-9, -9, -2, -3]])
def test_boxes_outside_or_without_area_count_as_none(box, model, split):
    boxes = np.full_like(split.boxes, -1)
    boxes[:, 2] = box
    boxes[:4] = split.boxes[:4]
    found = run(model, with_boxes(split, boxes))
    boxes[4:] = -1
    expected = run(model, with_boxes(split, boxes))
    assert found.to_row() == expected.to_row()
    np.testing.assert_array_equal(found.iou, expected.iou)
    assert found.notes["images without a true box"] == "5, counted as wrong"
    assert found.notes == expected.notes


def test_images_without_a_true_box_count_as_wrong(model, split):
    boxes = split.boxes.copy()
    boxes[[0, 4]] = -1
    report = run(model, with_boxes(split, boxes))
    assert report.num_images == COUNT
    assert report.results.iou[[0, 4]].tolist() == [0, 0]
    assert report.results.errors[[0, 4]].tolist() == ["elsewhere"] * 2
    assert report.notes["images without a true box"] == "2, counted as wrong"
    rest = [1, 2, 3, 5, 6, 7, 8]
    expected = run(model, split.take(rest, "test"))
    np.testing.assert_allclose(
        report.gt_known_curve * COUNT, expected.gt_known_curve * len(rest)
    )
    for name in ("whole image", "random box"):
        assert report.baselines[name]["gt_known_loc"] <= len(rest) / COUNT
    assert "images without a true box" not in run(model, split).notes


def test_no_image_has_a_box(model, split):
    report = run(model, with_boxes(split, np.zeros((COUNT, 0, 4))))
    assert report.oracle.gt_known_loc == report.max_box_acc_v2 == 0
    assert report.results.true_boxes.shape == (COUNT, 0, 4)
    assert report.centre["oracle"] == 0


# Classes


@pytest.mark.parametrize("class_id", [7, 1000])
def test_a_class_that_the_model_does_not_know(class_id, model, split):
    class_ids = split.class_ids.copy()
    class_ids[2] = class_id
    message = rf"`class_ids` must be in \[0, 7\).*Received: \[{class_id}\]"
    with pytest.raises(ValueError, match=message):
        run(model, [batch_of(split, class_ids=class_ids)])
    with pytest.raises(ValueError, match=message):
        tune_threshold(model, [batch_of(split, class_ids=class_ids)], draws=2)


def test_a_negative_class(model, split):
    class_ids = split.class_ids.copy()
    class_ids[2] = -3
    with pytest.raises(ValueError, match=r"at least 0, or -1 .*Received: \[-3\]"):
        run(model, [batch_of(split, class_ids=class_ids)])
    class_ids[2] = -1
    assert run(model, [batch_of(split, class_ids=class_ids)]).num_skipped == 1


# Batches and splits


@pytest.mark.parametrize(
    "changes",
    [
        {"boxes": np.zeros((COUNT, 4))},
        {"boxes": np.zeros((COUNT - 1, 1, 4))},
        {"boxes": np.zeros((COUNT, 1, 5))},
        {"class_ids": np.zeros((COUNT, 1), int)},
        {"class_ids": np.zeros(COUNT - 1, int)},
        {"class_ids": np.zeros(COUNT)},
        {"images": np.zeros((COUNT, 24, 36))},
        {"images": np.zeros((COUNT, 24, 36, 1))},
        {"images": np.zeros((24, 36, 3))},
    ],
)
def test_arrays_that_do_not_fit(changes, model, split):
    with pytest.raises(ValueError, match=r"A batch must hold images \(B, H, W, 3\)"):
        run(model, [batch_of(split, **changes)])


def test_an_empty_data_set(model, split):
    empty = split.take(np.arange(0), "test")
    for test in (empty, [], [batch_of(empty)]):
        with pytest.raises(ValueError, match="no image that could be read"):
            run(model, test)
    with pytest.raises(ValueError, match="no image that could be read"):
        run(model, split, empty.take(np.arange(0), "train-fullsup"))
    with pytest.raises(ValueError, match="at least two images that can be read"):
        tune_threshold(model, empty, allow_test=True)


def test_a_data_set_of_which_nothing_can_be_read(model, tmp_path):
    files = ImageDataset(
        name="files",
        split="test",
        class_names=NAMES,
        class_ids=np.zeros(3, "int32"),
        paths=np.array([str(tmp_path / f"{n}.jpg") for n in range(3)]),
        boxes=np.ones((3, 1, 4), "float32"),
    )
    with pytest.raises(ValueError, match="no image that could be read"):
        run(model, files)


def test_the_gallery_is_checked_before_anything_is_read(model):
    with pytest.raises(ValueError, match="`gallery` must be an integer"):
        run(model, None, gallery=-2)


def test_reports_of_different_views_are_not_compared(model, split):
    reports = [run(model, split, view=view) for view in ("whole", "center_crop")]
    with pytest.raises(ValueError, match="one split in one view"):
        compare(reports)
    assert compare([reports[0]] * 2).differences[-1].interval == (0, 0)
