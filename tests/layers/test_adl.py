import numpy as np
import pytest

from keras_wsol.layers import ADL
from tests.contracts.calls import held_draw
from tests.contracts.gradients import input_gradient
from tests.layers.feature_maps import (
    SIZES,
    assert_equal,
    assert_frequency,
    batch,
    positive,
    train,
    train_often,
)
from tests.reference.adl_numpy import adl
from tests.reference.finite_differences import numerical_gradient

every_size = pytest.mark.parametrize("size", SIZES, ids=str)
# One cell of attention 1 and one of 3: the mask gives (1, 0), the map 1/(1+e^-x).
PAIR = np.array([1.0, 3.0], "float32").reshape(1, 1, 2, 1)


@every_size
@pytest.mark.parametrize("drop_threshold", [0.0, 0.3, 0.8, 0.95, 1.0])
def test_rate_one_gives_the_drop_mask(size, drop_threshold):
    features = batch(*size)
    layer = ADL(drop_rate=1.0, drop_threshold=drop_threshold)
    assert_equal(train(layer, features), adl(features, True, drop_threshold))


@every_size
def test_rate_zero_gives_the_importance_map(size):
    features = batch(*size, seed=1)
    assert_equal(train(ADL(drop_rate=0.0), features), adl(features, False))


@pytest.mark.parametrize("drop_rate", [0.0, 1.0])
@pytest.mark.parametrize(
    ("with_map", "with_mask"), [(True, False), (False, True), (False, False)]
)
def test_ablations_pass_the_input_on(drop_rate, with_map, with_mask):
    features = batch(6, 4, 3, seed=2)
    layer = ADL(drop_rate, use_importance_map=with_map, use_drop_mask=with_mask)
    expected = adl(
        features,
        drop_rate == 1.0,
        with_importance_map=with_map,
        with_drop_mask=with_mask,
    )
    assert_equal(train(layer, features), expected)


def test_defaults_are_those_of_the_paper():
    # 3 of 4 draws drop; the cut is at 0.8 of the maximum: 8 falls, 7 stays.
    features = np.array([1, 7, 8, 10], "float32").reshape(1, 1, 4, 1)
    outputs = train_often(ADL(seed=0), features).reshape(-1, 4)
    assert_frequency(np.all(outputs == [1, 7, 0, 0], axis=1), 0.75)


def test_the_cut_itself_is_dropped_and_the_maximum_is_that_of_the_image():
    # By hand: cuts at 2 and at 20.
    features = np.array([[1, 2, 4], [19, 20, 40]], "float32").reshape(2, 1, 3, 1)
    output = train(ADL(drop_rate=1.0, drop_threshold=0.5), features)
    assert output.reshape(2, 3).tolist() == [[1, 0, 0], [19, 0, 0]]


@pytest.mark.parametrize("level", [0.0, -1.5])
def test_a_dead_or_negative_map_loses_nothing(level):
    features = np.full((2, 3, 5, 4), level, "float32")
    for drop_threshold in (0.0, 0.5, 1.0):
        layer = ADL(drop_rate=1.0, drop_threshold=drop_threshold)
        np.testing.assert_array_equal(train(layer, features), features)


@pytest.mark.parametrize("drop_rate", [0.75, 0.2])
def test_frequency_of_draws_for_the_batch(drop_rate):
    layer = ADL(drop_rate=drop_rate, drop_threshold=0.5, seed=1)
    features = np.repeat(PAIR, 3, axis=0)
    masked = []
    for output in train_often(layer, features):
        is_mask = [np.array_equal(o, [1.0, 0.0]) for o in output.reshape(3, 2)]
        assert len(set(is_mask)) == 1  # one draw for the whole batch
        assert_equal(output, adl(features, is_mask[0], 0.5))
        masked.append(is_mask[0])
    assert_frequency(masked, drop_rate)


@pytest.mark.parametrize("drop_rate", [0.75, 0.2])
def test_frequency_of_draws_for_each_sample(drop_rate):
    layer = ADL(drop_rate=drop_rate, drop_threshold=0.5, draw="sample", seed=2)
    features = np.repeat(PAIR, 500, axis=0)
    draws = []
    for _ in range(4):
        output = train(layer, features)
        draws.append([np.array_equal(o, [1.0, 0.0]) for o in output.reshape(500, 2)])
        assert_equal(output, adl(features, draws[-1], 0.5))
    assert_frequency(draws, drop_rate)
    # Neighbours in the batch, and calls, are drawn apart.
    first, second = np.array(draws)[:, :-1], np.array(draws)[:, 1:]
    assert_frequency(first & second, drop_rate**2)
    assert_frequency(np.array(draws)[0] & np.array(draws)[1], drop_rate**2)


@pytest.mark.parametrize("drop_rate", [0.0, 1.0])
def test_gradient_equals_that_of_the_reference(drop_rate):
    features = positive(2, 3, 5, 4, seed=3)
    weights = np.random.default_rng(4).normal(size=features.shape)
    layer = ADL(drop_rate=drop_rate, drop_threshold=0.7)
    gradient = input_gradient(
        held_draw(layer, features.shape), features, weights.astype("float32")
    )
    expected = numerical_gradient(
        lambda x: adl(x, drop_rate == 1.0, 0.7), features, weights
    )
    np.testing.assert_allclose(gradient, expected, rtol=1e-4, atol=1e-5)


def test_no_gradient_flows_through_the_mask():
    # By hand: the output of a kept cell is the cell, that of a dropped one is 0.
    layer = ADL(drop_rate=1.0, drop_threshold=0.5)
    gradient = input_gradient(held_draw(layer, PAIR.shape), PAIR, np.ones(PAIR.shape))
    assert gradient.ravel().tolist() == [1.0, 0.0]
