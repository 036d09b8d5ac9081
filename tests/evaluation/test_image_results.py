"""What a report says of single images and classes, against loops."""

import csv
import io

import keras
import numpy as np
import pytest
from PIL import Image

from keras_wsol.data import ImageDataset
from keras_wsol.evaluation import evaluate
from keras_wsol.models import Localizer
from tests.evaluation.painted_split import NAMES, VIEWS, in_view, split_of
from tests.models.painted import expected_maps, painted_classifier
from tests.reference import box_errors_numpy
from tests.reference.max_box_acc_numpy import best_iou, boxes_at

SIZE = (24, 36)
COUNT = 19


@pytest.fixture(scope="module")
def model():
    return painted_classifier(class_names=NAMES)


@pytest.fixture(scope="module")
def split():
    return split_of("test", COUNT, seed=0)


@pytest.fixture(scope="module")
def held_out():
    return split_of("train-fullsup", 11, seed=1)


def run(model, test, tune_on=None, view="whole", cam_threshold=0.33, **arguments):
    localizer = Localizer(model, cam_threshold=cam_threshold)
    arguments = {"batch_size": 8, "num_thresholds": 20, **arguments}
    return evaluate(localizer, test, tune_on, view, **arguments)


class Counted:
    """Batches that count how often they are gone through."""

    def __init__(self, split):
        self._data, self.passes, self.images = split, 0, 0

    def __iter__(self):
        self.passes += 1
        for start in range(0, len(self._data), 5):
            part = slice(start, start + 5)
            self.images += len(self._data.class_ids[part])
            yield {
                "images": self._data.images[part].astype("float32"),
                "class_ids": self._data.class_ids[part],
                "boxes": self._data.boxes[part],
            }


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("cam_threshold", ["tuned", 0.1, 0.85])
def test_every_result_equals_the_loops(view, cam_threshold, model, split, held_out):
    if cam_threshold == "tuned":
        report = run(model, split, held_out, view)
        assert report.main == report.tuned
    else:
        report = run(model, split, None, view, cam_threshold)
        assert report.main == report.fixed
    found = report.results
    assert found.class_ids.tolist() == split.class_ids.tolist()
    assert found.paths.tolist() == [f"test/{index}" for index in range(COUNT)]
    assert report.image_size == SIZE
    assert report.class_names == NAMES

    images, true_boxes = in_view(split, view, SIZE)
    _, logits, maps = expected_maps(model, images)
    np.testing.assert_allclose(found.true_boxes, true_boxes, atol=1e-4)
    assert found.predicted_ids.tolist() == logits.argmax(1).tolist()
    softmax = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(found.scores, softmax.max(axis=1), rtol=1e-3)
    words = []
    for n, class_id in enumerate(split.class_ids):
        parts = boxes_at(maps[n, class_id], report.main.cam_threshold)
        np.testing.assert_array_equal(found.boxes[n], parts[0])
        overlap = best_iou(parts[:1], true_boxes[n])
        assert found.iou[n] == report.iou[n] == pytest.approx(overlap, abs=1e-4)
        right = logits[n].argmax() == class_id
        words.append(box_errors_numpy.error(parts, true_boxes[n], right))
    assert found.errors.tolist() == words
    if cam_threshold != "tuned":
        assert len(set(words)) >= 3

    counts = {word: words.count(word) / COUNT for word in report.errors}
    assert report.errors == pytest.approx(counts)
    assert sum(report.errors.values()) == pytest.approx(1)
    assert report.errors["right"] == pytest.approx(report.main.top1_loc)
    known = report.errors["right"] + report.errors["wrong class"]
    assert known == pytest.approx(report.main.gt_known_loc)

    top1 = [row.argmax() == c for row, c in zip(logits, split.class_ids, strict=True)]
    boxes = [word in ("right", "wrong class") for word in words]
    for class_word, class_right in (("right", True), ("wrong", False)):
        for box_word, box_right in (("right", True), ("wrong", False)):
            pairs = zip(top1, boxes, strict=True)
            share = sum(pair == (class_right, box_right) for pair in pairs) / COUNT
            found_share = report.class_and_box[class_word][box_word]
            assert found_share == pytest.approx(share)

    rows = {row.class_id: row for row in report.per_class}
    assert list(rows) == sorted(set(split.class_ids.tolist()))
    for class_id, row in rows.items():
        own = [n for n in range(COUNT) if split.class_ids[n] == class_id]
        assert (row.class_name, row.num_images) == (NAMES[class_id], len(own))
        assert row.top1_cls == pytest.approx(np.mean([top1[n] for n in own]))
        assert row.gt_known_loc == pytest.approx(np.mean([boxes[n] for n in own]))
        both = [words[n] == "right" for n in own]
        assert row.top1_loc == pytest.approx(np.mean(both))


def test_one_pass_computes_everything(model, split, held_out):
    test, tune_on = Counted(split), Counted(held_out)
    report = run(model, test, tune_on, gallery=4)
    assert (test.passes, tune_on.passes) == (1, 1)
    assert (test.images, tune_on.images) == (COUNT, 11)
    assert len(report.gallery) == 4
    # So batches that can be gone through once are enough.
    again = run(model, iter(Counted(split)), iter(Counted(held_out)))
    assert again.to_dict() == report.to_dict()


def test_batches_of_different_widths_and_without_paths(model, split):
    batches = list(Counted(split))
    batches[1]["boxes"] = batches[1]["boxes"][:, :1]
    batches[2]["boxes"] = np.pad(
        batches[2]["boxes"], [(0, 0), (0, 2), (0, 0)], constant_values=-1
    )
    found = run(model, batches).results
    assert found.paths.tolist() == [str(index) for index in range(COUNT)]
    assert found.true_boxes.shape == (COUNT, 5, 4)
    expected = run(model, split).results.true_boxes
    np.testing.assert_allclose(found.true_boxes[:5, :3], expected[:5], atol=1e-5)
    np.testing.assert_allclose(found.true_boxes[5:10, :1], expected[5:10, :1])
    assert (found.true_boxes[5:10, 1:] == -1).all()


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Nine files, of which the third and the eighth cannot be read."""
    folder = tmp_path_factory.mktemp("files")
    whole = split_of("test", 9, seed=3)
    paths = [str(folder / f"{index}.png") for index in range(9)]
    for path, image in zip(paths, whole.images, strict=True):
        Image.fromarray(image).save(path)
    (folder / "2.png").write_bytes(b"no image")
    (folder / "7.png").unlink()
    return ImageDataset(
        name="files",
        split="test",
        class_names=NAMES,
        class_ids=whole.class_ids,
        paths=np.array(paths),
        boxes=whole.boxes,
    )


def test_images_that_could_not_be_read_have_a_place(model, files):
    report = run(model, files, batch_size=4, gallery=5)
    found, unread = report.results, [2, 7]
    assert found.paths.tolist() == files.paths.tolist()
    assert np.flatnonzero(found.errors == "unread").tolist() == unread
    assert found.class_ids[unread].tolist() == [-1, -1]
    assert found.predicted_ids[unread].tolist() == [-1, -1]
    assert np.isnan(found.scores[unread]).all()
    assert np.isnan(found.iou[unread]).all()
    assert (found.boxes[unread] == -1).all()
    assert (found.true_boxes[unread] == -1).all()
    assert sum(report.errors.values()) == pytest.approx(1)
    assert "unread" not in report.errors
    assert sum(row.num_images for row in report.per_class) == 7
    assert not set(unread) & {image.index for image in report.gallery}
    assert "images without a true box" not in report.notes


@pytest.mark.parametrize("view", VIEWS)
def test_the_gallery_shows_the_view(view, model, split):
    report = run(model, split, view=view, gallery=3)
    assert [image.index for image in report.gallery] == [0, 8, 18]
    images, _ = in_view(split, view, SIZE)
    _, _, maps = expected_maps(model, images)
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
    assert run(model, split, view=view).gallery == ()


def test_baselines_stand_in_the_report(model, split):
    report = run(model, split)
    _, true_boxes = in_view(split, "whole", SIZE)
    whole = [best_iou([(0, 0, 36, 24)], boxes) for boxes in true_boxes]
    share = np.mean([overlap >= 0.5 for overlap in whole])
    assert report.baselines["whole image"]["gt_known_loc"] == pytest.approx(share)
    levels = [np.mean([x >= level for x in whole]) for level in (0.3, 0.5, 0.7)]
    v2 = report.baselines["whole image"]["max_box_acc_v2"]
    assert v2 == pytest.approx(np.mean(levels))
    rng = np.random.default_rng(5)
    hits = []
    for boxes in true_boxes:
        for _ in range(100):
            one, other = rng.random((2, 2)) * SIZE[::-1]
            box = [*np.minimum(one, other), *np.maximum(one, other)]
            hits.append(best_iou([box], boxes) >= 0.5)
    share, sigma = np.mean(hits), np.std(hits) / np.sqrt(len(hits))
    found = report.baselines["random box"]["gt_known_loc"]
    assert found == pytest.approx(share, abs=4 * sigma)


def test_the_table_of_images(model, files, tmp_path):
    report = run(model, files)
    text = report.image_table_csv(tmp_path / "new" / "images.csv")
    assert (tmp_path / "new" / "images.csv").read_text() == text
    rows, found = list(csv.DictReader(text.splitlines())), report.results
    assert len(rows) == 9
    for n, row in enumerate(rows):
        assert (row["path"], row["error"]) == (files.paths[n], found.errors[n])
        if n in (2, 7):
            assert {row[name] for name in ("class", "predicted", "iou")} == {""}
            assert row["true_boxes"] == ""
            continue
        assert row["class"] == NAMES[files.class_ids[n]]
        assert row["predicted"] == NAMES[found.predicted_ids[n]]
        assert float(row["iou"]) == pytest.approx(found.iou[n], abs=1e-4)
        assert float(row["score"]) == pytest.approx(found.scores[n], abs=1e-4)
        box = [float(row[side]) for side in ("x0", "y0", "x1", "y1")]
        np.testing.assert_allclose(box, found.boxes[n], atol=1e-4)
        boxes = [[float(x) for x in b.split()] for b in row["true_boxes"].split(";")]
        expected = found.true_boxes[n][found.true_boxes[n][:, 0] >= 0]
        np.testing.assert_allclose(boxes, expected, atol=1e-4)


def test_the_table_of_classes(model, split):
    report = run(model, split)
    rows = list(csv.DictReader(report.class_table_csv().splitlines()))
    for row, expected in zip(rows, report.per_class, strict=True):
        assert row["class_name"] == expected.class_name
        assert int(row["num_images"]) == expected.num_images
        assert float(row["top1_loc"]) == expected.top1_loc


def test_a_summary_stays_small(model, split):
    report = run(model, split, gallery=5)
    small = len(report.to_json())
    assert small < 4000
    more = run(model, split_of("test", 60), gallery=50)
    assert len(more.to_json()) < small + 200
    assert len(more.to_csv()) < len(report.to_csv()) + 100


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="tf.data")
def test_paths_of_tf_data_are_text(model, split):
    batches = split.batches(6, with_boxes=True, image_size=SIZE)
    assert run(model, batches).results.paths.tolist() == split.paths.tolist()
