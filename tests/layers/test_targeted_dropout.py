import numpy as np
import pytest
from keras import ops

from keras_wsol.layers import CAGD, TargetedDropout
from tests.contracts.calls import held_draw
from tests.contracts.gradients import input_gradient
from tests.layers.feature_maps import (
    SIZES,
    assert_equal,
    assert_frequency,
    batch,
    positive,
    train,
)
from tests.layers.replayed_draws import replayed
from tests.reference.targeted_dropout_numpy import eligible, targeted_dropout

every_size = pytest.mark.parametrize("size", SIZES, ids=str)
every_magnitude = pytest.mark.parametrize("magnitude", ["l2", "mean"])
# No draw of float32 lies below 0, and all lie below 1.
KEEP, DROP = 0.0, 1.0


def uniforms(seed, features):
    return replayed(seed, (len(features), 1, 1, features.shape[-1]))[:, 0, 0, :]


@every_size
@every_magnitude
@pytest.mark.parametrize("target_fraction", [0.0, 0.25, 0.5, 0.75, 1.0])
def test_equals_the_reference(size, magnitude, target_fraction):
    features = batch(*size)
    for rate in (KEEP, 0.6, DROP):
        layer = TargetedDropout(target_fraction, rate, magnitude, seed=3)
        expected = targeted_dropout(
            features, uniforms(3, features), target_fraction, rate, magnitude
        )
        assert_equal(train(layer, features), expected)


def test_defaults():
    features = batch(4, 3, 40)
    expected = targeted_dropout(features, uniforms(4, features), 0.5, 0.5, "l2")
    assert not np.array_equal(expected, features)
    assert_equal(train(TargetedDropout(seed=4), features), expected)


# Three channels of two cells: norms 5, 4, 3 (times 1/sqrt(2)), means 0.5, 2.8, 2.1.
DRAWN = np.array([[[4, 2.8, 2.1], [-3, 2.8, 2.1]]], "float32").reshape(1, 1, 2, 3)


@pytest.mark.parametrize(
    ("magnitude", "target_fraction", "kept"),
    [
        ("l2", 0.3, [True, True, True]),
        ("l2", 0.34, [True, True, False]),
        ("l2", 0.7, [True, False, False]),
        ("l2", 1.0, [False, False, False]),
        ("mean", 0.34, [False, True, True]),
        ("mean", 0.7, [False, True, False]),
    ],
)
def test_drops_drawn_by_hand(magnitude, target_fraction, kept):
    layer = TargetedDropout(target_fraction, rate=1.0, magnitude=magnitude)
    output = train(layer, DRAWN)[0, 0]
    np.testing.assert_array_equal(output, np.where(kept, DRAWN[0, 0], 0.0))


@every_size
@pytest.mark.parametrize("target_fraction", [0.0, 0.3, 0.75])
def test_of_means_it_is_cagd_with_top_k(size, target_fraction):
    features = batch(*size, seed=5)
    layer = TargetedDropout(target_fraction, 0.6, "mean", seed=5)
    cagd = CAGD(0.6, selection="top_k", keep_fraction=1.0 - target_fraction, seed=5)
    for _ in range(3):
        np.testing.assert_array_equal(train(layer, features), train(cagd, features))


@every_magnitude
@pytest.mark.parametrize("target_fraction", [0.5, 1.0])
def test_a_dead_map_stays_zero(magnitude, target_fraction):
    dead = np.zeros((2, 3, 5, 4), "float32")
    layer = TargetedDropout(target_fraction, 1.0, magnitude)
    assert not train(layer, dead).any()


def test_equal_channels_are_spared():
    features = np.full((2, 3, 5, 4), -1.5, "float32")
    np.testing.assert_array_equal(train(TargetedDropout(0.5, 1.0), features), features)


def test_frequency_of_drops():
    # Channels 0 and 1 are eligible, 2 and 3 are not.
    features = np.tile(np.array([1, 2, 3, 4], "float32"), (2000, 2, 3, 1))
    fell = train(TargetedDropout(0.5, 0.3, seed=6), features) == 0.0
    assert not fell[..., 2:].any()
    assert np.array_equal(fell.all((1, 2)), fell.any((1, 2)))  # whole channels
    fell = fell[:, 0, 0]
    assert_frequency(fell[:, 0], 0.3)
    assert_frequency(fell[:, 1], 0.3)
    assert_frequency(fell[:, 0] & fell[:, 1], 0.09)
    assert_frequency(fell[1:, 0] & fell[:-1, 0], 0.09)


@every_size
def test_share_of_channels(size):
    features = batch(*size)
    found = TargetedDropout(0.7, 0.25).drop_shares(features)["channels"]
    assert_equal(ops.convert_to_numpy(found), 0.25 * eligible(features, 0.7).mean(1))


@every_magnitude
def test_gradient_is_the_mask(magnitude):
    features = positive(4, 5, 3, 6, seed=3)
    weights = np.random.default_rng(4).normal(size=features.shape).astype("float32")
    layer = TargetedDropout(magnitude=magnitude, seed=7)
    gradient = input_gradient(held_draw(layer, features.shape), features, weights)
    output = targeted_dropout(features, uniforms(7, features), kind=magnitude)
    assert_equal(gradient, weights * (output != 0.0))
