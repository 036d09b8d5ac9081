"""A classifier in two parts, whose features are any layer's or the head's."""

import re
import warnings

import keras
import numpy as np
import pytest
from keras import ops

from keras_wsol import cam
from keras_wsol.cam.split import graph_of, split_at
from keras_wsol.models import Localizer
from tests.models.painted import blob_images, painted_classifier
from tests.models.small import (
    draw_weights,
    outputs,
    random_images,
    small_classifier,
)

SIZE = (12, 18)


def conv(channels, name, **arguments):
    arguments = {"padding": "same", "activation": "relu", **arguments}
    return keras.layers.Conv2D(channels, 3, name=name, **arguments)


def dense(**arguments):
    return keras.layers.Dense(5, name="logits", **arguments)


def finished(images, x):
    model = keras.Model(images, x)
    draw_weights(model)
    return model


def scaled():
    images = keras.Input((*SIZE, 3))
    return images, keras.layers.Rescaling(1 / 255, name="scaled")(images)


def flattened():
    images, x = scaled()
    x = conv(6, "second", strides=2)(conv(4, "first")(x))
    return finished(images, dense()(keras.layers.Flatten(name="flat")(x)))


def residual():
    """Two blocks whose sums go around what is inside of them."""
    images, x = scaled()
    x = conv(4, "stem")(x)
    for name in "ab":
        inside = conv(4, f"{name}_1")(x)
        inside = conv(4, f"{name}_2")(inside)
        x = keras.layers.Add(name=f"{name}_sum")([x, inside])
    x = keras.layers.GlobalAveragePooling2D()(x)
    return finished(images, dense()(x))


def nested():
    """A backbone that is a layer, with a block that is a layer of it."""
    block_in = keras.Input((6, 9, 4))
    block = keras.Model(block_in, conv(4, "deep")(block_in), name="block")
    images, x = scaled()
    x = block(conv(4, "stem", strides=2)(x), training=False)
    backbone = keras.Model(images, keras.layers.Concatenate()([x, x]), name="backbone")
    images = keras.Input((*SIZE, 3))
    x = keras.layers.GlobalAveragePooling2D()(backbone(images))
    return finished(images, dense()(x))


def sequential():
    layers = [keras.Input((*SIZE, 3)), conv(4, "first"), conv(6, "second")]
    model = keras.Sequential([*layers, keras.layers.Flatten(), dense()])
    draw_weights(model)
    return model


CASES = [
    (flattened, ["scaled", "first", "second"]),
    (residual, ["stem", "a_1", "a_2", "a_sum", "b_1", "b_2", "b_sum"]),
    (nested, ["backbone", "stem", "block", "deep"]),
    (sequential, ["first", "second"]),
]


@pytest.mark.parametrize(
    ("build", "layer"), [(build, layer) for build, layers in CASES for layer in layers]
)
def test_the_parts_make_the_whole(build, layer):
    model = build()
    images = random_images(2, SIZE)
    split = split_at(model, layer)
    features, logits, *around = split.network(images, training=False)
    expected = outputs(model, images, training=False)
    tolerance = {"rtol": 1e-5, "atol": 1e-5 * np.abs(expected).max()}
    np.testing.assert_allclose(ops.convert_to_numpy(logits), expected, **tolerance)
    found = ops.convert_to_numpy(split.tail([features, *around], training=False))
    np.testing.assert_allclose(found, expected, **tolerance)
    assert split.num_classes == 5
    # The tail depends on the features, whatever goes around them.
    changed = ops.convert_to_numpy(split.tail([features + 1.0, *around]))
    assert np.abs(changed - expected).max() > 1e-3 * np.abs(expected).max()


@pytest.mark.parametrize(
    ("layer", "count"), [("stem", 0), ("a_1", 1), ("a_sum", 0), ("b_2", 1)]
)
def test_what_goes_around_is_held_fixed(layer, count):
    model = residual()
    images = random_images(2, SIZE)
    features, _, *around = split_at(model, layer).network(images, training=False)
    assert len(around) == count
    expected = keras.Model(model.inputs, model.get_layer(layer).output)(images)
    np.testing.assert_array_equal(
        ops.convert_to_numpy(features), ops.convert_to_numpy(expected)
    )
    for tensor in around:  # the other branch: the input of the block
        branch = {"a": "stem", "b": "a_sum"}[layer[0]]
        expected = keras.Model(model.inputs, model.get_layer(branch).output)(images)
        np.testing.assert_array_equal(
            ops.convert_to_numpy(tensor), ops.convert_to_numpy(expected)
        )


def test_a_layer_of_a_model_that_is_a_layer_is_itself():
    model = nested()
    images = random_images(2, SIZE)
    deep = model.get_layer("backbone").get_layer("block").get_layer("deep")
    before = split_at(model, "deep")
    deep.set_weights([weight * 2 for weight in deep.get_weights()])
    _, logits, *_ = before.network(images, training=False)
    expected = outputs(model, images, training=False)
    np.testing.assert_allclose(ops.convert_to_numpy(logits), expected, rtol=1e-4)


def test_by_default_what_the_pooling_reads():
    model = small_classifier("mobilenet", "dgdm")
    images = random_images(1, model.input_shape[1:3])
    pool = next(x for x in model.layers[::-1] if "GlobalAverage" in type(x).__name__)
    expected = keras.Model(model.inputs, pool.input)(images, training=False)
    found = split_at(model).network(images, training=False)[0]
    np.testing.assert_array_equal(
        ops.convert_to_numpy(found), ops.convert_to_numpy(expected)
    )


ENDS = {
    "Dense with softmax": lambda x: dense(activation="softmax")(x),
    "linear after a softmax": lambda x: keras.layers.Activation("linear")(
        dense(activation="softmax")(x)
    ),
    "softmax without bias": lambda x: dense(activation="softmax", use_bias=False)(x),
    "Softmax": lambda x: keras.layers.Softmax()(dense()(x)),
    "Activation": lambda x: keras.layers.Activation("softmax")(dense()(x)),
    "ops.softmax": lambda x: ops.softmax(dense()(x)),
    "after a Reshape": lambda x: keras.layers.Softmax()(
        keras.layers.Reshape((5,))(dense()(x))
    ),
}


@pytest.mark.parametrize("end", list(ENDS))
def test_logits_are_those_before_the_softmax(end):
    images, x = scaled()
    x = keras.layers.Flatten()(conv(4, "last", strides=3)(x))
    model = keras.Model(images, ENDS[end](x))
    draw_weights(model)
    pixels = random_images(2, SIZE)
    flat = outputs(keras.Model(images, x), pixels)
    kernel, *bias = model.get_layer("logits").get_weights()
    split = split_at(model, "last")
    features, logits = split.network(pixels)
    np.testing.assert_allclose(
        ops.convert_to_numpy(logits), flat @ kernel + sum(bias), rtol=1e-4, atol=1e-4
    )
    np.testing.assert_allclose(
        ops.convert_to_numpy(split.tail([features])),
        ops.convert_to_numpy(logits),
        rtol=1e-5,
    )


def shared():
    images, x = scaled()
    twice = conv(3, "twice")
    x = keras.layers.Flatten()(twice(twice(x)))
    return finished(images, dense()(x))


def aside():
    """A layer of the model on which the logits do not depend."""
    images, x = scaled()
    zero = keras.layers.Rescaling(0.0, name="zero")(conv(4, "unused")(x))
    del zero
    return finished(images, dense()(keras.layers.Flatten(name="flat")(x)))


def maps_out():
    images, x = scaled()
    return finished(images, conv(5, "last", activation=None)(x))


def of_two():
    images, x = scaled()
    x = keras.layers.Flatten()(x)
    return keras.Model(images, [dense()(x), keras.layers.Dense(3)(x)])


def of_any_size():
    images = keras.Input((None, None, 3))
    x = keras.layers.GlobalAveragePooling2D()(conv(4, "first")(images))
    return keras.Model(images, dense()(x))


def sigmoid():
    return activated("sigmoid")


def leaky():
    return activated(keras.layers.LeakyReLU())


def of_sigmoid():
    images, x = scaled()
    return keras.Model(images, ops.sigmoid(dense()(keras.layers.Flatten()(x))))


def activated(activation):
    images, x = scaled()
    x = keras.layers.Flatten()(conv(4, "first")(x))
    return keras.Model(images, dense(activation=activation)(x))


@pytest.mark.parametrize(
    ("build", "layer", "message"),
    [
        (flattened, "third", r"Cannot read maps from layers .* Received: \['third'\]"),
        (nested, "third", r"Cannot read maps from .*\['third'\].*'backbone'"),
        (aside, "unused", r"Cannot read maps from .*\['unused'\]"),
        (flattened, "flat", r"shape \(batch, height.*layer='flat'.*\(None, 324\)"),
        (flattened, None, "Without a `layer`.*Received a model that ends in"),
        (shared, "twice", "must be called once .* layer='twice', called 2 times"),
        (maps_out, "last", r"output of shape \(batch, num_classes\).*\(None, 12, 18"),
        (of_two, "scaled", "must be functional.*with one output"),
        (of_any_size, "first", r"fixed height and width.*\(None, None, None, 3\)"),
        (sigmoid, "first", "logits or in their softmax.*activation='sigmoid'"),
        (of_sigmoid, "scaled", "logits or in their softmax.*activation='sigmoid'"),
        (leaky, "first", "logits or in their softmax.*activation='LeakyReLU'"),
    ],
)
def test_what_cannot_be_split_is_refused(build, layer, message):
    with pytest.raises(ValueError, match=message):
        split_at(build(), layer)


def test_a_model_that_is_not_functional_is_refused():
    class Subclassed(keras.Model):
        def call(self, images):
            return ops.mean(images, axis=(1, 2))

    model = Subclassed()
    model(random_images(1, SIZE))
    with pytest.raises(ValueError, match=r"must be functional.*of type Subclassed"):
        split_at(model, "first")


# The head: what the pooling reads, without a `layer`.


def ending_in(*layers, size=SIZE):
    """A convolution of four channels, then `layers`."""
    images = keras.Input((*size, 3))
    x = keras.layers.Conv2D(4, 3, name="last_map")(images)
    for layer in layers:
        x = layer(x)
    model = keras.Model(images, x)
    draw_weights(model)  # biases, too
    return model


def last(units=3, **arguments):
    return keras.layers.Dense(units, **arguments)


def pool():
    return keras.layers.GlobalAveragePooling2D()


def check(model, factor=1.0):
    """Features and logits are those of the last map and of the Dense layer."""
    images = ops.convert_to_tensor(random_images(2, SIZE))
    features, logits = split_at(model).network(images, training=False)
    last_map = keras.Model(model.inputs, model.get_layer("last_map").output)([images])
    features, last_map = map(ops.convert_to_numpy, (features, last_map))
    np.testing.assert_array_equal(features, last_map)
    last_dense = [x for x in model.layers if isinstance(x, keras.layers.Dense)][-1]
    kernel, *bias = last_dense.get_weights()
    expected = (last_map.mean(axis=(1, 2)) @ kernel + sum(bias)) * factor
    np.testing.assert_allclose(ops.convert_to_numpy(logits), expected, rtol=1e-4)
    found = ops.convert_to_numpy(split_at(model).dense.kernel)
    np.testing.assert_array_equal(found, kernel)
    assert split_at(model).num_classes == 3


@pytest.mark.parametrize(
    "end",
    [
        pytest.param([pool(), last()], id="plain"),
        pytest.param([pool(), last(use_bias=False)], id="no bias"),
        pytest.param([pool(), last(activation="softmax")], id="softmax"),
        pytest.param(
            [pool(), last(activation="softmax", use_bias=False)],
            id="softmax, no bias",
        ),
        pytest.param([pool(), keras.layers.Dropout(0.9), last()], id="Dropout"),
        pytest.param([pool(), last(), keras.layers.Softmax()], id="Softmax after"),
        pytest.param(
            [pool(), last(), keras.layers.Activation("softmax")], id="Activation after"
        ),
    ],
)
def test_features_and_logits_before_the_softmax(end):
    check(ending_in(*end))


@pytest.mark.parametrize("softmax", [False, True])
@pytest.mark.parametrize(
    ("step", "factor"),
    [
        (lambda logits: logits / 0.05, 20.0),
        (lambda logits: logits * 3, 3.0),
        (lambda logits: 0.5 * logits, 0.5),
        (keras.layers.Rescaling(2.0), 2.0),
        (keras.layers.Activation("linear", dtype="float32"), 1.0),
        (keras.layers.Identity(), 1.0),
    ],
)
def test_a_temperature_belongs_to_the_logits(step, factor, softmax):
    end = [pool(), last(), step]
    check(ending_in(*end, *[keras.layers.Softmax()] * softmax), factor)
    check(ending_in(*end, *[keras.layers.Softmax(), step] * (factor == 1)), factor)


@pytest.mark.parametrize("end", [[], [keras.layers.Softmax()], [lambda x: 3 * x]])
def test_class_maps_that_are_pooled_are_the_score_maps(end):
    class_maps = keras.layers.Dense(3, activation="relu", name="class_maps")
    model = ending_in(class_maps, pool(), *end)
    images = ops.convert_to_tensor(random_images(2, SIZE))
    split = split_at(model)
    features, logits = split.network(images, training=False)
    expected = keras.Model(model.inputs, model.get_layer("class_maps").output)(images)
    expected = ops.convert_to_numpy(expected)
    np.testing.assert_array_equal(ops.convert_to_numpy(features), expected)
    factor = 3 if end and not isinstance(end[0], keras.layers.Layer) else 1
    found = ops.convert_to_numpy(logits)
    np.testing.assert_allclose(found, factor * expected.mean(axis=(1, 2)), rtol=1e-4)
    assert split.dense is None
    localizer = Localizer(model, top_k=3)
    out = localizer(images)
    ids = ops.convert_to_numpy(out["class_ids"])
    by_class = expected.transpose(0, 3, 1, 2)[np.arange(2)[:, None], ids]
    maps = ops.convert_to_numpy(cam.score_maps(by_class, SIZE))
    np.testing.assert_allclose(ops.convert_to_numpy(out["score_maps"]), maps, atol=1e-6)
    with pytest.raises(ValueError, match="`negative_weights` must be True"):
        Localizer(model, score_map=cam.CAM(negative_weights=False))


def test_a_sequential_model():
    layers = [keras.Input((*SIZE, 3)), keras.layers.Conv2D(4, 3, name="last_map")]
    check(keras.Sequential([*layers, pool(), last()]))


def test_an_attention_block_with_a_pooling_of_its_own():
    images = keras.Input((*SIZE, 3))
    x = keras.layers.Conv2D(4, 3)(images)
    gate = keras.layers.Dense(4, activation="sigmoid")(pool()(x))
    gate = keras.layers.Reshape((1, 1, 4))(gate)
    x = keras.layers.Multiply(name="last_map")([x, gate])
    check(keras.Model(images, last()(pool()(x))))


def test_weights_that_are_set_later_are_read():
    # With a softmax, the logits are put together from the layer's own weights.
    model = ending_in(pool(), last(activation="softmax"))
    head = split_at(model)
    weights = [np.ones((4, 3), "float32"), np.arange(3, dtype="float32")]
    model.layers[-1].set_weights(weights)
    images = ops.convert_to_tensor(random_images(1, SIZE))
    features, logits = head.network(images)
    total = ops.convert_to_numpy(features).mean(axis=(1, 2)).sum()
    found = ops.convert_to_numpy(logits)
    np.testing.assert_allclose(found, [total + np.arange(3)], rtol=1e-4)


REFUSED = {
    "Flatten": [keras.layers.Flatten(), last()],
    "GlobalMaxPooling2D": [keras.layers.GlobalMaxPooling2D(), last()],
    "class maps of which the largest counts": [last(4), keras.layers.Flatten()],
    "a hidden layer": [pool(), last(8, activation="relu"), last()],
}


@pytest.mark.parametrize("name", list(REFUSED))
def test_a_model_without_such_a_head_is_refused(name):
    model = ending_in(*REFUSED[name])
    ends = [type(layer).__name__ for layer in model.layers[-4:]]
    message = (
        "functional model that ends in GlobalAveragePooling2D and one Dense layer, or "
        f"in the pooling of class maps. Received a model that ends in: {ends}."
    )
    with pytest.raises(ValueError, match=re.escape(message)):
        Localizer(model)


class CosineHead(keras.layers.Dense):
    def call(self, inputs):
        return ops.matmul(ops.normalize(inputs), ops.normalize(self.kernel, axis=0))


# The map that is read is not what these models decide by.
MISREAD = {
    "a hidden layer of as many units": [pool(), last(4, activation="relu"), last()],
    "batch norm between": [pool(), keras.layers.BatchNormalization(), last()],
    "an activation between": [pool(), keras.layers.ReLU(), last()],
    "something after": [pool(), last(), keras.layers.Rescaling(-1.0)],
    "shares of the batch": [pool(), last(), keras.layers.Softmax(axis=0)],
    "a sign": [pool(), last(), ops.negative],
    "one by the logits": [pool(), last(), lambda logits: 1.0 / logits],
    "a factor below 0": [pool(), last(), lambda logits: logits * -2.0],
    "factors of classes": [pool(), last(), lambda x: x * np.ones(3, "float32")],
    "logits twice": [pool(), last(), lambda logits: logits * logits],
    "a bias": [pool(), last(), lambda x: x + np.ones(3, "float32")],
    "features and their maxima": [
        lambda x: pool()(x) + keras.layers.GlobalMaxPooling2D()(x),
        last(),
    ],
    "two maps": [lambda x: pool()(x) + pool()(ops.square(x)), last()],
    "maps side by side": [
        lambda x: ops.concatenate([pool()(x), pool()(ops.square(x))], -1),
        last(),
    ],
    "logits of two": [lambda x: last()(pool()(x)) + last()(pool()(ops.square(x)))],
    "features of length 1": [pool(), keras.layers.UnitNormalization(), last()],
    "a Dense of one's own": [pool(), CosineHead(3)],
    "kept dimensions": [
        keras.layers.GlobalAveragePooling2D(keepdims=True),
        last(),
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
            [pool(), last(1, activation="sigmoid", name="d")],
            "logits or in their softmax. Received a model that ends in 'd' with "
            "activation='sigmoid'.",
        ),
        (
            [pool(), last(activation=keras.layers.LeakyReLU(), name="d")],
            "ends in 'd' with activation='LeakyReLU'.",
        ),
        (
            [pool(), last(activation="relu", name="d"), keras.layers.Softmax()],
            "ends in 'd' with activation='relu'.",
        ),
        (
            [pool(), last(activation="softmax", name="d"), keras.layers.Softmax()],
            "ends in 'd' with activation='softmax'.",
        ),
        (
            [pool(), last(), keras.layers.Softmax(name="d"), keras.layers.Softmax()],
            "ends in 'd' with activation='softmax'.",
        ),
        (
            [pool(), last(activation="softmax", name="d"), lambda x: x * 2.0],
            "ends in 'd' with activation='softmax'.",
        ),
        (
            [kept(), last(name="d")],
            "the pooling with keepdims=False. Received: 'global_average_pooling2d",
        ),
    ],
)
def test_a_head_of_the_right_layers_is_told_what_else_is_wrong(end, condition):
    with pytest.raises(ValueError, match=re.escape(condition)) as refused:
        Localizer(ending_in(*end))
    assert "Received a model that ends in: [" not in str(refused.value)


@pytest.mark.parametrize("activation", [None, "softmax"])
@pytest.mark.parametrize(
    "arguments", [{}, {"score_map": "grad_cam"}, {"score_map": "channel_mean"}]
)
def test_one_logit_is_refused(arguments, activation):
    # Its softmax is 1 whatever the image.
    model = ending_in(pool(), last(1, activation=activation))
    message = "needs one logit a class.*train with two outputs.*with one logit"
    with pytest.raises(ValueError, match=message):
        Localizer(model, **arguments)


def test_one_logit_of_our_head_is_refused_where_a_map_needs_its_class():
    ddt = cam.DDT((0.0, 0.0, 0.0), (1.0, 0.0, 0.0))
    model = painted_classifier(num_classes=1)
    for score_map in ("cam", "grad_cam", cam.Guided("cam"), cam.ByClass([ddt])):
        with pytest.raises(ValueError, match="needs one logit a class"):
            Localizer(model, score_map=score_map)
    images = blob_images(2, (24, 36))
    for score_map in ("channel_mean", ddt, cam.Guided(ddt)):
        with warnings.catch_warnings():
            warnings.filterwarnings("error", "You are using a softmax")
            found = Localizer(model, score_map=score_map).predict_on_batch(images)
        assert found["scores"].tolist() == [[1.0]] * 2
        assert found["class_ids"].tolist() == [[0]] * 2
        assert found["valid"].all()


def test_an_unknown_size_is_refused():
    message = (
        r"one input of fixed height and width.*input_shape=\(None, None, None, 3\)"
    )
    with pytest.raises(ValueError, match=message):
        Localizer(ending_in(pool(), last(), size=(None, None)))


def test_two_inputs_are_refused():
    a, b = keras.Input((*SIZE, 3)), keras.Input((*SIZE, 3))
    x = keras.layers.Conv2D(4, 3)(keras.layers.Add()([a, b]))
    with pytest.raises(ValueError, match="must have one input"):
        Localizer(keras.Model([a, b], last()(pool()(x))))


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.last_map = keras.layers.Conv2D(4, 3)
        self.pool, self.dense = pool(), last()

    def call(self, images):
        return self.dense(self.pool(self.last_map(images)))


def test_a_head_that_is_not_functional_is_refused():
    called = Subclassed()
    called(random_images(1, SIZE))
    unbuilt = keras.Sequential([keras.layers.Conv2D(4, 3), pool(), last()])
    for model in (called, unbuilt):
        name = type(model).__name__
        message = f"functional, called on a `keras.Input`, .*of type {name}"
        with pytest.raises(ValueError, match=message):
            Localizer(model)
    message = r"functional model that ends in .*'Subclassed'\]"
    with pytest.raises(ValueError, match=message):
        Localizer(keras.Sequential([keras.Input((*SIZE, 3)), called]))


def test_a_graph_in_order():
    model = residual()
    graph = graph_of(model.outputs[0])
    made = [id(node.tensor) for node in graph]
    for place, node in enumerate(graph):
        assert all(made.index(id(parent)) < place for parent in node.parents)
    names = [node.operation.name for node in graph]
    assert sorted(names) == sorted(layer.name for layer in model.layers)
    assert names[-1] == "logits"
