import numpy as np
import pytest
from keras import ops

from keras_wsol.masks import channel_attention, importance_map, spatial_attention
from tests.layers.feature_maps import ALL_SIZES, assert_equal, batch
from tests.reference import adl_numpy, cagd_numpy

every_size = pytest.mark.parametrize("size", ALL_SIZES, ids=str)


@every_size
def test_spatial_attention_is_the_mean_over_channels(size):
    features = batch(*size)
    attention = ops.convert_to_numpy(spatial_attention(features))
    assert_equal(attention[..., 0], adl_numpy.attention_map(features))


@every_size
def test_channel_attention_is_the_mean_over_cells(size):
    features = batch(*size)
    attention = ops.convert_to_numpy(channel_attention(features))
    assert attention.shape == (5, 1, 1, size[-1])
    assert_equal(attention[:, 0, 0, :], cagd_numpy.channel_attention(features))


@every_size
def test_importance_map_is_the_sigmoid_of_the_attention(size):
    features = 4.0 * batch(*size)
    importance = ops.convert_to_numpy(importance_map(spatial_attention(features)))
    assert_equal(importance[..., 0], adl_numpy.importance_map(features))


@pytest.mark.parametrize("attend", [spatial_attention, channel_attention])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_means_are_taken_in_float32(attend, dtype):
    # 2048 numbers of 60,000 are 1.2e8; float16 ends at 65,504. In bfloat16 a sum
    # of ones stops at 256.
    for level in (59392.0, 1.0):
        features = ops.cast(np.full((2, 32, 64, 1), level, "float32"), dtype)
        if attend is spatial_attention:
            features = ops.reshape(features, (2, 1, 1, 2048))
        attention = ops.convert_to_numpy(attend(features))
        assert attention.dtype == np.float32
        np.testing.assert_array_equal(attention.ravel(), level)
