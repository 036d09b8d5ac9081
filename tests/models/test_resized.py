"""A classifier for images of another size."""

import keras
import numpy as np
import pytest

from keras_wsol.models import Localizer, class_names_of, with_input_size
from tests.models.small import OPTIONS, draw_weights, outputs, random_images
from tests.models.small import small_classifier as build


def test_there_and_back_is_the_same_model_to_the_bit():
    model = build("mobilenet", "dgdm", class_names=list("abcde"), freeze="conv1_relu")
    draw_weights(model)
    larger = with_input_size(model, (96, 128))
    back = with_input_size(larger, (64, 96))
    images = random_images(2, (64, 96))
    np.testing.assert_array_equal(outputs(back, images), outputs(model, images))
    assert class_names_of(larger) == tuple("abcde")
    trained = [layer.trainable for layer in model.layers]
    assert not all(trained)
    assert [layer.trainable for layer in larger.layers] == trained


def test_it_is_the_classifier_that_would_be_built_for_that_size():
    model = build("mobilenet_v2", "adl")
    draw_weights(model)
    expected = build("mobilenet_v2", "adl", input_shape=(96, 64, 3))
    expected.set_weights(model.get_weights())
    images = random_images(2, (96, 64))
    found = outputs(with_input_size(model, [96, 64]), images)
    np.testing.assert_array_equal(found, outputs(expected, images))
    assert not np.allclose(found, 0)


def test_maps_get_finer():
    model = build(backbone_options=OPTIONS["mobilenet"])
    larger = Localizer(with_input_size(model, (96, 128)))
    assert larger.input_size == (96, 128)
    assert larger.head.network.output_shape[0] == (None, 6, 8, 256)


def test_weights_are_copies():
    model = build()
    larger = with_input_size(model, (96, 128))
    draw_weights(model, seed=1)
    kernels = [each.get_layer("conv1").get_weights()[0] for each in (model, larger)]
    assert not np.allclose(*kernels)


def test_a_model_whose_weights_depend_on_the_size_is_refused():
    images = keras.Input((8, 6, 3))
    x = keras.layers.Dense(2)(keras.layers.Flatten()(images))
    model = keras.Model(images, x, name="flat")
    message = r"`flat` cannot take images of 9x7: its weights or its graph are for \(8"
    with pytest.raises(ValueError, match=message):
        with_input_size(model, (9, 7))


@pytest.mark.parametrize("size", [224, (224,), (224, 0), (224, True), (1.5, 2), "ab"])
def test_sizes_that_are_none(size):
    with pytest.raises(ValueError, match="must be a height and a width, positive int"):
        with_input_size(build(), size)


def test_a_model_without_a_graph_is_refused():
    class Own(keras.Model):
        def call(self, images):
            return images

    with pytest.raises(
        TypeError, match=r"`model` must be a functional Keras model. Re"
    ):
        with_input_size(Own(), (8, 8))
