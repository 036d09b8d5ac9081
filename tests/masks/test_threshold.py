import numpy as np
import pytest
from keras import ops

from keras_wsol.masks import (
    background_mask,
    channel_attention,
    drop_mask,
    spatial_attention,
)
from tests.layers.feature_maps import ALL_SIZES, batch
from tests.reference import adl_numpy, dfm_numpy, sagd_numpy

every_size = pytest.mark.parametrize("size", ALL_SIZES, ids=str)
THRESHOLDS = (0.0, 0.1, 0.5, 0.8, 0.95, 1.0)


@every_size
def test_drop_mask_of_cells(size):
    features = batch(*size)
    for threshold in THRESHOLDS:
        mask = ops.convert_to_numpy(drop_mask(spatial_attention(features), threshold))
        np.testing.assert_array_equal(
            mask[..., 0], adl_numpy.drop_mask(features, threshold)
        )


@every_size
def test_drop_mask_of_channels(size):
    features = batch(*size)
    for threshold in THRESHOLDS:
        mask = ops.convert_to_numpy(drop_mask(channel_attention(features), threshold))
        np.testing.assert_array_equal(
            mask[:, 0, 0, :], dfm_numpy.channel_mask(features, threshold)
        )


@every_size
def test_background_mask(size):
    features = batch(*size)
    for threshold in THRESHOLDS:
        mask = background_mask(spatial_attention(features), threshold)
        np.testing.assert_array_equal(
            ops.convert_to_numpy(mask)[..., 0],
            np.where(sagd_numpy.background(features, threshold), 0.0, 1.0),
        )


def maps(*rows):
    """Maps of one row, one for each sample."""
    return np.array(rows, "float32")[:, None, :, None]


def test_each_image_has_its_own_maximum():
    attention = maps([1, 2, 4], [1, 20, 40])
    mask = ops.convert_to_numpy(drop_mask(attention, 0.5)).reshape(2, 3)
    assert mask.tolist() == [[1, 0, 0], [1, 0, 0]]
    mask = ops.convert_to_numpy(background_mask(attention, 0.5)).reshape(2, 3)
    assert mask.tolist() == [[0, 1, 1], [0, 1, 1]]


def test_both_masks_split_the_map_at_one_threshold():
    # What is at the cut is discriminative, so it is no background.
    attention = maps([1, 2, 3, 4], [4, 4, 1, 2])
    dropped = 1.0 - ops.convert_to_numpy(drop_mask(attention, 0.5))
    np.testing.assert_array_equal(
        dropped, ops.convert_to_numpy(background_mask(attention, 0.5))
    )


@pytest.mark.parametrize("mask", [drop_mask, background_mask])
def test_dead_and_negative_maps_drop_nothing(mask):
    attention = maps([0, 0, 0], [-1, -2, -3], [-1, 0, -2])
    for threshold in THRESHOLDS:
        kept = ops.convert_to_numpy(mask(attention, threshold))
        np.testing.assert_array_equal(kept, np.ones((3, 1, 3, 1)))


def test_a_negative_cell_of_a_live_map_is_background_and_kept_by_the_drop_mask():
    attention = maps([-3, 1, 4])
    assert ops.convert_to_numpy(drop_mask(attention, 0.0)).ravel().tolist() == [1, 0, 0]
    kept = ops.convert_to_numpy(background_mask(attention, 0.0))
    assert kept.ravel().tolist() == [0, 1, 1]


@pytest.mark.parametrize("mask", [drop_mask, background_mask])
def test_masks_are_float32(mask):
    assert str(ops.convert_to_numpy(mask(maps([1, 2]), 0.5)).dtype) == "float32"
