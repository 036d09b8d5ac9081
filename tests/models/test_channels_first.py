"""Channels first are refused in words, wherever they come from."""

import keras
import pytest

from keras_wsol import layers
from keras_wsol.models import (
    BACKBONES,
    Localizer,
    build_classifier,
    insert_after,
    with_input_size,
)

refused = pytest.raises(ValueError, match="must have their channels last")


@pytest.fixture
def channels_first():
    keras.config.set_image_data_format("channels_first")
    yield
    keras.config.set_image_data_format("channels_last")


@pytest.mark.parametrize("backbone", BACKBONES)
@pytest.mark.usefixtures("channels_first")
def test_no_classifier_is_built(backbone):
    with refused:
        build_classifier(backbone, num_classes=3, weights=None)


@pytest.mark.parametrize("name", layers.__all__)
@pytest.mark.usefixtures("channels_first")
def test_no_layer_is_made(name):
    with refused:
        getattr(layers, name)()


def classifier():
    images = keras.Input((3, 24, 36))
    maps = keras.layers.Conv2D(4, 3, data_format="channels_first", name="c")(images)
    pool = keras.layers.GlobalAveragePooling2D(data_format="channels_first")
    return keras.Model(images, keras.layers.Dense(2)(pool(maps)))


@pytest.mark.parametrize(
    "use",
    [
        Localizer,
        lambda model: Localizer(model, score_map="grad_cam"),
        lambda model: with_input_size(model, (32, 64)),
        lambda model: insert_after(model, {"c": layers.ADL}),
        lambda model: build_classifier(model, num_classes=2, features="c"),
    ],
)
def test_no_model_of_that_kind_is_used(use):
    with refused:
        use(classifier())


def test_no_model_that_holds_one_is_used():
    images = keras.Input((24, 36, 3))
    first = keras.layers.Permute((3, 1, 2))(images)
    with refused:
        Localizer(keras.Model(images, classifier()(first)), 0.2, score_map="grad_cam")
