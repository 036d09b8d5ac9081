"""The table of backbones, splicing, the classifier and the localizer."""

from keras_wsol.models.backbones import BACKBONES, BackboneSpec
from keras_wsol.models.classifier import build_classifier
from keras_wsol.models.localizer import Localizer
from keras_wsol.models.logits import Logits, class_names_of
from keras_wsol.models.methods import METHODS
from keras_wsol.models.normalization import ImageNetNormalization
from keras_wsol.models.splice import insert_after

__all__ = [
    "BACKBONES",
    "METHODS",
    "BackboneSpec",
    "ImageNetNormalization",
    "Localizer",
    "Logits",
    "build_classifier",
    "class_names_of",
    "insert_after",
]
