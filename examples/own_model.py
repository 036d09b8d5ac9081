"""The layers inside your own model.

    python examples/own_model.py

The layers need nothing of this package around them: they are Keras layers without
weights that act in training and vanish at inference. They run on every Keras backend.
"""

import argparse

import keras
import numpy as np

import keras_wsol as wsol
from keras_wsol import data
from keras_wsol.layers import DGDM


def build_model(num_classes: int) -> keras.Model:
    """Builds a small network with DGDM after two of its activations."""
    images = keras.Input((64, 64, 3))
    x = keras.layers.Rescaling(1 / 127.5, offset=-1)(images)
    for filters in (16, 32):
        x = keras.layers.Conv2D(filters, 3, strides=2, padding="same", use_bias=False)(
            x
        )
        x = keras.layers.BatchNormalization()(x)
        x = keras.layers.ReLU()(x)
    x = DGDM(block_size=3, seed=1)(x)
    x = keras.layers.Conv2D(64, 3, padding="same", activation="relu")(x)
    x = DGDM(block_size="adaptive", low_threshold=None, seed=2)(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(images, keras.layers.Dense(num_classes)(x))


def main() -> None:
    """Trains the model on drawn creatures and localizes one of them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--smoke", action="store_true", help="one epoch on few images")
    options = parser.parse_args()
    drawn = data.synthetic(
        num_images=24 if options.smoke else 600, num_classes=3, image_size=64
    )
    model = build_model(drawn.num_classes)
    model.compile(
        optimizer=keras.optimizers.Adam(2e-3),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    images = drawn.images.astype("float32")
    model.fit(images, drawn.class_ids, epochs=1 if options.smoke else 15, verbose=2)

    # Any model that ends in pooling and one Dense layer can be asked where. No box is
    # needed to choose what is read and where it is cut.
    found = wsol.fit_localizer(model, drawn)(images[:1])
    box = keras.ops.convert_to_numpy(found["boxes"])[0, 0]
    print(f"true box {drawn.boxes[0, 0].tolist()}, found {np.round(box).tolist()}")


if __name__ == "__main__":
    main()
