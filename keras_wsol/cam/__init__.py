"""Features to score maps: by class weights, gradients, scores or variance."""

from keras_wsol.cam.channel_mean import channel_mean
from keras_wsol.cam.class_activation import class_activation_maps
from keras_wsol.cam.ddt import (
    PrincipalComponent,
    ddt,
    principal_component,
    principal_components,
)
from keras_wsol.cam.eigen_cam import eigen_cam
from keras_wsol.cam.foreground import Discriminant, foreground, linear_discriminant
from keras_wsol.cam.gradient_weights import (
    grad_cam,
    grad_cam_pp,
    hires_cam,
    layer_cam,
    x_grad_cam,
)
from keras_wsol.cam.gradients import class_gradients
from keras_wsol.cam.guided_filter import guided_filter
from keras_wsol.cam.score_cam import score_cam
from keras_wsol.cam.score_map import scale_to_unit, score_maps

__all__ = [
    "Discriminant",
    "PrincipalComponent",
    "channel_mean",
    "class_activation_maps",
    "class_gradients",
    "ddt",
    "eigen_cam",
    "foreground",
    "grad_cam",
    "grad_cam_pp",
    "guided_filter",
    "hires_cam",
    "layer_cam",
    "linear_discriminant",
    "principal_component",
    "principal_components",
    "scale_to_unit",
    "score_cam",
    "score_maps",
    "x_grad_cam",
]
