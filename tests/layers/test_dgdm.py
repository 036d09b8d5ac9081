import numpy as np
import pytest

from keras_wsol.layers import CAGD, DGDM, SAGD
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
from tests.reference.cagd_numpy import eligible
from tests.reference.dgdm_numpy import dgdm
from tests.reference.finite_differences import numerical_gradient

every_size = pytest.mark.parametrize("size", SIZES, ids=str)


def all_drop(features):
    """Uniform numbers with which every eligible channel falls."""
    return np.zeros((features.shape[0], features.shape[-1]))


@every_size
@pytest.mark.parametrize(
    "channel",
    [
        {"min_multiple": 2.5},
        {"selection": "top_k", "keep_fraction": 0.5},
    ],
    ids=str,
)
@pytest.mark.parametrize(
    "spatial",
    [
        {},
        {"high_threshold": 0.7, "low_threshold": 0.4, "block_size": 2},
        {"low_threshold": None, "block_size": 1},
        {"low_threshold": 0.5, "block_size": "adaptive", "grow_background": True},
    ],
    ids=str,
)
def test_all_eligible_channels_dropped(size, channel, spatial):
    features = batch(*size)
    for drop_rate in (0.0, 1.0):
        layer = DGDM(drop_probability=1.0, drop_rate=drop_rate, **channel, **spatial)
        expected = dgdm(
            features,
            all_drop(features),
            drop_rate == 1.0,
            channel={"drop_probability": 1.0, **channel},
            spatial=spatial,
        )
        assert_equal(train(layer, features), expected)


@pytest.mark.parametrize("drop_rate", [0.0, 1.0])
@pytest.mark.parametrize(
    ("with_map", "with_mask"), [(True, False), (False, True), (False, False)]
)
def test_ablations_keep_the_channel_mask(drop_rate, with_map, with_mask):
    features = batch(6, 4, 7, seed=2)
    layer = DGDM(
        drop_probability=1.0,
        drop_rate=drop_rate,
        use_importance_map=with_map,
        use_drop_mask=with_mask,
    )
    expected = dgdm(
        features,
        all_drop(features),
        drop_rate == 1.0,
        channel={"drop_probability": 1.0},
        spatial={"with_importance_map": with_map, "with_drop_mask": with_mask},
    )
    assert_equal(train(layer, features), expected)


@every_size
@pytest.mark.parametrize("drop_rate", [0.0, 1.0])
def test_probability_zero_leaves_sagd_alone(size, drop_rate):
    features = batch(*size, seed=3)
    expected = train(SAGD(drop_rate=drop_rate), features)
    layer = DGDM(drop_probability=0.0, drop_rate=drop_rate)
    np.testing.assert_array_equal(train(layer, features), expected)


def test_attention_is_that_of_the_input_not_of_the_kept_channels():
    # Channel means 1, 2, 9: channels 0 and 1 fall. The attention of the cells is
    # 4, 3.5, 4.5, so at 0.85 x 4.5 = 3.825 cells 0 and 2 fall; of the kept channel
    # alone it would be 1, 3.5, 4.5, and cell 0 would stay.
    features = np.array([[3, 6, 3], [0, 0, 10.5], [0, 0, 13.5]], "float32")
    features = features.reshape(1, 1, 3, 3)
    layer = DGDM(
        drop_probability=1.0,
        min_multiple=3.0,
        drop_rate=1.0,
        high_threshold=0.85,
        low_threshold=None,
        block_size=1,
    )
    output = train(layer, features).reshape(3, 3)
    assert output.tolist() == [[0, 0, 0], [0, 0, 10.5], [0, 0, 0]]


def recover(output):
    """Channel mask (B, C), and the spatial factor's sign (B, H, W), of an output."""
    return np.any(output != 0.0, axis=(1, 2)), np.any(output != 0.0, axis=3)


def test_random_output_equals_the_reference_for_the_masks_in_it():
    features = positive(4, 5, 3, 8, seed=4)
    channel = {"selection": "top_k", "keep_fraction": 0.5}
    spatial = {"high_threshold": 0.9, "low_threshold": 0.5, "block_size": 2}
    layer = DGDM(drop_probability=0.5, draw="sample", **channel, **spatial, seed=5)
    seen = set()
    for _ in range(15):
        output = train(layer, features)
        mask, cells = recover(output)
        assert np.all(mask[~eligible(features, **channel)])
        use_mask = ~np.all(cells, axis=(1, 2))
        seen.update(use_mask.tolist())
        expected = dgdm(
            features,
            mask.astype(float),
            use_mask,
            channel={"drop_probability": 0.5, **channel},
            spatial=spatial,
        )
        assert_equal(output, expected)
    assert seen == {True, False}


# Channel 0 is eligible, channel 1 is not; cell 0 is kept by the mask, 1 is not.
PAIR = np.array([[1.0, 4.0], [1.0, 9.0]], "float32").reshape(1, 1, 2, 2)


def events(outputs):
    """Whether channel 0 fell, and whether the spatial mask was used, (..., B)."""
    return outputs[..., 0, 0, 0] == 0.0, outputs[..., 0, 1, 1] == 0.0


def test_channels_are_drawn_at_every_step_and_apart_from_the_other_draw():
    layer = DGDM(drop_rate=0.3, draw="sample", block_size=1, seed=6)
    fell, masked = events(train(layer, np.tile(PAIR, (2000, 1, 1, 1))))
    assert_frequency(fell, 0.5)
    assert_frequency(masked, 0.3)
    assert_frequency(fell & masked, 0.15)
    assert_frequency(fell & ~masked, 0.35)


def test_one_draw_a_batch_but_channels_for_each_sample():
    layer = DGDM(block_size=1, seed=7)
    fell, masked = events(train_often(layer, np.tile(PAIR, (3, 1, 1, 1))))
    assert np.all(masked == masked[:, :1])
    assert_frequency(masked[:, 0], 0.75)  # the default
    assert_frequency(fell.any(axis=1) & ~fell.all(axis=1), 0.75)  # 1 - 2 / 2^3


# With one draw a batch both halves would begin with the same uniform number, were
# their generators the same: channel 0 of image 0 would fall whenever the mask is
# used. Models number the seeds of their places, so the next module counts, too.
@pytest.mark.parametrize(("cells_seed", "channels_seed"), [(8, 8), (8, 9), (9, 8)])
def test_channels_of_one_module_are_apart_from_cells_of_its_neighbour(
    cells_seed, channels_seed
):
    modules = [
        DGDM(drop_rate=0.5, block_size=1, seed=seed)
        for seed in (cells_seed, channels_seed)
    ]
    cells, channels = (train_often(module, PAIR, calls=400) for module in modules)
    assert_frequency(events(cells)[1] & events(channels)[0], 0.25)


def test_halves_are_public_layers_with_seeds_of_their_own():
    layer = DGDM(drop_probability=0.25, block_size=2, drop_rate=0.5, seed=4)
    assert isinstance(layer.cagd, CAGD)
    assert isinstance(layer.sagd, SAGD)
    assert (layer.cagd.drop_probability, layer.cagd.seed) == (0.25, 4)
    assert (layer.sagd.block_size, layer.sagd.drop_rate) == (2, 0.5)
    # Models that were trained with a seed draw what they drew.
    assert layer.sagd.seed == 1_000_007
    features = positive(3, 6, 5, 4)
    channels = train(CAGD(drop_probability=0.25, seed=4), features) / features
    cells = train(SAGD(block_size=2, drop_rate=0.5, seed=1_000_007), features)
    assert_equal(train(layer, features), channels * cells)


@pytest.mark.parametrize("drop_rate", [0.0, 1.0])
def test_gradient_equals_that_of_the_reference(drop_rate):
    features = positive(2, 3, 5, 4, seed=8)
    weights = np.random.default_rng(9).normal(size=features.shape)
    channel = {"drop_probability": 1.0, "selection": "top_k", "keep_fraction": 0.5}
    spatial = {"high_threshold": 0.9, "low_threshold": 0.5, "block_size": 2}
    layer = DGDM(drop_rate=drop_rate, **channel, **spatial)
    gradient = input_gradient(
        held_draw(layer, features.shape), features, weights.astype("float32")
    )
    expected = numerical_gradient(
        lambda x: dgdm(
            x, all_drop(x), drop_rate == 1.0, channel=channel, spatial=spatial
        ),
        features,
        weights,
    )
    np.testing.assert_allclose(gradient, expected, rtol=1e-4, atol=1e-5)
