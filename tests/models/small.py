"""Classifiers small enough to build in a test."""

import contextlib
from unittest import mock

import keras
import numpy as np

from keras_wsol.layers import SqueezeExcite
from keras_wsol.models import BACKBONES, BackboneSpec, build_classifier

NUM_CLASSES = 5
# The least that each takes, never square. These two refuse sides of 64.
SHAPES = dict.fromkeys(BACKBONES, (64, 96, 3))
SHAPES |= dict.fromkeys(("inception_v3", "xception"), (80, 96, 3))
OPTIONS = {"mobilenet": {"alpha": 0.25}, "mobilenet_v2": {"alpha": 0.35}}


def small_classifier(backbone="mobilenet", method="cam", **arguments):
    return build_classifier(
        backbone,
        method,
        arguments.pop("num_classes", NUM_CLASSES),
        **{
            "weights": None,
            "input_shape": SHAPES[backbone],
            "backbone_options": OPTIONS.get(backbone),
            **arguments,
        },
    )


def tiny_backbone(*, include_top, weights, input_shape, alpha=1.0):
    """Three convolutions with batch normalization, in the manner of MobileNet."""
    assert not include_top
    x = images = keras.Input(input_shape)
    for number, filters in enumerate((4, 8, 8), start=1):
        name = f"conv{number}"
        x = keras.layers.Conv2D(
            int(alpha * filters),
            3,
            strides=2 if number < 3 else 1,
            padding="same",
            use_bias=False,
            name=name,
        )(x)
        x = keras.layers.BatchNormalization(name=f"{name}_bn")(x)
        x = keras.layers.ReLU(6.0, name=f"{name}_relu")(x)
    model = keras.Model(images, x, name="tiny")
    if weights is not None:
        model.load_weights(weights)
    return model


_TINY = {
    "build": tiny_backbone,
    "normalization": "tf",
    "features": "conv3_relu",
    "drop_after": ("conv2_relu", "conv3_relu"),
    "method_drop_after": {"dfm": ("conv1_relu", "conv3_relu")},
    "place_presets": {"dgdm": {"conv2_relu": {"low_threshold": 0.2}}},
    "options": {"alpha": 1.0},
    "source": "For tests.",
}
TINY_ROWS = {
    "tiny": BackboneSpec(**_TINY),
    "tiny_head": BackboneSpec(
        **{**_TINY, "drop_after": ("conv2_relu", "head_conv2")},
        head_convolutions=2,
    ),
    "tiny_se": BackboneSpec(
        **_TINY,
        inserted_blocks={"conv2_se": "conv2_bn"},
        block=lambda **arguments: SqueezeExcite(ratio=2, **arguments),
    ),
}
TINY_SIZE = (16, 24)


def tiny_classifier(backbone="tiny", method="cam", **arguments):
    """A classifier on a row that only tests have."""
    with mock.patch.dict(BACKBONES, TINY_ROWS):
        return build_classifier(
            backbone,
            method,
            arguments.pop("num_classes", NUM_CLASSES),
            **{"weights": None, "input_shape": (*TINY_SIZE, 3), **arguments},
        )


def keras_backbone(backbone, seed=0):
    """The backbone as `keras.applications` gives it, every weight drawn at random.

    Weights are such that nothing is zero or one that could hide a mistake: variances,
    scales and shifts, too.
    """
    source = BACKBONES[backbone].build(
        include_top=False,
        weights=None,
        input_shape=SHAPES[backbone],
        **OPTIONS.get(backbone, {}),
    )
    draw_weights(source, seed)
    return source


def draw_weights(model, seed=0):
    rng = np.random.default_rng(seed)
    for variable in model.weights:
        if variable.ndim > 1:
            fan_in = np.prod(variable.shape[:-1])
            value = rng.normal(size=variable.shape) / np.sqrt(fan_in)
        else:
            value = rng.uniform(0.5, 1.5, variable.shape)
        variable.assign(value.astype("float32"))


@contextlib.contextmanager
def dtype_policy(name):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def random_images(count, size, seed=0):
    rng = np.random.default_rng(seed)
    return rng.uniform(0, 255, (count, *size, 3)).astype("float32")


def outputs(model, images, **arguments):
    """The output of a model as an array, on every backend."""
    return keras.ops.convert_to_numpy(model(images, **arguments))


def weights_by_layer(model):
    return {layer.name: layer.get_weights() for layer in model.layers if layer.weights}
