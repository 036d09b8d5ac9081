"""The published modules as Keras layers: when a mask is applied."""

from keras_wsol.layers.adl import ADL
from keras_wsol.layers.cagd import CAGD
from keras_wsol.layers.dfm import DFM
from keras_wsol.layers.dgdm import DGDM
from keras_wsol.layers.sagd import SAGD

__all__ = ["ADL", "CAGD", "DFM", "DGDM", "SAGD"]
