import numpy as np
import pytest

from keras_wsol.layers import DropBlock2D
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
from tests.reference.drop_block_numpy import (
    drop_block,
    expected_share,
    normalized,
    random_mask,
    seed_probability,
)

every_size = pytest.mark.parametrize("size", SIZES, ids=str)


@every_size
@pytest.mark.parametrize("block_size", [1, 2, 3, 4, 40])
@pytest.mark.parametrize("per_channel", [True, False])
def test_equals_the_reference(size, block_size, per_channel):
    features = batch(*size)
    arguments = {"rate": 0.4, "block_size": block_size}
    shape = (*features.shape[:3], size[2] if per_channel else 1)
    uniforms = replayed(3, shape, shape)
    for rescale in (True, False):
        layer = DropBlock2D(
            **arguments, per_channel=per_channel, rescale=rescale, seed=3
        )
        for uniform in uniforms:
            expected = drop_block(features, uniform, **arguments, rescale=rescale)
            assert_equal(train(layer, features), expected)


def test_defaults_are_those_of_the_paper():
    features = batch(9, 15, 4)
    expected = drop_block(features, replayed(4, features.shape), 0.1, 7, True)
    assert not np.array_equal(expected, features)
    assert_equal(train(DropBlock2D(seed=4), features), expected)


@pytest.mark.parametrize("rescale", [True, False])
def test_forced_draws(rescale):
    features = batch(6, 4, 3, seed=1)
    layer = DropBlock2D(rate=0.0, block_size=2, rescale=rescale)
    np.testing.assert_array_equal(train(layer, features), features)
    # At rate 1 cells and blocks of the map's size all fall: zeros, not NaN.
    for block_size in (1, 40):
        layer = DropBlock2D(rate=1.0, block_size=block_size, rescale=rescale)
        assert not train(layer, features).any()


@pytest.mark.parametrize("size", [(5, 8), (8, 5)], ids=str)
@pytest.mark.parametrize("block_size", [1, 2, 3, 6])
def test_each_cell_is_dropped_as_often_as_its_seeds(size, block_size):
    layer = DropBlock2D(
        rate=0.3, block_size=block_size, rescale=False, per_channel=False, seed=5
    )
    dropped = train(layer, np.ones((2000, *size, 1), "float32"))[..., 0] == 0.0
    share = expected_share(0.3, block_size, *size)
    for i, j in np.ndindex(*size):
        assert_frequency(dropped[:, i, j], share[i, j])


def test_frequency_of_seeds():
    # A block as wide as the map: whether row 0 is dropped is the draw of one seed.
    layer = DropBlock2D(rate=0.5, block_size=3, rescale=False, seed=6)
    fell = train(layer, np.ones((2000, 7, 2, 1), "float32"))[:, 0, 0, 0] == 0.0
    # 0.5 / (3 x 2) x 14 / (5 x 1)
    assert seed_probability(0.5, 3, 7, 2) == pytest.approx(7 / 30)
    assert_frequency(fell, 7 / 30)
    assert_frequency(fell[:-1] & fell[1:], (7 / 30) ** 2)


def test_channels_draw_alone_or_share_a_mask():
    ones = np.ones((2000, 5, 3, 2), "float32")
    arguments = {"rate": 0.4, "block_size": 3, "rescale": False}
    alone = train(DropBlock2D(**arguments, seed=7), ones)[:, 0, 0] == 0.0
    share = expected_share(0.4, 3, 5, 3)[0, 0]
    assert_frequency(alone[:, 0], share)
    assert_frequency(alone[:, 0] & alone[:, 1], share**2)
    shared = train(DropBlock2D(**arguments, per_channel=False, seed=7), ones)
    np.testing.assert_array_equal(shared[..., 0], shared[..., 1])


def test_rescaled_masks_have_mean_one_over_the_batch():
    ones = np.ones((3, 6, 9, 4), "float32")
    layer = DropBlock2D(rate=0.3, block_size=2, seed=8)
    for _ in range(5):
        output = train(layer, ones)
        assert len(np.unique(output)) == 2  # one gain for the whole batch
        assert output.mean() == pytest.approx(1.0)
        assert not np.allclose(output.mean((1, 2, 3)), 1.0)


@pytest.mark.parametrize(("activation", "finite"), [(2.5e4, True), (6e4, False)])
def test_largest_activation_of_the_defaults_in_float16(activation, finite):
    # A block as large as the map: none overlaps, 0.9 is kept, and 6e4 / 0.9 > 65504.
    features = np.full((5, 7, 6, 512), activation, "float16")
    outputs = train(DropBlock2D(seed=12, dtype="mixed_float16"), features)
    assert np.any(outputs == 0.0)
    assert np.all(np.isfinite(outputs)) == finite


def test_dead_and_negative_maps_are_like_others():
    features = np.zeros((2, 3, 5, 4), "float32")
    features[1] = -1.5
    arguments = {"rate": 0.4, "block_size": 2}
    expected = drop_block(features, replayed(9, features.shape), **arguments)
    assert 0 < (expected[1] < 0.0).mean() < 1
    assert_equal(train(DropBlock2D(**arguments, seed=9), features), expected)


@pytest.mark.parametrize("rescale", [True, False])
def test_gradient_is_the_mask(rescale):
    features = positive(3, 5, 7, 2, seed=3)
    weights = np.random.default_rng(4).normal(size=features.shape).astype("float32")
    layer = DropBlock2D(rate=0.4, block_size=2, rescale=rescale, seed=10)
    mask = random_mask(replayed(10, features.shape), 0.4, 2)
    gradient = input_gradient(held_draw(layer, features.shape), features, weights)
    assert_equal(gradient, weights * (normalized(mask) if rescale else mask))
