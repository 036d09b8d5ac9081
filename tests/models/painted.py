"""A classifier whose features one paints: the image's own channels, in coarse cells."""

import keras
import numpy as np

from keras_wsol.models.parts import Logits
from tests.reference import cam_numpy

CELL = 4  # pixels a side of one cell of the features


def painted_classifier(
    size=(24, 36), num_classes=7, *, kernel=None, class_names=None, seed=0
):
    """Average pooling by 4 x 4 pixels, global average pooling, Dense."""
    images = keras.Input((*size, 3), name="images")
    features = keras.layers.AveragePooling2D(CELL, name="features")(images)
    pooled = keras.layers.GlobalAveragePooling2D()(features)
    dense = Logits(num_classes, class_names=class_names, dtype="float32")
    model = keras.Model(images, dense(pooled), name="painted")
    rng = np.random.default_rng(seed)
    if kernel is None:
        kernel = rng.normal(size=(3, num_classes))
    bias = rng.normal(size=num_classes)
    dense.set_weights([np.asarray(kernel, "float32"), bias.astype("float32")])
    return model


def blob_images(count, size, seed=0):
    """uint8 images: a bright blob of each channel somewhere, on noise."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: size[0], : size[1]]
    images = rng.uniform(0, 60, (count, *size, 3))
    for image in images:
        for channel in range(3):
            top, left = rng.uniform(0.2, 0.8, 2) * size
            height, width = rng.uniform(0.15, 0.35, 2) * size
            blob = ((y - top) / height) ** 2 + ((x - left) / width) ** 2
            image[..., channel] += 190 * np.exp(-blob)
    return images.astype("uint8")


def expected_maps(model, images):
    """Features (B, h, w, 3), logits (B, classes) and score maps of every class.

    `images` are of any size; score maps are (B, classes, height, width).
    """
    size = model.input_shape[1:3]
    if images.shape[1:3] != size:
        images = np.stack([cam_numpy.resize(i, size, antialias=True) for i in images])
    cells = images.reshape(len(images), size[0] // CELL, CELL, size[1] // CELL, CELL, 3)
    features = cells.astype("float64").mean(axis=(2, 4))
    kernel, bias = model.layers[-1].get_weights()
    logits = features.mean(axis=(1, 2)) @ kernel.astype("float64") + bias
    every_class = np.tile(np.arange(kernel.shape[1]), (len(images), 1))
    cams = cam_numpy.class_activation_maps(features, kernel, every_class)
    maps = [[cam_numpy.score_map(cam, size) for cam in image] for image in cams]
    return features, logits, np.array(maps).astype("float32")
