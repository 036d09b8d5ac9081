import numpy as np
import pytest
from keras import ops

from keras_wsol.masks import channel_maxima, position_maxima
from tests.layers.feature_maps import ALL_SIZES, batch
from tests.reference import max_drop_numpy as reference


def marked(function, features):
    return ops.convert_to_numpy(function(features))


@pytest.mark.parametrize("size", ALL_SIZES, ids=str)
def test_equals_the_reference(size):
    for features in (batch(*size), np.round(batch(*size))):  # and equal maxima
        np.testing.assert_array_equal(
            marked(channel_maxima, features), reference.channel_maxima(features)
        )
        np.testing.assert_array_equal(
            marked(position_maxima, features), reference.position_maxima(features)
        )


def test_by_hand():
    # Two channels of 2 x 3 cells.
    first = [[1, 5, 2], [5, 0, 0]]
    second = [[-1, -2, 0], [7, 6, -3]]
    features = np.stack([first, second], -1)[None].astype("float32")
    assert np.argwhere(marked(channel_maxima, features)).tolist() == [
        [0, 0, 1, 0],  # the first of the two fives
        [0, 1, 0, 1],
    ]
    positions = marked(position_maxima, features)
    assert positions[0, ..., 0].tolist() == [[True, True, True], [False] * 3]
    assert positions[0, ..., 1].tolist() == [[False] * 3, [True, True, False]]


@pytest.mark.parametrize("function", [channel_maxima, position_maxima])
@pytest.mark.parametrize("level", [0.0, -2.0])
def test_nothing_above_zero_has_no_maximum(function, level):
    assert not marked(function, np.full((2, 3, 4, 5), level, "float32")).any()


@pytest.mark.parametrize("function", [channel_maxima, position_maxima])
def test_equal_values_have_one_maximum(function):
    features = np.full((2, 3, 4, 5), 6.0, "float32")  # as ReLU6 leaves them
    found = marked(function, features)
    assert found.sum() == (2 * 5 if function is channel_maxima else 2 * 3 * 4)
    assert found[:, 0, 0, 0].all()
