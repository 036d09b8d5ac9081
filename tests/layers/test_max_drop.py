import numpy as np
import pytest

from keras_wsol.layers import MaxDrop
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
from tests.reference.max_drop_numpy import max_drop

every_size = pytest.mark.parametrize("size", SIZES, ids=str)
every_variant = pytest.mark.parametrize("variant", ["feature_wise", "channel_wise"])


def draw_shape(features, variant):
    batch_size, height, width, channels = features.shape
    if variant == "feature_wise":
        return batch_size, 1, 1, channels
    return batch_size, height, width, 1


@every_size
@every_variant
@pytest.mark.parametrize("block_size", [1, 2, 3, 4, 40])
def test_equals_the_reference(size, variant, block_size):
    features = batch(*size)
    uniform = replayed(3, draw_shape(features, variant))
    for rate, rescale in ((0.5, False), (0.5, True), (1.0, True)):
        arguments = {"rate": rate, "variant": variant, "block_size": block_size}
        layer = MaxDrop(**arguments, rescale=rescale, seed=3)
        expected = max_drop(features, uniform, **arguments, rescale=rescale)
        assert_equal(train(layer, features), expected)


def test_defaults_are_those_of_the_code():
    features = batch(4, 3, 40)
    expected = max_drop(
        features, replayed(4, (5, 1, 1, 40)), 0.1, "feature_wise", 1, False
    )
    assert not np.array_equal(expected, features)
    assert_equal(train(MaxDrop(seed=4), features), expected)


@every_variant
def test_rate_zero_drops_nothing(variant):
    features = batch(6, 4, 3, seed=1)
    layer = MaxDrop(rate=0.0, variant=variant, block_size=3, rescale=True)
    np.testing.assert_array_equal(train(layer, features), features)


# Two channels of 3 rows and 4 columns. Largest: 9 in row 1, column 2 of the first,
# 8 in row 2, column 0 of the second.
FIRST = [[1, 2, 3, 4], [5, 6, 9, 7], [4, 3, 2, 1]]
SECOND = [[2, 1, 1, 1], [1, 1, 1, 1], [8, 5, 1, 2]]
DRAWN = np.stack([FIRST, SECOND], -1)[None].astype("float32")


@pytest.mark.parametrize(
    ("variant", "block_size", "first", "second"),
    [
        ("feature_wise", 1, ["####", "##.#", "####"], ["####", "####", ".###"]),
        ("feature_wise", 2, ["#..#", "#..#", "####"], ["####", ".###", ".###"]),
        ("feature_wise", 3, ["#...", "#...", "#..."], ["####", "..##", "..##"]),
        ("channel_wise", 1, ["#...", "....", "##.#"], [".###", "####", "..#."]),
        ("channel_wise", 2, ["....", "....", "#..#"], [".###", "....", "...."]),
        ("feature_wise", 9, ["....", "....", "...."], ["....", "....", "...."]),
    ],
)
def test_drops_drawn_by_hand(variant, block_size, first, second):
    layer = MaxDrop(rate=1.0, variant=variant, block_size=block_size)
    output = train(layer, DRAWN)[0]
    for channel, kept in ((0, first), (1, second)):
        rows = output[..., channel].tolist()
        assert ["".join(".#"[v > 0] for v in row) for row in rows] == kept


@every_variant
@pytest.mark.parametrize(("level", "block_size"), [(0.0, 1), (-1.5, 2), (-1.5, 3)])
def test_a_dead_or_negative_map_loses_nothing(variant, level, block_size):
    features = np.full((2, 3, 5, 4), level, "float32")
    layer = MaxDrop(rate=1.0, variant=variant, block_size=block_size)
    np.testing.assert_array_equal(train(layer, features), features)


@every_variant
def test_a_single_value_is_its_own_maximum(variant):
    features = positive(4, 1, 1, 1)
    for rescale in (False, True):  # all that there is falls: zeros, not NaN
        layer = MaxDrop(rate=1.0, variant=variant, rescale=rescale)
        assert not train(layer, features).any()


def test_frequency_of_drops_feature_wise():
    # Cell 1 is the maximum of both channels.
    features = np.tile(np.array([[1, 1], [5, 6]], "float32"), (2000, 1, 1, 1))
    fell = train(MaxDrop(rate=0.3, seed=5), features)[:, 0] == 0.0
    assert not fell[:, 0].any()
    assert_frequency(fell[:, 1, 0], 0.3)
    assert_frequency(fell[:, 1, 0] & fell[:, 1, 1], 0.09)
    assert_frequency(fell[1:, 1, 0] & fell[:-1, 1, 0], 0.09)


def test_frequency_of_drops_channel_wise():
    # Channel 1 is the maximum of both positions.
    features = np.tile(np.array([[1, 5], [1, 6]], "float32"), (2000, 1, 1, 1))
    layer = MaxDrop(rate=0.3, variant="channel_wise", seed=6)
    fell = train(layer, features)[:, 0] == 0.0
    assert not fell[..., 0].any()
    assert_frequency(fell[:, 0, 1], 0.3)
    assert_frequency(fell[:, 0, 1] & fell[:, 1, 1], 0.09)


@every_variant
@pytest.mark.parametrize("rescale", [False, True])
def test_gradient_is_the_mask(variant, rescale):
    features = positive(3, 5, 4, 6, seed=3)
    weights = np.random.default_rng(4).normal(size=features.shape).astype("float32")
    arguments = {"rate": 0.5, "variant": variant, "rescale": rescale}
    layer = MaxDrop(**arguments, seed=7)
    gradient = input_gradient(held_draw(layer, features.shape), features, weights)
    dropped = max_drop(
        features, replayed(7, draw_shape(features, variant)), **arguments
    )
    assert_equal(gradient, weights * dropped / features)
