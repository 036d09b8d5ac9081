"""Features to score maps: by class weights, gradients, scores or variance."""

from keras_wsol.cam.class_activation import (
    channel_mean,
    class_activation_maps,
    scale_to_unit,
    score_maps,
)
from keras_wsol.cam.gradient import (
    class_gradients,
    grad_cam,
    grad_cam_pp,
    hires_cam,
    layer_cam,
    x_grad_cam,
)
from keras_wsol.cam.guided_filter import guided_filter
from keras_wsol.cam.score_cam import score_cam
from keras_wsol.cam.unsupervised import (
    Discriminant,
    PrincipalComponent,
    ddt,
    eigen_cam,
    foreground,
    linear_discriminant,
    principal_component,
    principal_components,
)

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
