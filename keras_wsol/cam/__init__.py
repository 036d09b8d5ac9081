"""Features and class weights to score maps."""

from keras_wsol.cam.class_activation import class_activation_maps
from keras_wsol.cam.score_map import scale_to_unit, score_maps

__all__ = ["class_activation_maps", "scale_to_unit", "score_maps"]
