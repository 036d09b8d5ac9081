"""Gradients, low precision and graphs of every public layer, on every backend."""

import keras
import numpy as np
import pytest
from keras import ops

from tests.contracts.activations import relu_features, spaced_features
from tests.contracts.calls import any_size, compiled, held_draw, quick
from tests.contracts.cases import (
    every_held_draw,
    every_layer,
    every_layer_that_draws,
)
from tests.contracts.gradients import input_gradient, numerical_gradient
from tests.contracts.weights import give_weights

# One set for all tests: JAX compiles every operation anew for every shape. On a map
# of more than 14 x 14 adaptive blocks have three cells a side.
SHAPES = ((3, 6, 5, 4), (1, 16, 15, 4))
UNIT_IN_THE_LAST_PLACE = {"float16": 2**-10, "bfloat16": 2**-7}
every_low_precision = pytest.mark.parametrize("dtype", ["float16", "bfloat16"])


def made(case, arguments, channels, dtype="float32"):
    """The layer of a case, with weights that are no zeros if it has any."""
    return give_weights(case.layer(**arguments, seed=5, dtype=dtype), channels)


def as_float32(tensor):
    return ops.convert_to_numpy(ops.cast(tensor, "float32"))


@every_held_draw
def test_gradient_equals_finite_differences(case, arguments):
    # Masks are constant between jumps, so differences of outputs see all of the
    # gradient that there ought to be: none of a mask, all of a map.
    sample = spaced_features(1, 5, 3, 4, seed=3)
    weights = np.random.default_rng(4).normal(size=sample.shape).astype("float32")
    function = held_draw(made(case, arguments, channels=4), sample.shape)
    gradient = input_gradient(function, sample, weights)
    expected = numerical_gradient(quick(function), sample[0], weights[0])
    assert np.all(np.isfinite(gradient))
    np.testing.assert_allclose(gradient[0], expected, rtol=1e-3, atol=2e-4)


@every_held_draw
@every_low_precision
@pytest.mark.parametrize("share", [1.0, 1e-4])
def test_low_precision_equals_float32(case, arguments, dtype, share):
    # The float32 layer sees the same rounded numbers, so masks have to agree to
    # the cell; 96 channels of 6e4 overflow a sum in float16.
    largest = case.largest_activation * share
    features = np.random.default_rng(6).uniform(0, largest, (2, 5, 3, 96))
    features = ops.cast(ops.convert_to_tensor(features, "float32"), dtype)
    low, high = (made(case, arguments, 96, p) for p in (f"mixed_{dtype}", "float32"))
    outputs = as_float32(low(features, training=True))
    expected = as_float32(high(ops.cast(features, "float32"), training=True))
    assert np.all(np.isfinite(outputs))
    # Rounding of the factor and of the product: two halves of a unit in the last
    # place each, 2^-11 or 2^-8.
    unit = UNIT_IN_THE_LAST_PLACE[dtype]
    np.testing.assert_allclose(outputs, expected, rtol=1.5 * unit, atol=1e-6)


@every_layer_that_draws
@every_low_precision
def test_low_precision_draws_are_those_of_float32(case, dtype):
    # Numbers drawn in float16 would be other ones, and coarse.
    features = ops.cast(relu_features(3, 6, 5, 4, seed=13), dtype)
    low, high = (
        case.layer(**case.random, seed=11, dtype=policy)
        for policy in (f"mixed_{dtype}", "float32")
    )
    for _ in range(8):
        np.testing.assert_allclose(
            as_float32(low(features, training=True)),
            as_float32(high(ops.cast(features, "float32"), training=True)),
            rtol=1.5 * UNIT_IN_THE_LAST_PLACE[dtype],
        )


@every_held_draw
@every_low_precision
def test_low_precision_gradient_equals_float32(case, arguments, dtype):
    features = np.random.default_rng(7).uniform(
        0, case.largest_activation, (2, 5, 3, 96)
    )
    features[0] -= features[0].mean(-1, keepdims=True)  # a sigmoid that is not flat
    features = ops.cast(ops.convert_to_tensor(features, "float32"), dtype)
    weights = np.ones(features.shape, "float32")
    gradients = [
        input_gradient(
            held_draw(made(case, arguments, 96, policy), features.shape),
            values,
            weights,
        ).astype("float32")
        for policy, values in (
            (f"mixed_{dtype}", features),
            ("float32", ops.cast(features, "float32")),
        )
    ]
    assert np.all(np.isfinite(gradients[0]))
    unit = UNIT_IN_THE_LAST_PLACE[dtype]
    np.testing.assert_allclose(*gradients, rtol=4 * unit, atol=4 * unit)


@every_held_draw
def test_compiled_equals_eager(case, arguments):
    features = relu_features(3, 6, 5, 4, seed=8)
    function = held_draw(made(case, arguments, channels=4), features.shape)
    np.testing.assert_allclose(
        ops.convert_to_numpy(compiled(function)(features)),
        ops.convert_to_numpy(function(features)),
        rtol=1e-5,
        atol=1e-6,
    )


@every_held_draw
def test_unknown_size_equals_known_size(case, arguments):
    function = held_draw(made(case, arguments, channels=4), (None, None, None, 4))
    traced = any_size(function, channels=4)
    for shape in (*SHAPES, (2, 1, 1, 4)):
        features = relu_features(*shape, seed=9)
        np.testing.assert_allclose(
            ops.convert_to_numpy(traced(features)),
            ops.convert_to_numpy(function(features)),
            rtol=1e-5,
            atol=1e-6,
        )


@every_layer
@pytest.mark.parametrize("draw", ["batch", "sample"])
def test_symbolic_call_keeps_unknown_sizes(case, draw):
    arguments = dict(case.usual)
    if "draw" in case.defaults:
        arguments["draw"] = draw
    inputs = keras.Input((None, None, 4))
    model = keras.Model(inputs, case.layer(**arguments, seed=5)(inputs))
    assert model.output.shape == (None, None, None, 4)
    alone = case.layer(**arguments, seed=5)
    for shape in SHAPES:
        features = relu_features(*shape, seed=9)
        np.testing.assert_array_equal(
            ops.convert_to_numpy(model(features, training=True)),
            ops.convert_to_numpy(alone(features, training=True)),
        )
        passed_on = ops.convert_to_numpy(model(features, training=False))
        assert np.array_equal(passed_on, features) == case.identity_at_inference
