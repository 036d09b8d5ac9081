from itertools import product

import numpy as np
import pytest
from keras import ops

from keras_wsol.layers import DFM
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
from tests.reference.dfm_numpy import candidates, dfm, dfm_expected
from tests.reference.finite_differences import numerical_gradient

every_size = pytest.mark.parametrize("size", SIZES, ids=str)
every_branch = pytest.mark.parametrize(
    "branches", ["fused", "unfused", "channel", "position"]
)
# `rescale` is about "residual" alone: see test_rescale_is_ignored_by_other_feedbacks.
FEEDBACKS = (
    {"feedback": "residual"},
    {"feedback": "residual", "rescale": False},
    {"feedback": "scale"},
    {"feedback": "add"},
)
every_feedback = pytest.mark.parametrize("feedback", FEEDBACKS, ids=str)


def expected_inference(feedback):
    """`add` needs the map at inference, too."""
    return "expected" if feedback["feedback"] == "add" else "identity"


@every_size
@every_branch
def test_each_candidate_of_each_branch(size, branches):
    features = batch(*size)
    for position_rate, arguments in product(
        (0.0, 1.0),
        (
            {},
            {"channel_threshold": 0.5, "position_threshold": 0.4},
            {"position_threshold": 0.6, "focus": 0.5, "accumulate_focus": True},
            {"focus": 0.0, "position_weight": 1.5, "channel_weight": 0.0},
            {"channel_threshold": 1.0, "position_threshold": 1.0, "channel_weight": 2},
            {"channel_threshold": 0.0, "position_threshold": 0.0},
        ),
    ):
        layer = DFM(position_rate=position_rate, branches=branches, **arguments)
        expected = dfm(features, position_rate == 1.0, branches=branches, **arguments)
        assert_equal(train(layer, features), expected)


@every_branch
@every_feedback
def test_feedbacks(branches, feedback):
    features = batch(6, 4, 3, seed=1)
    for position_rate in (0.0, 1.0):
        layer = DFM(
            position_rate=position_rate,
            branches=branches,
            inference=expected_inference(feedback),
            **feedback,
        )
        expected = dfm(features, position_rate == 1.0, branches=branches, **feedback)
        assert_equal(train(layer, features), expected)


def test_what_adds_needs_its_map_at_inference():
    assert DFM(feedback="add").get_config()["inference"] == "expected"
    assert DFM(feedback="scale").inference == "identity"


@pytest.mark.parametrize("feedback", ["scale", "add"])
def test_rescale_is_ignored_by_other_feedbacks(feedback):
    features = batch(6, 4, 3, seed=1)
    outputs = [
        train(
            DFM(feedback=feedback, rescale=on, inference="expected", seed=1), features
        )
        for on in (True, False)
    ]
    np.testing.assert_array_equal(*outputs)


@every_branch
@every_feedback
def test_expected_inference_uses_the_mean_map(branches, feedback):
    features = batch(6, 4, 3, seed=2)
    for position_rate in (0.25, 1.0):
        layer = DFM(
            position_rate=position_rate,
            branches=branches,
            inference="expected",
            focus=0.5,
            **feedback,
        )
        expected = dfm_expected(
            features, position_rate, branches=branches, focus=0.5, **feedback
        )
        for _ in range(2):
            assert_equal(ops.convert_to_numpy(layer(features)), expected)


def test_focused_matrix_by_hand():
    # The maximum, row 1 and column 1 of 3 x 4 cells, is dropped; its eight
    # neighbours rise to 1.25, the last column is too far away.
    features = np.ones((1, 3, 4, 1), "float32")
    features[0, 1, 1, 0] = 8.0
    layer = DFM(position_rate=1.0, channel_weight=0.0, focus=0.25, feedback="scale")
    assert train(layer, features)[0, ..., 0].tolist() == [
        [1.25, 1.25, 1.25, 1.0],
        [1.25, 0.0, 1.25, 1.0],
        [1.25, 1.25, 1.25, 1.0],
    ]


@pytest.mark.parametrize(
    ("accumulate_focus", "expected"),
    [
        (False, [[0, 1.25, 0, 1.25, 1], [1.25, 1.25, 1.25, 1.25, 1]]),
        (True, [[0, 1.5, 0, 1.25, 1], [1.25, 1.5, 1.25, 1.25, 1]]),
    ],
)
def test_two_dropped_neighbours_by_hand(accumulate_focus, expected):
    features = np.ones((1, 2, 5, 1), "float32")
    features[0, 0, (0, 2), 0] = 8.0
    layer = DFM(
        position_rate=1.0,
        channel_weight=0.0,
        focus=0.25,
        accumulate_focus=accumulate_focus,
        feedback="scale",
    )
    assert train(layer, features)[0, ..., 0].tolist() == expected


def test_fusion_crosses_the_branches_by_hand():
    # Cells 1 and 3 of channel 0, 2 and 6 of channel 1. Attention of cells: 1.5
    # and 4.5, so cell 1 falls; of channels: 2 and 4, so channel 1 falls.
    features = np.array([[1.0, 2.0], [3.0, 6.0]], "float32").reshape(1, 1, 2, 2)
    arguments = {
        "focus": 0.5,
        "position_weight": 0.6,
        "channel_weight": 0.4,
        "feedback": "scale",
    }
    position = train(DFM(position_rate=1.0, **arguments), features).reshape(2, 2)
    tanh_channels = np.tanh([2.0, 4.0])
    assert_equal(position[0], [1.0, 2.0] * (0.4 * tanh_channels + 1.5))
    assert_equal(position[1], [3.0, 6.0] * (0.4 * tanh_channels))
    channel = train(DFM(position_rate=0.0, **arguments), features).reshape(2, 2)
    tanh_cells = np.tanh([1.5, 4.5])
    assert_equal(channel[:, 0], [1.0, 3.0] * (0.6 * tanh_cells + 1.0))
    assert_equal(channel[:, 1], [2.0, 6.0] * (0.6 * tanh_cells))


@pytest.mark.parametrize("level", [0.0, -0.5])
@pytest.mark.parametrize("position_rate", [0.0, 1.0])
def test_a_dead_or_negative_map_masks_nothing(level, position_rate):
    # Every mask is 1, so M is 1 plus the weighted tanh of the level.
    features = np.full((2, 3, 5, 4), level, "float32")
    layer = DFM(position_rate=position_rate, rescale=False)
    weight = 0.4 if position_rate == 1.0 else 0.6
    expected = features * (2.0 + weight * np.tanh(level))
    assert_equal(train(layer, features), expected)


def shows_position(output, features, branches):
    """Which candidate each sample of an output shows; all samples are equal."""
    near = [
        np.isclose(output, dfm(features[:1], draw, branches=branches), rtol=1e-4)
        for draw in (True, False)
    ]
    position, channel = (candidate.all((1, 2, 3)) for candidate in near)
    assert np.all(position ^ channel)
    return position


@pytest.mark.parametrize("branches", ["fused", "unfused"])
def test_frequency_of_draws_for_the_batch(branches):
    features = np.tile(positive(1, 2, 1, 3, seed=3), (2, 1, 1, 1))
    layer = DFM(branches=branches, seed=1)
    outputs = train_often(layer, features).reshape(-1, *features.shape[1:])
    shown = shows_position(outputs, features, branches).reshape(-1, 2)
    assert np.all(shown[:, 0] == shown[:, 1])
    assert_frequency(shown[:, 0], 0.7)  # the paper's tau is the default


@pytest.mark.parametrize("branches", ["fused", "unfused"])
def test_frequency_of_draws_for_each_sample(branches):
    features = np.tile(positive(1, 2, 1, 3, seed=3), (1000, 1, 1, 1))
    layer = DFM(branches=branches, position_rate=0.3, draw="sample", seed=2)
    draws = shows_position(train(layer, features), features, branches)
    assert_frequency(draws, 0.3)
    assert_frequency(draws[1:] & draws[:-1], 0.09)


@pytest.mark.parametrize("branches", ["channel", "position"])
def test_a_single_branch_draws_nothing(branches):
    features = positive(2, 3, 4, 5, seed=4)
    layer = DFM(branches=branches, position_rate=0.5)
    expected = dfm(features, None, branches=branches)
    for _ in range(10):
        assert_equal(train(layer, features), expected)


# Each pair of a feedback and a map at least once; the contracts have more.
@pytest.mark.parametrize(
    ("feedback", "branches", "position_rate"),
    [
        (FEEDBACKS[0], "fused", 1.0),
        (FEEDBACKS[0], "fused", 0.0),
        (FEEDBACKS[0], "channel", 0.5),
        (FEEDBACKS[1], "fused", 0.0),
        (FEEDBACKS[1], "position", 0.5),
        (FEEDBACKS[2], "fused", 1.0),
        (FEEDBACKS[2], "unfused", 0.0),
        (FEEDBACKS[3], "fused", 0.0),
        (FEEDBACKS[3], "unfused", 1.0),
    ],
)
def test_gradient_equals_that_of_the_reference(feedback, branches, position_rate):
    features = positive(2, 2, 3, 4, seed=5)
    weights = np.random.default_rng(6).normal(size=features.shape)
    layer = DFM(
        position_rate=position_rate,
        branches=branches,
        inference=expected_inference(feedback),
        **feedback,
    )
    gradient = input_gradient(
        held_draw(layer, features.shape), features, weights.astype("float32")
    )
    expected = numerical_gradient(
        lambda x: dfm(x, position_rate == 1.0, branches=branches, **feedback),
        features,
        weights,
    )
    np.testing.assert_allclose(gradient, expected, rtol=1e-4, atol=1e-5)


def test_maps_name_both_candidates():
    features = batch(3, 4, 6, seed=7)
    maps = DFM(focus=0.5).maps(features)
    position, channel = candidates(features.astype("float64"), focus=0.5)
    shape = features.shape
    for name, expected in (("position_map", position), ("channel_map", channel)):
        actual = np.broadcast_to(ops.convert_to_numpy(maps[name]), shape)
        assert_equal(actual, expected)
