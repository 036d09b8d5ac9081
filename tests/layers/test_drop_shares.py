"""What a layer says that it drops is what its reference drops."""

import numpy as np
import pytest
from keras import ops

from keras_wsol.layers import ADL, CAGD, DFM, DGDM, SAGD
from tests.layers.feature_maps import SIZES, assert_equal, batch, train
from tests.reference.adl_numpy import drop_mask
from tests.reference.cagd_numpy import eligible
from tests.reference.dfm_numpy import channel_mask, position_mask
from tests.reference.sagd_numpy import spatial_mask

every_size = pytest.mark.parametrize("size", SIZES, ids=str)


def shares(layer, features):
    found = layer.drop_shares(features)
    return {name: ops.convert_to_numpy(share) for name, share in found.items()}


def zeros(mask):
    return np.mean(np.asarray(mask).reshape(len(mask), -1) == 0, axis=1)


@every_size
def test_shares_of_cells(size):
    features = batch(*size)
    assert_equal(
        shares(ADL(drop_threshold=0.6), features)["cells"],
        zeros(drop_mask(features, 0.6)),
    )
    assert_equal(
        shares(SAGD(low_threshold=0.4, block_size=2), features)["cells"],
        zeros(spatial_mask(features, low_threshold=0.4, block_size=2)),
    )
    assert_equal(
        shares(DFM(position_threshold=0.7, focus=0.5), features)["cells"],
        zeros(position_mask(features, 0.7)),
    )


@every_size
def test_shares_of_channels(size):
    features = batch(*size)
    assert_equal(
        shares(CAGD(drop_probability=0.25), features)["channels"],
        0.25 * eligible(features).mean(1),
    )
    assert_equal(
        shares(DFM(channel_threshold=0.5), features)["channels"],
        zeros(channel_mask(features, 0.5)),
    )


def test_dgdm_gives_both():
    features = batch(6, 4, 3)
    both = shares(DGDM(min_multiple=2.0, block_size=1), features)
    assert_equal(both["cells"], shares(SAGD(block_size=1), features)["cells"])
    assert_equal(both["channels"], shares(CAGD(min_multiple=2.0), features)["channels"])


@pytest.mark.parametrize("layer", [ADL, SAGD])
def test_without_its_mask_a_layer_drops_nothing(layer):
    found = shares(layer(use_drop_mask=False), batch(6, 4, 3))
    assert found["cells"].tolist() == [0.0] * 5


@pytest.mark.parametrize(
    ("arguments", "silent"),
    [
        ({"branches": "channel"}, "cells"),
        ({"branches": "position"}, "channels"),
        ({"feedback": "add", "inference": "expected"}, "cells"),
        ({"feedback": "add", "inference": "expected"}, "channels"),
    ],
)
def test_dfm_without_a_branch_hides_nothing_there(arguments, silent):
    found = shares(DFM(**arguments), batch(6, 4, 3))
    assert found[silent].tolist() == [0.0] * 5
    if "branches" in arguments:
        assert max(max(share) for share in found.values()) > 0


def test_asking_moves_no_draw():
    features = batch(6, 4, 3)
    asked, silent = (DGDM(drop_rate=0.5, selection="top_k", seed=3) for _ in range(2))
    for _ in range(4):
        shares(asked, features)
        np.testing.assert_array_equal(train(asked, features), train(silent, features))
