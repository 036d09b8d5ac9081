"""Methods that are more than a layer: heads and losses beside the classifier."""

from keras_wsol.models.methods.bas import BAS
from keras_wsol.models.methods.method import Method, Trunk, Truth

__all__ = ["BAS", "Method", "Trunk", "Truth"]
