"""What each public layer gives in training for given draws, from loops in NumPy.

The functions take features, weights in the order of Keras, the layer's uniform draws
in the order in which it makes them, and its arguments, without `seed`. They check
the shape of what was drawn, too: whether there is one number for the batch, or one
for each sample, channel or cell.
"""

import math

import numpy as np

from tests.reference.adl_numpy import adl
from tests.reference.cagd_numpy import cagd
from tests.reference.cbam_numpy import cbam
from tests.reference.cutout_numpy import cutout
from tests.reference.dfm_numpy import dfm
from tests.reference.dgdm_numpy import dgdm
from tests.reference.drop_block_numpy import drop_block
from tests.reference.hide_and_seek_numpy import hide_and_seek
from tests.reference.max_drop_numpy import max_drop
from tests.reference.sagd_numpy import sagd
from tests.reference.squeeze_excite_numpy import squeeze_excite
from tests.reference.targeted_dropout_numpy import targeted_dropout

OF_CAGD = ("drop_probability", "selection", "min_multiple", "keep_fraction")


def assert_shapes(draws, *shapes):
    """As many draws as shapes, and of these."""
    assert [draw.shape for draw in draws] == list(shapes)


def of_choice(features, draw):
    """Shape of the draw between two maps."""
    return ({"batch": 1, "sample": len(features)}[draw], 1, 1, 1)


def of_channels(features):
    """Shape of a draw for each channel of each sample."""
    return (len(features), 1, 1, features.shape[-1])


def first_of_two(draws, rate):
    """Whether the first map is used: one boolean for the batch, or one a sample."""
    return draws[-1].ravel() < rate


def with_switches(arguments):
    """Arguments of ADL and SAGD as their references call them."""
    names = {
        "use_importance_map": "with_importance_map",
        "use_drop_mask": "with_drop_mask",
    }
    return {names.get(name, name): value for name, value in arguments.items()}


def _adl(features, weights, draws, drop_rate=0.75, draw="batch", **arguments):
    assert_shapes(draws, of_choice(features, draw))
    return adl(features, first_of_two(draws, drop_rate), **with_switches(arguments))


def _cagd(features, weights, draws, **arguments):
    assert_shapes(draws, of_channels(features))
    return cagd(features, draws[0][:, 0, 0], **arguments)


def _sagd(features, weights, draws, drop_rate=0.75, draw="batch", **arguments):
    assert_shapes(draws, of_choice(features, draw))
    return sagd(features, first_of_two(draws, drop_rate), **with_switches(arguments))


def _dgdm(features, weights, draws, drop_rate=0.75, draw="batch", **arguments):
    assert_shapes(draws, of_channels(features), of_choice(features, draw))
    channel = {name: arguments.pop(name) for name in OF_CAGD if name in arguments}
    return dgdm(
        features,
        draws[0][:, 0, 0],
        first_of_two(draws, drop_rate),
        channel,
        with_switches(arguments),
    )


def _dfm(
    features,
    weights,
    draws,
    position_rate=0.7,
    draw="batch",
    inference="identity",
    branches="fused",
    **arguments,
):
    if branches in ("position", "channel"):  # nothing to choose between
        assert_shapes(draws)
        return dfm(features, None, branches=branches, **arguments)
    assert_shapes(draws, of_choice(features, draw))
    drawn = first_of_two(draws, position_rate)
    return dfm(features, drawn, branches=branches, **arguments)


def _drop_block(features, weights, draws, per_channel=True, **arguments):
    channels = features.shape[-1] if per_channel else 1
    assert_shapes(draws, (*features.shape[:3], channels))
    return drop_block(features, draws[0], **arguments)


def _max_drop(features, weights, draws, variant="feature_wise", **arguments):
    of_cells = (*features.shape[:3], 1)
    feature_wise = variant == "feature_wise"
    assert_shapes(draws, of_channels(features) if feature_wise else of_cells)
    return max_drop(features, draws[0], variant=variant, **arguments)


def _cutout(features, weights, draws, **arguments):
    assert_shapes(draws, (len(features), 2))
    return cutout(features, draws[0], **arguments)


def _hide_and_seek(features, weights, draws, grid_size, **arguments):
    batch, height, width, _ = features.shape
    least = min((side for side in np.atleast_1d(grid_size) if side), default=1)
    grid = (math.ceil(height / least), math.ceil(width / least))
    assert_shapes(draws, (batch,), (batch, *grid))
    return hide_and_seek(features, *draws, grid_size, **arguments)


def _targeted_dropout(features, weights, draws, magnitude="l2", **arguments):
    assert_shapes(draws, of_channels(features))
    return targeted_dropout(features, draws[0][:, 0, 0], kind=magnitude, **arguments)


def _squeeze_excite(features, weights, draws, **arguments):
    assert_shapes(draws)
    return squeeze_excite(features, weights, **arguments)


def _cbam(features, weights, draws, **arguments):
    assert_shapes(draws)
    return cbam(features, weights, **arguments)


REFERENCES = {
    "ADL": _adl,
    "CAGD": _cagd,
    "CBAM": _cbam,
    "Cutout": _cutout,
    "DFM": _dfm,
    "DGDM": _dgdm,
    "DropBlock2D": _drop_block,
    "HideAndSeek": _hide_and_seek,
    "MaxDrop": _max_drop,
    "SAGD": _sagd,
    "SqueezeExcite": _squeeze_excite,
    "TargetedDropout": _targeted_dropout,
}
