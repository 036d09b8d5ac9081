"""The localizer that is chosen without boxes, on images whose objects one has drawn."""

import csv
import re
import sys
import warnings
from dataclasses import replace
from functools import partial
from unittest import mock

import keras
import numpy as np
import pytest

from keras_wsol import cam
from keras_wsol.models import (
    BACKBONES,
    Localizer,
    build_classifier,
    candidates,
    fit_localizer,
)
from tests.models.patches import SIZE, classifier, drawn, fit, mean_iou
from tests.models.small import TINY_ROWS, tiny_backbone

FITTED = cam.DDT | cam.Foreground | cam.ByClass


@pytest.fixture(scope="module")
def model():
    return classifier()


@pytest.fixture(scope="module")
def images():
    return drawn(24)


@pytest.fixture(scope="module")
def chosen(model, images):
    """What is chosen from the images alone, without a warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        return fit_localizer(model, images, verbose=False)


def assert_same(one, other):
    """Two localizers have the same map and threshold, rounding apart."""
    assert one.cam_threshold == other.cam_threshold
    members = zip(one.score_map.score_maps, other.score_map.score_maps, strict=True)
    for first, second in members:
        assert type(first) is type(second)
        if isinstance(first, cam.ByClass):
            first, second = (each.score_maps[0] for each in (first, second))
        if not isinstance(first, cam.CAM):
            options = {"rtol": 1e-4, "atol": 1e-6}
            np.testing.assert_allclose(first.weights, second.weights, **options)


def test_the_whole_object_is_found_without_boxes(chosen):
    """By the mean of maps that are fitted to all images and one of the class."""
    assert isinstance(chosen, Localizer)
    *fitted, of_class = chosen.score_map.score_maps
    assert [isinstance(each, cam.ByClass) for each in fitted] == [False, True]
    assert {each.layer for each in fitted} == {"features"}
    assert not of_class.negative_weights
    test = drawn(20, seed=1)
    # All boxes are right, about one pixel too large on each side.
    assert mean_iou(chosen, test) > 0.75


def test_says_in_four_lines_what_and_why(model, images, chosen, capsys):
    fit_localizer(model, images)
    printed = capsys.readouterr().out
    notes = chosen.notes
    assert printed.splitlines() == [f"{k.capitalize()}: {v}" for k, v in notes.items()]
    assert list(notes) == ["score map", "read at", "threshold", "chosen on"]
    score_map = r"mean of (\w+ of features( by class)?,? ){2}and CAM without \w+ \w+"
    contrast = r", of 8 candidates: contrast 0\.\d{3} \(of one alone at most 0\.\d{3}\)"
    assert re.fullmatch(score_map + contrast, notes["score map"])
    assert notes["read at"] == "24x36 pixels"
    threshold = f"{chosen.cam_threshold:.2f}, where colour and texture"
    assert notes["threshold"].startswith(threshold)
    where = "24 images of 'patches' (train) and their classes, without boxes"
    assert notes["chosen on"] == where
    fit(model, images)
    assert capsys.readouterr().out == ""


def test_a_terminal_shows_how_far_it_is(model, images, capsys, monkeypatch):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    fit(model, images)
    assert capsys.readouterr().out == ""
    fit_localizer(model, images)
    shown = capsys.readouterr().out
    # 24 images in a batch; of 8 candidates, the mean and two more are not fitted.
    for done in ("1/Unknown", "5/Unknown", "3/Unknown"):
        assert done in shown
    assert (
        shown.index("/batch") < shown.index("/score map") < shown.index("Score map: ")
    )


def test_no_map_is_named_twice():
    """Without classes, the two maps of a layer may be fits of one kind."""
    twice, other = (
        [cam.Foreground((1.0,), 0.0, "deep")] * 2,
        cam.DDT((1.0,), (0.0,), "top"),
    )
    named = {
        "mean of Foreground of deep (2 fits)": twice,
        "mean of Foreground of deep (2 fits) and DDT of top": [*twice, other],
        "mean of DDT of top, Foreground of deep and CAM": [other, twice[0], cam.CAM()],
    }
    for name, maps in named.items():
        assert candidates.in_words(cam.Mean(tuple(maps))) == name


def test_a_localizer_gives_its_model(model, images, chosen):
    assert fit(Localizer(model), images).notes == chosen.notes


def test_saves_and_loads(chosen, images, tmp_path):
    chosen.save(tmp_path / "fitted.keras")
    loaded = keras.models.load_model(tmp_path / "fitted.keras")
    assert loaded.notes == chosen.notes
    assert_same(loaded, chosen)
    assert mean_iou(loaded, images) == pytest.approx(mean_iou(chosen, images))


def forms(images):
    arrays = images.images.astype("float32")
    ids = images.class_ids
    yield "array", arrays
    yield "one batch", [images.images]
    yield "images and class ids", (arrays, ids)
    yield "dictionary", {"images": arrays, "class_ids": ids}
    yield "images one by one", (each[None] for each in arrays)
    yield (
        "tuples",
        [(arrays[:5], ids[:5]), (arrays[5:5], ids[5:5]), (arrays[5:], ids[5:])],
    )
    half = {"images": arrays, "class_ids": ids, "boxes": None, "paths": images.paths}
    yield "dictionaries", [half]
    # Boxes of the images themselves are never read.
    yield "nonsense", replace(images, boxes=np.full((24, 1, 4), np.nan, "float32"))
    yield "none", replace(images, boxes=None)


def test_what_is_no_form_of_images(model, images):
    arrays, ids = images.images, images.class_ids
    with pytest.raises(ValueError, match=r"batches of images \(B, H, W, 3\).*\(24, 36"):
        fit(model, list(arrays))
    with pytest.raises(ValueError, match="class ids in each batch, or in none"):
        fit(model, [(arrays[:9], ids[:9]), arrays[9:]])
    with pytest.raises(TypeError, match="`boxes` must be an `ImageDataset` with boxes"):
        fit(model, images, [{"images": arrays, "boxes": images.boxes}])


def test_images_come_in_many_forms(model, images, chosen):
    without = fit(model, images.images)  # class ids
    members = without.score_map.score_maps
    assert not any(isinstance(each, cam.ByClass) for each in members)
    for name, form in forms(images):
        labelled = name not in ("array", "one batch", "images one by one")
        found = fit(model, form)
        assert_same(found, chosen if labelled else without)
        assert ("'patches'" in found.notes["chosen on"]) == (
            name in ("nonsense", "none")
        )


def test_few_images_of_many_classes_have_no_map_by_class(model):
    for count, expected in ((14, False), (15, True)):
        found, _ = candidates.candidates(model, drawn(count))
        assert any(map(is_by_class, found)) == expected


@pytest.mark.filterwarnings("ignore:The localizer may be wrong")  # twins
def test_draws_of_many_images_by_seed(model, monkeypatch):
    monkeypatch.setattr(candidates, "_MOST_IMAGES", 20)
    many = drawn(60)
    first, again, other = (fit(model, many, seed=seed) for seed in (3, 3, 4))
    assert_same(first, again)
    assert first.notes == again.notes
    weights = [x.score_map.score_maps[0].weights for x in (first, other)]
    assert not np.allclose(*weights, rtol=1e-6)
    assert first.notes["chosen on"].startswith("20 images of")
    endless = fit(model, endless_images(many))
    assert endless.notes["chosen on"] == "20 images of predicted classes, without boxes"


def endless_images(dataset):
    while True:
        yield dataset.images[:7]


# With a few boxes


def test_boxes_do_not_change_the_mean(model, images):
    few = drawn(9, seed=2, split="held out")
    one, other = (candidates.candidates(model, images, x)[0][-1] for x in (None, few))
    members = (each.score_map.score_maps for each in (one, other))
    for first, second in zip(*members, strict=True):
        assert repr(first) == repr(second)


def test_boxes_choose_map_and_threshold(model, images, chosen, monkeypatch):
    """Where boxes are of the class's patch, maps of all images cannot be right."""
    few = drawn(9, seed=2, boxes="part", split="held out")
    every = []

    def spy(*args):
        found, sample = candidates.candidates(*args)
        every.extend(found)
        return found, sample

    monkeypatch.setattr(sys.modules[fit_localizer.__module__], "candidates", spy)
    found = fit(model, images, few)
    test = drawn(20, seed=1, boxes="part")
    assert mean_iou(found, test) > 0.8
    assert mean_iou(chosen, test) < 0.5
    assert len(every) == 9  # DDT of each class, too
    best = max(every, key=lambda each: each.tuned.mean_iou)
    assert type(found.score_map) is type(best.score_map)
    assert found.cam_threshold == best.tuned.cam_threshold
    score = f"mean IoU {best.tuned.mean_iou:.3f} on the images with boxes"
    assert found.notes["score map"].endswith(f", of 9 candidates: {score}")
    where = "9 images with boxes; fitted to 24 of 'patches' (train)"
    assert found.notes["chosen on"] == where


def test_of_many_boxes_some_are_drawn(model, images, monkeypatch):
    monkeypatch.setattr(candidates, "_MOST_IMAGES", 24)
    many = drawn(60, seed=2, split="held out")
    notes = fit(model, images, many).notes
    assert notes["chosen on"].startswith("24 images with boxes; fitted to 24 of")
    assert notes == fit(model, images, candidates.some_of(many, 0)).notes


def test_boxes_of_the_whole_choose_the_whole(model, images):
    found = fit(model, images, drawn(9, seed=2, split="held out"))
    assert mean_iou(found, drawn(20, seed=1)) > 0.9


def test_boxes_from_a_csv_file(model, images, tmp_path):
    path = tmp_path / "few.csv"
    of_part = drawn(24, boxes="part")
    with path.open("w", newline="") as file:
        lines = csv.writer(file)
        lines.writerow(["path", "x0", "y0", "x1", "y1"])
        for number in range(9):
            lines.writerow([of_part.paths[number], *of_part.boxes[number, 0]])
    found = fit(model, images, path)
    expected = fit(model, images, of_part.take(range(9), "boxes"))
    assert found.notes == expected.notes
    with pytest.raises(TypeError, match="must be an `ImageDataset` where `boxes` is"):
        fit(model, images.images, str(path))
    with pytest.raises(ValueError, match="the test split must not see"):
        fit(model, replace(images, split="test"), path)


# Without classes


def general_map(localizer):
    maps = localizer.score_map.score_maps
    assert all(isinstance(each, cam.DDT | cam.Foreground) for each in maps)
    assert "taken for one kind, without boxes" in localizer.notes["chosen on"]
    assert localizer.num_classes == 1
    assert localizer.model.layers[-1].class_names == ("object",)
    return localizer


def test_a_backbone_or_the_name_of_a_row_needs_no_training(images, monkeypatch):
    backbone = tiny_backbone(include_top=False, weights=None, input_shape=(24, 36, 3))
    found = general_map(fit(backbone, images))
    before, after = (
        x.get_layer("conv1").get_weights() for x in (backbone, found.model)
    )
    np.testing.assert_array_equal(before[0], after[0])
    assert found.input_size == SIZE

    row = partial(build_classifier, weights=None, input_shape=(32, 48, 3))
    module = sys.modules[fit_localizer.__module__]
    monkeypatch.setattr(module, "build_classifier", row)
    with mock.patch.dict(BACKBONES, TINY_ROWS):
        assert general_map(fit("tiny", [images.images])).input_size == (32, 48)


def test_a_classifier_at_chance_is_not_used(model, images):
    shuffled = replace(images, class_ids=np.roll(images.class_ids, 1))
    with pytest.warns(UserWarning, match="no better than chance, so it was not used"):
        found = fit(model, shuffled)
    maps = found.score_map.score_maps
    assert all(isinstance(each, cam.DDT | cam.Foreground) for each in maps)
    assert mean_iou(found, drawn(20, seed=1)) > 0.75


def test_labels_of_other_classes_are_not_used(model, images):
    """Of files of unknown class, and where a folder lacks a class of the model."""
    bare = fit(model, [images.images])
    ids = np.zeros(len(images), "int32")
    for names in (("unknown",), images.class_names[:2], ("a", "b", "c")):
        other = replace(images, class_ids=ids, class_names=names)
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always", UserWarning)
            found = fit(model, other)
        said = [x for x in warned if "are not the model's, so that pred" in str(x)]
        assert len(said) == (len(names) > 1)
        assert "of predicted classes" in found.notes["chosen on"]
        assert_same(found, bare)
    assert "and their classes" in fit(model, images).notes["chosen on"]


def test_the_mean_is_of_the_maps_with_the_highest_contrast(model, images):
    found, _ = candidates.candidates(model, images)
    *others, mean = found
    fitted = [each for each in others if isinstance(each.score_map, FITTED)]
    best = [
        max((x for x in fitted if is_by_class(x) == kind), key=lambda x: x.contrast)
        for kind in (False, True)
    ]
    *members, of_class = mean.score_map.score_maps
    assert set(members) == {each.score_map for each in best}
    assert not of_class.negative_weights
    assert candidates.choose(found) is mean
    best = max(found, key=lambda each: each.contrast)
    assert candidates.choose(found, given=True) is best


def is_by_class(candidate):
    return isinstance(candidate.score_map, cam.ByClass)


def fake(contrast, layer, by_class=False):
    score_map = cam.Foreground((1.0, 2.0), 0.0, layer=layer)
    return candidates.Candidate(
        score_map=cam.ByClass((score_map,) * 2) if by_class else score_map,
        contrast=contrast,
        contrast_threshold=0.5,
    )


def test_the_mean_is_of_two_layers_and_kinds():
    """Two of the layer of the highest contrast, of both kinds if it has them."""
    general = [fake(0.9, "b"), fake(0.8, "b"), fake(0.3, "c"), fake(0.4, "a")]
    by_class = [fake(0.5, "b", True), fake(0.6, "a", True)]
    first, second, third, fourth = (each.score_map for each in general)
    assert candidates.members_of_mean(general) == [first, second, fourth]
    assert candidates.members_of_mean(general + by_class) == [
        first,
        *(x.score_map for x in by_class),
    ]
    assert candidates.members_of_mean(general[:2] + general[2:3]) == [
        first,
        second,
        third,
    ]
    assert candidates.members_of_mean(general[:1]) == [first]
    best = fake(0.95, "b", True)
    expected = [best.score_map, first, fourth]
    assert candidates.members_of_mean([best, *general]) == expected


# What one may choose among


def test_chooses_among_given_maps(model, images):
    names = ("channel_mean", cam.GradCAM("features"), cam.Guided("cam"))
    found = fit(model, images, score_maps=names)
    contrasts = {}
    for each in names:
        alone = fit(model, images, score_maps=[each])
        contrast = float(re.search(r"contrast (\S+)", alone.notes["score map"])[1])
        contrasts[type(alone.score_map)] = contrast
    assert type(found.score_map) is max(contrasts, key=contrasts.get)
    assert ", of 3 candidates: " in found.notes["score map"]


@pytest.mark.filterwarnings("ignore:The localizer may be wrong")  # by chance
def test_maps_of_gradients_need_no_head_that_cam_reads(model, images):
    features = model.get_layer("features").output
    hidden = keras.layers.Dense(8, "relu")(keras.layers.Flatten()(features))
    other = keras.Model(model.input, keras.layers.Dense(3)(hidden))
    found = fit(other, images, score_maps=[cam.GradCAM("features")])
    assert isinstance(found.score_map, cam.GradCAM)


def test_chooses_among_input_sizes(model, images):
    sizes = [(24, 36), (48, 72)]
    contrasts = []
    for size in sizes:
        notes = fit(model, images, input_sizes=[size]).notes
        assert notes["read at"] == f"{size[0]}x{size[1]} pixels"
        contrasts.append(re.search(r"contrast (\S+)", notes["score map"])[1])
    assert contrasts[0] != contrasts[1]
    found = fit(model, images, input_sizes=sizes)
    assert found.input_size == sizes[np.argmax(np.float64(contrasts))]


def test_an_iterator_is_read_at_one_size_alone(model, images):
    fit(model, iter([images.images]), input_sizes=[(24, 36)])
    with pytest.raises(TypeError, match=r"read several times.*Received an iterator"):
        fit(model, iter([images.images]), input_sizes=[(24, 36), (48, 72)])
