import numpy as np
import pytest

from keras_wsol.layers import CAGD
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
from tests.reference.cagd_numpy import cagd, eligible, multiply_channels

every_size = pytest.mark.parametrize("size", SIZES, ids=str)
SELECTIONS = (
    {"selection": "min_multiple", "min_multiple": 1.0},
    {"selection": "min_multiple", "min_multiple": 2.5},
    {"selection": "min_multiple", "min_multiple": 50.0},
    {"selection": "top_k", "keep_fraction": 0.5},
    {"selection": "top_k", "keep_fraction": 0.2},
    {"selection": "top_k", "keep_fraction": 1.0},
)
every_selection = pytest.mark.parametrize("selection", SELECTIONS, ids=str)


@every_size
@every_selection
def test_probability_one_drops_every_eligible_channel(size, selection):
    features = batch(*size)
    output = train(CAGD(drop_probability=1.0, **selection), features)
    uniforms = np.zeros((len(features), features.shape[-1]))
    assert_equal(output, cagd(features, uniforms, 1.0, **selection))


@every_selection
def test_probability_zero_drops_nothing(selection):
    features = batch(6, 4, 3, seed=1)
    output = train(CAGD(drop_probability=0.0, **selection), features)
    np.testing.assert_array_equal(output, features)


def of_channels(*means):
    """Two cells per channel, m - 1 and m + 1: the mean is m, never the cells."""
    means = np.array(means, "float32")
    return np.stack([means - 1.0, means + 1.0])[None, None]


def dropped(output):
    """Channels that are zero in all cells."""
    return np.flatnonzero(np.all(output == 0.0, axis=(0, 1, 2))).tolist()


@pytest.mark.parametrize(
    ("means", "arguments", "expected"),
    [
        # Strictly below 3 x 2 = 6.
        ((2, 3, 5.5, 6, 7), {}, [0, 1, 2]),
        ((2, 3, 5.5, 6, 7), {"min_multiple": 1.5}, [0]),
        ((2, 3, 5.5, 6, 7), {"min_multiple": 1.0}, []),
        # By magnitude: the smallest is -2, and -7 is large.
        ((-2, 3, -5.5, 6, -7), {}, [0, 1, 2]),
        # ceil(0.6 x 5) = 3 are kept; of -7 the magnitude counts.
        ((2, 3, 5.5, 6, -7), {"selection": "top_k", "keep_fraction": 0.6}, [0, 1]),
        # 2.5 is rounded up: at least the half is kept.
        ((2, 3, 5.5, 6, 7), {"selection": "top_k", "keep_fraction": 0.5}, [0, 1]),
        # 3/4 by default: ceil(3.75) = 4.
        ((2, 3, 5.5, 6, 7), {"selection": "top_k"}, [0]),
        ((2, 3, 5.5, 6, 7), {"selection": "top_k", "keep_fraction": 1.0}, []),
    ],
)
def test_eligible_channels_by_hand(means, arguments, expected):
    output = train(CAGD(drop_probability=1.0, **arguments), of_channels(*means))
    assert dropped(output) == expected


def test_dead_channels_do_not_switch_the_layer_off():
    # The smallest live mean is 2, so 2 and 5 fall, and 9 stays.
    features = np.array([0.0, 9.0, 2.0, 0.0, 5.0], "float32").reshape(1, 1, 1, 5)
    output = train(CAGD(drop_probability=1.0), features)
    assert output.ravel().tolist() == [0.0, 9.0, 0.0, 0.0, 0.0]


def test_share_kept_is_not_moved_by_rounding():
    # 0.55 * 100 is 55.00000000000001 in binary: 55 are kept, not 56.
    features = np.arange(1.0, 101.0, dtype="float32").reshape(1, 1, 1, 100)
    layer = CAGD(drop_probability=1.0, selection="top_k", keep_fraction=0.55)
    assert np.count_nonzero(train(layer, features)) == 55


def test_each_image_has_its_own_threshold():
    features = np.array([[1, 2, 4], [10, 20, 40]], "float32").reshape(2, 1, 1, 3)
    output = train(CAGD(drop_probability=1.0, min_multiple=3.0), features)
    assert output.reshape(2, 3).tolist() == [[0, 0, 4], [0, 0, 40]]


@every_selection
def test_random_mask_keeps_the_kept_and_equals_the_reference(selection):
    features = positive(4, 3, 2, 9, seed=2)
    layer = CAGD(drop_probability=0.4, **selection, seed=3)
    may_fall = eligible(features, **selection)
    for _ in range(20):
        output = train(layer, features)
        mask = np.any(output != 0.0, axis=(1, 2)).astype(float)
        assert np.all(mask[~may_fall] == 1.0)
        np.testing.assert_array_equal(output, multiply_channels(features, mask))
        # Uniforms that give this mask give this output.
        assert_equal(output, cagd(features, mask, 0.4, **selection))


@pytest.mark.parametrize("drop_probability", [0.5, 0.15])
def test_frequency_of_drops(drop_probability):
    # Channels 0 to 3 are eligible, 4 and 5 are not.
    means = np.array([2, 3, 4, 5, 6, 9], "float32").reshape(1, 1, 1, 6)
    layer = CAGD(drop_probability=drop_probability, seed=4)
    features = np.tile(means, (700, 1, 1, 1))
    calls = np.array([train(layer, features).reshape(700, 6) == 0 for _ in range(3)])
    assert not calls[..., 4:].any()
    falls = calls[..., :4]
    for channel in range(4):
        assert_frequency(falls[..., channel], drop_probability)
    # Drawn apart for channels, for samples and for calls.
    both = drop_probability**2
    assert_frequency(falls[..., 1:] & falls[..., :-1], both)
    assert_frequency(falls[:, 1:] & falls[:, :-1], both)
    assert_frequency(falls[1:] & falls[:-1], both)


def test_default_probability_is_that_of_the_paper():
    features = np.tile(np.array([1.0, 2.0, 9.0], "float32"), (1000, 1, 1, 1))
    falls = train(CAGD(seed=5), features)[..., :2] == 0.0
    assert_frequency(falls, 0.5)


def test_no_gradient_flows_through_the_mask():
    features = positive(2, 3, 5, 4, seed=6)
    weights = np.random.default_rng(7).normal(size=features.shape).astype("float32")
    layer = CAGD(drop_probability=1.0, selection="top_k", keep_fraction=0.5)
    gradient = input_gradient(held_draw(layer, features.shape), features, weights)
    mask = ~eligible(features, selection="top_k", keep_fraction=0.5)
    assert_equal(gradient, multiply_channels(weights, mask))
