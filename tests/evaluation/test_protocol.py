import dataclasses

import keras
import numpy as np
import pytest

from keras_wsol.boxes import sweep_best_iou
from keras_wsol.data import ImageDataset
from keras_wsol.evaluation import best_index, centre_gaussian, evaluate
from keras_wsol.evaluation.measure import class_ranks
from keras_wsol.evaluation.v2_by_image import V2ByImage
from keras_wsol.metrics import MaxBoxAccV2, threshold_grid
from keras_wsol.models import Localizer
from tests.evaluation.painted_split import (
    NAMES,
    VIEWS,
    expected_figures,
    in_view,
    split_of,
)
from tests.models.painted import painted_classifier
from tests.models.small import dtype_policy
from tests.reference.evaluation_numpy import centre_map, interval, middle_of_the_best

SIZE = (24, 36)
EVERY_VIEW = pytest.mark.parametrize("view", VIEWS)
COUNT = 19  # images of the test split
CAM_THRESHOLD = 0.33  # not on the grid


@pytest.fixture(scope="module")
def model():
    return painted_classifier(class_names=NAMES)


@pytest.fixture(scope="module")
def split():
    return split_of("test", COUNT, seed=0)


@pytest.fixture(scope="module")
def held_out():
    return split_of("train-fullsup", 11, seed=1)


def run(model, test, tune_on=None, view="whole", **arguments):
    localizer = Localizer(model, cam_threshold=CAM_THRESHOLD)
    arguments = {"batch_size": 8, "num_thresholds": 20, **arguments}
    return evaluate(localizer, test, tune_on, view, **arguments)


def check_at(at, threshold, figures, index):
    assert at.cam_threshold == pytest.approx(threshold)
    assert at.gt_known_loc == pytest.approx(figures["gt_known"][index])
    assert at.top1_loc == pytest.approx(figures["top1_loc"][index])
    assert at.top5_loc == pytest.approx(figures["top5_loc"][index])
    assert at.mean_iou == pytest.approx(np.mean(figures["ious"][index]), abs=1e-5)


@EVERY_VIEW
def test_every_figure_equals_the_loops(view, model, split, held_out):
    report = run(model, split, held_out, view)
    grid = np.arange(20) / 20
    thresholds = np.sort(np.append(grid, CAM_THRESHOLD)).astype("float32")
    np.testing.assert_allclose(report.thresholds, thresholds, atol=1e-7)
    fixed = list(grid < CAM_THRESHOLD).index(False)

    expected = expected_figures(model, split, view, thresholds)
    tuned = expected_figures(model, held_out, view, thresholds)
    assert len(set(expected["gt_known"])) > 4
    assert 0 < expected["top1_cls"] < expected["top5_cls"] < 1
    assert (report.num_images, report.num_skipped) == (COUNT, 0)
    assert report.top1_cls == pytest.approx(expected["top1_cls"])
    assert report.top5_cls == pytest.approx(expected["top5_cls"])
    np.testing.assert_allclose(report.gt_known_curve, expected["gt_known"])
    np.testing.assert_allclose(report.top1_loc_curve, expected["top1_loc"])

    choice = {
        "fixed": fixed,
        "tuned": middle_of_the_best(tuned["gt_known"]),
        "oracle": middle_of_the_best(expected["gt_known"]),
    }
    assert len(set(choice.values())) == 3
    for name, index in choice.items():
        check_at(getattr(report, name), thresholds[index], expected, index)
    ious = expected["ious"][choice["tuned"]]
    np.testing.assert_allclose(report.iou, ious, atol=1e-4)

    on_grid = expected_figures(model, split, view, np.float32(grid))
    assert report.max_box_acc_v2 == pytest.approx(on_grid["max_box_acc_v2"])
    centre = {
        "fixed": expected["centre"][fixed],
        "tuned": expected["centre"][middle_of_the_best(tuned["centre"])],
        "oracle": max(expected["centre"]),
        "max_box_acc_v2": on_grid["centre_v2"],
    }
    assert report.centre == pytest.approx(centre)
    assert max(expected["centre"]) > 0


def test_the_views_differ_and_have_their_names(model, split):
    reports = [run(model, split, view=view) for view in VIEWS]
    assert [report.view for report in reports] == list(VIEWS)
    assert not np.array_equal(reports[0].iou, reports[1].iou)


def test_without_a_held_out_split(model, split):
    report = run(model, split)
    assert report.tuned is None
    assert set(report.centre) == {"fixed", "oracle", "max_box_acc_v2"}
    # The IoU of each image is then at the fixed threshold.
    expected = expected_figures(model, split, "whole", [np.float32(CAM_THRESHOLD)])
    np.testing.assert_allclose(report.iou, expected["ious"][0], atol=1e-4)


def test_the_fixed_figures_are_those_of_the_localizers_own_boxes(model, split):
    # From the boxes that are served, not from the sweep.
    from keras_wsol.metrics import GTKnownLoc, Top1Loc

    report = run(model, split)
    images, boxes = in_view(split, "whole", SIZE)
    truth = {"boxes": boxes.astype("float32"), "class_ids": split.class_ids}
    localizer = Localizer(model, cam_threshold=CAM_THRESHOLD)
    images = images.astype("float32")
    gt_known, top1_loc = GTKnownLoc(), Top1Loc()
    gt_known.update_state(truth, localizer(images, class_ids=split.class_ids))
    top1_loc.update_state(truth, localizer(images))
    assert report.fixed.gt_known_loc == pytest.approx(float(gt_known.result()))
    assert report.fixed.top1_loc == pytest.approx(float(top1_loc.result()))


def test_a_classifier_is_localized_at_the_default_threshold(model, split):
    report = evaluate(model, split, num_thresholds=20)
    assert report.fixed.cam_threshold == pytest.approx(0.2)
    assert len(report.thresholds) == 20  # 0.2 is on this grid


def same_figures(one, other):
    left_out = {"dataset", "split"}
    one, other = one.to_row(), other.to_row()
    assert one.keys() == other.keys()
    for name in one.keys() - left_out:
        assert one[name] == other[name], name


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="tf.data")
def test_batches_of_a_data_set_give_the_same(model, split, held_out):
    options = {"with_boxes": True, "image_size": SIZE}
    batches = [x.batches(6, **options) for x in (split, held_out)]
    same_figures(run(model, *batches), run(model, split, held_out))


def dictionaries(split, size):
    """Batches of five, the last one short, as anyone might give them."""
    for start in range(0, len(split), size):
        part = slice(start, start + size)
        yield {
            "images": split.images[part].astype("float32"),
            "class_ids": split.class_ids[part],
            "boxes": split.boxes[part],
        }


@EVERY_VIEW
def test_dictionaries_of_images_as_stored_give_the_same(view, model, split, held_out):
    batches = [list(dictionaries(x, 5)) for x in (split, held_out)]
    report = run(model, *batches, view)
    same_figures(report, run(model, split, held_out, view))
    assert (report.dataset, report.split) == ("batches", "test")


def test_images_of_the_size_before_the_crop_are_only_cut(model):
    # 27 x 41 is 256/224 of 24 x 36: nothing is resampled, the middle is cut out.
    split = split_of("test", 5, size=(27, 41))
    report = run(model, list(dictionaries(split, 5)), view="center_crop")
    cut = split_of("test", 5, size=(27, 41))
    boxes = np.clip(cut.boxes - [2, 1, 2, 1], 0, [36, 24, 36, 24])
    batch = {
        "images": cut.images[:, 1:25, 2:38],
        "class_ids": cut.class_ids,
        "boxes": np.where(cut.boxes[..., :1] < 0, -1, boxes).astype("float32"),
    }
    expected = run(model, [batch])
    np.testing.assert_allclose(report.iou, expected.iou, atol=1e-6)
    np.testing.assert_allclose(report.gt_known_curve, expected.gt_known_curve)


@pytest.mark.parametrize("batch_size", [1, 7, 100])
def test_the_batch_size_changes_nothing(batch_size, model, split):
    expected = run(model, split)
    same_figures(run(model, split, batch_size=batch_size), expected)


def test_unreadable_files_are_counted_and_left_out(model, tmp_path):
    from PIL import Image

    whole = split_of("test", 9, seed=3)
    paths = []
    for index, image in enumerate(whole.images):
        paths.append(str(tmp_path / f"{index}.png"))
        Image.fromarray(image).save(paths[-1])
    (tmp_path / "2.png").write_bytes(b"no image")
    (tmp_path / "7.png").unlink()
    files = ImageDataset(
        name="files",
        split="test",
        class_names=NAMES,
        class_ids=whole.class_ids,
        paths=np.array(paths),
        boxes=whole.boxes,
    )
    report = run(model, files, batch_size=4)
    assert (report.num_images, report.num_skipped) == (7, 2)
    assert [path[-5:] for path in files.skipped.paths] == ["2.png", "7.png"]
    assert np.flatnonzero(np.isnan(report.iou)).tolist() == [2, 7]
    readable = whole.take([0, 1, 3, 4, 5, 6, 8], "test")
    expected = run(model, readable)
    np.testing.assert_allclose(report.gt_known_curve, expected.gt_known_curve)
    np.testing.assert_allclose(report.iou[~np.isnan(report.iou)], expected.iou)
    assert report.top1_cls == pytest.approx(expected.top1_cls)
    assert report.max_box_acc_v2 == pytest.approx(expected.max_box_acc_v2)
    assert report.centre == pytest.approx(expected.centre)


def test_mixed_precision_changes_little(model, split):
    with dtype_policy("mixed_float16"):
        half = painted_classifier()
        report = run(half, split)
    assert report.top1_cls == pytest.approx(run(model, split).top1_cls, abs=0.05)


def test_the_logits_of_a_model_that_broke_count_as_wrong(split):
    # Training diverged: nothing is right, and no figure may say otherwise.
    broken = painted_classifier()
    dense = broken.layers[-1]
    dense.set_weights([np.full_like(x, np.nan) for x in dense.get_weights()])
    report = run(broken, split)
    assert report.top1_cls < 0.5
    assert report.top5_cls < 1
    assert report.oracle.gt_known_loc == 0


def test_of_few_classes_a_broken_model_is_not_in_the_top_five_either():
    broken = painted_classifier(num_classes=3)
    dense = broken.layers[-1]
    dense.set_weights([np.full_like(x, np.nan) for x in dense.get_weights()])
    split = split_of("test", 4)
    batch = {
        "images": split.images,
        "boxes": split.boxes,
        "class_ids": np.arange(4) % 3,
    }
    assert run(broken, [batch]).top5_cls == 0


def test_a_tie_of_all_classes_is_no_hit_for_each(split):
    # The top class is one class: of equal logits the first, as `Localizer` has it.
    indifferent = painted_classifier()
    dense = indifferent.layers[-1]
    dense.set_weights([np.zeros_like(x) for x in dense.get_weights()])
    report = run(indifferent, split)
    assert report.top1_cls == pytest.approx(np.mean(split.class_ids == 0))


def test_intervals_are_those_of_a_bootstrap(model, split, held_out):
    report = run(model, split, held_out)
    for at in (report.fixed, report.tuned, report.oracle):
        for share, found in (
            (at.gt_known_loc, at.gt_known_interval),
            (at.top1_loc, at.top1_interval),
        ):
            hits = np.arange(COUNT) < round(share * COUNT)
            # Quantiles are numbers of images: one more or less is allowed.
            np.testing.assert_allclose(found, interval(hits), atol=1.01 / COUNT)
            assert found[0] <= share <= found[1]
    assert report.fixed.gt_known_interval[0] < report.fixed.gt_known_interval[1]


def test_an_interval_narrows_with_the_images(model):
    def width(count):
        at = run(model, split_of("test", count, seed=5)).fixed
        return at.gt_known_interval[1] - at.gt_known_interval[0]

    assert width(80) < 0.7 * width(20)


def test_intervals_of_the_classes_and_of_max_box_acc_v2(model, split):
    report = run(model, split)
    hits = report.results.predicted_ids == split.class_ids
    np.testing.assert_allclose(
        report.top1_cls_interval, interval(hits), atol=1.01 / COUNT
    )
    v2 = report.results.max_box_acc_v2_hits
    assert v2.shape == (COUNT, 3)
    assert v2.mean() == pytest.approx(report.max_box_acc_v2)
    assert len(set(v2.sum(axis=1))) > 2
    np.testing.assert_allclose(
        report.max_box_acc_v2_interval, interval(v2.mean(axis=1)), atol=1.01 / COUNT
    )


def test_max_box_acc_v2_by_image_is_that_of_the_metric():
    rng = np.random.default_rng(4)
    maps = rng.random((23, 6, 9)).astype("float32") ** 3
    near = rng.integers(0, 4, (23, 2, 2))
    boxes = np.concatenate([near, near + rng.integers(1, 5, near.shape)], axis=2)
    boxes = boxes.astype("float32")
    thresholds = threshold_grid(37)  # no multiple of 8
    metric, by_image = MaxBoxAccV2(thresholds=thresholds), V2ByImage(thresholds)
    for part in (slice(0, 10), slice(10, 10), slice(10, 23)):
        if len(maps[part]):
            metric.update_state(boxes[part], maps[part])
        by_image.add(boxes[part], maps[part])
    hits = by_image.hits()
    assert hits.dtype == bool
    np.testing.assert_allclose(hits.mean(axis=0), metric.curve().max(axis=1))
    assert 0 < hits.mean(axis=0)[2] < hits.mean(axis=0)[0]
    overlap = sweep_best_iou(maps, thresholds, boxes)
    for level, iou in enumerate((0.3, 0.5, 0.7)):
        index = best_index((overlap >= iou).sum(axis=1))
        np.testing.assert_array_equal(hits[:, level], overlap[index] >= iou)


def test_max_box_acc_v2_does_not_depend_on_the_localizers_threshold(model):
    # Where this finds one more right box, off the grid of two thresholds.
    split = split_of("test", COUNT, seed=0)
    reports = [
        evaluate(Localizer(model, cam_threshold=x), split, num_thresholds=2)
        for x in (0.3, 0.45, 0.9)
    ]
    assert len({report.fixed.gt_known_loc for report in reports}) > 1
    assert len({report.max_box_acc_v2 for report in reports}) == 1
    assert len({report.centre["max_box_acc_v2"] for report in reports}) == 1


def test_errors_by_class_part_the_errors(model, split):
    report = run(model, split)
    words = report.results.errors
    right = report.results.predicted_ids == split.class_ids
    for name, share in report.errors.items():
        of_both = report.errors_by_class[name]
        assert of_both["right"] == pytest.approx(np.mean((words == name) & right))
        assert sum(of_both.values()) == pytest.approx(share)
    wrong_boxes = {"too small", "too large", "elsewhere", "several parts", "no box"}
    assert sum(
        report.errors_by_class[name]["right"] for name in wrong_boxes
    ) == pytest.approx(report.class_and_box["right"]["wrong"])
    assert any(report.errors_by_class[name]["wrong"] > 0 for name in wrong_boxes)


# What is refused


def test_tuning_on_the_test_split_is_refused(model, split, held_out):
    message = "`tune_on` must share no image with `test`"
    with pytest.raises(ValueError, match=message):
        run(model, split, split)
    with pytest.raises(ValueError, match=message):
        run(model, split, split.take([3, 4], "train-fullsup"))
    batches = list(dictionaries(split, 5))
    with pytest.raises(ValueError, match=message):
        run(model, batches, batches)


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="tf.data")
def test_tuning_on_batches_of_the_test_split_is_refused(model, split):
    # They carry the paths of their images, so it can be seen.
    one, other = (split.batches(8, with_boxes=True) for _ in range(2))
    message = "`tune_on` must share no image with `test`"
    with pytest.raises(ValueError, match=message):
        run(model, one, other)
    with pytest.raises(ValueError, match=message):
        run(model, split, other)


def test_copies_of_test_images_without_paths_are_known_by_their_pixels(
    model, split, held_out
):
    message = r"share no image with `test`.*pixels of image {} of `test` are those"
    whole, others = (list(dictionaries(x, 5)) for x in (split, held_out))
    copies = [{key: value.copy() for key, value in x.items()} for x in whole]
    with pytest.raises(ValueError, match=message.format(0)):
        run(model, whole, copies)
    # One image among others, in another place and another batch.
    one = {key: value.copy() for key, value in others[1].items()}
    one["images"][3] = whole[2]["images"][1]
    with pytest.raises(ValueError, match=message.format(11)):
        run(model, whole, [others[0], one])
    # One digit apart is another image, and images that were not read are none.
    one["images"][3, 0, 0, 0] += 1
    run(model, whole, [others[0], one])
    one["images"][3] = whole[2]["images"][1]
    one["class_ids"][3] = -1
    run(model, whole, [others[0], one])


def test_pixels_of_a_data_set_in_memory_under_other_names(model, split, held_out):
    renamed = dataclasses.replace(split, paths=np.array([f"x/{n}" for n in range(19)]))
    with pytest.raises(ValueError, match="pixels of image 0, 'test/0', of `test`"):
        run(model, split, renamed)


def test_a_file_is_the_same_under_each_spelling(model, split, held_out, tmp_path):
    (tmp_path / "birds").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "birds")
    one, other = held_out.take([0, 1, 2], "a"), split.take([0, 1, 2], "b")
    names = [f"{tmp_path}/birds/{n}.jpg" for n in range(6)]
    for spelling in ("birds/../birds/2.jpg", "link/2.jpg", "/birds//2.jpg"):
        paths = [f"{tmp_path}/{spelling}", *names[3:5]]
        pair = [
            dataclasses.replace(each, paths=np.array(given))
            for each, given in ((other, names[:3]), (one, paths))
        ]
        with pytest.raises(ValueError, match="must share no image with `test`"):
            run(model, *pair)
        # The same from batches, which are looked at as they come.
        batches = [
            [{**batch, "paths": each.paths} for batch in dictionaries(each, 3)]
            for each in pair
        ]
        with pytest.raises(ValueError, match=r"Both hold '.*birds/2.jpg'"):
            run(model, *batches)


def test_a_threshold_above_every_cell_finds_nothing_or_is_refused(model, split):
    try:
        localizer = Localizer(model, cam_threshold=1.0)
    except ValueError:
        return
    assert evaluate(localizer, split, num_thresholds=5).fixed.gt_known_loc == 0


def without_boxes(split):
    return ImageDataset(
        name=split.name,
        split=split.split,
        class_names=NAMES,
        class_ids=split.class_ids,
        paths=split.paths,
        images=split.images,
    )


def test_a_split_without_boxes_is_refused(model, split, held_out):
    with pytest.raises(ValueError, match="'test' of 'painted' has no boxes"):
        run(model, without_boxes(split))
    with pytest.raises(ValueError, match="'train-fullsup' of 'painted' has no boxes"):
        run(model, split, without_boxes(held_out))


def test_batches_that_lack_something_are_refused(model, split):
    message = r"dictionaries with \['images', 'class_ids', 'boxes'\].* Received: "
    batch = next(dictionaries(split, 5))
    with pytest.raises(ValueError, match=message + r"\['class_ids', 'images'\]"):
        run(model, [{k: v for k, v in batch.items() if k != "boxes"}])
    with pytest.raises(ValueError, match=message + ".*tuple"):
        run(model, [(batch["images"], batch["class_ids"])])


def test_a_split_without_images_is_refused(model):
    with pytest.raises(ValueError, match="no image that could be read"):
        run(model, [])


def test_an_unknown_view_is_refused(model, split):
    with pytest.raises(ValueError, match=r"`view` must be one of \['whole', 'center_"):
        run(model, split, view="crop")


def test_notes_say_how_splits_and_thresholds_were_chosen(model, split, held_out):
    assert run(model, split).notes == {"drawn": "with seed 0"}
    assert run(model, split, held_out).notes == {
        "drawn": "with seed 1",
        "tuned threshold": "best GT-known Loc on train-fullsup",
    }


def test_notes_say_what_is_read_if_it_is_no_plain_class_activation_map(model, split):
    localizer = Localizer(
        model,
        score_map="channel_mean",
        layer="features",
        guided_filter=True,
        second_look=True,
    )
    assert evaluate(localizer, split).notes == {
        "score map": "channel_mean of features",
        "guided filter": "strength 0.5, radius 0.125, epsilon 0.001, step 4",
        "classes": "of the image and of the crop of its box",
        "drawn": "with seed 0",
    }
    plain = Localizer(model, map_options={"negative_weights": False})
    assert evaluate(plain, split).notes == {
        "score map": "cam negative_weights=False",
        "drawn": "with seed 0",
    }


# Its parts


def test_class_ranks_are_places_in_a_stable_order():
    # Few different values, so that most are ties.
    logits = np.random.default_rng(0).integers(0, 3, (40, 6)).astype("float32")
    true_ids = np.arange(40) % 6
    order = np.argsort(-logits, axis=1, kind="stable").tolist()
    expected = [row.index(c) for row, c in zip(order, true_ids, strict=True)]
    assert class_ranks(logits, true_ids).tolist() == expected


@pytest.mark.parametrize(
    ("accuracy", "index"),
    [([1, 1, 1], 1), ([0, 1, 1, 0], 2), ([3, 1, 2], 0), ([0, 2, 0, 2, 0, 2], 3)],
)
def test_best_index_is_the_middle_of_the_best(accuracy, index):
    assert best_index(np.array(accuracy)) == index == middle_of_the_best(accuracy)


@pytest.mark.parametrize("size", [(24, 36), (7, 4), (1, 5)])
def test_centre_gaussian(size):
    found = centre_gaussian(size)
    assert found.dtype == "float32"
    np.testing.assert_allclose(found, centre_map(size), rtol=1e-5)
    assert found.max() == 1
    np.testing.assert_allclose(found, found[::-1, ::-1], rtol=1e-6)
