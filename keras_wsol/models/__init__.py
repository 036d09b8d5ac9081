"""The table of backbones, splicing, the classifier and the localizer."""

from keras_wsol.cam.split import SplitModel, split_at
from keras_wsol.models.backbones import BACKBONES, METHODS, BackboneSpec
from keras_wsol.models.classifier import build_classifier
from keras_wsol.models.fit_maps import fit_component, fit_foreground
from keras_wsol.models.inspection import (
    ModelDescription,
    describe,
    drop_shares,
    inserted_layers,
    layer_flops,
    multiply_adds,
)
from keras_wsol.models.localizer import Localizer
from keras_wsol.models.parts import ImageNetNormalization, Logits, class_names_of
from keras_wsol.models.score_map_table import SCORE_MAPS
from keras_wsol.models.splice import insert_after, with_input_size

__all__ = [
    "BACKBONES",
    "METHODS",
    "SCORE_MAPS",
    "BackboneSpec",
    "ImageNetNormalization",
    "Localizer",
    "Logits",
    "ModelDescription",
    "SplitModel",
    "build_classifier",
    "class_names_of",
    "describe",
    "drop_shares",
    "fit_component",
    "fit_foreground",
    "insert_after",
    "inserted_layers",
    "layer_flops",
    "multiply_adds",
    "split_at",
    "with_input_size",
]
