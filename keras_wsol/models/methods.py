"""The table of methods: what is inserted into a backbone."""

from collections.abc import Callable, Mapping

import keras

from keras_wsol.layers import ADL, CAGD, DFM, DGDM, SAGD

# `None`: the plain classifier, whose class activation maps are read.
METHODS: Mapping[str, Callable[..., keras.layers.Layer] | None] = {
    "cam": None,
    "adl": ADL,
    "dfm": DFM,
    "dgdm": DGDM,
    "cagd": CAGD,
    "sagd": SAGD,
}
