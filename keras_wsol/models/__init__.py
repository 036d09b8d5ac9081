"""The table of backbones, splicing, the classifier and the localizer."""

from keras_wsol.cam.by_class import class_names_of
from keras_wsol.models.backbone_spec import BackboneSpec
from keras_wsol.models.backbones import BACKBONES, METHODS
from keras_wsol.models.classifier import build_classifier
from keras_wsol.models.distill import distill
from keras_wsol.models.fit_localizer import fit_localizer
from keras_wsol.models.inspection import (
    describe,
    drop_shares,
    inserted_layers,
    multiply_adds,
)
from keras_wsol.models.localizer import Localizer
from keras_wsol.models.second_look import SecondLook
from keras_wsol.models.splice import insert_after, with_input_size

__all__ = [
    "BACKBONES",
    "METHODS",
    "BackboneSpec",
    "Localizer",
    "SecondLook",
    "build_classifier",
    "class_names_of",
    "describe",
    "distill",
    "drop_shares",
    "fit_localizer",
    "insert_after",
    "inserted_layers",
    "multiply_adds",
    "with_input_size",
]
