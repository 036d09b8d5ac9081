import re

import keras
import numpy as np
import pytest
from keras import ops

from keras_wsol.cam.split import find_head
from keras_wsol.models import Localizer
from tests.models.small import draw_weights, random_images

SIZE = (12, 18)


def ending_in(*layers, size=SIZE):
    """A convolution of four channels, then `layers`."""
    images = keras.Input((*size, 3))
    x = keras.layers.Conv2D(4, 3, name="last_map")(images)
    for layer in layers:
        x = layer(x)
    model = keras.Model(images, x)
    draw_weights(model)  # biases, too
    return model


def pool():
    return keras.layers.GlobalAveragePooling2D()


def dense(units=3, **arguments):
    return keras.layers.Dense(units, **arguments)


def check(model):
    """Features and logits are those of the last map and of the Dense layer."""
    images = ops.convert_to_tensor(random_images(2, SIZE))
    features, logits = find_head(model).network(images, training=False)
    last_map = keras.Model(model.inputs, model.get_layer("last_map").output)([images])
    features, last_map = map(ops.convert_to_numpy, (features, last_map))
    np.testing.assert_array_equal(features, last_map)
    last_dense = [x for x in model.layers if isinstance(x, keras.layers.Dense)][-1]
    kernel, *bias = last_dense.get_weights()
    expected = last_map.mean(axis=(1, 2)) @ kernel + sum(bias)
    np.testing.assert_allclose(ops.convert_to_numpy(logits), expected, rtol=1e-4)
    found = ops.convert_to_numpy(find_head(model).kernel)
    np.testing.assert_array_equal(found, kernel)
    assert find_head(model).num_classes == 3


@pytest.mark.parametrize(
    "end",
    [
        pytest.param([pool(), dense()], id="plain"),
        pytest.param([pool(), dense(use_bias=False)], id="no bias"),
        pytest.param([pool(), dense(activation="softmax")], id="softmax"),
        pytest.param(
            [pool(), dense(activation="softmax", use_bias=False)],
            id="softmax, no bias",
        ),
        pytest.param([pool(), keras.layers.Dropout(0.9), dense()], id="Dropout"),
        pytest.param([pool(), dense(), keras.layers.Softmax()], id="Softmax after"),
        pytest.param(
            [pool(), dense(), keras.layers.Activation("softmax")], id="Activation after"
        ),
    ],
)
def test_features_and_logits_before_the_softmax(end):
    check(ending_in(*end))


def test_a_sequential_model():
    layers = [keras.Input((*SIZE, 3)), keras.layers.Conv2D(4, 3, name="last_map")]
    check(keras.Sequential([*layers, pool(), dense()]))


def test_an_attention_block_with_a_pooling_of_its_own():
    images = keras.Input((*SIZE, 3))
    x = keras.layers.Conv2D(4, 3)(images)
    gate = keras.layers.Dense(4, activation="sigmoid")(pool()(x))
    gate = keras.layers.Reshape((1, 1, 4))(gate)
    x = keras.layers.Multiply(name="last_map")([x, gate])
    check(keras.Model(images, dense()(pool()(x))))


def test_weights_that_are_set_later_are_read():
    # With a softmax, the logits are put together from the layer's own weights.
    model = ending_in(pool(), dense(activation="softmax"))
    head = find_head(model)
    weights = [np.ones((4, 3), "float32"), np.arange(3, dtype="float32")]
    model.layers[-1].set_weights(weights)
    images = ops.convert_to_tensor(random_images(1, SIZE))
    features, logits = head.network(images)
    total = ops.convert_to_numpy(features).mean(axis=(1, 2)).sum()
    found = ops.convert_to_numpy(logits)
    np.testing.assert_allclose(found, [total + np.arange(3)], rtol=1e-4)


REFUSED = {
    "Flatten": [keras.layers.Flatten(), dense()],
    "GlobalMaxPooling2D": [keras.layers.GlobalMaxPooling2D(), dense()],
    "no Dense": [pool()],
    "Dense before": [dense(4), pool()],
    "a hidden layer": [pool(), dense(8, activation="relu"), dense()],
}


@pytest.mark.parametrize("name", list(REFUSED))
def test_a_model_without_such_a_head_is_refused(name):
    model = ending_in(*REFUSED[name])
    ends = [type(layer).__name__ for layer in model.layers[-4:]]
    message = (
        "functional model that ends in GlobalAveragePooling2D and one Dense layer. "
        f"Received a model that ends in: {ends}."
    )
    with pytest.raises(ValueError, match=re.escape(message)):
        Localizer(model)


# The map that is read is not what these models decide by.
MISREAD = {
    "a hidden layer of as many units": [pool(), dense(4, activation="relu"), dense()],
    "batch norm between": [pool(), keras.layers.BatchNormalization(), dense()],
    "an activation between": [pool(), keras.layers.ReLU(), dense()],
    "something after": [pool(), dense(), keras.layers.Rescaling(-1.0)],
    "kept dimensions": [
        keras.layers.GlobalAveragePooling2D(keepdims=True),
        dense(),
    ],
}


@pytest.mark.parametrize("name", list(MISREAD))
def test_a_head_that_would_be_misread_is_refused(name):
    with pytest.raises(
        ValueError, match="ends in GlobalAveragePooling2D and one Dense"
    ):
        Localizer(ending_in(*MISREAD[name]))


def kept():
    return keras.layers.GlobalAveragePooling2D(keepdims=True)


@pytest.mark.parametrize(
    ("end", "condition"),
    [
        (
            [pool(), dense(1, activation="sigmoid", name="d")],
            "one logit a class or their softmax. Received: 'd' with "
            "activation='sigmoid'.",
        ),
        (
            [pool(), dense(activation=keras.layers.LeakyReLU(), name="d")],
            "Received: 'd' with activation='LeakyReLU'.",
        ),
        (
            [pool(), dense(activation="relu", name="d"), keras.layers.Softmax()],
            "Received: 'd' with activation='relu'.",
        ),
        (
            [kept(), dense(name="d")],
            "the pooling with keepdims=False. Received: 'global_average_pooling2d",
        ),
    ],
)
def test_a_head_of_the_right_layers_is_told_what_else_is_wrong(end, condition):
    with pytest.raises(ValueError, match=re.escape(condition)) as refused:
        Localizer(ending_in(*end))
    assert "Received a model that ends in" not in str(refused.value)


@pytest.mark.parametrize("activation", [None, "softmax"])
@pytest.mark.parametrize(
    "arguments", [{}, {"score_map": "grad_cam"}, {"score_map": "channel_mean"}]
)
def test_one_logit_is_refused(arguments, activation):
    # Its softmax is 1 whatever the image.
    model = ending_in(pool(), dense(1, activation=activation))
    message = "needs one logit a class.*train with two outputs.*with one logit"
    with pytest.raises(ValueError, match=message):
        Localizer(model, **arguments)


def test_an_unknown_size_is_refused():
    message = (
        r"one input of fixed height and width.*input_shape=\(None, None, None, 3\)"
    )
    with pytest.raises(ValueError, match=message):
        Localizer(ending_in(pool(), dense(), size=(None, None)))


def test_two_inputs_are_refused():
    a, b = keras.Input((*SIZE, 3)), keras.Input((*SIZE, 3))
    x = keras.layers.Conv2D(4, 3)(keras.layers.Add()([a, b]))
    with pytest.raises(ValueError, match="must have one input"):
        Localizer(keras.Model([a, b], dense()(pool()(x))))


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.last_map = keras.layers.Conv2D(4, 3)
        self.pool, self.dense = pool(), dense()

    def call(self, images):
        return self.dense(self.pool(self.last_map(images)))


def test_a_model_that_is_not_functional_is_refused():
    message = "functional model that ends in GlobalAveragePooling2D and one Dense"
    not_symbolic = "called on a `keras.Input`.* of type (Subclassed|Sequential), which"
    called = Subclassed()
    called(random_images(1, SIZE))
    unbuilt = keras.Sequential([keras.layers.Conv2D(4, 3), pool(), dense()])
    for model in (called, unbuilt):
        with pytest.raises(ValueError, match=f"{message}.*{not_symbolic}"):
            Localizer(model)
    with pytest.raises(ValueError, match=rf"{message}.*ends in: \['Subclassed'\]"):
        Localizer(keras.Sequential([keras.Input((*SIZE, 3)), called]))
