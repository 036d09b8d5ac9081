"""Batch normalization by the fused kernel is Keras' own, in training, too."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from keras_wsol.models import build_classifier
from keras_wsol.models.parts import FusedBatchNormalization
from tests.models.small import dtype_policy, tiny_backbone, tiny_classifier

SHAPE = (3, 5, 4, 6)
TENSORFLOW = keras.backend.backend() == "tensorflow"
needs_tensorflow = pytest.mark.skipif(not TENSORFLOW, reason="its kernel")


def built(kind, **arguments):
    layer = kind(**arguments)
    layer.build((None, *SHAPE[1:]))
    rng = np.random.default_rng(1)
    layer.set_weights([rng.uniform(0.5, 2, w.shape) for w in layer.weights])
    return layer


def both(**arguments):
    return [
        built(x, **arguments)
        for x in (layers.BatchNormalization, FusedBatchNormalization)
    ]


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"momentum": 0.3, "epsilon": 0.1},
        {"epsilon": 1e-5},
        {"epsilon": 1e-6},
        {"scale": False},
        {"center": False},
        {"axis": 1},
        pytest.param({"synchronized": True}, marks=needs_tensorflow),
        {"renorm": True},
        {"trainable": False},
        *({"dtype": dtype} for dtype in ("float64", "float16", "bfloat16")),
    ],
    ids=str,
)
def test_outputs_and_statistics_are_those_of_keras(arguments, training, rng):
    x = rng.normal(3, 2, SHAPE)
    if arguments.get("epsilon", 1) < 1e-3:  # or else it says nothing
        x *= arguments["epsilon"] ** 0.5
    expected, found = both(**arguments)
    values = [
        ops.convert_to_numpy(layer(x.astype(layer.compute_dtype), training=training))
        for layer in (expected, found)
    ]
    assert values[0].dtype == values[1].dtype
    np.testing.assert_allclose(values[1], values[0], rtol=1e-4, atol=1e-5)
    for one, other in zip(expected.weights, found.weights, strict=True):
        np.testing.assert_allclose(other, one, rtol=1e-5, err_msg=one.name)


@needs_tensorflow
@pytest.mark.parametrize("dtype", ["mixed_float16", "mixed_bfloat16"])
def test_in_mixed_precision_it_is_the_nearer_one(dtype, rng):
    x = rng.normal(3, 2, SHAPE)
    narrow = ops.cast(x, dtype.removeprefix("mixed_"))
    exact = built(layers.BatchNormalization)(ops.cast(narrow, "float32"), training=True)
    expected, found = both(dtype=dtype)
    off = [
        np.abs(ops.convert_to_numpy(ops.cast(y, "float32") - exact)).max()
        for y in (layer(narrow, training=True) for layer in (expected, found))
    ]
    assert found(narrow, training=True).dtype == narrow.dtype
    assert off[1] <= off[0]


@needs_tensorflow
def test_gradients_are_those_of_keras(rng):
    import tensorflow as tf

    x, aim = (tf.constant(rng.normal(1, 2, SHAPE), "float32") for _ in range(2))
    found = []
    for layer in both():
        with tf.GradientTape() as tape:
            tape.watch(x)
            loss = tf.reduce_sum(layer(x, training=True) * aim)
        sources = [x, layer.gamma.value, layer.beta.value]
        found.append(tape.gradient(loss, sources))
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(other, one, rtol=1e-3, atol=1e-4)


@needs_tensorflow
@pytest.mark.parametrize(("epsilon", "fuses"), [(1e-5, True), (9e-6, False)])
def test_it_is_the_fused_kernel(epsilon, fuses):
    """Unless its epsilon is one that cuDNN refuses on a GPU."""
    import tensorflow as tf

    def operations(layer):
        step = tf.function(lambda x: layer(x, training=True))
        graph = step.get_concrete_function(tf.TensorSpec(SHAPE)).graph
        return {each.type for each in graph.get_operations()}

    layers_of_both = both(epsilon=epsilon)
    fused = [any("FusedBatchNorm" in x for x in operations(y)) for y in layers_of_both]
    assert fused == [False, fuses]


def test_a_classifier_has_it():
    plain = tiny_backbone(include_top=False, weights=None, input_shape=(16, 24, 3))
    for model in (tiny_classifier(), build_classifier(plain, num_classes=2)):
        norms = [x for x in model.layers if isinstance(x, layers.BatchNormalization)]
        assert [type(x) for x in norms] == [FusedBatchNormalization] * 3


class Own(layers.BatchNormalization):
    """Of a user, whose call is another."""


def test_a_layer_of_ones_own_stays():
    images = keras.Input((8, 12, 3))
    x = layers.ReLU()(Own(name="mine")(layers.Conv2D(4, 3)(images)))
    model = build_classifier(keras.Model(images, x), num_classes=2)
    assert type(model.get_layer("mine")) is Own


@pytest.mark.parametrize("policy", ["float32", "mixed_float16"])
def test_a_saved_classifier_trains_on(policy, rng, tmp_path):
    with dtype_policy(policy):
        model = tiny_classifier()
        model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(True))
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    images = rng.uniform(0, 255, (4, *model.input_shape[1:])).astype("float32")
    losses = [x.train_on_batch(images, np.arange(4)) for x in (model, loaded)]
    assert losses[0] == losses[1]
