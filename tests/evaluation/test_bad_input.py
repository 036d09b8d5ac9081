"""Data that is not as it has to be: a clear error, or a value that is defined."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from keras_wsol.evaluation import compare, evaluate
from keras_wsol.models import Localizer
from tests.evaluation.painted_split import NAMES, localizer, split_of
from tests.models.painted import painted_classifier

COUNT = 9


@pytest.fixture(scope="module")
def split():
    return split_of("test", COUNT, seed=2)


def run(test, tune_on=None, view="whole", **arguments):
    arguments = {"batch_size": 4, "num_thresholds": 10, **arguments}
    return evaluate(localizer(0.2), test, tune_on, view, **arguments)


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


def test_images_that_are_not_finite_have_no_box_and_no_class(split):
    # The whole of their features, maps and logits is then NaN.
    images = split.images.astype("float32")
    images[1], images[6] = np.nan, np.inf
    report = run([batch_of(split, images=images)], gallery=COUNT)
    found = report.images
    assert report.num_images == COUNT
    assert found.errors[[1, 6]].tolist() == ["no box"] * 2
    assert not found.iou[[1, 6]].any()
    assert found.predicted_ids[[1, 6]].tolist() == [-1, -1]
    assert np.isnan(found.scores[[1, 6]]).all()
    assert not np.isnan(np.delete(found.scores, [1, 6])).any()
    assert not report.gallery[1].score_map.any()
    whole = run([batch_of(split)]).images
    others = np.delete(np.arange(COUNT), [1, 6])
    assert found.errors[others].tolist() == whole.errors[others].tolist()
    assert np.isfinite(list(report.errors.values())).all()


def test_an_empty_map_has_no_box(split):
    # No feature speaks for any class.
    model = painted_classifier(kernel=np.zeros((3, 7)), class_names=NAMES)
    report = evaluate(Localizer(model), split, num_thresholds=10)
    assert set(report.images.errors) == {"no box"}
    assert (report.images.boxes == 0).all()
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
def test_inverted_boxes_are_refused_by_the_name_of_their_image(box, split):
    boxes = changed_box(split, 5, 1, box)
    message = r"True boxes must be finite x0, y0, x1, y1 with x0 <= x1.* for {}, and 0 "
    with pytest.raises(ValueError, match=message.format("test/5")):
        run(with_boxes(split, boxes))
    with pytest.raises(ValueError, match=message.format("image 5")):
        run([batch_of(split, boxes=boxes)])


def test_boxes_across_the_border_are_cut(split):
    # 50 x 31 pixels.
    outside = with_boxes(split, changed_box(split, 3, 0, [-20, -9, 40, 99]))
    inside = with_boxes(split, changed_box(split, 3, 0, [0, 0, 40, 31]))
    one, other = (run(each).images for each in (outside, inside))
    np.testing.assert_array_equal(one.true_boxes, other.true_boxes)
    np.testing.assert_array_equal(one.iou, other.iou)


@pytest.mark.parametrize("box", [[60, 40, 70, 50], [10, 4, 10, 20], [-9, -9, -2, -3]])
def test_boxes_outside_or_without_area_count_as_none(box, split):
    boxes = np.full_like(split.boxes, -1)
    boxes[:, 2] = box
    boxes[:4] = split.boxes[:4]
    found = run(with_boxes(split, boxes))
    boxes[4:] = -1
    expected = run(with_boxes(split, boxes))
    assert found.to_dict() == expected.to_dict()
    np.testing.assert_array_equal(found.images.iou, expected.images.iou)
    assert found.notes["images without a true box"] == "5, counted as wrong"


def test_images_without_a_true_box_count_as_wrong(split):
    boxes = split.boxes.copy()
    boxes[[0, 4]] = -1
    report = run(with_boxes(split, boxes))
    assert report.num_images == COUNT
    assert not report.images.iou[[0, 4]].any()
    assert report.images.errors[[0, 4]].tolist() == ["elsewhere"] * 2
    assert report.notes["images without a true box"] == "2, counted as wrong"
    rest = [1, 2, 3, 5, 6, 7, 8]
    expected = run(split.take(rest, "test"))
    np.testing.assert_allclose(
        report.gt_known_curve * COUNT, expected.gt_known_curve * len(rest)
    )
    for name in ("whole image", "random box"):
        assert report.baselines[name]["gt_known_loc"] <= len(rest) / COUNT
    assert "images without a true box" not in run(split).notes


def test_no_image_has_a_box(split):
    report = run(with_boxes(split, np.zeros((COUNT, 0, 4))))
    assert report.oracle.gt_known_loc == report.max_box_acc_v2 == 0
    assert report.images.true_boxes.shape == (COUNT, 0, 4)
    assert report.centre["oracle"] == 0


# Classes


@pytest.mark.parametrize("class_id", [7, 1000, -1])
def test_a_class_that_the_model_does_not_know(class_id, split):
    class_ids = split.class_ids.copy()
    class_ids[2] = class_id
    message = rf"`class_ids` must be in \[0, 7\).*Received: \[{class_id}\]"
    with pytest.raises(ValueError, match=message):
        run([batch_of(split, class_ids=class_ids)])


def test_other_names_of_the_classes(split):
    other = dataclasses.replace(split_of("held", 3, seed=8), class_names=NAMES[::-1])
    for test, tune_on in ((other, None), (split, other)):
        with pytest.raises(ValueError, match="must know the classes of 'painted'"):
            run(test, tune_on)


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
def test_arrays_that_do_not_fit(changes, split):
    with pytest.raises(ValueError, match=r"A batch must hold images \(B, H, W, 3\)"):
        run([batch_of(split, **changes)])


def test_an_empty_data_set(split):
    empty = split.take(np.arange(0), "test")
    for test in (empty, [], [batch_of(empty)]):
        with pytest.raises(ValueError, match="has no image, so there is nothing"):
            run(test)
    with pytest.raises(ValueError, match="has no image, so there is nothing"):
        run(split, empty.take(np.arange(0), "train-fullsup"))


def test_a_split_without_boxes_is_refused(split):
    bare = dataclasses.replace(split, boxes=None)
    with pytest.raises(ValueError, match="'test' of 'painted' has no boxes"):
        run(bare)
    with pytest.raises(ValueError, match="'held' of 'painted' has no boxes"):
        run(split, split_without_boxes("held"))


def split_without_boxes(name):
    return dataclasses.replace(split_of(name, 3, seed=8), boxes=None)


def test_batches_that_lack_something_are_refused(split):
    batch = batch_of(split)
    with pytest.raises(ValueError, match=r"Missing: \['boxes'\]"):
        run([{k: v for k, v in batch.items() if k != "boxes"}])
    with pytest.raises(TypeError, match=r"must be a dictionary of .* type tuple"):
        run([(batch["images"], batch["class_ids"])])


@pytest.mark.parametrize("path", ["thirty.csv", Path("thirty.csv")])
def test_a_csv_file_is_read_with_the_images_that_it_names(split, path):
    way_out = r"as of `data.boxes_from_csv\(images, path\)`.*Received: .*thirty.csv"
    with pytest.raises(TypeError, match=way_out):
        run(split, path)


def test_numbers_and_bytes_may_stand_for_paths(split):
    for paths in (np.arange(40, 40 + COUNT), np.arange(40, 40 + COUNT).astype("S")):
        report = run([batch_of(split, paths=paths)])
        assert report.images.paths.tolist() == [str(40 + n) for n in range(COUNT)]


def test_the_gallery_is_checked_before_anything_is_read():
    with pytest.raises(ValueError, match="`gallery` must be an integer"):
        run(None, gallery=-2)


def test_reports_of_different_views_are_not_compared(split):
    reports = [run(split, view=view) for view in ("whole", "center_crop")]
    with pytest.raises(ValueError, match="one split in one view"):
        compare(reports)
    assert compare([reports[0]] * 2).differences[-1].interval == (0, 0)
