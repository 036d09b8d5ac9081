import keras
import numpy as np
import pytest
from keras import ops

from keras_wsol.layers import CBAM
from tests.contracts.calls import held_draw
from tests.contracts.gradients import input_gradient
from tests.contracts.weights import give_weights
from tests.layers.feature_maps import SIZES, assert_equal, batch, positive, train
from tests.reference.cbam_numpy import cbam
from tests.reference.finite_differences import numerical_gradient

every_size = pytest.mark.parametrize("size", SIZES, ids=str)


def build(channels, **arguments):
    layer = CBAM(**arguments)
    layer.build((None, None, None, channels))
    return layer


@every_size
@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"ratio": 2, "kernel_size": 3, "use_bias": False},
        {"ratio": 1, "activation": "silu", "gate_activation": "hard_sigmoid"},
        {"ratio": 2, "spatial": False},
        {"channel": False, "kernel_size": 5},
        {"channel": False, "kernel_size": 1, "use_bias": False},
    ],
    ids=str,
)
def test_output_equals_the_reference(size, arguments):
    # Sizes include maps smaller than the window; switches are the paper's ablation.
    features = batch(*size)
    layer = give_weights(CBAM(**arguments), channels=size[-1])
    expected = cbam(features, layer.get_weights(), **arguments)
    assert_equal(train(layer, features), expected)
    assert_equal(ops.convert_to_numpy(layer(features, training=False)), expected)


def test_channel_gate_by_hand():
    # Means (2, 3), maxima (3, 4): middles 5 and 7 (the sum), gates of their sum 12.
    layer = build(2, ratio=2, spatial=False, use_bias=False)
    log = np.log(3.0)
    layer.set_weights([np.array([[1.0], [1.0]]), np.array([[0.0, log / 12.0]])])
    features = np.array([[3.0, 4.0], [1.0, 2.0]], "float32").reshape(1, 1, 2, 2)
    assert_equal(train(layer, features).ravel(), [1.5, 3.0, 0.5, 1.5])
    maps = layer.maps(features)
    assert list(maps) == ["channel_gate"]
    assert_equal(ops.convert_to_numpy(maps["channel_gate"]).ravel(), [0.5, 0.75])


def test_bias_of_the_shared_layers_counts_for_both_poolings():
    # Middle max(0, bias of 1) twice, then bias of log(3) / 4 twice: 2 + 2 quarters.
    layer = build(1, ratio=1, spatial=False)
    quarter = np.log(3.0) / 4.0
    layer.set_weights(
        [np.zeros((1, 1)), np.ones(1), np.full((1, 1), quarter), np.full(1, quarter)]
    )
    features = np.full((1, 2, 3, 1), 8.0, "float32")
    assert_equal(train(layer, features), np.full((1, 2, 3, 1), 6.0))


def test_spatial_gate_by_hand():
    # The kernel sees the cell to the right: mean 2 and maximum 5 of the second, zeros
    # beyond the border. Logits (2 + 2 * 5) * log(3) / 12 and 0.
    layer = build(3, kernel_size=3, channel=False, use_bias=False)
    kernel = np.zeros((3, 3, 2, 1))
    kernel[1, 2] = [[np.log(3.0) / 12.0], [np.log(3.0) / 6.0]]
    layer.set_weights([kernel])
    features = np.array([[4, 8, 4], [0, 1, 5]], "float32").reshape(1, 1, 2, 3)
    assert_equal(train(layer, features).ravel(), [3.0, 6.0, 3.0, 0.0, 0.5, 2.5])
    maps = layer.maps(features)
    assert list(maps) == ["spatial_gate"]
    assert_equal(ops.convert_to_numpy(maps["spatial_gate"]).ravel(), [0.75, 0.5])


def test_spatial_attention_reads_what_the_channel_attention_left():
    # Channel gates are (1, 0), so the maximum of 9 in the second channel is gone:
    # mean 0.5 and maximum 1 of the single cell, logit log(3) * 1.
    layer = build(2, ratio=2, kernel_size=1)
    kernel = np.array([0.0, np.log(3.0)]).reshape(1, 1, 2, 1)
    layer.set_weights(
        [
            *(np.zeros((2, 1)), np.zeros(1)),
            *(np.zeros((1, 2)), np.array([50.0, -50.0])),
            *(kernel, np.zeros(1)),
        ]
    )
    features = np.array([1.0, 9.0], "float32").reshape(1, 1, 1, 2)
    assert_equal(train(layer, features).ravel(), [0.75, 0.0])
    maps = layer.maps(features)
    assert_equal(ops.convert_to_numpy(maps["channel_gate"]).ravel(), [1.0, 0.0])
    assert_equal(ops.convert_to_numpy(maps["spatial_gate"]).ravel(), [0.75])


@pytest.mark.parametrize(("channels", "ratio"), [(64, 16), (24, 8), (5, 16)])
@pytest.mark.parametrize("kernel_size", [3, 7])
def test_number_of_weights(channels, ratio, kernel_size):
    # [paper, section 3] C / r hidden units, f of size k over two planes to one.
    middle = max(1, channels // ratio)
    dense, convolution = 2 * channels * middle, 2 * kernel_size**2
    sizes = {"ratio": ratio, "kernel_size": kernel_size}
    plain = {**sizes, "use_bias": False}
    assert build(channels, **plain).count_params() == dense + convolution
    assert build(channels, **plain, spatial=False).count_params() == dense
    assert build(channels, **plain, channel=False).count_params() == convolution
    biases = middle + channels + 1
    assert build(channels, **sizes).count_params() == dense + convolution + biases


def test_gradient_equals_that_of_the_reference():
    features = positive(2, 3, 5, 4, seed=3)
    shares = np.random.default_rng(4).normal(size=features.shape)
    layer = give_weights(CBAM(ratio=2, kernel_size=5, activation="silu"), channels=4)
    gradient = input_gradient(
        held_draw(layer, features.shape), features, shares.astype("float32")
    )
    expected = numerical_gradient(
        lambda x: cbam(x, layer.get_weights(), 2, 5, "silu"), features, shares
    )
    np.testing.assert_allclose(gradient, expected, rtol=1e-4, atol=1e-5)


def test_statistics_of_large_float16_do_not_overflow():
    # By hand: with weights of zero both gates are 1/2.
    layer = build(2048, dtype="mixed_float16")
    layer.set_weights([np.zeros(weight.shape) for weight in layer.weights])
    outputs = train(layer, np.full((1, 2, 3, 2048), 6e4, "float16"))
    assert outputs.dtype == "float16"
    np.testing.assert_allclose(outputs, 1.5e4)
    # And with a mean of 6e4, not infinity, in front of a convolution of log(3) / 6e4.
    layer = build(2048, kernel_size=1, channel=False, dtype="mixed_float16")
    kernel = np.array([np.log(3.0) / 6e4, 0.0]).reshape(1, 1, 2, 1)
    layer.set_weights([kernel, np.zeros(1)])
    outputs = train(layer, np.full((1, 2, 3, 2048), 6e4, "float16"))
    np.testing.assert_allclose(outputs, 4.5e4, rtol=1e-3)


def test_saved_ablation_comes_back(tmp_path):
    inputs = keras.Input((None, None, 4))
    layer = CBAM(ratio=2, kernel_size=3, channel=False, name="module")
    model = keras.Model(inputs, layer(inputs))
    give_weights(layer, channels=4)
    model.save(tmp_path / "model.keras")
    revived = keras.saving.load_model(tmp_path / "model.keras")
    features = batch(3, 5, 4)
    expected = cbam(
        features, revived.get_layer("module").get_weights(), 2, 3, channel=False
    )
    assert_equal(ops.convert_to_numpy(revived(features)), expected)
