"""The main job on drawn images, from class labels to a SavedModel, in a few minutes.

    python examples/quickstart.py --out runs/quickstart

Draws images of creatures, trains a plain classifier (CAM) and one with DGDM on their
class labels, compares the boxes that the two find with a centred box, and writes
gallery.png, comparison.md and a SavedModel. Nothing is downloaded.

The papers start from ImageNet's weights. Here a plain classifier is trained first and
stands in for them: both methods go on from it for the same number of epochs.
"""

import argparse
from pathlib import Path

import keras

import keras_wsol as wsol

SIDE = 96
BATCH_SIZE = 16
METHODS = {
    "CAM": "cam",
    # On 6x6 maps the default block of 3x3 cells would drop a quarter of the image.
    "DGDM": wsol.layers.DGDM(block_size="adaptive"),
}
HEAD = """\
| | Top-1 Cls | GT-known Loc | Top-1 Loc | MaxBoxAccV2 |
| --- | ---: | ---: | ---: | ---: |"""
NOTE = """
In per cent, at thresholds tuned on held-out images. One seed on drawn images shows how
things work, not which method is better."""


def main() -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("runs/quickstart"))
    parser.add_argument("--seed", type=int, default=0, help="of images and weights")
    parser.add_argument("--smoke", action="store_true", help="one pass, few images")
    options = parser.parse_args()
    images, first, further = (48, 1, 1) if options.smoke else (800, 8, 6)
    out, seed = options.out, options.seed
    out.mkdir(parents=True, exist_ok=True)
    train, held_out, test = (
        wsol.data.synthetic(split, num_images=count, image_size=SIDE, seed=seed)
        for split, count in (
            ("train-weaksup", images),
            ("train-fullsup", images // 4),
            ("test", images // 2),
        )
    )

    start = out / "pretrained.keras"
    trained("cam", None, train, first, seed).save(start)
    lines, localizers = [HEAD], {}
    for name, method in METHODS.items():
        model = trained(method, start, train, further, seed)
        localizers[name] = localizer = wsol.models.Localizer(model)
        localizer.tune(held_out)
        report = wsol.evaluation.evaluate(localizer, test)
        lines.append(row(name, report.top1_cls, report.fixed, report.max_box_acc_v2))
    centre = report.centre
    lines.append(
        f"| a centred box | | {100 * centre['oracle']:.1f} | | "
        f"{100 * centre['max_box_acc_v2']:.1f} |"
    )
    table = "\n".join([*lines, NOTE])
    print(table)
    (out / "comparison.md").write_text(table + "\n")
    figure = wsol.viz.compare_models(localizers, test, range(4), cell_size=192)
    figure.savefig(out / "gallery.png")
    saved = wsol.export.export_saved_model(
        localizers["DGDM"], out / "saved_model" / "1", overwrite=True
    )
    print(f"Gallery: {out / 'gallery.png'}. SavedModel: {saved} (TensorFlow alone).")


def trained(
    method: str | keras.layers.Layer,
    weights: Path | None,
    train: wsol.data.ImageDataset,
    epochs: int,
    seed: int,
) -> keras.Model:
    """Builds a small MobileNet and trains it, from random or given weights."""
    model = wsol.models.build_classifier(
        "mobilenet",
        method,
        train.num_classes,
        weights=weights,
        input_shape=(SIDE, SIDE, 3),
        backbone_options={"alpha": 0.25},
        class_names=train.class_names,
        batch_norm_momentum=0.9,  # statistics have to follow within some 100 steps
        seed=seed,
    )
    rate = wsol.training.learning_rate(
        "cosine",
        3e-3 if weights is None else 1e-3,
        epochs=epochs,
        steps_per_epoch=train.steps_per_epoch(BATCH_SIZE),
    )
    model.compile(
        optimizer=keras.optimizers.Adam(rate),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    batches = train.batches(
        BATCH_SIZE, training=True, seed=seed, image_size=(SIDE, SIDE)
    )
    model.fit(batches, epochs=epochs, shuffle=False, verbose=2)
    return model


def row(name: str, top1_cls: float, at: object, max_box_acc_v2: float) -> str:
    """Returns the line of a model in the table."""
    values = (top1_cls, at.gt_known_loc, at.top1_loc, max_box_acc_v2)
    return f"| {name} | " + " | ".join(f"{100 * value:.1f}" for value in values) + " |"


if __name__ == "__main__":
    main()
