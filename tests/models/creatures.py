"""A small classifier that is trained on drawn creatures within seconds."""

from functools import cache

import keras
import numpy as np

from keras_wsol import data
from keras_wsol.boxes.iou import pairwise_iou
from keras_wsol.models.parts import Logits

SIDE, LAYER = 64, "relu2"
CENTRE = np.array([12, 12, 52, 52], "float32")  # the best box that looks at no image


@cache
def creatures(split="train-weaksup", count=240):
    return data.synthetic(split, num_images=count, num_classes=4, image_size=SIDE)


@cache
def trained_classifier():
    """Right for nine in ten; 16 x 16 cells of the layer `LAYER`."""
    keras.utils.set_random_seed(0)
    images = keras.Input((SIDE, SIDE, 3))
    x = keras.layers.Rescaling(1 / 127.5, offset=-1)(images)
    convolutions = ((16, 4, 2), (32, 4, 2), (32, 3, 1))
    for number, (filters, kernel, strides) in enumerate(convolutions, start=1):
        options = {"strides": strides, "padding": "same", "use_bias": False}
        x = keras.layers.Conv2D(filters, kernel, **options)(x)
        x = keras.layers.BatchNormalization(momentum=0.8)(x)
        x = keras.layers.ReLU(name=f"relu{number}")(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    train = creatures()
    logits = Logits(4, class_names=train.class_names)(x)
    model = keras.Model(images, logits, name="creatures")
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(5e-3), loss)
    pixels = train.images.astype("float32")
    model.fit(pixels, train.class_ids, batch_size=16, epochs=6, verbose=0)
    return model


def mean_iou(boxes, dataset):
    """Of boxes (B, 4), or of one for all, with the true ones."""
    boxes = np.broadcast_to(boxes, (len(dataset), 4))[:, None]
    return float(pairwise_iou(boxes, dataset.boxes, np).mean())
