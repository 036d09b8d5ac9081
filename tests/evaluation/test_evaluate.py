"""Every figure, and what is said of each image and class, against loops."""

import dataclasses
import functools
import io

import keras
import numpy as np
import pytest
from PIL import Image

from keras_wsol.boxes import sweep_best_iou
from keras_wsol.cam import CAM, ChannelMean, Guided, Mean
from keras_wsol.data.wsolevaluation import Segmentation
from keras_wsol.evaluation import evaluate
from keras_wsol.evaluation.evaluate import notes_of
from keras_wsol.evaluation.measure import ERRORS
from keras_wsol.metrics import GTKnownLoc, MaxBoxAccV2, PxAP, Top1Loc
from keras_wsol.metrics.functional import class_ranks
from keras_wsol.models import Localizer, SecondLook
from tests.evaluation.painted_split import (
    NAMES,
    VIEWS,
    expected_figures,
    in_view,
    localizer,
    seen,
    split_of,
)
from tests.models.painted import painted_classifier
from tests.models.small import dtype_policy
from tests.reference import box_errors_numpy
from tests.reference.evaluation_numpy import interval, middle_of_the_best
from tests.reference.max_box_acc_numpy import best_iou, boxes_at

SIZE = (24, 36)
EVERY_VIEW = pytest.mark.parametrize("view", VIEWS)
ON_TENSORFLOW = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="tf.data"
)
COUNT = 19  # images of the test split
CAM_THRESHOLD = 0.33  # not on the grid


@pytest.fixture(scope="module")
def split():
    return split_of("test", COUNT, seed=0)


@pytest.fixture(scope="module")
def held_out():
    return split_of("train-fullsup", 11, seed=1)


def run(test, tune_on=None, view="whole", model=None, **arguments):
    arguments = {"batch_size": 8, "num_thresholds": 20, **arguments}
    model = localizer(CAM_THRESHOLD) if model is None else model
    return evaluate(model, test, tune_on, view, **arguments)


@functools.cache
def measured(view="whole", tuned=True, cam_threshold=CAM_THRESHOLD):
    """Reports on the same split, each measured once."""
    tune_on = split_of("train-fullsup", 11, seed=1) if tuned else None
    test, model = split_of("test", COUNT, seed=0), localizer(cam_threshold)
    return run(test, tune_on, view, model, gallery=3)


def check_at(at, threshold, figures, index):
    assert at.cam_threshold == pytest.approx(threshold)
    assert at.gt_known_loc == pytest.approx(figures["gt_known"][index])
    assert at.top1_loc == pytest.approx(figures["top1_loc"][index])
    assert at.top5_loc == pytest.approx(figures["top5_loc"][index])
    assert at.mean_iou == pytest.approx(np.mean(figures["ious"][index]), abs=1e-5)


@EVERY_VIEW
def test_every_figure_equals_the_loops(view, split, held_out):
    report, model = measured(view), localizer(CAM_THRESHOLD).model
    grid = np.arange(20) / 20
    thresholds = np.sort(np.append(grid, CAM_THRESHOLD)).astype("float32")
    np.testing.assert_allclose(report.thresholds, thresholds, atol=1e-7)
    fixed = list(grid < CAM_THRESHOLD).index(False)

    expected = expected_figures(model, split, view, thresholds)
    tuned = expected_figures(model, held_out, view, thresholds)
    assert len(set(expected["gt_known"])) > 4
    assert 0 < expected["top1_cls"] < expected["top5_cls"] < 1
    assert (report.num_images, report.num_left_out) == (COUNT, 0)
    assert report.view == view
    assert report.top1_cls == pytest.approx(expected["top1_cls"])
    assert report.top5_cls == pytest.approx(expected["top5_cls"])
    np.testing.assert_allclose(report.gt_known_curve, expected["gt_known"])
    np.testing.assert_allclose(report.top1_loc_curve, expected["top1_loc"])
    np.testing.assert_allclose(report.images.iou.T, expected["ious"], atol=1e-4)

    choice = {
        "fixed": fixed,
        "tuned": middle_of_the_best(tuned["gt_known"]),
        "oracle": middle_of_the_best(expected["gt_known"]),
    }
    assert len(set(choice.values())) == 3
    assert report.images.kept == choice["tuned"]
    for name, index in choice.items():
        check_at(getattr(report, name), thresholds[index], expected, index)

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


@EVERY_VIEW
@pytest.mark.parametrize("cam_threshold", ["tuned", 0.1, 0.85])
def test_every_row_equals_the_loops(view, cam_threshold, split):
    tuned = cam_threshold == "tuned"
    report = measured(view, tuned, CAM_THRESHOLD if tuned else cam_threshold)
    assert report.main is (report.tuned if tuned else report.fixed)
    assert set(report.centre) - {"max_box_acc_v2"} == (
        {"fixed", "tuned", "oracle"} if tuned else {"fixed", "oracle"}
    )
    found, model = report.images, localizer(CAM_THRESHOLD).model
    assert found.class_ids.tolist() == split.class_ids.tolist()
    assert found.paths.tolist() == [f"test/{index}" for index in range(COUNT)]
    assert (report.image_size, report.class_names) == (SIZE, NAMES)

    _, true_boxes, logits, maps = seen(model, split, view)
    np.testing.assert_allclose(found.true_boxes, true_boxes, atol=1e-4)
    assert found.predicted_ids.tolist() == logits.argmax(1).tolist()
    softmax = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(found.scores, softmax.max(axis=1), rtol=1e-3)
    words = []
    for n, class_id in enumerate(split.class_ids):
        parts = boxes_at(maps[n, class_id], report.main.cam_threshold)
        np.testing.assert_array_equal(found.boxes[n], parts[0])
        overlap = best_iou(parts[:1], true_boxes[n])
        assert found.iou[n, found.kept] == pytest.approx(overlap, abs=1e-4)
        right = logits[n].argmax() == class_id
        words.append(box_errors_numpy.error(parts, true_boxes[n], right))
    assert found.errors.tolist() == words
    if not tuned:
        assert len(set(words)) >= 3
    known = report.errors["right"] + report.errors["wrong class"]
    assert known == pytest.approx(report.main.gt_known_loc)
    assert report.errors["right"] == pytest.approx(report.main.top1_loc)


def test_intervals_are_those_of_a_bootstrap():
    report = measured()
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
    for found, values in (
        (report.top1_cls_interval, report.images.ranks == 0),
        (report.max_box_acc_v2_interval, report.v2_hits.mean(axis=1)),
    ):
        np.testing.assert_allclose(found, interval(values), atol=1.01 / COUNT)


def test_the_fixed_figures_are_those_of_the_localizers_own_boxes(split):
    # From the boxes that are served, not from the sweep.
    report, model = measured(), localizer(CAM_THRESHOLD)
    images, boxes = in_view(split, "whole", SIZE)
    truth = {"boxes": boxes.astype("float32"), "class_ids": split.class_ids}
    images = images.astype("float32")
    gt_known, top1_loc = GTKnownLoc(), Top1Loc()
    out = model({"images": images, "class_ids": split.class_ids})
    for metric in (gt_known, top1_loc):
        metric.update_state(truth, out)
    assert report.fixed.gt_known_loc == pytest.approx(float(gt_known.result()))
    assert report.fixed.top1_loc == pytest.approx(float(top1_loc.result()))


def test_max_box_acc_v2_is_that_of_the_metric(split):
    report = measured()
    images, boxes = in_view(split, "whole", SIZE)
    out = localizer(CAM_THRESHOLD).predict_on_batch(
        {"images": images.astype("float32"), "class_ids": split.class_ids}
    )
    metric = MaxBoxAccV2(num_thresholds=20)
    metric.update_state(boxes, out["score_maps"][:, 0])
    assert report.max_box_acc_v2 == pytest.approx(metric.result(), rel=1e-12)
    overlap = sweep_best_iou(out["score_maps"][:, 0], report.thresholds, boxes)
    for level, iou in enumerate((0.3, 0.5, 0.7)):
        right = report.images.v2_right(level)
        np.testing.assert_array_equal(right, (overlap >= np.float32(iou)).T)
    assert 0 < report.v2_hits.mean(axis=0)[2] < report.v2_hits.mean(axis=0)[0]


def test_max_box_acc_v2_does_not_depend_on_the_localizers_threshold(split):
    # Where this finds one more right box, off the grid of two thresholds.
    reports = [
        run(split, model=localizer(x), num_thresholds=2)
        for x in (0.1, CAM_THRESHOLD, 0.85)
    ]
    assert len({report.fixed.gt_known_loc for report in reports}) > 1
    assert len({report.max_box_acc_v2 for report in reports}) == 1
    assert len({report.centre["max_box_acc_v2"] for report in reports}) == 1


def test_memory_of_the_table(split):
    table = run(split, num_thresholds=1000).images
    columns = [getattr(table, x.name) for x in dataclasses.fields(table)]
    rows = [x for x in columns if getattr(x, "shape", (0,))[:1] == (COUNT,)]
    assert len(rows) == 11
    assert sum(x.nbytes for x in rows) / COUNT < 4800


def test_a_summary_stays_small(split):
    small = len(measured().to_json())
    assert small < 4000
    more = run(split, gallery=COUNT)
    assert len(more.to_json()) < small + 200


# What it is given


class Counted:
    """Batches of five that count how often they are gone through."""

    def __init__(self, split):
        self._data, self.passes, self.images = split, 0, 0

    def __iter__(self):
        self.passes += 1
        for batch in dictionaries(self._data, 5):
            self.images += len(batch["class_ids"])
            yield batch


def dictionaries(split, size):
    """Batches, the last one short, as anyone might give them."""
    for start in range(0, len(split), size):
        part = slice(start, start + size)
        yield {
            "images": split.images[part].astype("float32"),
            "class_ids": split.class_ids[part],
            "boxes": split.boxes[part],
        }


def same_figures(one, other):
    """All but the names of what was measured."""
    one, other = one.to_dict(), other.to_dict()
    assert one.keys() == other.keys()
    for name in one.keys() - {"dataset", "split", "notes"}:
        assert one[name] == other[name], name


@EVERY_VIEW
def test_dictionaries_of_images_as_stored_give_the_same_in_one_pass(
    view, split, held_out
):
    test, tune_on = Counted(split), Counted(held_out)
    report = run(test, tune_on, view, gallery=3)
    same_figures(report, measured(view))
    assert (report.dataset, report.split) == ("batches", "test")
    assert (test.passes, tune_on.passes) == (1, 1)
    assert (test.images, tune_on.images) == (COUNT, 11)
    assert report.images.paths.tolist() == [str(index) for index in range(COUNT)]


@ON_TENSORFLOW
def test_batches_of_a_data_set_give_the_same(split, held_out):
    options = {"with_boxes": True, "image_size": SIZE}
    report = run(*[x.batches(6, **options) for x in (split, held_out)])
    same_figures(report, measured())
    assert report.images.paths.tolist() == split.paths.tolist()


@pytest.mark.parametrize("batch_size", [1, 100])
def test_the_batch_size_changes_nothing(batch_size, split, held_out):
    same_figures(run(split, held_out, batch_size=batch_size), measured())


def test_images_of_the_size_before_the_crop_are_only_cut():
    # 27 x 41 is 256/224 of 24 x 36: nothing is resampled, the middle is cut out.
    split = split_of("test", 5, size=(27, 41))
    report = run(list(dictionaries(split, 5)), view="center_crop")
    boxes = np.clip(split.boxes - [2, 1, 2, 1], 0, [36, 24, 36, 24])
    batch = {
        "images": split.images[:, 1:25, 2:38],
        "class_ids": split.class_ids,
        "boxes": np.where(split.boxes[..., :1] < 0, -1, boxes).astype("float32"),
    }
    expected = run([batch])
    np.testing.assert_allclose(report.images.iou, expected.images.iou, atol=1e-6)


def test_batches_with_different_numbers_of_boxes(split):
    batches = list(dictionaries(split, 5))
    batches[1]["boxes"] = batches[1]["boxes"][:, :1]
    batches[2]["boxes"] = np.pad(
        batches[2]["boxes"], [(0, 0), (0, 2), (0, 0)], constant_values=-1
    )
    found = run(batches).images.true_boxes
    assert found.shape == (COUNT, 5, 4)
    expected = measured().images.true_boxes
    np.testing.assert_allclose(found[:5, :3], expected[:5], atol=1e-5)
    np.testing.assert_allclose(found[5:10, :1], expected[5:10, :1])
    assert (found[5:10, 1:] == -1).all()


def test_a_classifier_is_localized_at_the_default_threshold(split):
    report = evaluate(localizer(0.2).model, split, num_thresholds=20)
    assert report.fixed.cam_threshold == pytest.approx(0.2)
    assert len(report.thresholds) == 20  # 0.2 is on this grid


def test_files_left_out_are_counted(split):
    left_out = (("broken.jpg", "cut off"), ("gone.jpg", "no such file"))
    report = run(dataclasses.replace(split, left_out=left_out))
    assert (report.num_images, report.num_left_out) == (COUNT, 2)
    assert "2 more could not be read" in report.to_html()


def test_mixed_precision_changes_little(split):
    with dtype_policy("mixed_float16"):
        half = painted_classifier()
        report = run(split, model=half)
    assert report.top1_cls == pytest.approx(measured().top1_cls, abs=0.05)


@EVERY_VIEW
def test_the_gallery_shows_the_view(view, split):
    report = measured(view)
    assert [image.index for image in report.gallery] == [0, 8, 18]
    images, _, _, maps = seen(localizer(CAM_THRESHOLD).model, split, view)
    for kept in report.gallery:
        with Image.open(io.BytesIO(kept.jpeg)) as image:
            pixels = np.asarray(image).astype(float)
        assert pixels.shape == (*SIZE, 3)
        # JPEG is lossy, and these images are mostly noise.
        assert np.abs(pixels - images[kept.index]).mean() < 9
        others = [n for n in range(COUNT) if n != kept.index]
        assert np.abs(pixels - images[others]).mean(axis=(1, 2, 3)).min() > 15
        score_map = maps[kept.index, split.class_ids[kept.index]]
        difference = kept.score_map - np.rint(255 * score_map)
        assert np.abs(difference).max() <= 1


# Classes


def test_the_logits_of_a_model_that_broke_count_as_wrong():
    # Training diverged: nothing is right, and no figure may say otherwise. Of three
    # classes, each is else in the top five.
    broken = painted_classifier(num_classes=3)
    dense = broken.layers[-1]
    dense.set_weights([np.full_like(x, np.nan) for x in dense.get_weights()])
    batch = next(dictionaries(split_of("test", 4), 4)) | {"class_ids": np.arange(4) % 3}
    report = run([batch], model=broken)
    assert report.top1_cls == report.top5_cls == report.oracle.gt_known_loc == 0
    assert report.images.predicted_ids.tolist() == [-1] * 4
    assert np.isnan(report.images.scores).all()


def test_a_tie_of_all_classes_is_no_hit_for_each(split):
    # The top class is one class: of equal logits the first, as `Localizer` has it.
    indifferent = painted_classifier()
    dense = indifferent.layers[-1]
    dense.set_weights([np.zeros_like(x) for x in dense.get_weights()])
    report = run(split, model=indifferent)
    assert report.top1_cls == pytest.approx(np.mean(split.class_ids == 0))


@pytest.mark.parametrize("xp", [np, keras.ops])
def test_class_ranks_are_places_in_a_stable_order(xp):
    # Few different values, so that most are ties.
    logits = np.random.default_rng(0).integers(0, 3, (40, 6)).astype("float32")
    true_ids = np.arange(40, dtype="int32") % 6
    order = np.argsort(-logits, axis=1, kind="stable").tolist()
    expected = [row.index(c) for row, c in zip(order, true_ids, strict=True)]
    ranks = class_ranks(xp.array(logits), xp.array(true_ids), xp)
    assert keras.ops.convert_to_numpy(ranks).tolist() == expected


# Segmentations


def test_segmentations_give_px_ap(split, tmp_path):
    given = []
    for index in range(COUNT):
        pixels = np.zeros((31, 50), "uint8")
        pixels[4 + index % 5 : 20, 6 : 25 + index] = 255
        Image.fromarray(pixels).save(tmp_path / f"{index}.png")
        given.append(Segmentation((tmp_path / f"{index}.png",)))
    *_, maps = seen(localizer(CAM_THRESHOLD).model, split, "whole")
    metric = PxAP()
    # To the nearest pixel, the one at the upper left.
    rows, columns = np.arange(24) * 31 // 24, np.arange(36) * 50 // 36
    for n, segmentation in enumerate(given):
        with Image.open(segmentation.object_paths[0]) as image:
            true = np.asarray(image)[rows[:, None], columns] > 0
        metric.update_state(true[None], maps[n, split.class_ids[n]][None])
    report = run(split, segmentations=given)
    assert report.px_ap == pytest.approx(metric.result(), abs=2e-3)
    by_name = {f"{n}": each for n, each in enumerate(given)}
    assert run(split, segmentations=by_name).px_ap == report.px_ap
    assert measured().px_ap is None
    # Of another number, they are shifted: an image was left out, or is missing.
    for some in (given[:-1], [*given, given[0]]):
        message = f"Received: {len(some)} for {COUNT} images"
        with pytest.raises(ValueError, match=message):
            run(split, segmentations=some)
    batches = list(dictionaries(split, 5))  # whose number is known in the end
    with pytest.raises(ValueError, match="none for image 18, 18"):
        run(batches, segmentations=given[:-1])
    with pytest.raises(ValueError, match=f"Received: 20 for {COUNT} images"):
        run(batches, segmentations=[*given, given[0]])
    with pytest.raises(ValueError, match="none for image 0, test/0"):
        run(split, segmentations={"1": given[1]})
    with pytest.raises(ValueError, match="PxAP needs view='whole'"):
        run(split, view="center_crop", segmentations=given)


# Notes


def test_notes_say_how_splits_and_thresholds_were_chosen():
    assert measured(tuned=False, cam_threshold=0.1).notes == {"drawn": "with seed 0"}
    assert measured().notes == {
        "drawn": "with seed 0",
        "drawn of those tuned on": "with seed 1",
        "tuned threshold": "best GT-known Loc on train-fullsup",
    }


def test_notes_say_what_is_read_if_it_is_no_plain_class_activation_map(split):
    def notes(localizer):
        return notes_of(localizer, split, None, measured().images, 0)

    model = localizer(CAM_THRESHOLD).model
    guided = Guided(ChannelMean(layer="features"), strength=0.25)
    found = notes(SecondLook(Localizer(model, score_map=guided)))
    assert found["classes"] == "of the image and of the crop of its box"
    assert found["score map"].startswith("Guided(")
    assert "ChannelMean(layer='features'" in found["score map"]
    assert "strength=0.25" in found["score map"]
    mean = Localizer(model, score_map=Mean((ChannelMean(), CAM(False))))
    both = "ChannelMean(), CAM(negative_weights=False)"
    assert notes(mean)["score map"] == f"Mean(score_maps=({both}))"
    plain = Localizer(model, score_map=CAM(negative_weights=False))
    said = {"score map": "CAM(negative_weights=False)", "drawn": "with seed 0"}
    assert notes(plain) == said
    assert notes(Localizer(model)) == {"drawn": "with seed 0"}
    tuned = Localizer(model, notes={"threshold": "tuned on 30 images"})
    said = {"localizer's threshold": "tuned on 30 images", "drawn": "with seed 0"}
    assert notes(tuned) == said


def test_every_word_has_a_share():
    assert list(measured().errors) == list(ERRORS)


# What is refused


def test_numbers_are_no_paths(split, held_out):
    numbers = [
        dataclasses.replace(each, paths=np.arange(len(each)).astype(str))
        for each in (split, held_out)
    ]
    assert run(*numbers).images.paths.tolist() == [str(n) for n in range(COUNT)]


MESSAGE = "`tune_on` must share no image with `test`"


def test_tuning_on_the_test_split_is_refused(split, held_out):
    for tune_on in (split, split.take([3, 4], "train-fullsup")):
        with pytest.raises(ValueError, match=MESSAGE):
            run(split, tune_on)
    batches = list(dictionaries(split, 5))
    with pytest.raises(ValueError, match=MESSAGE):
        run(batches, batches)


@ON_TENSORFLOW
def test_tuning_on_batches_of_the_test_split_is_refused(split):
    # They carry the paths of their images, so it can be seen.
    other = split.batches(8, with_boxes=True, image_size=SIZE)
    with pytest.raises(ValueError, match=MESSAGE + ".* Both hold 'test/0'"):
        run(split, other)


def test_copies_of_test_images_without_paths_are_known_by_their_pixels(split, held_out):
    message = r"share no image with `test`.*pixels of image {} of `test` are in"
    whole, others = (list(dictionaries(x, 5)) for x in (split, held_out))
    copies = [{key: value.copy() for key, value in x.items()} for x in whole]
    with pytest.raises(ValueError, match=message.format(0)):
        run(whole, copies)
    # One image among others, in another place and another batch.
    one = {key: value.copy() for key, value in others[1].items()}
    one["images"][3] = whole[2]["images"][1]
    with pytest.raises(ValueError, match=message.format(11)):
        run(whole, [others[0], one])
    # One digit apart is another image.
    one["images"][3, 0, 0, 0] += 1
    run(whole, [others[0], one])


def test_pixels_of_a_data_set_in_memory_under_other_names(split):
    renamed = dataclasses.replace(split, paths=np.array([f"x/{n}" for n in range(19)]))
    with pytest.raises(ValueError, match="pixels of image 0, 'test/0', of `test`"):
        run(split, renamed)


def test_a_hundredth_of_the_images_may_be_there_twice(split):
    rng = np.random.default_rng(0)
    pixels = rng.uniform(0, 255, (250, *SIZE, 3)).astype("float32")
    boxes = np.tile(np.float32([0, 0, 20, 20]), (250, 1, 1))
    held_out = [
        {"images": part, "class_ids": np.zeros(50, int), "boxes": boxes[:50]}
        for part in np.split(pixels, 5)
    ]
    images = rng.uniform(0, 255, (8, *SIZE, 3)).astype("float32")
    images[[4, 6]] = pixels[[7, 249]]
    test = {"images": images, "class_ids": np.zeros(8, int), "boxes": boxes[:8]}
    notes = run([test], held_out, num_thresholds=2).notes
    assert notes["images that the threshold was tuned on"] == "2, by their pixels"
    images[7] = pixels[100]
    with pytest.raises(ValueError, match="pixels of image 7 of `test`"):
        run([test], held_out, num_thresholds=2)


def test_a_file_is_the_same_under_each_spelling(split, held_out, tmp_path):
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
        with pytest.raises(ValueError, match=MESSAGE):
            run(*pair)
        # The same from batches, which are compared when they have been seen.
        batches = [
            [{**batch, "paths": each.paths} for batch in dictionaries(each, 3)]
            for each in pair
        ]
        with pytest.raises(ValueError, match=r"Both hold '.*birds/2.jpg'"):
            run(*batches)


def test_an_unknown_view_is_refused(split):
    with pytest.raises(ValueError, match=r"`view` must be one of \['whole', 'center_"):
        run(split, view="crop")
