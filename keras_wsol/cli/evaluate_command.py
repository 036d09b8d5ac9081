r"""A trained model and images with boxes to a table, report.html and report.json.

The rows below the model's are boxes made without looking at the image: a model has to
do better. A threshold decides how large boxes are. With --tune-on it is chosen on other
images; some 30 boxes drawn by hand are a beginning.

Example:
  keras-wsol evaluate --model runs/birds/localizer.keras --data birds \
    --boxes test.csv --tune-on thirty.csv --out runs/birds/test
"""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from keras_wsol import data, evaluation
from keras_wsol.cli import shared_arguments as shared
from keras_wsol.data.images import VIEWS
from keras_wsol.files import make_folder
from keras_wsol.models import class_names_of

GALLERY_IMAGES = 48  # about 1 MB of the page
EXPLANATION = """
In per cent. fixed: score maps cut at the threshold of the model; oracle: at the best
one for these very images, an upper bound and no result."""


def add_arguments(add: Callable[..., Any]) -> None:
    """Adds the command's arguments by a parser's `add_argument`."""
    shared.add_model(add)
    add("--data", type=shared.existing, required=True, help="folder of the images")
    text = (
        "layout of the folder: images by class, measured on --boxes; or that of "
        "CUB-200-2011, measured on its split test (default: %(default)s)"
    )
    add("--dataset", default="folder", choices=["folder", "cub"], help=text)
    add(
        "--boxes",
        type=shared.existing,
        help="CSV of boxes of some images, in pixels, in the columns path,x0,y0,x1,y1; "
        "an image without one is not measured (default: none, for CUB alone)",
    )
    text = "measure only images that `train` kept for validation"
    add("--only-val", action="store_true", help=text)
    text = (
        "what to choose the threshold on: a CSV of boxes of other images of the folder "
        "(default: none), or a split of CUB (default: train-fullsup); or none"
    )
    add("--tune-on", help=text)
    text = "the whole image, as served; or its centre (default: %(default)s)"
    add("--view", default="whole", choices=VIEWS, help=text)
    text = "images in a batch (default: %(default)s)"
    add("--batch-size", type=shared.count, default=32, help=text)
    add("--out", type=Path, required=True, help="folder to write")


def run(options: argparse.Namespace) -> None:
    """Runs the command."""
    out, cub = options.out, options.dataset == "cub"
    if not cub and options.boxes is None:
        raise ValueError("A folder of images has no boxes: pass --boxes CSV.")
    if cub and (options.boxes or options.only_val):
        raise ValueError("--boxes and --only-val are for --dataset folder.")
    localizer = shared.load_localizer(options)
    make_folder(out)
    names = class_names_of(localizer.model)
    test, tune_on = _of_cub(options) if cub else _of_folder(options, names)
    shared.say_left_out(out / shared.VERIFIED, *filter(None, [test, tune_on]))
    others = f" after tuning the threshold on {len(tune_on)} others" if tune_on else ""
    shared.say(f"Measuring {len(test)} images{others} ...")
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
    print(f"{report.to_markdown()}\n{EXPLANATION}")
    if report.tuned:
        threshold = report.tuned.cam_threshold
        print(f"tuned: at {threshold:.3f}, chosen on other images; pass")
        print(f"--cam-threshold {threshold:.3f} to export and localize.")
    print(f"Wrote {out}: report.html to look at, report.json, images.csv.")


Splits = tuple[data.ImageDataset, data.ImageDataset | None]


def _of_cub(options: argparse.Namespace) -> Splits:
    """What to measure, and what to choose a threshold on."""
    split, verify = options.tune_on or "train-fullsup", options.out / shared.VERIFIED
    test = data.cub200(options.data, "test", verify=verify)
    if split == "none":
        return test, None
    return test, data.cub200(options.data, split, verify=verify)


def _of_folder(options: argparse.Namespace, names: Any) -> Splits:
    root, verify = options.data, options.out / shared.VERIFIED
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
    if options.tune_on in (None, "none"):
        return test, None
    return test, data.boxes_from_csv(images, options.tune_on)
