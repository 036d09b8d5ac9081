import json

import keras
import numpy as np
import pytest
from keras import ops

from keras_wsol.cam import DDT, GradCAM, Guided
from keras_wsol.models import Localizer
from tests.models.painted import blob_images, painted_classifier

CHANGES = [
    ("cam_threshold", 0.6),
    ("top_k", 3),
    ("max_boxes", 2),
    ("min_share", 0.1),
    ("score_map", Guided("channel_mean")),
]
COUNTS = ("top_k", "max_boxes")


@pytest.fixture(scope="module")
def model():
    return painted_classifier()


@pytest.fixture(scope="module")
def images():
    images = blob_images(4, (30, 40), seed=4)
    images[:, ::9, ::8] = 255  # so that there are several components
    return images


def check(found, expected):
    assert sorted(found) == sorted(expected)
    for name, value in expected.items():
        value = ops.convert_to_numpy(value)
        np.testing.assert_allclose(
            found[name], value, rtol=1e-4, atol=1e-5, err_msg=name
        )


def test_what_is_set_after_a_prediction_is_used_by_the_next(model, images, tmp_path):
    localizer = Localizer(model)
    localizer.make_predict_function()
    compiled = localizer.predict_function
    for name, value in CHANGES:
        localizer.predict_function = localizer.test_function = compiled
        setattr(localizer, name, value)
        assert localizer.predict_function is localizer.test_function is None
    found = localizer.predict_on_batch(images)
    check(found, Localizer(model, **dict(CHANGES))(images))
    localizer.save(tmp_path / "localizer.keras")
    again = keras.saving.load_model(tmp_path / "localizer.keras")
    for name, value in CHANGES[:4]:
        assert getattr(again, name) == value
    check(found, again(images))


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
        (
            "top_k",
            8,
            ValueError,
            "`top_k` must be an integer in .1, 7.. Rec.*top_k=8",
        ),
        ("top_k", 0, ValueError, "`top_k` must be an integer in .1, 7.. Rec.*top_k=0"),
        ("top_k", True, TypeError, r"`top_k` must be .*top_k=True \(of type bool\)"),
        ("top_k", 2.0, TypeError, r"top_k=2.0 \(of type float\)"),
        ("max_boxes", 0, ValueError, "`max_boxes` must be an integer >= 1. "),
        ("max_boxes", True, TypeError, r"max_boxes=True \(of type bool\)"),
        ("max_boxes", "2", TypeError, r"max_boxes='2' \(of type str\)"),
        ("min_share", 1.1, ValueError, r"must be a number in \[0, 1\]. Rec.*share=1.1"),
        ("score_map", "grad", ValueError, r"`score_map` must be one of \['cam', "),
        ("score_map", "gradcam", ValueError, "Did you mean 'grad_cam'"),
        (
            "score_map",
            "ddt",
            ValueError,
            r"'ddt'.* pass `cam.DDT.fit\(model, images, l",
        ),
        ("score_map", ["cam"], TypeError, r"or a score map of.*of type list"),
        ("score_map", GradCAM("third"), ValueError, "Cannot read maps from"),
        ("score_map", Guided(GradCAM(relu=False)), ValueError, "must be given with a"),
        ("notes", {"a": 1}, TypeError, "`notes` must be a mapping of strings to"),
        ("notes", ["a"], TypeError, "`notes` must be a mapping of strings to"),
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


class Quarter(GradCAM):
    default_threshold = 0.25


def test_the_threshold_of_a_map_moves_along_and_one_that_is_given_stays(model):
    localizer = Localizer(model, score_map=Quarter())
    assert localizer.cam_threshold == 0.25
    localizer.score_map = "cam"
    assert localizer.cam_threshold == 0.2
    unclipped = DDT((0.0,) * 3, (1.0,) * 3, relu=False)
    with pytest.raises(ValueError, match=r"`tune` choose it.*score_map=DDT\(layer"):
        localizer.score_map = unclipped
    assert localizer.score_map.get_config() == {"negative_weights": True}
    localizer.cam_threshold = 0.6
    localizer.score_map = unclipped
    localizer.score_map = Guided(Quarter())
    assert localizer.cam_threshold == 0.6
    localizer.cam_threshold = None
    assert localizer.cam_threshold == 0.25


def test_notes_are_saved_and_dropped_with_what_they_say(model, tmp_path):
    assert Localizer(model).notes == {}
    notes = {"threshold": "by eye", "score map": "the plainest"}
    localizer = Localizer(model, 0.3, notes=notes)
    localizer.save(tmp_path / "localizer.keras")
    again = keras.saving.load_model(tmp_path / "localizer.keras")
    assert again.notes == notes
    again.top_k = 2
    assert again.notes == notes
    again.cam_threshold = 0.4
    assert again.notes == {"score map": "the plainest"}
    again.score_map = "channel_mean"
    assert again.notes == {}
    assert localizer.notes == notes


@pytest.mark.parametrize("name", COUNTS)
@pytest.mark.parametrize("dtype", [np.int64, np.uint8])
def test_integers_of_numpy_become_those_of_python(name, dtype, model):
    localizer = Localizer(model, **{name: dtype(2)})
    assert type(getattr(localizer, name)) is int
    setattr(localizer, name, dtype(3))
    assert type(getattr(localizer, name)) is int
    assert json.loads(json.dumps(localizer.get_config()[name])) == 3


def test_the_classifier_stays(model):
    localizer = Localizer(model)
    with pytest.raises(AttributeError, match="`model` cannot be set again: make a new"):
        localizer.model = painted_classifier()
    assert localizer.model is model
