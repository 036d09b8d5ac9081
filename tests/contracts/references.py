"""What each public layer gives in training for given draws, from loops in NumPy.

The functions take features, weights in the order of Keras, the layer's uniform draws
in the order in which it makes them, and its arguments, without `seed`.
"""

import numpy as np

from tests.reference.adl_numpy import adl
from tests.reference.cagd_numpy import cagd
from tests.reference.cbam_numpy import cbam
from tests.reference.cutout_numpy import cutout
from tests.reference.dfm_numpy import dfm
from tests.reference.dgdm_numpy import dgdm
from tests.reference.drop_block_numpy import drop_block
from tests.reference.max_drop_numpy import max_drop
from tests.reference.sagd_numpy import sagd
from tests.reference.squeeze_excite_numpy import squeeze_excite
from tests.reference.targeted_dropout_numpy import targeted_dropout

OF_CAGD = ("drop_probability", "selection", "min_multiple", "keep_fraction")


def first_of_two(draws, rate):
    """Whether the first map is used: one boolean for the batch, or one a sample."""
    return draws[-1].ravel() < rate


def with_switches(arguments):
    """Arguments of ADL and SAGD as their references call them."""
    names = {
        "importance_map": "with_importance_map",
        "drop_mask": "with_drop_mask",
    }
    return {names.get(name, name): value for name, value in arguments.items()}


def _adl(features, weights, draws, drop_rate=0.75, draw="batch", **arguments):
    return adl(features, first_of_two(draws, drop_rate), **with_switches(arguments))


def _cagd(features, weights, draws, **arguments):
    return cagd(features, draws[0][:, 0, 0], **arguments)


def _sagd(features, weights, draws, drop_rate=0.75, draw="batch", **arguments):
    return sagd(features, first_of_two(draws, drop_rate), **with_switches(arguments))


def _dgdm(features, weights, draws, drop_rate=0.75, draw="batch", **arguments):
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
    **arguments,
):
    drawn = first_of_two(draws, position_rate) if draws else None  # one branch: none
    return dfm(features, drawn, **arguments)


def _drop_block(features, weights, draws, per_channel=True, **arguments):
    return drop_block(features, draws[0], **arguments)


def _max_drop(features, weights, draws, **arguments):
    return max_drop(features, draws[0], **arguments)


def _cutout(features, weights, draws, **arguments):
    return cutout(features, draws[0], **arguments)


def _targeted_dropout(features, weights, draws, magnitude="l2", **arguments):
    return targeted_dropout(features, draws[0][:, 0, 0], kind=magnitude, **arguments)


def _squeeze_excite(features, weights, draws, **arguments):
    return squeeze_excite(features, weights, **arguments)


def _cbam(features, weights, draws, **arguments):
    return cbam(features, weights, **arguments)


REFERENCES = {
    "ADL": _adl,
    "CAGD": _cagd,
    "CBAM": _cbam,
    "Cutout": _cutout,
    "DFM": _dfm,
    "DGDM": _dgdm,
    "DropBlock2D": _drop_block,
    "MaxDrop": _max_drop,
    "SAGD": _sagd,
    "SqueezeExcite": _squeeze_excite,
    "TargetedDropout": _targeted_dropout,
}


class ForcedDraws:
    """Stands in for `keras.random.uniform`: the same numbers on every backend."""

    def __init__(self):
        self.generator = np.random.default_rng(15)
        self.made = []

    def __call__(self, shape, minval=0.0, maxval=1.0, dtype=None, seed=None):
        assert (minval, maxval, dtype) == (0.0, 1.0, "float32")
        assert seed is not None, "a draw without the layer's generator"
        self.made.append(self.generator.random(tuple(map(int, shape)), "float32"))
        return self.made[-1]
