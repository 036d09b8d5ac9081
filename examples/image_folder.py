"""A folder of images sorted by class -> a SavedModel -> boxes.

    python examples/image_folder.py --data DIR --out saved_models/mine

DIR holds one folder of images for each class. No box is needed anywhere: what the boxes
are read from is chosen by `fit_localizer`, and its choice is saved with the model.
"""

import argparse
import tempfile
from pathlib import Path

import keras
import tensorflow as tf
from smoke_data import write_image_folder

import keras_wsol as wsol
from keras_wsol import data, export, models, training


def main() -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", help="folder with one folder of images a class")
    parser.add_argument("--out", help="folder to write; version 1 goes inside")
    parser.add_argument("--method", default="dgdm", choices=list(models.METHODS))
    parser.add_argument("--weights", default="imagenet", help='"imagenet" or a path')
    parser.add_argument("--alpha", type=float, default=0.5, help="width of MobileNet")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--cam-threshold", type=float, help="not the one found")
    parser.add_argument("--smoke", action="store_true", help="a few drawn images")
    options = parser.parse_args()
    if options.smoke:
        options.weights, options.alpha, options.epochs = None, 0.25, 1
        with tempfile.TemporaryDirectory() as folder:
            root = write_image_folder(Path(folder) / "images")
            (root / "emberling" / "broken.jpg").write_bytes(b"not an image")
            train_and_localize(root, Path(folder) / "model", options, side=64)
    elif options.data and options.out:
        train_and_localize(Path(options.data), Path(options.out), options, side=224)
    else:
        parser.error("--data and --out are needed (or --smoke)")


def train_and_localize(
    root: Path, out: Path, options: argparse.Namespace, side: int
) -> None:
    """Trains on a folder, exports, and localizes some of its validation images."""
    if (out / "1").exists():
        raise SystemExit(f"{out / '1'} exists: choose another --out, or delete it.")
    train = data.image_folder(root, "train")
    val = data.image_folder(root, "val")
    print(f"{train}\n{val}")
    for path, reason in (*train.left_out, *val.left_out):
        print(f"Left out: {path}: {reason}")
    if not len(val):
        raise SystemExit("No image is in the validation split: add some to the folder.")
    model = models.build_classifier(
        "mobilenet",
        options.method,
        train.num_classes,
        weights=options.weights,
        input_shape=(side, side, 3),
        backbone_options={"alpha": options.alpha},
        class_names=train.class_names,
    )
    model.compile(
        optimizer=training.LayerwiseSGD(0.005, multipliers={"head_*": 10.0}),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    size = (side, side)
    model.fit(
        train.batches(min(16, len(train)), training=True, image_size=size),
        validation_data=val.batches(16, image_size=size),
        epochs=options.epochs,
        class_weight=train.class_weights(),
        shuffle=False,  # the batches are shuffled already
        verbose=2,
    )
    localizer = wsol.fit_localizer(model, train)
    if options.cam_threshold is not None:
        localizer.cam_threshold = options.cam_threshold
    path = export.export_saved_model(localizer, out / "1")
    # From here on, nothing of keras_wsol is needed.
    served = tf.saved_model.load(str(path)).signatures["serve_bytes"]
    files = [Path(file) for file in val.paths[:: max(1, len(val) // 8)][:8]]
    found = served(tf.constant([file.read_bytes() for file in files]))
    for row, file in enumerate(files):
        if not found["valid"][row, 0]:
            print(f"{file.name}: unreadable, or nothing found")
            continue
        name = found["class_names"][row, 0].numpy().decode()
        score = float(found["scores"][row, 0])
        box = found["boxes"][row, 0].numpy().round().astype(int).tolist()
        print(f"{file.name}: {name} ({score:.2f}) at x0, y0, x1, y1 = {box}")


if __name__ == "__main__":
    main()
