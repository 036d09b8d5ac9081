"""The main job on drawn images, from labels to a SavedModel, in a few minutes."""

import time
from pathlib import Path

import keras

from keras_wsol import data, evaluation, export, models, training, viz

SIDE = 96
IMAGES = 800
PRETRAIN_EPOCHS = 8
TUNE_EPOCHS = 6
BATCH_SIZE = 16

NEXT = """What to try next (ImageNet weights are downloaded once)
  your own images   keras-wsol train --data DIR --out runs/mine
                    (DIR holds one folder of images for each class; no boxes needed)
  then              keras-wsol localize --model runs/mine/localizer.keras --images ...
                    keras-wsol evaluate | export: see keras-wsol --help
  as a paper has it keras-wsol train --dataset cub --data DIR
                    --recipe adl-vgg16-cub --out runs/adl
  the layers alone  from keras_wsol.layers import ADL, DFM, DGDM
"""


def run(out: Path, *, seed: int = 0, smoke: bool = False) -> None:
    """Trains CAM and DGDM on drawn creatures, compares them and exports one.

    The papers start from ImageNet's weights. Here a plain classifier is trained first
    and stands in for them: both methods go on from it for the same number of epochs.

    Args:
        out: Folder to write.
        seed: Fixes images, weights and draws.
        smoke: One pass over a few images, to see that it runs.
    """
    started = time.monotonic()
    images, pretrain, tune = (
        (48, 1, 1) if smoke else (IMAGES, PRETRAIN_EPOCHS, TUNE_EPOCHS)
    )
    print(
        f"Drawing {images} images of {SIDE}x{SIDE} pixels for training ...", flush=True
    )
    train = _draw("train-weaksup", images, seed)
    held_out = _draw("train-fullsup", images // 4, seed)
    test = _draw("test", images // 2, seed)

    out.mkdir(parents=True, exist_ok=True)
    start = out / "pretrained.keras"
    print(f"\nA plain classifier from random weights, {pretrain} epochs", flush=True)
    _trained("cam", None, train, pretrain, 3e-3, seed).save(start)

    reports, localizers = [], {}
    for method in ("cam", "dgdm"):
        print(f"\n{method.upper()} from there, {tune} epochs", flush=True)
        model = _trained(method, start, train, tune, 1e-3, seed)
        report = evaluation.evaluate(model, test, tune_on=held_out)
        reports.append(report)
        localizers[method.upper()] = models.Localizer(
            model, cam_threshold=report.tuned.cam_threshold
        )

    table = evaluation.markdown_table(reports)
    print(f"\n{table}\n\nIn per cent. fixed: score maps cut at 0.2; tuned: where it is")
    print(
        "best on other images; oracle: best on these, an upper bound. One seed on drawn"
    )
    print("images shows how things work, not which method is better.\n")
    (out / "comparison.md").write_text(f"{table}\n")
    picture = evaluation.compare_models(localizers, test, range(8), cell_size=192)
    viz.save_png(out / "gallery.png", picture)
    saved = export.export_saved_model(
        localizers["DGDM"], out / "saved_model" / "1", overwrite=True
    )
    print(f"table       {out / 'comparison.md'}\ngallery     {out / 'gallery.png'}")
    print(f"SavedModel  {saved} (needs TensorFlow alone)")
    print(f"Done in {time.monotonic() - started:.0f} s.\n\n{NEXT}")


def _draw(split: str, images: int, seed: int) -> data.ImageDataset:
    return data.synthetic(split, num_images=images, image_size=SIDE, seed=seed)


def _trained(
    method: str,
    weights: Path | None,
    train: data.ImageDataset,
    epochs: int,
    rate: float,
    seed: int,
) -> keras.Model:
    """Builds a small MobileNet and trains it, printing a line an epoch."""
    # On 6x6 maps the default block of 3x3 cells would drop a quarter of the image.
    options = {"block_size": "adaptive"} if method == "dgdm" else None
    model = models.build_classifier(
        "mobilenet",
        method,
        train.num_classes,
        weights=weights,
        input_shape=(SIDE, SIDE, 3),
        method_options=options,
        backbone_options={"alpha": 0.25},
        class_names=train.class_names,
        seed=seed,
    )
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.9  # statistics have to follow within some 100 steps
    schedule = training.learning_rate(
        "cosine",
        rate,
        epochs=epochs,
        steps_per_epoch=train.steps_per_epoch(BATCH_SIZE),
    )
    model.compile(
        optimizer=keras.optimizers.Adam(schedule),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    batches = train.batches(
        BATCH_SIZE, training=True, seed=seed, image_size=(SIDE, SIDE)
    )
    model.fit(batches, epochs=epochs, shuffle=False, verbose=2)
    return model
