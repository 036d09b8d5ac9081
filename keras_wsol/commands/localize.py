"""`keras-wsol localize`: images to boxes, as labels to train a detector on."""

import argparse
from pathlib import Path

from keras_wsol.commands import argument_types as types
from keras_wsol.commands.command import Command, say
from keras_wsol.commands.given_images import given_images
from keras_wsol.commands.load_localizer import load_localizer
from keras_wsol.commands.pictures import write_pictures

# A folder for the others.
SUFFIXES = {"csv": ".csv", "coco": ".json"}


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--model", type=types.file, required=True, metavar="FILE", help="a .keras file")
    add(
        "--images",
        type=types.file_or_folder,
        nargs="+",
        required=True,
        metavar="PATH",
        help="images, and folders with images in them at any depth",
    )
    add(
        "--out",
        type=Path,
        required=True,
        metavar="PATH",
        help="what to write: a file .csv or .json (coco), or a folder (yolo, voc)",
    )
    add(
        "--format",
        default="csv",
        choices=["csv", "coco", "yolo", "voc"],
        help="a line a box, COCO's JSON, or a file an image as Ultralytics or Pascal "
        "VOC have it (default: %(default)s)",
    )
    add(
        "--class-ids",
        default="predicted",
        choices=["predicted", "known"],
        help="whose box: that of the class that the model takes for the most probable; "
        "or of the class whose folder the image lies in, for one folder of images by "
        "class (default: %(default)s)",
    )
    add(
        "--cam-threshold",
        type=types.share,
        metavar="SHARE",
        help="share of the score map's maximum above which is object; lower makes "
        "larger boxes (default: the model's own)",
    )
    add(
        "--min-score",
        type=types.share,
        default=0.0,
        metavar="SHARE",
        help="leave out images whose class is less probable (default: %(default)s)",
    )
    add(
        "--pictures",
        type=Path,
        metavar="DIR",
        help="folder for pictures of the first images, with score map and box "
        "(default: none are drawn)",
    )
    add(
        "--num-pictures",
        type=types.count,
        default=12,
        metavar="N",
        help="how many (default: %(default)s)",
    )
    add(
        "--batch-size",
        type=types.count,
        default=32,
        metavar="N",
        help="images in a batch (default: %(default)s)",
    )
    add("--overwrite", action="store_true", help="replace labels at --out")


def _run(options: argparse.Namespace) -> None:
    types.check_free(options.out, options.overwrite)
    suffix = SUFFIXES.get(options.format, options.out.suffix)
    if options.out.suffix.lower() != suffix:
        raise ValueError(
            f"--out must end in {suffix} for --format {options.format}. Received: "
            f"{options.out}."
        )
    say("Loading Keras ...")
    from keras_wsol import export, models
    from keras_wsol.data.progress_line import ProgressLine

    localizer = load_localizer(options.model, options.cam_threshold)
    names = models.class_names_of(localizer.model)
    images = given_images(options.images, options.class_ids == "known", names)
    done = export.write_pseudo_labels(
        localizer,
        images,
        options.out,
        options.format,
        class_ids=options.class_ids,
        min_score=options.min_score,
        overwrite=options.overwrite,
        batch_size=options.batch_size,
        # Some fifty steps of progress, whatever their number.
        part_size=min(max(len(images) // 50, 32), 2048),
        progress=ProgressLine("Finding boxes", verbose=True),
    )
    print(f"Wrote {done.path}: {done.num_boxes} boxes of {done.num_images} images.")
    print(f"Paths in it are below {done.images_root}.")
    if done.left_out:
        reasons = ", ".join(f"{n} {reason}" for reason, n in done.left_out.items())
        print(f"Left out: {reasons}; see {done.left_out_path}.")
    if options.pictures:
        drawn = write_pictures(
            localizer,
            images,
            options.pictures,
            known=options.class_ids == "known",
            min_score=options.min_score,
            at_most=options.num_pictures,
        )
        print(f"Drew {drawn} pictures into {options.pictures}.")


COMMAND = Command(
    summary="images to boxes: CSV, COCO, YOLO or Pascal VOC",
    usage="--model FILE --images PATH ... --out PATH",
    description="""\
Finds the object in each image and writes its box, class and score. An image that cannot
be read, or has no box, or too low a score is left out and listed with the reason, in
left_out.csv beside or in what is written.

Look at --pictures before using the boxes: the threshold moves every one of them.
Interrupted, the same command goes on where it was.""",
    example="keras-wsol localize --model runs/birds/localizer.keras \\\n"
    "    --images photos --format coco --out birds.json --pictures look",
    interrupted="The same command goes on after the last images reported.",
    add_arguments=_add_arguments,
    run=_run,
)
