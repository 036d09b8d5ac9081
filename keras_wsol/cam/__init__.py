"""Features to score maps: by class weights, gradients, scores or fitted directions."""

from keras_wsol.cam.by_class import ByClass
from keras_wsol.cam.c2am import C2AM
from keras_wsol.cam.class_activation import (
    CAM,
    ChannelMean,
    ClassMaps,
    class_activation_maps,
    score_maps,
)
from keras_wsol.cam.combined import Guided, Mean, Smoothed
from keras_wsol.cam.ddt import DDT
from keras_wsol.cam.erased_maps import ErasedMaps
from keras_wsol.cam.foreground import Foreground
from keras_wsol.cam.gradient import (
    GradCAM,
    GradCAMPlusPlus,
    HiResCAM,
    LayerCAM,
    ScoreCAM,
    XGradCAM,
)
from keras_wsol.cam.level_maps import LevelMaps
from keras_wsol.cam.score_map import SCORE_MAPS, ScoreMap

__all__ = [
    "C2AM",
    "CAM",
    "DDT",
    "SCORE_MAPS",
    "ByClass",
    "ChannelMean",
    "ClassMaps",
    "ErasedMaps",
    "Foreground",
    "GradCAM",
    "GradCAMPlusPlus",
    "Guided",
    "HiResCAM",
    "LayerCAM",
    "LevelMaps",
    "Mean",
    "ScoreCAM",
    "ScoreMap",
    "Smoothed",
    "XGradCAM",
    "class_activation_maps",
    "score_maps",
]
