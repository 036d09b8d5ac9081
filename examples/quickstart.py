"""The main job on drawn images, from class labels to boxes, in a few minutes.

    python examples/quickstart.py --out runs/quickstart

Draws images of creatures, trains a small classifier on their class labels, and lets
`fit_localizer` choose, without a box, what to read of it and where to cut. Compares its
boxes with those of the class activation map and with a centred box, and writes
gallery.png, comparison.md and a SavedModel. Nothing is downloaded.

The class shows in the head, so that is where the class activation map looks. The box is
of the whole creature, with the tail and the legs.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import keras

import keras_wsol as wsol

SIDE = 96
BATCH_SIZE = 16
GALLERY_SIDE = 288  # the same scenes, drawn finer
FIRST_SHOWN = 6  # of the test images, in which the classes take turns
HEAD = """\
| boxes right (IoU of at least 0.5), % | at its own threshold | at the best one |
| --- | ---: | ---: |"""
NOTE = """
GT-known Loc on {} test images. No box was used to choose a map or its threshold; the
best threshold is chosen on the test images themselves, an upper bound. Right classes:
{:.1f} %. One seed on drawn images shows how things work."""


def main() -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("runs/quickstart"))
    parser.add_argument("--seed", type=int, default=0, help="of images and weights")
    parser.add_argument("--smoke", action="store_true", help="one pass, few images")
    options = parser.parse_args()
    out, seed = options.out, options.seed
    images, tests, epochs = (48, 12, 1) if options.smoke else (1200, 400, 8)
    out.mkdir(parents=True, exist_ok=True)
    train = wsol.data.synthetic(num_images=images, image_size=SIDE, seed=seed)
    test = wsol.data.synthetic("test", num_images=tests, image_size=SIDE, seed=seed)

    model = trained(train, epochs, seed)
    localizers = {
        "class activation map": wsol.Localizer(model),
        "fit_localizer": wsol.fit_localizer(model, train),
    }
    lines = [HEAD]
    for name, localizer in localizers.items():
        report = wsol.evaluate(localizer, test)
        lines.append(row(name, report.fixed.gt_known_loc, report.oracle.gt_known_loc))
    lines.append(row("a centred box", None, report.centre["oracle"]))
    table = "\n".join([*lines, NOTE.format(tests, 100 * report.top1_cls)])
    print(table)
    (out / "comparison.md").write_text(table + "\n")
    gallery(localizers, test, seed).savefig(out / "gallery.png")
    saved = wsol.export_saved_model(
        localizers["fit_localizer"], out / "saved_model" / "1", overwrite=True
    )
    print(f"Gallery: {out / 'gallery.png'}. SavedModel: {saved} (TensorFlow alone).")


def network() -> keras.Model:
    """Returns a small network: images to maps of 24 by 24, then 12 by 12 cells."""
    x = images = keras.Input((SIDE, SIDE, 3))
    x = keras.layers.Rescaling(1 / 127.5, offset=-1)(x)
    for block, (filters, count) in enumerate(((16, 1), (32, 2), (64, 3)), start=1):
        for number in range(1, count + 1):
            name, first = f"block{block}_conv{number}", number == 1
            x = keras.layers.Conv2D(
                filters,
                # Of an even size where it strides: an odd one would shift the map.
                kernel_size=4 if first else 3,
                strides=2 if first else 1,
                padding="same",
                use_bias=False,
                name=name,
            )(x)
            x = keras.layers.BatchNormalization(center=False, scale=False)(x)
            # Under a ceiling the loud colours of a head do not outshine the body.
            ceiling = 1.0 if name == "block2_conv2" else None
            x = keras.layers.ReLU(ceiling, name=f"{name}_relu")(x)
    return keras.Model(images, x, name="small")


def trained(train: wsol.data.ImageDataset, epochs: int, seed: int) -> keras.Model:
    """Trains a classifier on the class labels, from random weights."""
    keras.utils.set_random_seed(seed)
    model = wsol.build_classifier(
        network(),
        "cam",
        train.num_classes,
        weights=None,
        class_names=train.class_names,
        batch_norm_momentum=0.9,  # statistics have to follow within some 100 steps
        seed=seed,
    )
    rate = wsol.training.learning_rate(
        "cosine",
        3e-3,
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


def gallery(
    localizers: dict[str, wsol.Localizer], test: wsol.data.ImageDataset, seed: int
) -> object:
    """Shows an image of each class, and below it what each localizer finds."""
    count = test.num_classes
    rows = slice(FIRST_SHOWN, FIRST_SHOWN + count)
    fine = wsol.data.synthetic(
        "test", num_images=rows.stop, image_size=GALLERY_SIDE, seed=seed
    )
    plain = [
        wsol.viz.Cell(
            image=fine.images[index],
            true_boxes=fine.boxes[index],
            class_name=fine.class_names[fine.class_ids[index]],
        )
        for index in range(FIRST_SHOWN, FIRST_SHOWN + count)
    ]
    cells = [*plain]
    for name, localizer in localizers.items():
        found = localizer.predict(test.images[rows], verbose=0)
        found_boxes = found["boxes"] * (GALLERY_SIDE / SIDE)
        cells += [
            replace(cell, score_map=maps[0], boxes=boxes, class_name=name)
            for cell, maps, boxes in zip(
                plain, found["score_maps"], found_boxes, strict=True
            )
        ]
    return wsol.viz.show(cells, columns=count, cell_size=144)


def row(name: str, fixed: float | None, oracle: float) -> str:
    """Returns a line of the table."""
    own = "" if fixed is None else f"{100 * fixed:.1f}"
    return f"| {name} | {own} | {100 * oracle:.1f} |"


if __name__ == "__main__":
    main()
