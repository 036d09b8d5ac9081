"""A small localizer, and batches that it gets partly right."""

import keras
import numpy as np

from keras_wsol.models import Localizer

CLASSES = 6


def localizer(score_map="cam", seed=0):
    """A localizer of 6 classes whose maps follow the pictures' noise."""
    rng = np.random.default_rng(seed)
    images = keras.Input((12, 20, 3))
    x = keras.layers.Rescaling(1 / 255)(images)
    x = keras.layers.Conv2D(8, 3, padding="same", activation="relu", name="last")(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    model = keras.Model(images, keras.layers.Dense(CLASSES, name="logits")(x))
    for weight in model.trainable_variables:
        weight.assign(rng.normal(0, 1, weight.shape))
    return Localizer(model, cam_threshold=0.4, score_map=score_map)


def batches(localizer, sizes=(5, 5, 2), seed=1):
    """Batches with true boxes near those found; classes often the best two.

    Images are of another size than the network's.
    """
    rng = np.random.default_rng(seed)
    for size in sizes:
        coarse = rng.uniform(0, 255, (size, 3, 5, 3)).repeat(6, 1).repeat(6, 2)
        images = coarse.astype("float32")  # (size, 18, 30, 3)
        logits = keras.ops.convert_to_numpy(localizer(images)["logits"])
        order = np.argsort(-logits, axis=1)
        ranks = rng.choice([0, 0, 1, 4, 5], size)
        class_ids = order[np.arange(size), ranks].astype("int32")
        boxes = localizer(images, class_ids=class_ids)["boxes"]
        boxes = keras.ops.convert_to_numpy(boxes)
        shift = rng.choice([0, 1, 12], (size, 1, 1)) * [1, 0, 1, 0]
        boxes = np.concatenate([boxes + shift, np.full((size, 2, 4), -1)], axis=1)
        yield {
            "images": images,
            "class_ids": class_ids,
            "boxes": boxes.astype("float32"),
            "sizes": np.full((size, 2), 99, "int32"),
            "paths": np.array([f"{i}.jpg" for i in range(size)]),
        }
