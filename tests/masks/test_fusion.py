import pytest
from keras import ops

from keras_wsol.masks import dfm_maps, fuse
from tests.layers.feature_maps import ALL_SIZES, assert_equal, batch
from tests.reference.adl_numpy import attention_map
from tests.reference.cagd_numpy import channel_attention
from tests.reference.dfm_numpy import (
    candidates,
    channel_mask,
    enhancement,
    focused,
    position_mask,
)

every_size = pytest.mark.parametrize("size", ALL_SIZES, ids=str)


@every_size
def test_four_key_maps(size):
    features = batch(*size)
    accumulate_focus = size[0] % 2 == 0  # both ways are in test_blocks.py
    maps = dfm_maps(
        features,
        channel_threshold=0.6,
        position_threshold=0.7,
        focus=0.4,
        accumulate_focus=accumulate_focus,
    )
    maps = {name: ops.convert_to_numpy(value) for name, value in maps.items()}
    assert_equal(
        maps["channel_enhancement"][:, 0, 0], enhancement(channel_attention(features))
    )
    assert_equal(
        maps["position_enhancement"][..., 0], enhancement(attention_map(features))
    )
    assert_equal(maps["channel_mask"][:, 0, 0], channel_mask(features, 0.6))
    assert_equal(
        maps["position_mask"][..., 0],
        focused(position_mask(features, 0.7), 0.4, accumulate_focus),
    )


@every_size
@pytest.mark.parametrize("branches", ["fused", "unfused"])
def test_both_candidates(size, branches):
    features = batch(*size, seed=1)
    weights = {"position_weight": 0.6, "channel_weight": 0.4}
    thresholds = {"channel_threshold": 0.5, "position_threshold": 0.8}
    maps = dfm_maps(features, **thresholds, focus=0.0, accumulate_focus=False)
    actual = fuse(maps, **weights, branches=branches)
    expected = candidates(
        features, **thresholds, **weights, focus=0.0, branches=branches
    )
    _, height, width, channels = features.shape
    for parts, reference in zip(actual, expected, strict=True):
        assert tuple(parts.cells.shape) == (5, height, width, 1)
        assert tuple(parts.channels.shape) == (5, 1, 1, channels)
        assert_equal(ops.convert_to_numpy(parts.cells + parts.channels), reference)
