"""What a card says of a model and of the map that it reads."""

import json

import keras
import numpy as np
import pytest

from keras_wsol import cam
from keras_wsol.export import model_card
from keras_wsol.models import Localizer, SecondLook, build_classifier
from tests.models.painted import painted_classifier


def test_card_of_a_built_classifier():
    model = build_classifier(
        "mobilenet",
        "adl",
        3,
        weights=None,
        input_shape=(64, 96, 3),
        drop_after=["conv_pw_13_relu"],
        backbone_options={"alpha": 0.25},
        class_names=["ape", "bee", "cat"],
    )
    notes = {"threshold": "tuned on 30 images of 'held out' by mean_iou"}
    localizer = Localizer(model, cam_threshold=0.3, top_k=2, notes=notes)
    card = model_card(localizer, {"split": "test"})
    assert card["notes"] == notes
    assert (card["backbone"], card["method"]) == ("mobilenet", "adl")
    assert card["class_names"] == ["ape", "bee", "cat"]
    assert card["num_classes"] == 3
    assert card["input_size"] == {"height": 64, "width": 96}
    assert (card["cam_threshold"], card["top_k"], card["max_boxes"]) == (0.3, 2, 1)
    assert card["min_share"] == 0.3
    assert card["parameters"] == model.count_params()
    [layer] = card["inserted_layers"]
    assert (layer["name"], layer["type"]) == ("adl_conv_pw_13_relu", "ADL")
    own = model.get_layer(layer["name"])
    assert layer["config"]["drop_threshold"] == own.drop_threshold
    assert "trainable" not in layer["config"]
    assert card["metrics"] == {"split": "test"}
    assert card["second_look"] is None
    assert card["versions"]["keras"] == keras.__version__
    assert json.loads(json.dumps(card)) == card


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("painted", (None, None)),
        ("resnet50_se_adl", ("resnet50_se", "adl")),
        ("resnet50_se", ("resnet50", "se")),
        ("vgg16_dgdm", ("vgg16", "dgdm")),
    ],
)
def test_backbone_and_method_of_a_name(name, expected):
    painted = painted_classifier()
    model = keras.Model(painted.inputs, painted.outputs, name=name)
    card = model_card(SecondLook(Localizer(model), margin=0.25))
    assert (card["backbone"], card["method"]) == expected
    assert card["second_look"] == {"crop_threshold": 0.2, "margin": 0.25}


@pytest.mark.parametrize(
    ("score_map", "expected"),
    [
        ("cam", {"type": "CAM", "negative_weights": True}),
        (cam.GradCAM("features"), {"type": "GradCAM", "layer": "features"}),
        (
            cam.ScoreCAM(batch_size=8, baseline=(1, 2.5, 3)),
            {"type": "ScoreCAM", "batch_size": 8, "baseline": [1, 2.5, 3]},
        ),
        (cam.ScoreCAM(baseline=np.float32(5)), {"type": "ScoreCAM", "baseline": 5.0}),
    ],
    ids=str,
)
def test_card_says_what_the_map_is(score_map, expected):
    card = model_card(Localizer(painted_classifier(), score_map=score_map))
    found = json.loads(json.dumps(card["score_map"], allow_nan=False))
    assert expected.items() <= found.items()


def test_what_a_fit_has_a_channel_is_left_out():
    inputs = keras.Input((24, 36, 3))
    x = keras.layers.Conv2D(20, 3, name="wide")(inputs)
    x = keras.layers.GlobalAveragePooling2D()(x)
    model = keras.Model(inputs, keras.layers.Dense(3)(x))
    ddt = cam.DDT(mean=(0.0,) * 20, direction=(1.0,) * 20)
    found = model_card(Localizer(model, score_map=ddt))["score_map"]
    assert found["type"] == "DDT"
    assert not {"mean", "direction"} & set(found)
    ones = [cam.Foreground((float(k),) * 20, k, share=k / 9) for k in range(3)]
    found = model_card(Localizer(model, score_map=cam.ByClass(ones)))["score_map"]
    of_each = {"type": "Foreground", "layer": None, "relu": True, "root": True}
    assert found == {"type": "ByClass", "score_maps": of_each}
    mean = cam.Mean((ones[1], cam.Guided("cam", strength=0.25)))
    found = model_card(Localizer(model, score_map=mean))["score_map"]
    first, second = found.pop("score_maps")
    assert found == {"type": "Mean"}
    assert first == {**of_each, "bias": 1, "share": 1 / 9}
    assert (second["type"], second["strength"]) == ("Guided", 0.25)
    assert second["score_map"] == {"type": "CAM", "negative_weights": True}
