"""An adapted normalization, wherever weights are copied."""

import keras
import numpy as np
import pytest
from keras import layers

from keras_wsol.layers import ADL
from keras_wsol.models import build_classifier, insert_after, with_input_size
from keras_wsol.models.splice import set_layer_weights
from tests.models.adapted import SIZE, adapted_model, normalized
from tests.models.small import outputs, random_images


def up_to(model, name):
    return keras.Model(model.input, model.get_layer(name).output)


def check_normalized(model, size=SIZE):
    images = random_images(2, size)
    found = outputs(up_to(model, "scaled"), images)
    np.testing.assert_allclose(found, normalized(images), rtol=1e-4, atol=1e-5)


def test_with_input_size():
    model = adapted_model((None, None))
    check_normalized(model)
    check_normalized(with_input_size(model, (10, 12)), (10, 12))


def test_insert_after():
    model = adapted_model()
    spliced = insert_after(model, {"conv": ADL})
    check_normalized(spliced)
    images = random_images(2, SIZE)
    np.testing.assert_array_equal(outputs(spliced, images), outputs(model, images))


@pytest.mark.parametrize("through_a_file", [False, True])
def test_a_classifier_on_a_custom_backbone(through_a_file, tmp_path):
    own, weights = adapted_model(), "imagenet"
    if through_a_file:
        weights = tmp_path / "trained.keras"
        build_classifier(own, num_classes=5).save(weights)
        own.get_layer("scaled").adapt(random_images(2, SIZE))
    model = build_classifier(own, "adl", 5, weights=weights, features="conv")
    check_normalized(model)
    images = random_images(2, SIZE)
    np.testing.assert_allclose(
        outputs(up_to(model, "conv"), images),
        outputs(up_to(adapted_model(), "conv"), images),
        rtol=1e-5,
    )


def nested():
    """A normalization two models deep, and one inside of a wrapper."""
    images = keras.Input((*SIZE, 3))
    inner = keras.Sequential([keras.Input((*SIZE, 3)), layers.Normalization()])
    outer = keras.Model(images, layers.ReLU()(inner(images)))
    x = layers.TimeDistributed(layers.Normalization())(outer(images))
    return keras.Model(images, x)


def test_normalizations_of_models_inside():
    model = nested()
    images = random_images(2, SIZE)
    before = outputs(model, images)
    np.testing.assert_allclose(before, images, rtol=1e-6)
    # Mean 7 and variance 4, then mean 1 and variance 9; counts are not read.
    values = [7.0, 4.0, 0.0, 1.0, 9.0, 0.0]
    weights = [
        np.full(weight.shape, value, weight.dtype)
        for weight, value in zip(model.get_weights(), values, strict=True)
    ]
    set_layer_weights(model, weights)
    expected = (np.maximum((images - 7) / 2, 0) - 1) / 3
    np.testing.assert_allclose(outputs(model, images), expected, rtol=1e-5, atol=1e-5)


def test_insert_after_beside_a_model_inside():
    inner = adapted_model()
    images = keras.Input((*SIZE, 3))
    model = keras.Model(images, layers.ReLU(name="top")(inner(images)))
    spliced = insert_after(model, {"top": lambda: layers.Rescaling(1.0)})
    batch = random_images(2, SIZE)
    np.testing.assert_array_equal(outputs(spliced, batch), outputs(model, batch))


def test_given_statistics_stay():
    layer = layers.Normalization(mean=[7.0, 8.0, 9.0], variance=[4.0, 4.0, 4.0])
    model = keras.Sequential([keras.Input((*SIZE, 3)), layer])
    set_layer_weights(model, [])
    images = random_images(2, SIZE)
    np.testing.assert_allclose(
        outputs(model, images), (images - [7, 8, 9]) / 2, rtol=1e-5, atol=1e-5
    )
