import numpy as np
import pytest
from keras import ops

from keras_wsol.masks import channels_below_min_multiple, channels_outside_top_k
from tests.reference.cagd_numpy import below_min_multiple, below_top_k


def attentions(channels, seed=0):
    """Signed, after a ReLU with zeros, all zero; with ties. (5, channels)."""
    values = np.random.default_rng([seed, channels]).normal(size=(5, channels))
    values[1] = np.maximum(values[1], 0.0)
    values[2] = 0.0
    values[3] = np.round(values[3] * 2.0)
    values[4] = -np.abs(values[4])
    return values.astype("float32")


def as_rows(marked):
    return ops.convert_to_numpy(marked)[:, 0, 0, :].tolist()


@pytest.mark.parametrize("multiple", [1.0, 2.0, 3.0, 3.5, 100.0])
def test_below_min_multiple(multiple):
    for channels in (1, 2, 7, 64):
        values = attentions(channels)
        marked = channels_below_min_multiple(values[:, None, None, :], multiple)
        magnitudes = np.abs(values).tolist()
        assert as_rows(marked) == [below_min_multiple(m, multiple) for m in magnitudes]


@pytest.mark.parametrize("keep_fraction", [0.1, 0.3, 0.5, 0.75, 1.0])
def test_outside_top_k(keep_fraction):
    for channels in (1, 2, 7, 64):
        values = attentions(channels, seed=1)
        marked = channels_outside_top_k(values[:, None, None, :], keep_fraction)
        magnitudes = np.abs(values).tolist()
        assert as_rows(marked) == [below_top_k(m, keep_fraction) for m in magnitudes]


def test_by_hand():
    # Smallest live magnitudes 2 and 1; 6 is not below 3 x 2.
    values = np.array([[0, -2, 5.9, 6, -9], [1, 2, 3, 4, 5]], "float32")
    marked = channels_below_min_multiple(values[:, None, None, :], 3.0)
    assert as_rows(marked) == [
        [True, True, True, False, False],
        [True, True, False, False, False],
    ]
    # Two of five are kept: -9 and 6, 5 and 4.
    marked = channels_outside_top_k(values[:, None, None, :], 0.4)
    assert as_rows(marked) == [
        [True, True, True, False, False],
        [True, True, True, False, False],
    ]
