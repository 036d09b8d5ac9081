"""Draws what ADL, DFM and DGDM make of the features of a drawn creature.

    python examples/docs/draw_modules.py

A small classifier learns the creatures. The modules, with their default values, get
its last features of an image that it has not seen, as in training. Writes adl.png,
dfm.png and dgdm.png for the page on the modules: minutes on two CPU cores.
"""

import argparse
from pathlib import Path
from typing import Any

import keras
import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from keras_wsol import data, layers, masks, models, viz

SIDE = 160
MAP_SIZE = 28  # at 224 pixels, so 20 cells here
COLOURS = 96  # of a picture's file
MAY_GO, STAYS = "#e66101", "#6a7a96"


def main() -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    images = Path(__file__).parent / "images"
    parser.add_argument("--out", type=Path, default=images, help="folder")
    parser.add_argument("--index", type=int, default=0, help="of the test image")
    parser.add_argument("--smoke", action="store_true", help="one pass, few images")
    options = parser.parse_args()
    model = trained(48 if options.smoke else 800, 1 if options.smoke else 8)
    test = data.synthetic("test", num_images=options.index + 1, image_size=SIDE)
    image = test.image(options.index)
    last = model.get_layer("conv_pw_13_relu").output
    x = keras.Model(model.inputs[0], last)(image[None].astype("float32"))
    options.out.mkdir(parents=True, exist_ok=True)
    for name, figure in {
        "adl": of_adl(image, x),
        "dfm": of_dfm(image, x),
        "dgdm": of_dgdm(image, x),
    }.items():
        path = options.out / f"{name}.png"
        save(figure, path)
        print(f"{path}: {path.stat().st_size // 1000} kB")


def trained(count: int, epochs: int) -> keras.Model:
    """Trains a narrow MobileNet on drawn creatures."""
    keras.utils.set_random_seed(0)
    train = data.synthetic(num_images=count, image_size=SIDE)
    model = models.build_classifier(
        "mobilenet",
        "cam",
        train.num_classes,
        weights=None,
        input_shape=(SIDE, SIDE, 3),
        backbone_options={"alpha": 0.25, "map_size": MAP_SIZE},
        batch_norm_momentum=0.9,  # statistics have to follow within some 100 steps
    )
    model.compile(
        optimizer=keras.optimizers.Adam(3e-3),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    images = train.images.astype("float32")
    model.fit(images, train.class_ids, batch_size=16, epochs=epochs, verbose=2)
    return model


def of_adl(image: np.ndarray, x: Any) -> Figure:
    """Image, attention, importance map, drop mask, and what the mask leaves."""
    maps = layers.ADL(drop_threshold=0.8).maps(x)
    mask = maps["drop_mask"]
    return row(
        {
            "image": image,
            "attention": heat(image, maps["attention"]),
            "importance map": heat(image, maps["importance_map"], low=0.5),
            f"drop mask: {share(mask)}": hidden(image, mask),
            "attention that is left": heat(image, mask * maps["attention"]),
        }
    )


def of_dfm(image: np.ndarray, x: Any) -> Figure:
    """Image, attention, mask of cells, enhancement, and what a position map leaves."""
    layer = layers.DFM(position_rate=1.0)
    maps = layer.maps(x)
    output = layer(x, training=True)
    mask = maps["position_mask"]
    return row(
        {
            "image": image,
            "attention": heat(image, masks.spatial_attention(x)),
            "mask; light: 1 + focus": hidden(image, mask),
            "enhancement": heat(image, maps["position_enhancement"]),
            "attention that is left": heat(image, masks.spatial_attention(output)),
        }
    )


def of_dgdm(image: np.ndarray, x: Any) -> Figure:
    """Image, attention, importance map, drop mask, and channels."""
    maps = layers.DGDM().maps(x)
    figure = row(
        {
            "image": image,
            "attention": heat(image, maps["attention"]),
            "importance map": heat(image, maps["importance_map"], low=0.5),
            f"drop mask: {share(maps['drop_mask'])}": hidden(image, maps["drop_mask"]),
            "channels": None,
        }
    )
    strength = np.abs(np.ravel(keras.ops.convert_to_numpy(maps["channel_attention"])))
    order = np.argsort(-strength)
    may_go = np.ravel(keras.ops.convert_to_numpy(maps["eligible"]))[order]
    places, axes = np.arange(len(order)), figure.axes[-1]
    colours = np.where(may_go, MAY_GO, STAYS)
    axes.bar(places, strength[order], width=1.0, color=colours)
    axes.bar(places, -strength.max() / 8, width=1.0, color=colours)
    axes.set_box_aspect(1)
    axes.set_title(f"channels, {may_go.sum()} may go", fontsize=9)
    return figure


def row(cells: dict[str, np.ndarray | None]) -> Figure:
    """Pictures side by side, each below its title."""
    figure = Figure(figsize=(1.8 * len(cells), 2.0), layout="constrained")
    for axes, (title, picture) in zip(
        figure.subplots(1, len(cells)), cells.items(), strict=True
    ):
        if picture is not None:
            axes.imshow(picture)
        axes.set_title(title, fontsize=9)
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_visible(False)
    return figure


def enlarged(cells: Any) -> np.ndarray:
    """A map `(1, h, w, 1)` at the size of the image, its cells to be seen."""
    cells = keras.ops.convert_to_numpy(cells)[0, :, :, 0]
    return np.kron(cells, np.ones(np.divide(SIDE, cells.shape).astype(int)))


def heat(image: np.ndarray, values: Any, low: float = 0.0) -> np.ndarray:
    """Lays a map over the image: blue for `low`, red for its maximum."""
    cells = enlarged(values) - low
    largest = max(cells.max(), 1e-6)  # a network that has hardly learned may give zeros
    return viz.overlay(image, np.clip(cells / largest, 0.0, 1.0), alpha=0.6)


def hidden(image: np.ndarray, mask: Any) -> np.ndarray:
    """The image, dark where a mask is 0, lighter where it is above 1."""
    cells = enlarged(mask)[:, :, None]
    lighter = image + 2 * (cells - 1) * (255.0 - image)
    return np.where(cells == 0, image / 8, np.clip(lighter, 0, 255)).astype("uint8")


def share(mask: Any) -> str:
    """Says how much a mask drops."""
    return f"{float((enlarged(mask) == 0).mean()):.0%}"


def save(figure: Figure, path: Path) -> None:
    """Writes a small file: few colours."""
    figure.savefig(path, dpi=100)
    with Image.open(path) as picture:
        few = picture.convert("RGB").quantize(COLOURS)
    few.save(path, optimize=True)


if __name__ == "__main__":
    main()
