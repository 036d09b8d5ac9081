"""What a card says of the map that a localizer reads."""

import json

import numpy as np
import pytest

from keras_wsol.export import model_card
from keras_wsol.export.model_card import write_model_card
from keras_wsol.models import Localizer
from tests.extras.painted_maps import MAPS_BESIDE_CAM
from tests.models.painted import painted_classifier

_, DDT, FOREGROUND = MAPS_BESIDE_CAM


@pytest.mark.parametrize(
    ("arguments", "layer", "map_options"),
    [
        ({}, None, {}),
        (
            {"map_options": {"negative_weights": False}},
            None,
            {"negative_weights": False},
        ),
        ({"score_map": "grad_cam", "layer": "features"}, "features", {}),
        (
            {
                "score_map": "score_cam",
                "map_options": {"batch_size": 8, "baseline": (1, 2.5, 3)},
            },
            None,
            {"batch_size": 8, "baseline": [1.0, 2.5, 3.0]},
        ),
        (
            {"score_map": "score_cam", "map_options": {"baseline": np.float32(5)}},
            None,
            {"baseline": 5.0},
        ),
        (DDT, None, {"component": {"share": 0.5}}),
        (
            {
                **FOREGROUND,
                "layer": "features",
                "map_options": {**FOREGROUND["map_options"], "relu": False},
            },
            "features",
            {"discriminant": {"share": 0.25}, "relu": False},
        ),
    ],
    ids=lambda value: value.get("score_map") if isinstance(value, dict) else None,
)
def test_card_says_layer_and_options_of_the_map(
    arguments, layer, map_options, tmp_path
):
    card = model_card(Localizer(painted_classifier(), **arguments))
    written = json.loads(write_model_card(tmp_path, card).read_text("utf-8"))
    assert card["score_map"] == arguments.get("score_map", "cam")
    assert (card["layer"], card["map_options"]) == (layer, map_options)
    assert (written["layer"], written["map_options"]) == (layer, map_options)
