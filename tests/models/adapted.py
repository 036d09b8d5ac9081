"""A small network that begins with a normalization adapted to its images."""

import keras
import numpy as np
from keras import layers

from tests.models.small import draw_weights, random_images

SIZE = (8, 6)
# Per channel, so that another axis or the identity is told apart.
SCALE = np.array([1.0, 0.5, 0.1], "float32")


def adapted_model(size=SIZE):
    """Normalization, a convolution, pooling and a Dense layer."""
    images = keras.Input((*size, 3))
    normalization = layers.Normalization(name="scaled")
    x = layers.Conv2D(4, 3, activation="relu", name="conv")(normalization(images))
    x = layers.GlobalAveragePooling2D()(x)
    model = keras.Model(images, layers.Dense(2, name="logits")(x), name="adapted")
    draw_weights(model)
    normalization.adapt(random_images(5, SIZE, seed=1) * SCALE)
    return model


def normalized(images):
    """What the normalization makes of images, by NumPy."""
    known = (random_images(5, SIZE, seed=1) * SCALE).astype("float64")
    mean, variance = known.mean(axis=(0, 1, 2)), known.var(axis=(0, 1, 2))
    return (images - mean) / np.sqrt(variance)
