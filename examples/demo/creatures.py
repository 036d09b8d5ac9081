"""A small localizer for a page without a model: it learns from drawn creatures."""

from pathlib import Path

import keras
from PIL import Image

import keras_wsol as wsol

SIDE = 96
PICTURES = slice(6, 12)  # of the test images, in which the classes take turns


def of_creatures(folder: Path, images: int = 800, epochs: int = 8) -> keras.Model:
    """Learns from drawn creatures, unless it has before."""
    path, part = folder / "creatures.keras", folder / "part.keras"
    if not path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        train = wsol.data.synthetic(num_images=images, image_size=SIDE)
        keras.utils.set_random_seed(0)
        model = wsol.build_classifier(
            network(),
            "cam",
            train.num_classes,
            weights=None,
            class_names=train.class_names,
            batch_norm_momentum=0.9,  # statistics have to follow within some 100 steps
        )
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(keras.optimizers.Adam(2e-3), loss, metrics=["accuracy"])
        batches = train.batches(16, training=True, image_size=(SIDE, SIDE))
        model.fit(batches, epochs=epochs, shuffle=False, verbose=2)
        wsol.fit_localizer(model, train).save(part)
        part.rename(path)  # so that what is there is whole
    return keras.saving.load_model(path, compile=False)


def network() -> keras.Model:
    """Returns a small network, in front of whose last stride there are 24x24 cells."""
    x = images = keras.Input((SIDE, SIDE, 3))
    x = keras.layers.Rescaling(1 / 127.5, offset=-1)(x)
    for filters, strides in ((16, 2), (32, 2), (32, 1), (64, 2), (64, 1), (64, 1)):
        # Of an even size where it strides: an odd one would shift the map.
        size = 4 if strides == 2 else 3
        x = keras.layers.Conv2D(filters, size, strides, "same", use_bias=False)(x)
        x = keras.layers.BatchNormalization(center=False, scale=False)(x)
        # Under a ceiling the loud colours of a head do not outshine the body.
        x = keras.layers.ReLU(1.0 if (filters, strides) == (32, 1) else None)(x)
    return keras.Model(images, x, name="small")


def pictures(folder: Path) -> list[str]:
    """Draws creatures that it has not seen, finer; returns their files."""
    side = 3 * SIDE
    test = wsol.data.synthetic("test", num_images=PICTURES.stop, image_size=side)
    files = []
    for pixels, class_id in zip(
        test.images[PICTURES], test.class_ids[PICTURES], strict=True
    ):
        files.append(str(folder / f"{test.class_names[class_id]}.png"))
        Image.fromarray(pixels).save(files[-1])
    return files
