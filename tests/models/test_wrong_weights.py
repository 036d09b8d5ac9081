"""Weights that do not fit, or that cannot be had: what to pass is said in a line."""

import dataclasses
import warnings
from urllib.error import URLError

import keras
import pytest

from keras_wsol.models import BACKBONES, build_classifier
from keras_wsol.models.weights import _built

SHAPE = (32, 64, 3)


def build(alpha, weights):
    options = {"backbone_options": {"alpha": alpha}, "input_shape": SHAPE}
    return build_classifier("mobilenet", "cam", 2, weights=weights, **options)


@pytest.fixture(scope="module")
def quarter(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "quarter.weights.h5"
    options = {"include_top": False, "weights": None, "input_shape": SHAPE}
    keras.applications.MobileNet(alpha=0.25, **options).save_weights(path)
    return path


def test_weights_of_another_width_say_that_alpha_is_to_be_passed(quarter):
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)  # Keras has one a layer
        build(0.25, quarter)
        with pytest.raises(ValueError, match=r"'mobilenet' of alpha=0\.5") as raised:
            build(0.5, quarter)
    way_out = "pass it: `backbone_options={'alpha': 0.75}`, or --alpha 0.75"
    assert way_out in str(raised.value)
    assert "Keras says: A total of" in str(raised.value)
    assert "\n" not in str(raised.value)


def test_without_a_network_a_file_is_to_be_passed():
    def build(**_):
        try:
            raise URLError("no network")
        except URLError:
            raise Exception("URL fetch failure on https://x: None") from None

    spec = dataclasses.replace(BACKBONES["mobilenet"], build=build)
    message = r"'mobilenet' cannot be downloaded: URL .*pass .* \(`--weights FILE`\)\."
    with pytest.raises(OSError, match=message):
        _built("mobilenet", spec, "imagenet", SHAPE, {"alpha": 1.0})


def test_other_errors_stay_as_they_are():
    with pytest.raises(ValueError, match=r"alpha can be one of"):
        build(0.6, "imagenet")
