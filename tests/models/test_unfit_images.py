"""Images and arguments that no localizer can be chosen on, or not well."""

from dataclasses import replace

import keras
import numpy as np
import pytest

from tests.models.patches import SIZE, classifier, drawn, fit, mean_iou


@pytest.fixture(scope="module")
def model():
    return classifier()


@pytest.fixture(scope="module")
def images():
    return drawn(24)


def one_class():
    some = drawn(60)
    return some.take(some.class_ids == 1, "train")


def same_scene():
    some = drawn(3)
    return some.take([0, 1, 2] * 8, "train")


def filled():
    """Each image of one colour, but for noise."""
    rng = np.random.default_rng(0)
    pixels = rng.uniform(60, 200, (24, 1, 1, 3)) + rng.normal(0, 3, (24, *SIZE, 3))
    return replace(drawn(24), images=pixels.astype("uint8"), boxes=None)


def noise():
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (24, *SIZE, 3), dtype="uint8")
    return replace(drawn(24), images=pixels, boxes=None)


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (one_class, "all images are of one class"),
        (lambda: drawn(5), "there are only 5 images"),
        (lambda: drawn(2), "there are only 2 images"),
        (filled, "what was found hardly differs from what is around it"),
        (noise, "what was found hardly differs from what is around it"),
        (same_scene, "88% of the images are nearly the same as another"),
    ],
)
def test_images_that_a_choice_cannot_rest_on(model, given, reason):
    """A localizer all the same, and a warning that says where to look."""
    dataset = given()
    with pytest.warns(UserWarning, match="The localizer may be wrong") as caught:
        found = fit(model, dataset)
    (warning,) = (each for each in caught if each.category is UserWarning)
    assert reason in str(warning.message)
    assert str(warning.message).endswith("by `viz.show_thresholds`.")
    assert 0 <= found.cam_threshold < 1
    boxes = found.predict_on_batch(dataset.images)["boxes"]
    assert np.isfinite(boxes).all()


def test_a_class_of_two_images(model, images):
    """It has a map by class all the same, drawn to that of all."""
    few = images.take((images.class_ids != 2) | (np.arange(24) < 6), "train")
    assert (few.class_ids == 2).sum() == 2
    with pytest.warns(UserWarning, match="there are only 18 images"):
        assert mean_iou(fit(model, few), drawn(20, seed=1)) > 0.75
    boxes = drawn(9, seed=2, split="held out")
    with pytest.warns(UserWarning, match="there are only 18 images"):
        assert mean_iou(fit(model, few, boxes), drawn(20, seed=1)) > 0.9


def test_what_cannot_be_fitted(model, images):
    pixels, ids = images.images, images.class_ids
    for few in ([], [pixels[:1]]):
        with pytest.raises(ValueError, match=r"at least two images. Received: [01]"):
            fit(model, few)
    with pytest.raises(ValueError, match=r"`class_ids` must be in \[0, 3\).*\[3\]"):
        fit(model, [(pixels, ids + 1)])
    with pytest.raises(ValueError, match=r"integer class ids.*float64 \(24, 3\)"):
        fit(model, [(pixels, np.eye(3)[ids])])
    with pytest.raises(TypeError, match=r"`images` must be.*of type str"):
        fit(model, "folder")
    with pytest.raises(ValueError, match="differ from cell to cell"):
        fit(model, np.full((24, *SIZE, 3), 90.0))
    with pytest.raises(ValueError, match="at least one score map"):
        fit(model, images, score_maps=[])
    with pytest.raises(ValueError, match="functional, called on a"):
        fit(keras.Sequential([keras.layers.Dense(3)]), images)


def test_a_test_split_chooses_nothing(model, images):
    test = drawn(9, seed=2, split="test")
    with pytest.raises(ValueError, match=r"such as 'train-fullsup'. Received.*'test'"):
        fit(model, images, test)
    with pytest.warns(UserWarning, match="there are only 9 images"):
        assert fit(model, test)  # its boxes are not read
    with pytest.raises(ValueError, match="has no boxes"):
        fit(model, images, replace(images, boxes=None))
