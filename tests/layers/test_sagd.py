import numpy as np
import pytest

from keras_wsol.layers import ADL, SAGD
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
from tests.reference.finite_differences import numerical_gradient
from tests.reference.sagd_numpy import sagd

every_size = pytest.mark.parametrize("size", SIZES, ids=str)


@every_size
@pytest.mark.parametrize("block_size", [1, 2, 3, 4, 40, "adaptive"])
def test_rate_one_gives_the_spatial_mask(size, block_size):
    features = batch(*size)
    for high, low, grow in ((0.7, 0.4, False), (0.7, 0.4, True), (1.0, None, True)):
        arguments = {
            "high_threshold": high,
            "low_threshold": low,
            "block_size": block_size,
            "grow_background": grow,
        }
        output = train(SAGD(drop_rate=1.0, **arguments), features)
        assert_equal(output, sagd(features, True, **arguments))


@every_size
@pytest.mark.parametrize("low_threshold", [0.0, 0.1, 1.0])
def test_defaults_and_other_backgrounds(size, low_threshold):
    features = batch(*size, seed=4)
    layer = SAGD(drop_rate=1.0, low_threshold=low_threshold)
    expected = sagd(features, True, low_threshold=low_threshold)
    assert_equal(train(layer, features), expected)


@every_size
def test_rate_zero_gives_the_importance_map(size):
    features = batch(*size, seed=1)
    assert_equal(train(SAGD(drop_rate=0.0), features), sagd(features, False))


@pytest.mark.parametrize("drop_rate", [0.0, 1.0])
@pytest.mark.parametrize(
    ("with_map", "with_mask"), [(True, False), (False, True), (False, False)]
)
def test_ablations_pass_the_input_on(drop_rate, with_map, with_mask):
    features = batch(6, 4, 3, seed=2)
    layer = SAGD(drop_rate, use_importance_map=with_map, use_drop_mask=with_mask)
    expected = sagd(
        features,
        drop_rate == 1.0,
        with_importance_map=with_map,
        with_drop_mask=with_mask,
    )
    assert_equal(train(layer, features), expected)


@every_size
@pytest.mark.parametrize("threshold", [0.3, 0.8, 1.0])
def test_block_of_one_without_background_is_adl(size, threshold):
    features = batch(*size, seed=3)
    layer = SAGD(
        drop_rate=1.0, high_threshold=threshold, low_threshold=None, block_size=1
    )
    expected = train(ADL(drop_rate=1.0, drop_threshold=threshold), features)
    np.testing.assert_array_equal(train(layer, features), expected)


# 3 rows, 5 columns: the peak 8 in row 1, column 3; 1 and 2 are background at
# 0.375 x 8 = 3, and 3 itself is none.
DRAWN = np.array([[4, 4, 4, 4, 4], [1, 3, 4, 8, 4], [4, 2, 4, 4, 4]], "float32")


@pytest.mark.parametrize(
    ("block_size", "grow_background", "kept"),
    [
        (1, False, ["#####", ".##.#", "#.###"]),
        (2, False, ["##..#", ".#..#", "#.###"]),
        (3, False, ["##...", ".#...", "#...."]),
        (4, False, ["#....", ".....", "#...."]),
        (2, True, [".#..#", "....#", "..###"]),
        (9, False, [".....", ".....", "....."]),
        ("adaptive", True, ["#####", ".##.#", "#.###"]),
    ],
)
def test_blocks_drawn_by_hand(block_size, grow_background, kept):
    layer = SAGD(
        drop_rate=1.0,
        high_threshold=1.0,
        low_threshold=0.375,
        block_size=block_size,
        grow_background=grow_background,
    )
    output = train(layer, DRAWN.reshape(1, 3, 5, 1)).reshape(3, 5)
    assert ["".join(".#"[int(v > 0)] for v in row) for row in output] == kept


def test_adaptive_block_is_a_seventh_of_either_side():
    # 8 x 15 cells: 2 rows by 3 columns, so the seed (3, 7) drops rows 2 and 3.
    features = np.ones((1, 8, 15, 1), "float32")
    features[0, 3, 7, 0] = 2.0
    layer = SAGD(drop_rate=1.0, low_threshold=None, block_size="adaptive")
    dropped = np.argwhere(train(layer, features)[0, ..., 0] == 0.0).tolist()
    assert dropped == [[2, 6], [2, 7], [2, 8], [3, 6], [3, 7], [3, 8]]


@pytest.mark.parametrize("level", [0.0, -1.5])
def test_a_dead_or_negative_map_loses_nothing(level):
    features = np.full((2, 3, 5, 4), level, "float32")
    for block_size in (1, 2, 3, "adaptive"):
        layer = SAGD(drop_rate=1.0, low_threshold=0.9, block_size=block_size)
        np.testing.assert_array_equal(train(layer, features), features)


# Kept by the mask with block 1: the middle cell alone.
TRIPLE = np.array([1.0, 5.0, 9.0], "float32").reshape(1, 1, 3, 1)
MASKED = {"high_threshold": 0.9, "low_threshold": 0.2, "block_size": 1}


def test_frequency_of_draws_for_the_batch():
    layer = SAGD(**MASKED, seed=1)
    features = np.repeat(TRIPLE, 2, axis=0)
    masked = []
    for output in train_often(layer, features):
        is_mask = [np.array_equal(o, [0.0, 5.0, 0.0]) for o in output.reshape(2, 3)]
        assert len(set(is_mask)) == 1
        assert_equal(output, sagd(features, is_mask[0], **MASKED))
        masked.append(is_mask[0])
    assert_frequency(masked, 0.75)  # the default, as in ADL


def test_frequency_of_draws_for_each_sample():
    layer = SAGD(**MASKED, drop_rate=0.3, draw="sample", seed=2)
    features = np.repeat(TRIPLE, 1000, axis=0)
    output = train(layer, features)
    draws = [np.array_equal(o, [0.0, 5.0, 0.0]) for o in output.reshape(1000, 3)]
    assert_equal(output, sagd(features, draws, **MASKED))
    assert_frequency(draws, 0.3)
    assert_frequency(np.array(draws)[:-1] & np.array(draws)[1:], 0.09)


@pytest.mark.parametrize("drop_rate", [0.0, 1.0])
def test_gradient_equals_that_of_the_reference(drop_rate):
    features = positive(2, 3, 5, 4, seed=3)
    weights = np.random.default_rng(4).normal(size=features.shape)
    arguments = {"high_threshold": 0.9, "low_threshold": 0.5, "block_size": 2}
    layer = SAGD(drop_rate=drop_rate, **arguments)
    gradient = input_gradient(
        held_draw(layer, features.shape), features, weights.astype("float32")
    )
    expected = numerical_gradient(
        lambda x: sagd(x, drop_rate == 1.0, **arguments), features, weights
    )
    np.testing.assert_allclose(gradient, expected, rtol=1e-4, atol=1e-5)
