"""Gradients, low precision and graphs of every public layer, on every backend."""

import keras
import numpy as np
from keras import ops

from tests.contracts.activations import relu_features, spaced_features
from tests.contracts.calls import (
    any_size,
    compiled,
    forced_draws,
    given_draws,
    held_draw,
    quick,
    traced_training,
)
from tests.contracts.cases import (
    every_held_or_random_draw,
    every_last_or_random_draw,
    every_layer,
    every_layer_that_draws,
    every_usual_set,
)
from tests.contracts.draws import ForcedDraws, drawing
from tests.contracts.gradients import (
    gradient_tensor,
    input_gradient,
    numerical_gradient,
)
from tests.contracts.weights import give_weights

# One set for all tests: JAX compiles every operation anew for every shape. On a map
# of more than 14 x 14 adaptive blocks have three cells a side.
SHAPES = ((3, 6, 5, 4), (1, 16, 15, 4))
# All arithmetic is in float32, and the same for every policy; what is left is one
# rounding, of the output: half a unit in the last place. A fiftieth more is for
# compilers that order float32 arithmetic in two ways.
ONE_ROUNDING = {"float16": 0.51 * 2**-10, "bfloat16": 0.51 * 2**-7}
# float16 overflows, bfloat16 rounds most coarsely.
LOW_PRECISION = (("float16", 1.0), ("bfloat16", 1e-4))


def made(case, arguments, channels, dtype="float32"):
    """The layer of a case, with weights that are no zeros if it has any."""
    return give_weights(case.layer(**arguments, seed=5, dtype=dtype), channels)


def as_float32(tensor):
    return ops.convert_to_numpy(ops.cast(tensor, "float32"))


@every_held_or_random_draw
def test_gradient_equals_finite_differences(case, arguments):
    # Masks are constant between jumps, so differences of outputs see all of the
    # gradient that there ought to be: none of a mask, all of a map.
    sample = spaced_features(1, 5, 3, 4, seed=3)
    weights = np.random.default_rng(4).normal(size=sample.shape).astype("float32")
    layer = made(case, arguments, channels=4)
    draws = forced_draws(layer, sample)
    of_all = given_draws(layer, sample.shape)

    def function(inputs):
        return of_all(inputs, *draws)

    gradient = input_gradient(function, sample, weights)
    expected = numerical_gradient(quick(function), sample[0], weights[0])
    assert np.all(np.isfinite(gradient))
    np.testing.assert_allclose(gradient[0], expected, rtol=1e-3, atol=2e-4)


@every_held_or_random_draw
def test_low_precision_equals_float32(case, arguments):
    # The float32 layer sees the same rounded numbers, so masks have to agree to
    # the cell; 96 channels of 6e4 overflow a sum in float16.
    for dtype, share in LOW_PRECISION:
        largest = case.largest_activation * share
        features = np.random.default_rng(6).uniform(0, largest, (2, 5, 3, 96))
        features = ops.cast(ops.convert_to_tensor(features, "float32"), dtype)
        low, high = (
            made(case, arguments, 96, policy)
            for policy in (f"mixed_{dtype}", "float32")
        )
        with drawing(ForcedDraws()):
            outputs = low(features, training=True)
        assert keras.backend.standardize_dtype(outputs.dtype) == dtype
        outputs = as_float32(outputs)
        with drawing(ForcedDraws()):
            expected = as_float32(high(ops.cast(features, "float32"), training=True))
        assert np.all(np.isfinite(outputs))
        np.testing.assert_allclose(
            outputs, expected, rtol=ONE_ROUNDING[dtype], atol=1e-6
        )


@every_layer_that_draws
def test_low_precision_draws_are_those_of_float32(case):
    # Numbers drawn in float16 would be other ones, and coarse.
    features = ops.cast(relu_features(3, 6, 5, 4, seed=13), "float16")
    low, high = (
        case.layer(**case.random, seed=11, dtype=policy)
        for policy in ("mixed_float16", "float32")
    )
    for _ in range(8):
        np.testing.assert_allclose(
            as_float32(low(features, training=True)),
            as_float32(high(ops.cast(features, "float32"), training=True)),
            rtol=ONE_ROUNDING["float16"],
        )


@every_held_or_random_draw
def test_low_precision_gradient_equals_float32(case, arguments):
    features = np.random.default_rng(7).uniform(
        0, case.largest_activation, (2, 5, 3, 96)
    )
    features[0] -= features[0].mean(-1, keepdims=True)  # a sigmoid that is not flat
    features = ops.cast(ops.convert_to_tensor(features, "float32"), "float16")
    weights = np.ones(features.shape, "float32")
    gradients = []
    for policy, values in (
        ("mixed_float16", features),
        ("float32", ops.cast(features, "float32")),
    ):
        function = held_draw(made(case, arguments, 96, policy), features.shape)
        with drawing(ForcedDraws()):
            gradients.append(input_gradient(function, values, weights))
    low, high = (gradient.astype("float32") for gradient in gradients)
    assert np.all(np.isfinite(low))
    np.testing.assert_allclose(low, high, rtol=ONE_ROUNDING["float16"], atol=1e-6)


@every_usual_set
def test_compiled_output_and_gradient_equal_eager(case, arguments):
    # The draws go in from outside: of constants XLA would make the mask beforehand.
    features = relu_features(3, 6, 5, 4, seed=8)
    layer = made(case, arguments, channels=4)
    draws = forced_draws(layer, features)
    function = given_draws(layer, features.shape)
    expected = ops.convert_to_numpy(function(features, *draws))
    if arguments is case.random:
        assert expected.any()
        assert not np.array_equal(expected, features)
    weights = np.random.default_rng(9).normal(size=features.shape).astype("float32")

    def both(inputs, *draws):
        def of_inputs(x):
            return function(x, *draws)

        return of_inputs(inputs), gradient_tensor(of_inputs, inputs, weights)

    gradient = input_gradient(lambda x: function(x, *draws), features, weights)
    results = compiled(both)(ops.convert_to_tensor(features), *draws)
    for result, right in zip(results, (expected, gradient), strict=True):
        np.testing.assert_allclose(
            ops.convert_to_numpy(result), right, rtol=1e-5, atol=1e-6
        )


@every_layer_that_draws
def test_each_call_of_a_traced_function_draws_anew(case):
    features = relu_features(3, 6, 5, 4, seed=2)
    call = traced_training(case.layer(**case.random, seed=11), features.shape)
    outputs = [ops.convert_to_numpy(call(features)) for _ in range(12)]
    assert any(not np.array_equal(outputs[0], other) for other in outputs[1:])


@every_last_or_random_draw
def test_unknown_size_equals_known_size(case, arguments):
    layer = made(case, arguments, channels=4)
    function = given_draws(layer, (None, None, None, 4))
    traced = None
    for shape in (*SHAPES, (2, 1, 1, 4)):
        features = relu_features(*shape, seed=9)
        draws = forced_draws(layer, features)
        traced = traced or any_size(function, channels=4, draws=draws)
        np.testing.assert_allclose(
            ops.convert_to_numpy(traced(features, *draws)),
            ops.convert_to_numpy(function(features, *draws)),
            rtol=1e-5,
            atol=1e-6,
        )


@every_layer
def test_symbolic_call_keeps_unknown_sizes(case):
    arguments = dict(case.usual)
    if "draw" in case.defaults:
        arguments["draw"] = "sample"
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
