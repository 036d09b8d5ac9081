import keras
import numpy as np
import pytest
from keras import ops

from keras_wsol.layers import SqueezeExcite
from tests.contracts.calls import held_draw
from tests.contracts.gradients import input_gradient
from tests.contracts.weights import give_weights
from tests.layers.feature_maps import SIZES, assert_equal, batch, positive, train
from tests.reference.finite_differences import numerical_gradient
from tests.reference.squeeze_excite_numpy import squeeze_excite

every_size = pytest.mark.parametrize("size", SIZES, ids=str)


def shapes(layer):
    return [tuple(weight.shape) for weight in layer.weights]


@every_size
@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"ratio": 1},
        {"ratio": 2, "use_bias": False},
        {"ratio": 3, "activation": "tanh", "gate_activation": "hard_sigmoid"},
    ],
    ids=str,
)
def test_output_equals_the_reference(size, arguments):
    features = batch(*size)
    layer = give_weights(SqueezeExcite(**arguments), channels=size[-1])
    expected = squeeze_excite(features, layer.get_weights(), **arguments)
    assert_equal(train(layer, features), expected)
    assert_equal(ops.convert_to_numpy(layer(features, training=False)), expected)


def test_gate_by_hand():
    # Means (2, 3); middle 3 - 2 = 1; gates sigmoid(0) and sigmoid(log 3) = 3/4.
    layer = SqueezeExcite(ratio=2, use_bias=False)
    layer.build((None, None, None, 2))
    layer.set_weights([np.array([[-1.0], [1.0]]), np.array([[0.0, np.log(3.0)]])])
    features = np.array([[3.0, 4.0], [1.0, 2.0]], "float32").reshape(1, 1, 2, 2)
    assert_equal(train(layer, features).ravel(), [1.5, 3.0, 0.5, 1.5])
    gate = layer.maps(features)["channel_gate"]
    assert gate.shape == (1, 1, 1, 2)
    assert_equal(ops.convert_to_numpy(gate).ravel(), [0.5, 0.75])


def test_weights_of_the_blocks_of_resnet50():
    # [paper, section 5.1] 2 / r * sum of N_s C_s^2 over the stages, here with the
    # biases of the released code, C / r + C, beside it.
    weights = biases = 0
    for blocks, channels in ((3, 256), (4, 512), (6, 1024), (3, 2048)):
        layer = SqueezeExcite()
        layer.build((None, None, None, channels))
        plain = SqueezeExcite(use_bias=False)
        plain.build((None, None, None, channels))
        weights += blocks * plain.count_params()
        biases += blocks * (layer.count_params() - plain.count_params())
    squares = 3 * 256**2 + 4 * 512**2 + 6 * 1024**2 + 3 * 2048**2
    assert weights == 2 * squares // 16
    assert round(weights / 1e6, 1) == 2.5  # [paper: "about 2.5 million"]
    assert biases == (3 * 256 + 4 * 512 + 6 * 1024 + 3 * 2048) * 17 // 16


@pytest.mark.parametrize(
    ("channels", "ratio", "middle"), [(64, 16, 4), (40, 16, 2), (5, 16, 1), (6, 1, 6)]
)
def test_size_of_the_middle(channels, ratio, middle):
    layer = SqueezeExcite(ratio=ratio)
    layer.build((None, None, None, channels))
    assert shapes(layer) == [
        (channels, middle),
        (middle,),
        (middle, channels),
        (channels,),
    ]


def test_initial_weights_are_he_normal_and_biases_zero():
    layer = SqueezeExcite(ratio=4, seed=1)
    layer.build((None, None, None, 256))
    first, first_bias, second, second_bias = layer.get_weights()
    assert not np.any(first_bias)
    assert not np.any(second_bias)
    # 16384 draws: 4 sigma of a standard deviation is 4 / sqrt(2 * 16384) = 2.2 %.
    np.testing.assert_allclose(first.std(), np.sqrt(2 / 256), rtol=0.022)
    np.testing.assert_allclose(second.std(), np.sqrt(2 / 64), rtol=0.022)


def test_gradient_equals_that_of_the_reference():
    features = positive(2, 3, 5, 4, seed=3)
    shares = np.random.default_rng(4).normal(size=features.shape)
    layer = give_weights(SqueezeExcite(ratio=2, activation="silu"), channels=4)
    gradient = input_gradient(
        held_draw(layer, features.shape), features, shares.astype("float32")
    )
    expected = numerical_gradient(
        lambda x: squeeze_excite(x, layer.get_weights(), 2, "silu"), features, shares
    )
    np.testing.assert_allclose(gradient, expected, rtol=1e-4, atol=1e-5)


def test_mean_over_many_channels_and_cells_of_large_float16():
    # 2048 channels of 6e4: their sum, and that of a channel's cells, overflow. By
    # hand: all means are 6e4, the gates sigmoid(log 3 * 6e4 / 6e4) = 3/4.
    layer = SqueezeExcite(ratio=2048, use_bias=False, dtype="mixed_float16")
    layer.build((None, None, None, 2048))
    down = np.full((2048, 1), np.log(3.0) / 6e4 / 2048)
    layer.set_weights([down, np.ones((1, 2048))])
    outputs = train(layer, np.full((1, 5, 3, 2048), 6e4, "float16"))
    assert outputs.dtype == "float16"
    np.testing.assert_allclose(outputs, 4.5e4, rtol=1e-3)


def test_activation_may_be_a_function():
    layer = SqueezeExcite(activation=keras.ops.silu, gate_activation=ops.tanh)
    assert layer.get_config()["activation"] == "silu"
    assert layer.get_config()["gate_activation"] == "tanh"
    revived = SqueezeExcite.from_config(layer.get_config())
    features = batch(3, 5, 4)
    outputs = [train(give_weights(each, 4), features) for each in (layer, revived)]
    assert_equal(*outputs)


def test_block_in_a_residual_branch():
    # As ResNet50-SE has it: the branch is weighed before the addition.
    inputs = keras.Input((None, None, 4))
    branch = keras.layers.Conv2D(4, 1, name="branch")(inputs)
    weighed = SqueezeExcite(ratio=2, name="se")(branch)
    model = keras.Model(inputs, [keras.layers.Add()([inputs, weighed]), branch])
    give_weights(model.get_layer("se"), channels=4)
    features = batch(3, 5, 4)
    outputs, branched = (
        ops.convert_to_numpy(t) for t in model(features, training=False)
    )
    weights = model.get_layer("se").get_weights()
    assert_equal(outputs, features + squeeze_excite(branched, weights, ratio=2))


def test_channels_have_to_be_known():
    with pytest.raises(
        ValueError,
        match=r"^The number of channels has to be known when the layer is built\. "
        r"Received: input_shape=\(2, 5, 3, None\)\.$",
    ):
        SqueezeExcite().build((2, 5, 3, None))
