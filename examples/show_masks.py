r"""Draws what the inserted layers see in an image and what they drop.

    python examples/show_masks.py --out examples/results/masks.png

The image is a drawn creature that the model has not seen; nothing is downloaded. A
plain classifier is trained first, as the papers start from trained weights, and one
with the method's layers goes on from it: about a minute on two CPU cores.
"""

import argparse
import tempfile
from pathlib import Path

import keras

from keras_wsol import data, models, viz

SIDE = 128
# On 8x8 maps the default block of 3x3 cells would drop a large part of the creature.
OPTIONS = {"dgdm": {"block_size": "adaptive"}, "sagd": {"block_size": "adaptive"}}


def main() -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", default="runs/masks.png", help="PNG file to write")
    # Those that insert a layer of this package, which has something to show.
    without = ("cam", "spatial_dropout")
    methods = [name for name in models.METHODS if name not in without]
    parser.add_argument("--method", choices=methods, default="dgdm")
    parser.add_argument("--image", type=int, default=0, help="which of 100 test images")
    parser.add_argument(
        "--weights", type=Path, help=".keras file, to start from (a small MobileNet)"
    )
    parser.add_argument("--seed", type=int, default=0, help="default %(default)s")
    parser.add_argument("--smoke", action="store_true", help="one pass, few images")
    options = parser.parse_args()
    images, epochs, more = (48, 1, 1) if options.smoke else (800, 8, 3)
    train = data.synthetic(num_images=images, image_size=SIDE, seed=options.seed)
    with tempfile.TemporaryDirectory() as folder:
        start = options.weights
        if start is None:
            start = Path(folder) / "plain.keras"
            trained("cam", None, train, epochs, options.seed).save(start)
        model = trained(options.method, start, train, more, options.seed)
    test = data.synthetic("test", num_images=100, image_size=SIDE, seed=options.seed)
    picture = viz.show_masks(model, test.image(options.image), cell_size=144)
    print(viz.save_png(options.out, picture))


def trained(
    method: str,
    weights: Path | None,
    train: data.ImageDataset,
    epochs: int,
    seed: int,
) -> keras.Model:
    """Trains a small MobileNet on drawn creatures.

    Args:
        method: A row of `models.METHODS`.
        weights: A `.keras` file to start from, or `None` for random weights.
        train: The images.
        epochs: Passes over them.
        seed: Fixes weights and draws.

    Returns:
        The classifier.
    """
    keras.utils.set_random_seed(seed)
    model = models.build_classifier(
        "mobilenet",
        method,
        train.num_classes,
        weights=weights,
        input_shape=(SIDE, SIDE, 3),
        method_options=OPTIONS.get(method),
        backbone_options={"alpha": 0.25},
        class_names=train.class_names,
        seed=seed,
    )
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.9  # statistics have to follow within some 100 steps
    model.compile(
        optimizer=keras.optimizers.Adam(3e-3 if weights is None else 1e-3),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    images = train.images.astype("float32")
    model.fit(images, train.class_ids, batch_size=16, epochs=epochs, verbose=2)
    return model


if __name__ == "__main__":
    main()
