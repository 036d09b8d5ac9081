"""Six drawn creatures as four score maps of one classifier show them.

    python examples/gallery.py --out examples/results/gallery.png

A row a creature: the image, then each map with the box of its largest part. The
classifier, that of quickstart.py, learned class labels alone, and the maps took no box
either; the true ones are drawn to compare with. The creatures are those of the
quickstart's picture, one of each class, not picked.
"""

import argparse
from pathlib import Path

from PIL import Image
from quickstart import FIRST_SHOWN, GALLERY_SIDE, SIDE, trained

import keras_wsol as wsol
from keras_wsol import cam

CELL_SIZE = 144
COLORS = 256  # of the file, a quarter as large as with all


def main() -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("runs/gallery.png"))
    parser.add_argument("--seed", type=int, default=0, help="of images and weights")
    parser.add_argument("--smoke", action="store_true", help="one pass, few images")
    options = parser.parse_args()
    images, epochs = (48, 1) if options.smoke else (1200, 8)
    train = wsol.data.synthetic(num_images=images, image_size=SIDE, seed=options.seed)
    shown = range(FIRST_SHOWN, FIRST_SHOWN + train.num_classes)
    test = wsol.data.synthetic(
        "test", num_images=shown.stop, image_size=GALLERY_SIDE, seed=options.seed
    )
    model = trained(train, epochs, options.seed)
    foreground = cam.Foreground.fit(model, train, "block2_conv2_relu")
    localizers = {
        "CAM": wsol.Localizer(model),
        "CAM, no negative weights": wsol.Localizer(
            model, score_map=cam.CAM(negative_weights=False)
        ),
        "Foreground": wsol.Localizer(model, score_map=foreground),
        "fit_localizer": wsol.fit_localizer(model, train),
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    figure = wsol.viz.compare_models(localizers, test, shown, cell_size=CELL_SIZE)
    figure.savefig(options.out)
    with Image.open(options.out) as picture:
        few = picture.convert("RGB").quantize(
            COLORS, Image.Quantize.MAXCOVERAGE, kmeans=3
        )
    few.save(options.out, optimize=True)
    print(options.out)


if __name__ == "__main__":
    main()
