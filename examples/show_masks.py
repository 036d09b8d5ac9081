r"""Shows what the inserted layers see in an image and what they drop.

    python examples/show_masks.py --out examples/results/masks.png

A row for each layer: the image, the attention that the layer computes, its importance
map, its drop mask, the attention of its output where the mask is used, and the mean of
each channel. The image is a drawn creature that the model has not seen. A plain
classifier is trained first, as the papers start from trained weights, and one with the
layers of DGDM goes on from it: about a minute on two CPU cores.
"""

import argparse
from pathlib import Path
from typing import Any

import keras
import numpy as np
from matplotlib.figure import Figure

from keras_wsol import data, layers, masks, models, viz

SIDE = 128
LEGEND = (
    "attention and output: blue for 0, red for the largest value; importance map: blue "
    "for 0.5, red for 1; dark: dropped cells; orange: channels that may be dropped"
)


def main() -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("runs/masks.png"))
    parser.add_argument("--smoke", action="store_true", help="one pass, few images")
    options = parser.parse_args()
    images, epochs, more = (48, 1, 1) if options.smoke else (800, 8, 3)
    train = data.synthetic(num_images=images, image_size=SIDE)
    plain = trained("cam", None, train, epochs)
    # On 8x8 maps the default block of 3x3 cells would drop much of the creature.
    model = trained(layers.DGDM(block_size="adaptive"), plain, train, more)
    test = data.synthetic("test", num_images=1, image_size=SIDE)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    show_masks(model, test.image(0)).savefig(options.out)
    print(options.out)


def trained(
    method: Any,
    start: keras.Model | None,
    train: data.ImageDataset,
    epochs: int,
) -> keras.Model:
    """Trains a small MobileNet on drawn creatures, from the weights of another."""
    keras.utils.set_random_seed(0)
    model = models.build_classifier(
        "mobilenet",
        method,
        train.num_classes,
        weights=None,
        input_shape=(SIDE, SIDE, 3),
        backbone_options={"alpha": 0.25},
        batch_norm_momentum=0.9,  # statistics have to follow within some 100 steps
    )
    if start is not None:
        for layer in start.layers:
            model.get_layer(layer.name).set_weights(layer.get_weights())
    model.compile(
        optimizer=keras.optimizers.Adam(3e-3 if start is None else 1e-3),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    images = train.images.astype("float32")
    model.fit(images, train.class_ids, batch_size=16, epochs=epochs, verbose=2)
    return model


def show_masks(model: keras.Model, image: np.ndarray) -> Figure:
    """Draws a row for each inserted layer, from one forward pass at inference."""
    inserted = models.inserted_layers(model)
    probe = keras.Model(model.inputs, [layer.input for layer in inserted])
    features = keras.tree.flatten(probe(image[None]))
    figure = Figure(figsize=(12, 2.5 * len(inserted)), layout="constrained")
    rows = figure.subplots(len(inserted), 6, squeeze=False)
    for layer, x, row in zip(inserted, features, rows, strict=True):
        maps = layer.maps(x)
        # A copy that uses its mask for sure; the layer itself draws nothing.
        sure = {"drop_rate": 1.0, "drop_probability": 1.0}
        config = layer.get_config()
        config |= {name: rate for name, rate in sure.items() if name in config}
        output = type(layer).from_config(config)(x, training=True)
        attention, left = (array(masks.spatial_attention(each)) for each in (x, output))
        dropped = array(maps["drop_mask"]) == 0
        importance = array(maps["importance_map"])
        top = max(attention.max(), left.max())
        cells = {
            f"{layer.name}\n{len(attention)} x {len(attention[0])} cells": image,
            f"attention\n{span(attention)}": painted(image, attention / top),
            f"importance map\n{span(importance)}": painted(image, 2 * importance - 1),
            f"drop mask\n{dropped.mean():.0%} of {dropped.size} cells": np.where(
                enlarged(dropped)[:, :, None], image // 8, image
            ),
            f"output with the mask\n{span(left)}": painted(image, enlarged(left / top)),
        }
        for axes, (title, picture) in zip(row, cells.items(), strict=False):
            axes.imshow(picture)
            axes.set_xlabel(title, fontsize=9)
        channels = np.abs(keras.ops.convert_to_numpy(x)).mean(axis=(0, 1, 2))
        draw_channels(row[-1], channels, maps.get("eligible", 0 * channels))
        for axes in row:
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set_visible(False)
    figure.supxlabel(LEGEND, fontsize=9)
    return figure


def draw_channels(axes: Any, channels: np.ndarray, eligible: Any) -> None:
    """Draws a bar a channel, and below it the colour of whether it may be dropped."""
    order = np.argsort(-channels)
    may_go = np.ravel(keras.ops.convert_to_numpy(eligible))[order] > 0
    colors = np.where(may_go, "#e66101", "#6a7a96")
    places = np.arange(len(channels))
    axes.bar(places, channels[order], width=1.0, color=colors)
    axes.bar(places, -channels.max() / 8, width=1.0, color=colors)
    axes.set_box_aspect(1)
    axes.set_xlabel(f"channels\n{may_go.sum()} of {len(channels)} eligible", fontsize=9)


def array(tensor: Any) -> np.ndarray:
    """Returns the first map `(h, w)` of a tensor `(1, h, w, 1)`."""
    return keras.ops.convert_to_numpy(tensor)[0, :, :, 0]


def span(values: np.ndarray) -> str:
    """Returns the smallest and largest value in words."""
    return f"{values.min():.2f} to {values.max():.2f}"


def enlarged(cells: np.ndarray) -> np.ndarray:
    """Repeats cells up to the size of the image."""
    return np.kron(
        cells, np.ones(np.divide(SIDE, cells.shape).astype(int), cells.dtype)
    )


def painted(image: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Lays a map over the image: blue for 0 and below, red for 1."""
    return viz.overlay(image, np.clip(scores, 0.0, 1.0), alpha=0.55)


if __name__ == "__main__":
    main()
