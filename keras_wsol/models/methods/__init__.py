"""Methods that are more than a layer: heads and losses beside the classifier."""

from keras_wsol.models.methods.abn import ABN
from keras_wsol.models.methods.acol import ACoL
from keras_wsol.models.methods.bas import BAS
from keras_wsol.models.methods.cutmix import CutMix
from keras_wsol.models.methods.danet import DANet
from keras_wsol.models.methods.method import Method, Trunk, Truth
from keras_wsol.models.methods.spg import SPG
from keras_wsol.models.methods.trilite import TriLite

__all__ = [
    "ABN",
    "BAS",
    "SPG",
    "ACoL",
    "CutMix",
    "DANet",
    "Method",
    "TriLite",
    "Trunk",
    "Truth",
]
