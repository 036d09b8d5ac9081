"""The published modules as Keras layers: when a mask is applied."""

from keras_wsol.layers.attention_dropout import ADL, CAGD, DGDM, SAGD
from keras_wsol.layers.attention_gates import CBAM, SqueezeExcite
from keras_wsol.layers.dfm import DFM
from keras_wsol.layers.dropout_relatives import DropBlock2D, MaxDrop, TargetedDropout
from keras_wsol.layers.hidden_parts import Cutout, HideAndSeek

__all__ = [
    "ADL",
    "CAGD",
    "CBAM",
    "DFM",
    "DGDM",
    "SAGD",
    "Cutout",
    "DropBlock2D",
    "HideAndSeek",
    "MaxDrop",
    "SqueezeExcite",
    "TargetedDropout",
]
