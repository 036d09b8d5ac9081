"""A classifier for images of another size."""

import keras
import numpy as np
import pytest

from keras_wsol.models import Localizer, class_names_of, with_input_size
from tests.models.small import (
    TINY_SIZE,
    draw_weights,
    dtype_policy,
    outputs,
    random_images,
    small_classifier,
    tiny_classifier,
)


def test_there_and_back_is_the_same_model_to_the_bit():
    model = tiny_classifier(method="dgdm", class_names=tuple("abcde"))
    draw_weights(model)
    larger = with_input_size(model, (20, 26))
    back = with_input_size(larger, TINY_SIZE)
    images = random_images(2, TINY_SIZE)
    np.testing.assert_array_equal(outputs(back, images), outputs(model, images))
    assert class_names_of(larger) == tuple("abcde")
    configs = [
        [layer.get_config() for layer in each.layers[1:]] for each in (larger, model)
    ]
    assert configs[0] == configs[1]


@pytest.mark.slow
def test_multiples_of_32_give_the_classifier_that_would_be_built_for_them():
    model = small_classifier("mobilenet_v2", "adl")
    draw_weights(model)
    expected = small_classifier("mobilenet_v2", "adl", input_shape=(96, 64, 3))
    expected.set_weights(model.get_weights())
    images = random_images(2, (96, 64))
    found = outputs(with_input_size(model, [96, np.int64(64)]), images)
    np.testing.assert_array_equal(found, outputs(expected, images))
    assert not np.allclose(found, 0)


def test_maps_get_finer():
    larger = with_input_size(tiny_classifier(), (20, 28))
    assert larger.get_layer("head_pool").input.shape == (None, 5, 7, 8)
    assert Localizer(larger).input_size == (20, 28)


def test_weights_are_copies():
    model = tiny_classifier()
    draw_weights(model)
    larger = with_input_size(model, (20, 26))
    kernels = [each.get_layer("conv1").get_weights()[0] for each in (model, larger)]
    np.testing.assert_array_equal(*kernels)
    draw_weights(model, seed=1)
    kernels = [each.get_layer("conv1").get_weights()[0] for each in (model, larger)]
    assert not np.allclose(*kernels)


def nested(size):
    """A backbone as a layer, with one of its layers frozen."""
    backbone = keras.Sequential(
        [
            keras.Input((*size, 3)),
            keras.layers.Conv2D(4, 3, name="first"),
            keras.layers.Conv2D(4, 3, name="second"),
        ],
        name="backbone",
    )
    backbone.get_layer("first").trainable = False
    images = keras.Input((8, 6, 3))
    x = keras.layers.GlobalAveragePooling2D()(backbone(images))
    return keras.Model(images, keras.layers.Dense(2)(x), name="nested")


def test_what_was_not_trained_stays_so():
    model = nested((None, None))
    copy = with_input_size(model, (10, 12))
    assert len(model.trainable_weights) == 4
    names = [
        [w.path.split("/")[-2:] for w in each.trainable_weights]
        for each in (model, copy)
    ]
    assert names[0] == names[1]


def test_a_model_inside_that_has_a_fixed_size_is_refused():
    message = r"`nested` cannot take images of 10x12: .* for \(8, 6\)\. Keras says: "
    with pytest.raises(ValueError, match=message):
        with_input_size(nested((8, 6)), (10, 12))


def test_a_compiled_model_is_copied_without_its_loss():
    model = tiny_classifier()
    model.compile("sgd", loss=lambda true, found: keras.ops.mean(found))
    copy = with_input_size(model, (20, 26))
    assert model.compiled
    assert not copy.compiled


@pytest.mark.parametrize("wrap", [lambda x: [x], lambda x: {"images": x}])
def test_inputs_in_a_list_or_dictionary(wrap):
    images = keras.Input((8, 6, 3), name="images", dtype="uint8")
    x = keras.layers.GlobalAveragePooling2D()(keras.ops.cast(images, "float32"))
    model = keras.Model(wrap(images), keras.layers.Dense(2)(x))
    copy = with_input_size(model, (9, 7))
    assert copy.input_shape == (None, 9, 7, 3)
    assert copy.inputs[0].dtype == "uint8"


def test_the_policy_of_the_layers_stays():
    with dtype_policy("mixed_bfloat16"):
        model = tiny_classifier()
    copy = with_input_size(model, (20, 26))
    assert copy.get_layer("conv1").compute_dtype == "bfloat16"
    assert copy.get_layer("head_logits").compute_dtype == "float32"


def test_a_model_whose_weights_depend_on_the_size_is_refused():
    images = keras.Input((8, 6, 3))
    x = keras.layers.Dense(2)(keras.layers.Flatten()(images))
    model = keras.Model(images, x, name="flat")
    message = r"`flat` cannot take images of 9x7: its weights or its graph are for \(8"
    with pytest.raises(ValueError, match=message):
        with_input_size(model, (9, 7))


@pytest.mark.parametrize("shapes", [[(8, 6, 3), (4,)], [(10,)]])
def test_other_inputs_than_images_are_refused(shapes):
    inputs = [keras.Input(shape) for shape in shapes]
    flat = [keras.layers.Flatten()(each) for each in inputs]
    x = keras.layers.Concatenate()(flat) if len(flat) > 1 else flat[0]
    model = keras.Model(inputs, keras.layers.Dense(2)(x))
    message = r"`model` must have one input, images, and one output\. Received: inputs"
    with pytest.raises(ValueError, match=message):
        with_input_size(model, (9, 7))


@pytest.mark.parametrize("size", [224, (224,), "ab"])
def test_input_sizes_that_are_not_two(size):
    message = r"must be a tuple or list of height and width\. Received: input_size="
    with pytest.raises(ValueError, match=message):
        with_input_size(tiny_classifier(), size)


@pytest.mark.parametrize(
    ("size", "error"),
    [((224, 0), ValueError), ((224, True), TypeError), ((1.5, 2), TypeError)],
)
def test_input_sizes_that_are_no_positive_integers(size, error):
    with pytest.raises(error, match="`input_size` must be an integer >= 1"):
        with_input_size(tiny_classifier(), size)


def test_a_model_without_a_graph_is_refused():
    class Subclassed(keras.Model):
        def call(self, images):
            return images

    message = r"`model` must be a functional Keras model\. Received: .*Subclassed"
    with pytest.raises(TypeError, match=message):
        with_input_size(Subclassed(), (8, 8))
