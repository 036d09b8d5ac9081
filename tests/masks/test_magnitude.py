import numpy as np
import pytest
from keras import ops

from keras_wsol.masks import channel_rms, channels_outside_top_k, smallest_channels
from tests.layers.feature_maps import ALL_SIZES, assert_equal, batch
from tests.reference.targeted_dropout_numpy import below_target, magnitude


def as_rows(marked):
    return ops.convert_to_numpy(marked)[:, 0, 0, :].tolist()


def magnitudes(channels):
    """Spread out, with zeros, all zero, with ties. (4, channels)."""
    values = np.random.default_rng(channels).exponential(size=(4, channels))
    values[1, ::2] = 0.0
    values[2] = 0.0
    values[3] = np.ceil(values[3])
    return values.astype("float32")


@pytest.mark.parametrize("size", ALL_SIZES, ids=str)
def test_rms_equals_the_reference(size):
    features = batch(*size)
    expected = [
        [magnitude(sample[..., c], "l2") for c in range(size[2])] for sample in features
    ]
    assert_equal(as_rows(channel_rms(features)), expected)


def test_rms_does_not_overflow_in_float16():
    features = ops.full((2, 3, 5, 4), 6e4, dtype="float16")
    assert_equal(as_rows(channel_rms(features)), np.full((2, 4), 6e4))


@pytest.mark.parametrize("fraction", [0.0, 0.1, 0.29, 0.5, 0.75, 0.99, 1.0])
def test_smallest_equals_the_reference(fraction):
    for channels in (1, 2, 7, 64, 100):
        values = magnitudes(channels)
        marked = smallest_channels(values[:, None, None, :], fraction)
        expected = [below_target(row, fraction) for row in values.tolist()]
        assert as_rows(marked) == expected


@pytest.mark.parametrize(
    ("fraction", "expected"),
    [(0.19, "....."), (0.2, ".x..."), (0.79, ".xxx."), (0.8, "xxxx."), (1.0, "xxxxx")],
)
def test_smallest_by_hand(fraction, expected):
    values = np.array([4, 1, 3, 2, 5], "float32").reshape(1, 1, 1, 5)
    (row,) = as_rows(smallest_channels(values, fraction))
    assert "".join(".x"[hit] for hit in row) == expected


@pytest.mark.parametrize("channels", [2, 7, 64, 100])
def test_the_smallest_are_those_outside_the_top_k(channels):
    values = magnitudes(channels)[:, None, None, :]
    for fraction in (0.0, 0.1, 0.29, 0.5, 0.75):
        assert as_rows(smallest_channels(values, fraction)) == as_rows(
            channels_outside_top_k(values, 1.0 - fraction)
        )
