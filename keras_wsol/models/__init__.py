"""The table of backbones, splicing, the classifier and the localizer."""

from keras_wsol.models.backbone_spec import BackboneSpec
from keras_wsol.models.backbones import BACKBONES
from keras_wsol.models.classifier import build_classifier
from keras_wsol.models.complexity import layer_flops, multiply_adds
from keras_wsol.models.component import fit_component
from keras_wsol.models.description import ModelDescription, describe
from keras_wsol.models.foreground import fit_foreground
from keras_wsol.models.inserted import drop_shares, inserted_layers
from keras_wsol.models.localizer import Localizer
from keras_wsol.models.logits import Logits, class_names_of
from keras_wsol.models.methods import METHODS
from keras_wsol.models.normalization import ImageNetNormalization
from keras_wsol.models.resized import with_input_size
from keras_wsol.models.score_map_table import SCORE_MAPS
from keras_wsol.models.splice import insert_after
from keras_wsol.models.tail import SplitModel, split_at

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
