"""What holds for the public layers that have weights, on every backend."""

import keras
import numpy as np
import pytest
from keras import ops

from tests.contracts.activations import relu_features, spaced_features
from tests.contracts.calls import call_with, quick
from tests.contracts.cases import every_layer_with_weights
from tests.contracts.gradients import input_gradient
from tests.contracts.weights import give_weights


def initial_weights(case, channels=6, **arguments):
    layer = case.layer(**{**case.usual, **arguments})
    layer.build((None, None, None, channels))
    return layer.get_weights()


def kernels(weights):
    return [weight for weight in weights if weight.ndim > 1]


def equal(first, second):
    return [np.array_equal(*pair) for pair in zip(first, second, strict=True)]


@every_layer_with_weights
def test_seed_fixes_the_initial_weights(case):
    first, again, other = (initial_weights(case, seed=seed) for seed in (3, 3, 4))
    assert all(equal(first, again))
    assert not any(equal(kernels(first), kernels(other)))


@every_layer_with_weights
def test_layers_without_a_seed_start_apart(case):
    first, second = (kernels(initial_weights(case)) for _ in range(2))
    assert not any(equal(first, second))


@every_layer_with_weights
@pytest.mark.parametrize("seed", [None, 3])
def test_no_weight_repeats_the_draws_of_another(case, seed):
    # With a ratio of 1 the kernels have one size, where a seed in common shows.
    weights = kernels(initial_weights(case, seed=seed, ratio=1))
    starts = [tuple(np.sign(weight.ravel()[:18])) for weight in weights]
    assert len(set(starts)) == len(weights) > 1


@every_layer_with_weights
@pytest.mark.parametrize("policy", ["float16", "mixed_float16", "mixed_bfloat16"])
def test_weights_are_float32(case, policy):
    layer = case.layer(**case.usual, dtype=policy)
    layer.build((None, None, None, 6))
    dtypes = [keras.backend.standardize_dtype(w.dtype) for w in layer.weights]
    assert set(dtypes) == {"float32"}


@every_layer_with_weights
@pytest.mark.parametrize("frozen", ["as it is made", "before it is built", "after"])
def test_frozen_layer_is_not_trained(case, frozen):
    layer = case.layer(**case.usual, trainable=frozen != "as it is made")
    if frozen == "before it is built":
        layer.trainable = False
    inputs = keras.Input((None, None, 6))
    model = keras.Model(inputs, layer(inputs))
    if frozen == "after":
        layer.trainable = False
    assert model.trainable_variables == []
    layer.trainable = True
    assert len(model.trainable_variables) == len(layer.weights)


@every_layer_with_weights
def test_number_of_channels_is_fixed_when_built(case):
    layer = case.layer(**case.usual)
    with pytest.raises(ValueError, match=r"number of channels has to be known"):
        layer.build((2, 5, 3, None))
    layer(relu_features(2, 5, 3, 4))
    with pytest.raises(ValueError, match=r"expected axis -1 .* to have value 4"):
        layer(relu_features(2, 5, 3, 6))


@every_layer_with_weights
def test_gradients_of_weights_equal_finite_differences(case):
    layer = give_weights(case.layer(**case.usual), channels=4)
    features = spaced_features(2, 5, 3, 4, seed=3)
    shares = np.random.default_rng(4).normal(size=features.shape).astype("float32")
    values = layer.get_weights()
    for number, value in enumerate(values):

        def function(weight, number=number):
            weights = [ops.convert_to_tensor(other) for other in values]
            weights[number] = weight
            return call_with(layer, weights, features)

        gradient = input_gradient(function, value, shares)
        expected = weight_differences(quick(function), value, shares)
        assert np.any(expected != 0.0)
        np.testing.assert_allclose(gradient, expected, rtol=1e-3, atol=1e-3)


def weight_differences(function, value, shares, step=3e-3):
    """Central differences of sum(shares * function(value)), entry by entry."""
    gradient = np.zeros(value.shape)
    for place in np.ndindex(*value.shape):
        sums = []
        for sign in (1.0, -1.0):
            moved = value.copy()
            moved[place] += sign * step
            outputs = ops.convert_to_numpy(function(ops.convert_to_tensor(moved)))
            sums.append(float(np.sum(shares * outputs.astype("float64"))))
        gradient[place] = (sums[0] - sums[1]) / (2.0 * step)
    return gradient
