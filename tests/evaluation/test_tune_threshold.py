"""The chosen threshold, against loops and against what one sees."""

import dataclasses

import numpy as np
import pytest
from PIL import Image

from keras_wsol import data, viz
from keras_wsol.evaluation import compare_thresholds, tune_threshold
from keras_wsol.models import Localizer
from keras_wsol.models.second_look import ObjectCrop
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


@pytest.mark.parametrize("criterion", ["mean_iou", "gt_known_loc"])
def test_figures_are_those_of_loops(criterion, split, ious):
    found = tune_threshold(
        painted_classifier(class_names=NAMES),
        split,
        criterion=criterion,
        num_thresholds=40,
        draws=50,
        seed=3,
    )
    by = {"mean_iou": ious, "gt_known_loc": (ious >= 0.5).astype(float)}
    best = middle_of_best(by[criterion].mean(axis=0))
    assert found.cam_threshold == CUTS[best]
    assert found.criterion == criterion
    assert (found.num_images, found.num_skipped) == (9, 0)
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


def test_from_a_folder_and_a_csv_of_boxes(tmp_path):
    """Objects are the brighter half of what the class sees: the cut is above 1/2."""
    lines = ["path,x0,y0,x1,y1,class"]
    for number in range(6):
        # In cells of 4 pixels: all of it at 100, the object at 200.
        box = (4 * number, 8, 4 * number + 8, 16)
        image = draw((24, 36), (0, 100, (0, 4, 36, 20)), (0, 200, box))
        path = tmp_path / "images" / "red" / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)
        lines.append(f"{path.name},{','.join(map(str, box))},red")
    (tmp_path / "images" / "red" / "broken.png").write_bytes(b"")
    lines.append("red/broken.png,1,2,3,4,red")
    (tmp_path / "boxes.csv").write_text("\n".join(lines))
    names = ("red", "green", "blue")
    images = data.image_folder(tmp_path / "images", class_names=names)
    some = data.boxes_from_csv(images, tmp_path / "boxes.csv")
    found = tune_threshold(localizer(class_names=names), some, draws=20)
    # The step from 1/2 to 1 is crossed half way: at 3/4 the box is exact. A map is cut
    # there before it is smoothed again, so a small range of cuts gives that box.
    assert found.cam_threshold == pytest.approx(0.75, abs=0.07)
    assert found.mean_iou == 1
    assert found.held_out_mean_iou == 1
    assert found.interval[0] == found.interval[1] == pytest.approx(found.cam_threshold)
    assert (found.num_images, found.num_skipped) == (6, 1)
    # It is what a `Localizer` takes.
    tuned = localizer(class_names=names, cam_threshold=found.cam_threshold)
    box = np.asarray(tuned(some.image(0)[None], class_ids=[0])["boxes"])[0, 0]
    np.testing.assert_allclose(box, some.boxes[0, 0])


def test_a_test_split_is_refused(split):
    test = dataclasses.replace(split, split="test")
    message = "Thresholds are chosen on this split.*`allow_test=True`.*split='test'"
    with pytest.raises(ValueError, match=message):
        tune_threshold(painted_classifier(), test)
    model = painted_classifier(class_names=NAMES)
    options = {"num_thresholds": 20, "draws": 5}
    found = tune_threshold(model, test, allow_test=True, **options)
    # Two results are compared by identity: they hold arrays.
    assert found != tune_threshold(model, split, **options)
    assert hash(found)


def test_batches_do_as_well(split):
    model = painted_classifier(class_names=NAMES)
    batches = split.batches(4, with_boxes=True, image_size=(24, 36))
    one, other = (
        tune_threshold(model, source, num_thresholds=20, draws=5)
        for source in (split, batches)
    )
    assert one.cam_threshold == other.cam_threshold
    assert one.mean_iou == pytest.approx(other.mean_iou)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"criterion": "iou"}, "`criterion` must be one of"),
        ({"draws": 0}, "`draws` must be an integer of at least 1"),
        ({"num_thresholds": 0}, "`num_thresholds` must be an integer"),
    ],
)
def test_arguments(options, message, split):
    with pytest.raises(ValueError, match=message):
        tune_threshold(painted_classifier(), split, **options)


def test_images_without_boxes_or_too_few(split):
    with pytest.raises(ValueError, match="has no boxes"):
        tune_threshold(painted_classifier(), dataclasses.replace(split, boxes=None))
    with pytest.raises(ValueError, match="at least two images that can be read"):
        tune_threshold(painted_classifier(), split.take([0], "one"))


@pytest.mark.parametrize("class_ids", ["predicted", "known"])
def test_the_sheet_shows_the_boxes_of_each_threshold(class_ids, split):
    model = painted_classifier(class_names=NAMES)
    found = compare_thresholds(
        model, split, [7, 2], (0.2, 0.7), class_ids=class_ids, cell_size=60
    )
    _, logits, maps = expected_maps(model, split.images)
    ids = logits.argmax(1) if class_ids == "predicted" else split.class_ids
    assert (logits.argmax(1) != split.class_ids)[[7, 2]].any()
    expected = viz.threshold_sheet(
        split.images[[7, 2]],
        [maps[n, ids[n]] for n in (7, 2)],
        (0.2, 0.7),
        split.boxes[[7, 2]],
        cell_size=60,
    )
    # Maps of loops differ in the last digits, which colours show as one level.
    assert np.abs(found.astype(int) - expected).max() <= 2
    with pytest.raises(ValueError, match="`class_ids` must be one of"):
        compare_thresholds(model, split, [0], class_ids="true")


def test_a_sheet_of_known_classes_takes_no_second_look(split, monkeypatch):
    def crop(*_, **__):
        raise AssertionError("a second look was taken")

    localizer = Localizer(painted_classifier(class_names=NAMES), second_look=True)
    monkeypatch.setattr(ObjectCrop, "call", crop)
    assert compare_thresholds(localizer, split, [1], (0.5,), class_ids="known").any()
    with pytest.raises(AssertionError, match="a second look"):
        compare_thresholds(localizer, split, [1], (0.5,), class_ids="predicted")


def test_a_sheet_of_files_leaves_out_what_cannot_be_read(tmp_path):
    image = draw((24, 36), (0, 200, (4, 4, 20, 16)))
    Image.fromarray(image).save(tmp_path / "1.png")
    (tmp_path / "2.png").write_bytes(b"")
    images = data.image_files(tmp_path)
    both, one = (
        compare_thresholds(localizer(), images, indices, (0.5,), cell_size=60)
        for indices in ([1, 0], [0])
    )
    np.testing.assert_array_equal(both, one)
    with pytest.raises(ValueError, match="needs at least one image"):
        compare_thresholds(localizer(), images, [1])
