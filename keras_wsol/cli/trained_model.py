"""The commands that measure and export a trained model."""

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from keras_wsol import data, evaluation
from keras_wsol.cli import shared_arguments as shared
from keras_wsol.data.images import MAX_PIXELS, VIEWS
from keras_wsol.export import export_litert, export_onnx, export_saved_model
from keras_wsol.files import make_folder
from keras_wsol.models import class_names_of

GALLERY_IMAGES = 48  # about 1 MB of the page


def evaluate_arguments(add: Callable[..., None]) -> None:
    """Adds the arguments of `evaluate`."""
    shared.add_model(add)
    add("--data", "folder of the images", type=shared.existing, required=True)
    text = "images by class, measured on --boxes; or CUB-200-2011, on its split test"
    add("--dataset", text, default="folder", choices=["folder", "cub"])
    text = "CSV path,x0,y0,x1,y1 in pixels; an image without a box is not measured"
    add("--boxes", text, "none, for CUB alone", type=shared.existing)
    text = "only images that `train` kept for validation"
    add("--only-val", text, action="store_true")
    text = "choose the threshold on this CSV of other images, or split of CUB; or none"
    add("--tune-on", text, "none, or train-fullsup of CUB")
    add("--view", "the image, or its centre", default=VIEWS[0], choices=VIEWS)
    add("--batch-size", "images in a batch", type=shared.count, default=32)
    add("--out", "folder to write", type=Path, required=True)


def evaluate(options: argparse.Namespace) -> None:
    r"""A trained model and images with boxes to a table, report.html and report.json.

    The rows below the model's are boxes made without looking at the image: a model has
    to do better. A threshold decides how large boxes are. With --tune-on it is chosen
    on other images; some 30 boxes drawn by hand are a beginning.

    Example:
      keras-wsol evaluate --model runs/birds/localizer.keras --data birds \
        --boxes test.csv --tune-on thirty.csv --out runs/birds/test
    """
    out, cub = options.out, options.dataset == "cub"
    if cub == bool(options.boxes) or (cub and options.only_val):
        raise ValueError("A folder needs --boxes; CUB has its own, and no --only-val.")
    localizer = shared.load_localizer(options)
    make_folder(out)
    test, tune_on = _splits(options, class_names_of(localizer.model))
    shared.say_left_out(out / shared.VERIFIED, *filter(None, [test, tune_on]))
    shared.say(f"Measuring {len(test)} images ...")
    report = evaluation.evaluate(
        localizer,
        test,
        tune_on,
        options.view,
        batch_size=options.batch_size,
        gallery=GALLERY_IMAGES,
    )
    report.to_json(out / "report.json")
    report.to_html(out / "report.html")
    report.to_csv(out / "images.csv", "images")
    print(report.to_markdown())
    print(
        "\nIn per cent. fixed: maps cut at the threshold of the model; oracle: at the"
    )
    print("best one for these very images, an upper bound and no result.")
    if report.tuned:
        threshold = f"{report.tuned.cam_threshold:.3f}"
        print(f"tuned: chosen on other images; pass on --cam-threshold {threshold}.")
    print(f"Wrote {out}: report.html to look at, report.json, images.csv.")


def _splits(
    options: argparse.Namespace, names: Sequence[str] | None
) -> tuple[data.ImageDataset, data.ImageDataset | None]:
    """What to measure, and what to choose a threshold on."""
    root, verify, tune_on = options.data, options.out / shared.VERIFIED, options.tune_on
    if options.dataset == "cub":
        test = data.cub200(root, "test", verify=verify)
        if tune_on == "none":
            return test, None
        return test, data.cub200(root, tune_on or "train-fullsup", verify=verify)
    images = data.image_folder(root, class_names=names, verify=verify)
    test = data.boxes_from_csv(images, options.boxes)
    if options.only_val:
        val = data.image_folder(root, "val", class_names=names, verify=verify)
        test = test.take(np.isin(test.paths, val.paths), "val")
        if not len(test):
            raise ValueError(
                f"{options.boxes} must have boxes of images in the validation split, "
                f"of which {root} has {len(val)}. It has none of these."
            )
    if tune_on in (None, "none"):
        return test, None
    return test, data.boxes_from_csv(images, tune_on)


def export_arguments(add: Callable[..., None]) -> None:
    """Adds the arguments of `export`."""
    shared.add_model(add)
    text = "folder of a SavedModel, such as birds/1; or file .tflite or .onnx"
    add("--out", text, type=Path, required=True)
    text, formats = "onnx gives no boxes", ["saved_model", "litert", "onnx"]
    add("--format", text, default=formats[0], choices=formats)
    text = "report.json of `evaluate`, for the card of a SavedModel"
    add("--report", text, "none", type=shared.existing)
    text = "the features that the map is read from, and the logits"
    text = f"give a SavedModel a signature `features`: {text}"
    add("--features", text, action="store_true")
    text = "size of the largest file that a SavedModel decodes"
    add("--max-pixels", text, type=shared.count, default=MAX_PIXELS)
    add("--overwrite", "replace what is at --out", action="store_true")


def export(options: argparse.Namespace) -> None:
    r"""A trained model to SavedModel, LiteRT or ONNX, which runs without this package.

    The threshold goes with it: choose it by `keras-wsol evaluate --tune-on`, since it
    moves every box.

    Example:
      keras-wsol export --model runs/birds/localizer.keras \
        --report runs/birds/test/report.json --out saved_models/birds/1
    """
    out, form = options.out, options.format
    if out.exists() and not options.overwrite:
        raise FileExistsError(f"{out} exists: choose another --out, or --overwrite.")
    if out.is_dir() and form != "saved_model":
        raise FileExistsError(f"{out} is a folder, so it is not replaced.")
    metrics = _read_report(options.report) if options.report else None
    localizer = shared.load_localizer(options)
    shared.say(f"Writing {out} ...")
    if form == "saved_model":
        names = ("overwrite", "max_pixels", "features")
        given = {name: getattr(options, name) for name in names}
        export_saved_model(localizer, out, metrics=metrics, **given)
    else:
        write = export_litert if form == "litert" else export_onnx
        write(localizer, out)
    print(f"Wrote {out}.")


def _read_report(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path} must be a report.json. {error}.") from error
