"""`keras-wsol evaluate`: a localizer and images with boxes to a report."""

import argparse
from pathlib import Path

from keras_wsol.commands.argument_types import count, file, folder, share
from keras_wsol.commands.command import Command, say
from keras_wsol.commands.load_localizer import load_localizer
from keras_wsol.commands.measured_images import cub_splits, folder_splits

GALLERY_IMAGES = 48  # about 1 MB of the page
EXPLANATION = """
In per cent. fixed: score maps cut at the threshold of the model; oracle: at the best
one for these very images, an upper bound and no result."""


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--model", type=file, required=True, metavar="FILE", help="a .keras file")
    add("--data", type=folder, required=True, metavar="DIR", help="the images")
    add(
        "--dataset",
        default="folder",
        choices=["folder", "cub"],
        help="how DIR is laid out: a folder of images for each class of the model, "
        "measured on --boxes; or CUB-200-2011, measured on its split test (default: "
        "%(default)s)",
    )
    add(
        "--boxes",
        type=file,
        metavar="CSV",
        help="boxes of some images of a folder, in pixels, in the columns "
        "path,x0,y0,x1,y1; an image without a box is not measured (default: none, "
        "which is for CUB alone)",
    )
    add(
        "--only-val",
        action="store_true",
        help="of these, measure only images that `train` kept for validation, if it "
        "learned from the same folder",
    )
    add(
        "--tune-on",
        metavar="WHAT",
        help="what to choose the threshold on, never images that are measured: a CSV "
        "of boxes of other images of the folder (default: none), or a split of CUB "
        "(default: train-fullsup); or none",
    )
    add(
        "--cam-threshold",
        type=share,
        metavar="SHARE",
        help="threshold of the columns `fixed` (default: the model's own)",
    )
    add(
        "--view",
        default="whole",
        choices=["whole", "center_crop"],
        help="the whole image, as served; or its centre, as in some papers. Figures of "
        "the two must not be compared (default: %(default)s)",
    )
    add(
        "--batch-size",
        type=count,
        default=32,
        metavar="N",
        help="images in a batch (default: %(default)s)",
    )
    add("--out", type=Path, required=True, metavar="DIR", help="folder to write")


def _run(options: argparse.Namespace) -> None:
    if options.dataset == "folder" and options.boxes is None:
        raise ValueError("A folder of images has no boxes: pass --boxes CSV.")
    if options.dataset == "cub" and (options.boxes or options.only_val):
        raise ValueError("--boxes and --only-val are for --dataset folder.")
    say("Loading Keras ...")
    from keras_wsol import evaluation, models

    localizer = load_localizer(options.model, options.cam_threshold)
    if options.dataset == "cub":
        test, tune_on = cub_splits(options.data, options.tune_on)
    else:
        names = models.class_names_of(localizer.model)
        test, tune_on = folder_splits(
            options.data, names, options.boxes, options.tune_on, options.only_val
        )
    others = f" after tuning the threshold on {len(tune_on)} others" if tune_on else ""
    say(f"Measuring {len(test)} images{others} ...")
    report = evaluation.evaluate(
        localizer,
        test,
        tune_on,
        options.view,
        batch_size=options.batch_size,
        gallery=GALLERY_IMAGES,
        verbose=True,
    )
    report.to_json(options.out / "report.json")
    report.to_html(options.out / "report.html")
    report.image_table_csv(options.out / "images.csv")
    print(f"{report.to_markdown()}\n{EXPLANATION}")
    if report.tuned:
        threshold = report.tuned.cam_threshold
        print(f"tuned: at {threshold:.3f}, chosen on other images; pass")
        print(f"--cam-threshold {threshold:.3f} to export and localize.")
    print(f"Wrote {options.out}: report.html to look at, report.json, images.csv.")


COMMAND = Command(
    summary="a trained model and images with boxes to figures",
    usage="--model FILE --data DIR --out DIR",
    description="""\
Measures classes and boxes of a trained model on images whose boxes are known, prints a
table, and writes report.html (tables, curve and images, in one file), report.json and
images.csv. The rows below the model's are boxes that look at no image: a model has to
do better.

A threshold decides how large boxes are. With --tune-on it is chosen on other images;
some 30 boxes drawn by hand are a beginning.""",
    example="keras-wsol evaluate --model runs/birds/localizer.keras --data birds \\\n"
    "    --boxes test.csv --tune-on thirty.csv --out runs/birds/test",
    interrupted="The same command begins anew.",
    add_arguments=_add_arguments,
    run=_run,
)
