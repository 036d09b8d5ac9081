"""The command line: a thin skin over the package."""

import argparse
import os
import time
from collections.abc import Sequence
from pathlib import Path

NEXT = """
What to try next
  your own images   python examples/image_folder.py --data DIR --out saved_models/mine
                    (DIR holds one folder of images for each class; no boxes needed)
  CUB-200-2011      python examples/train_cub.py --data DIR --method adl --out runs/cub
  the layers alone  from keras_wsol.layers import ADL, DFM, DGDM
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line.

    Args:
        arguments: What to read instead of `sys.argv`.
    """
    parser = argparse.ArgumentParser(
        prog="keras-wsol",
        description="Weakly supervised localization: image labels in, boxes out.",
    )
    commands = parser.add_subparsers(dest="command", required=True)
    quick = commands.add_parser(
        "quickstart",
        help="train, compare and export on drawn images; a few minutes on a CPU",
        description="Draws images of creatures, trains a plain classifier (CAM) and "
        "one with DGDM on their class labels, compares the boxes that the two find, "
        "and writes a gallery and a SavedModel. Nothing is downloaded.",
    )
    quick.add_argument(
        "--out", default="runs/quickstart", help="folder to write (default %(default)s)"
    )
    quick.add_argument("--seed", type=int, default=0, help="default %(default)s")
    quick.add_argument(
        "--epochs", type=int, default=14, help="passes over the images (default 14)"
    )
    quick.add_argument(
        "--smoke", action="store_true", help="one epoch on few images: does it run?"
    )
    options = parser.parse_args(arguments)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    quickstart(Path(options.out), options.epochs, options.seed, options.smoke)


def quickstart(out: Path, epochs: int, seed: int, smoke: bool) -> None:
    """Trains CAM and DGDM on drawn creatures, compares and exports.

    Args:
        out: Folder to write.
        epochs: Passes over the images.
        seed: Fixes images, weights and draws.
        smoke: One pass over a few images.
    """
    started = time.monotonic()
    print("Loading Keras ...", flush=True)
    import keras

    from keras_wsol import data, evaluation, export, models, viz

    count, side = (48, 64) if smoke else (900, 96)
    epochs = 1 if smoke else epochs

    def draw(split: str, share: float = 1.0) -> data.ImageDataset:
        images = int(count * share)
        return data.synthetic(split, num_images=images, image_size=side, seed=seed)

    print(f"Drawing {count} training images of {side}x{side} pixels ...", flush=True)
    train, held_out, test = (
        draw("train-weaksup"),
        draw("train-fullsup", 0.25),
        draw("test", 0.5),
    )
    reports, localizers = [], {}
    for method in ("cam", "dgdm"):
        print(f"\nTraining {method.upper()} for {epochs} epochs", flush=True)
        model = models.build_classifier(
            "mobilenet",
            method,
            train.num_classes,
            weights=None,
            input_shape=(side, side, 3),
            backbone_options={"alpha": 0.25},
            class_names=train.class_names,
            seed=seed,
        )
        model.compile(
            optimizer=keras.optimizers.Adam(2e-3),
            loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            metrics=["accuracy"],
        )
        batches = train.batches(24, training=True, seed=seed, image_size=(side, side))
        model.fit(batches, epochs=epochs, shuffle=False, verbose=2)
        report = evaluation.evaluate(model, test, tune_on=held_out)
        reports.append(report)
        threshold = report.tuned.cam_threshold
        localizers[method.upper()] = models.Localizer(model, cam_threshold=threshold)

    table = evaluation.markdown_table(reports)
    print(f"\n{table}\n")
    print("Shares in per cent. fixed: score-map threshold 0.2; tuned: best on other")
    print("images; oracle: best on these images, an upper bound.\n")
    out.mkdir(parents=True, exist_ok=True)
    (out / "comparison.md").write_text(f"{table}\n")
    picture = evaluation.compare_models(localizers, test, range(8), cell_size=192)
    viz.save_png(out / "gallery.png", picture)
    saved = export.export_saved_model(
        localizers["DGDM"], out / "saved_model" / "1", overwrite=True
    )
    print(f"Table      {out / 'comparison.md'}")
    print(f"Gallery    {out / 'gallery.png'}")
    print(f"SavedModel {saved} (load it with TensorFlow alone)")
    print(f"Done in {time.monotonic() - started:.0f} s.")
    print(NEXT)
