"""The command that finds boxes in images."""

import argparse
from collections.abc import Callable
from pathlib import Path

import keras

from keras_wsol import data, viz
from keras_wsol.cli import shared_arguments as shared
from keras_wsol.files import make_folder
from keras_wsol.label_formats import LABEL_FORMATS
from keras_wsol.labels import (
    check_output,
    open_images,
    verdicts_of,
    write_pseudo_labels,
)
from keras_wsol.models import class_names_of


def localize_arguments(add: Callable[..., None]) -> None:
    """Adds the arguments of `localize`."""
    shared.add_model(add)
    text = "images, and folders with images in them at any depth"
    add("--images", text, type=shared.existing, nargs="+", required=True)
    text = "a file .csv or .json (coco), or a folder (yolo, voc)"
    add("--out", text, type=Path, required=True)
    add("--format", "what to write", default="csv", choices=list(LABEL_FORMATS))
    text = "box of the most probable class; or of that which the image's folder names"
    add("--class-ids", text, default="predicted", choices=["predicted", "known"])
    text = "least probability of a class"
    add("--min-score", text, type=shared.probability, default=0.0)
    text = "folder for pictures of the first images"
    add("--pictures", text, "none are written", type=Path)
    add("--num-pictures", "how many", type=shared.count, default=12)
    add("--batch-size", "images in a batch", type=shared.count, default=32)
    add("--overwrite", "replace labels at --out", action="store_true")


def localize(options: argparse.Namespace) -> None:
    r"""Images to boxes, classes and scores: CSV, COCO, YOLO or Pascal VOC.

    An image that cannot be read, or has no box, or too low a score is left out and
    listed with the reason, in NAME.left_out.csv beside what is written. Look at
    --pictures before using the boxes: the threshold moves every one of them.
    Interrupted, the same command goes on where it was.

    Example:
      keras-wsol localize --model runs/birds/localizer.keras \
        --images photos --format coco --out birds.json --pictures look
    """
    check_output(options.out, options.format, options.overwrite)
    localizer = shared.load_localizer(options)
    known, verify = options.class_ids == "known", verdicts_of(options.out)
    if not known:
        images = open_images(options.images, verify)
    elif len(options.images) == 1:
        names = class_names_of(localizer.model)
        images = data.image_folder(options.images[0], class_names=names, verify=verify)
    else:
        raise ValueError(
            "--class-ids known needs one folder in --images, with a folder for each "
            f"class. Received: {len(options.images)} paths."
        )
    shared.say(f"Finding boxes in {len(images)} images ...")
    done = write_pseudo_labels(
        localizer,
        images,
        options.out,
        options.format,
        class_ids=options.class_ids,
        min_score=options.min_score,
        overwrite=options.overwrite,
        batch_size=options.batch_size,
    )
    print(f"Wrote {done.path}: {done.num_boxes} boxes of {done.num_images} images,")
    print(f"whose paths are below {done.images_root}.")
    if done.left_out:
        print(f"Left out {len(done.left_out)} images; see {done.left_out_path}.")
    if options.pictures:
        _write_pictures(localizer, images, options)
        print(f"Wrote pictures into {options.pictures}.")


def _write_pictures(
    localizer: keras.Model, images: data.ImageDataset, options: argparse.Namespace
) -> None:
    """Paints score maps and boxes over the first images."""
    from PIL import Image

    make_folder(options.pictures)
    for index in range(min(options.num_pictures, len(images))):
        image = images.image(index)
        class_ids = images.class_ids[[index]] if options.class_ids == "known" else None
        out = localizer(image[None], class_ids)
        out = {k: keras.ops.convert_to_numpy(v)[0] for k, v in out.items()}
        labelled = out["valid"][0] and out["scores"][0] >= options.min_score
        boxes = out["boxes"][:1] if labelled else None
        picture = viz.overlay(image, out["score_maps"][0], boxes=boxes)
        name = f"{index:04d}-{Path(images.paths[index]).stem}.png"
        Image.fromarray(picture).save(options.pictures / name)
