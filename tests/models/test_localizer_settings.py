import json

import keras
import numpy as np
import pytest
from keras import ops

from keras_wsol.commands.load_localizer import load_localizer
from keras_wsol.models import Localizer
from tests.models.painted import blob_images, painted_classifier

CHANGES = [("cam_threshold", 0.6), ("top_k", 3), ("max_boxes", 2)]
FIXED = {
    "score_map": "channel_mean",
    "layer": "features",
    "map_options": {"negative_weights": False},
    "second_look": True,
    "second_look_options": {"margin": 0.3},
    "guided_filter": True,
    "guided_filter_options": {"strength": 0.1},
}
COUNTS = ("top_k", "max_boxes")


@pytest.fixture(scope="module")
def model():
    return painted_classifier()


@pytest.fixture(scope="module")
def images():
    images = blob_images(4, (30, 40), seed=4)
    images[:, ::9, ::8] = 255  # so that there are several components
    return images


def differ(found, other):
    return sorted(found) != sorted(other) or any(
        not np.array_equal(found[name], other[name]) for name in found
    )


@pytest.mark.parametrize(("name", "value"), CHANGES)
def test_what_is_set_after_a_prediction_is_used_by_the_next(name, value, model, images):
    localizer, other = Localizer(model), Localizer(model, **{name: value})
    before = localizer.predict(images, verbose=0)
    setattr(localizer, name, value)
    after = localizer.predict(images, verbose=0)
    assert differ(before, after)
    assert not differ(after, other.predict(images, verbose=0))
    by_batch = localizer.predict_on_batch(images)
    assert not differ(by_batch, other.predict_on_batch(images))


def test_what_is_set_after_an_evaluation_is_used_by_the_next(model, images):
    truth = {"boxes": np.zeros((4, 1, 4), "float32")}
    localizer = Localizer(model)
    localizer.compile(loss={"boxes": "mean_absolute_error"})
    before = localizer.evaluate(images, truth, verbose=0)
    localizer.cam_threshold = 0.6
    expected = ops.convert_to_numpy(localizer(images)["boxes"]).mean()
    assert before != pytest.approx(expected, rel=0.01)
    after = localizer.evaluate(images, truth, verbose=0)
    assert after == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("name", "value", "error", "message"),
    [
        (
            "cam_threshold",
            1,
            ValueError,
            r"must be a number in \[0, 1\). Received: .*=1",
        ),
        ("cam_threshold", -0.1, ValueError, "`cam_threshold` must be a number in"),
        ("cam_threshold", "0.2", TypeError, r"cam_threshold='0.2' \(of type str\)"),
        ("top_k", 8, ValueError, "at most 7, the number of classes. Received: top_k=8"),
        (
            "top_k",
            0,
            ValueError,
            "`top_k` must be an integer of at least 1 and at most",
        ),
        ("top_k", True, TypeError, r"`top_k` must be .*top_k=True \(of type bool\)"),
        ("top_k", 2.0, TypeError, r"top_k=2.0 \(of type float\)"),
        ("max_boxes", 0, ValueError, "`max_boxes` must be an integer of at least 1. "),
        ("max_boxes", True, TypeError, r"max_boxes=True \(of type bool\)"),
        ("max_boxes", "2", TypeError, r"max_boxes='2' \(of type str\)"),
    ],
)
def test_bad_values_are_refused_first_and_later(name, value, error, message, model):
    with pytest.raises(error, match=message):
        Localizer(model, **{name: value})
    localizer = Localizer(model)
    before = getattr(localizer, name)
    with pytest.raises(error, match=message):
        setattr(localizer, name, value)
    assert getattr(localizer, name) == before


@pytest.mark.parametrize("name", COUNTS)
@pytest.mark.parametrize("dtype", [np.int64, np.uint8])
def test_integers_of_numpy_become_those_of_python(name, dtype, model):
    localizer = Localizer(model, **{name: dtype(2)})
    assert type(getattr(localizer, name)) is int
    setattr(localizer, name, dtype(3))
    assert type(getattr(localizer, name)) is int
    assert json.loads(json.dumps(localizer.get_config()[name])) == 3


@pytest.mark.parametrize(("name", "value"), FIXED.items())
def test_the_rest_cannot_be_set(name, value, model):
    localizer = Localizer(model)
    before = localizer.get_config()
    message = f"`{name}` of a localizer cannot be changed: make another one"
    with pytest.raises(AttributeError, match=message):
        setattr(localizer, name, value)
    assert localizer.get_config() == before


def test_what_is_written_into_the_options_read_changes_nothing(model):
    options = {"negative_weights": False}
    localizer = Localizer(model, map_options=options)
    options["negative_weights"] = True
    localizer.map_options["negative_weights"] = True
    assert localizer.map_options == {"negative_weights": False}


def test_what_is_set_is_saved(model, images, tmp_path):
    localizer = Localizer(model)
    localizer.predict(images, verbose=0)
    for name, value in CHANGES:
        setattr(localizer, name, value)
    path = tmp_path / "localizer.keras"
    localizer.save(path)
    again = keras.saving.load_model(path)
    assert {name: getattr(again, name) for name, _ in CHANGES} == dict(CHANGES)
    # The command's own way in.
    again = load_localizer(path, cam_threshold=0.4)
    localizer.cam_threshold = 0.4
    expected = localizer.predict(images, verbose=0)
    assert not differ(again.predict(images, verbose=0), expected)
    with pytest.raises(ValueError, match="`cam_threshold` must be a number in"):
        load_localizer(path, cam_threshold=1.0)
