"""The published modules as Keras layers: when a mask is applied."""

from keras_wsol.layers.adl import ADL
from keras_wsol.layers.cagd import CAGD
from keras_wsol.layers.cbam import CBAM
from keras_wsol.layers.cutout import Cutout
from keras_wsol.layers.dfm import DFM
from keras_wsol.layers.dgdm import DGDM
from keras_wsol.layers.drop_block import DropBlock2D
from keras_wsol.layers.max_drop import MaxDrop
from keras_wsol.layers.sagd import SAGD
from keras_wsol.layers.squeeze_excite import SqueezeExcite
from keras_wsol.layers.targeted_dropout import TargetedDropout

__all__ = [
    "ADL",
    "CAGD",
    "CBAM",
    "DFM",
    "DGDM",
    "SAGD",
    "Cutout",
    "DropBlock2D",
    "MaxDrop",
    "SqueezeExcite",
    "TargetedDropout",
]
