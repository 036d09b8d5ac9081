"""What two replicas of a MirroredStrategy have in common. Needs TensorFlow."""

import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="tf.distribute"),
]
REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    path = tmp_path_factory.mktemp("replicas") / "found.npz"
    done = subprocess.run(
        [sys.executable, "-m", "tests.training.two_replicas", str(path)],
        cwd=REPOSITORY,
        env={**os.environ, "KERAS_BACKEND": "tensorflow"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    with np.load(path) as file:
        return dict(file)


def named(found, name):
    return {key: value for key, value in found.items() if key.startswith(f"{name}/")}


@pytest.mark.parametrize("method", ["cam", "adl"])
def test_two_devices_train_what_one_does(found, method):
    # Batch normalization is frozen. What remains is the order of sums: 1e-7 of the
    # weights, which are below 1, in each of nine steps. A share counted twice, or not
    # divided by two, moves them by 1e-3.
    one, two = named(found, f"{method}_one"), named(found, f"{method}_two")
    assert len(one) == len(two) > 8
    for a, b in zip(one.values(), two.values(), strict=True):
        np.testing.assert_allclose(b, a, atol=2e-6)


@pytest.mark.parametrize("method", ["adl", "dfm", "dgdm"])
def test_weights_seeds_and_optimizer_are_the_same_on_each_replica(found, method):
    seeds = 0
    for name, (first, second) in named(found, method).items():
        assert np.isfinite(first).all(), name
        if "moving_" not in name:
            np.testing.assert_array_equal(first, second, err_msg=name)
        if "seed_generator_state" in name:
            seeds += 1
            assert first[1] > 0, "it was never drawn from"
    assert seeds >= (2 if method == "dgdm" else 1)


def test_each_replica_draws_what_one_device_would_for_its_share(found):
    two, alone = found["draws_two"], found["draws_alone"]
    assert len({call.tobytes() for call in alone}) > 3
    for replica in (0, 1):
        np.testing.assert_array_equal(two[:, replica], alone)
    [state] = named(found, "draws_state").values()
    np.testing.assert_array_equal(state[0], state[1])


def moving(found, name, layer, statistic):
    [value] = [
        value
        for key, value in named(found, name).items()
        if key.endswith(f"{layer}/moving_{statistic}")
    ]
    return value


def reference(epochs):
    """Moving statistics of the images, were each step's those of two halves' mean."""
    rng = np.random.default_rng(0)
    images = rng.uniform(0, 1, (12, 10, 14, 3)).astype("float32").astype("float64")
    mean, variance = np.zeros(3), np.ones(3)
    for _ in range(epochs):
        for start in range(0, 12, 4):
            halves = [images[start : start + 2], images[start + 2 : start + 4]]
            means = np.mean([half.mean((0, 1, 2)) for half in halves], 0)
            variances = np.mean([half.var((0, 1, 2)) for half in halves], 0)
            mean = 0.9 * mean + 0.1 * means
            variance = 0.9 * variance + 0.1 * variances
    return mean, variance


@pytest.mark.parametrize(("name", "epochs"), [("averaged", 1), ("each_epoch", 3)])
def test_averages_are_the_moving_average_of_the_means(found, name, epochs):
    for statistic, expected in zip(
        ("mean", "variance"), reference(epochs), strict=True
    ):
        for copy in moving(found, name, "first_bn", statistic):
            np.testing.assert_allclose(copy, expected, rtol=1e-5)


def test_only_statistics_differ_and_averaging_makes_them_equal(found):
    assert found["changed"].tolist() == [4, 0]  # two layers with two each; then none
    for statistic in ("mean", "variance"):
        first, second = moving(found, "apart", "second_bn", statistic)
        assert (first != second).any()
        averaged = moving(found, "averaged", "second_bn", statistic)
        np.testing.assert_array_equal(averaged[0], averaged[1])
        np.testing.assert_allclose(averaged[0], (first + second) / 2, rtol=1e-6)


@pytest.mark.parametrize("pair", [("saved", "restored"), ("uninterrupted", "resumed")])
def test_a_checkpoint_holds_all_replicas(found, pair):
    before, after = (named(found, name) for name in pair)
    assert len(before) == len(after) > 20
    for a, b in zip(before.values(), after.values(), strict=True):
        np.testing.assert_array_equal(b, a)


def test_resumed_within_an_epoch_is_uninterrupted(found):
    # Interrupted after two steps of the second epoch, before they were saved.
    assert found["within_done"].tolist() == [1, 1]
    whole, parts = named(found, "whole"), named(found, "within")
    assert len(whole) == len(parts) > 20
    for (name, a), b in zip(whole.items(), parts.values(), strict=True):
        if "Mean" not in name and "mean_metric" not in name:
            np.testing.assert_array_equal(b, a, err_msg=name)


def test_a_strategy_that_cannot_work_is_refused_as_a_model_is_built(found):
    assert "`tf.distribute.experimental.CentralStorageStrategy`" in str(
        found["central"]
    )
