"""A small classifier of each method that is more than a layer."""

import math

import keras
import numpy as np
from keras import ops

from keras_wsol.models.methods import ABN, BAS, SPG, ACoL, CutMix, DANet, TriLite
from tests.contracts.draws import drawing
from tests.models.small import TINY_SIZE, draw_weights, tiny_classifier

CLASSES = 5

# Name to the method, and the place after which it acts.
METHODS = {
    "bas": (BAS(convolutions=0, top_k=2), ["conv2_relu"]),
    "acol": (ACoL(convolutions=0), None),
    "spg": (SPG(filters=4), ["conv1_relu", "conv2_relu"]),
    "danet": (DANet(convolutions=0, maps_per_class=4), ["conv1_relu", "conv2_relu"]),
    "danet_levels": (
        DANet(
            parents=[0, 1, 1, 2, 0],
            roots=[0, 1, 1, 1, 0],
            maps_per_class=2,
            convolutions=1,
            widths=(3, 4),
        ),
        ["conv1_relu", "conv2_relu"],
    ),
    "cutmix": (CutMix(), None),
    "abn": (ABN(), ["conv2_relu"]),
    "trilite": (TriLite(dropout=0.0), None),
}

# These draw, and XLA draws other numbers than TensorFlow does.
DRAWING = {"danet", "danet_levels"}


def built(name, **arguments):
    """A classifier with weights that hide nothing."""
    method, places = METHODS[name]
    model = tiny_classifier(method=method, drop_after=places, **arguments)
    draw_weights(model)
    return model


def batch(count=6, seed=0):
    rng = np.random.default_rng(seed)
    images = rng.uniform(0, 255, (count, *TINY_SIZE, 3)).astype("float32")
    return images, rng.integers(0, CLASSES, count)


def compiled(model, rate=0.01, **arguments):
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    arguments = {"loss": loss, "metrics": ["accuracy"], **arguments}
    model.compile(keras.optimizers.SGD(rate), **arguments)
    return model


def same_draws():
    """Methods draw the same numbers meanwhile, compiled or not, and in every call."""

    def uniform(shape, dtype, seed):
        assert seed is not None, "a draw without the layer's generator"
        waves = ops.cos(ops.arange(1, 1 + math.prod(shape), dtype=dtype))
        return ops.reshape(0.5 + 0.49 * waves, shape)

    return drawing(uniform)


def added_loss(model, images, class_ids):
    """What the method adds, a number for each image, and what it was given."""
    before = [(v, keras.ops.copy(v.value)) for v in model.variables]
    sides = model(images, training=True)
    for variable, value in before:  # so that the next call draws the same
        variable.assign(value)
    truth = model._truth(class_ids, CLASSES)
    loss = keras.ops.convert_to_numpy(model.method.loss(model, sides, truth))
    return loss, {k: keras.ops.convert_to_numpy(v) for k, v in sides.items()}
