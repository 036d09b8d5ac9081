r"""Images to boxes, classes and scores: CSV, COCO, YOLO or Pascal VOC.

An image that cannot be read, or has no box, or too low a score is left out and listed
with the reason, in NAME.left_out.csv beside what is written. Look at --pictures before
using the boxes: the threshold moves every one of them. Interrupted, the same command
goes on where it was.

Example:
  keras-wsol localize --model runs/birds/localizer.keras \
    --images photos --format coco --out birds.json --pictures look
"""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras

from keras_wsol import data, viz
from keras_wsol.cli import shared_arguments as shared
from keras_wsol.files import make_folder
from keras_wsol.label_formats import LABEL_FORMATS
from keras_wsol.labels import open_images, verdicts_of, write_pseudo_labels
from keras_wsol.models import class_names_of

_PAINTED = ("boxes", "score_maps", "scores", "valid")


def add_arguments(add: Callable[..., Any]) -> None:
    """Adds the command's arguments by a parser's `add_argument`."""
    shared.add_model(add)
    text = "images, and folders with images in them at any depth"
    add("--images", type=shared.existing, nargs="+", required=True, help=text)
    text = "a file .csv or .json (coco), or a folder (yolo, voc)"
    add("--out", type=Path, required=True, help=text)
    text = "what to write; yolo as Ultralytics has it (default: %(default)s)"
    add("--format", default="csv", choices=list(LABEL_FORMATS), help=text)
    text = (
        "whose box: of the class that the model finds most probable; or of the class "
        "that the image lies in, in one folder by class (default: %(default)s)"
    )
    whose = ["predicted", "known"]
    add("--class-ids", default="predicted", choices=whose, help=text)
    text = "leave out images whose class is less probable (default: %(default)s)"
    add("--min-score", type=shared.share, default=0.0, help=text)
    text = "folder for pictures of the first images (default: none are written)"
    add("--pictures", type=Path, help=text)
    text = "how many (default: %(default)s)"
    add("--num-pictures", type=shared.count, default=12, help=text)
    text = "images in a batch (default: %(default)s)"
    add("--batch-size", type=shared.count, default=32, help=text)
    add("--overwrite", action="store_true", help="replace labels at --out")


def run(options: argparse.Namespace) -> None:
    """Runs the command."""
    localizer = shared.load_localizer(options)
    known, verify = options.class_ids == "known", verdicts_of(options.out)
    if not known:
        images = open_images(options.images, verify)
    elif len(options.images) == 1:
        names = class_names_of(localizer.model)
        images = data.image_folder(options.images[0], class_names=names, verify=verify)
    else:
        raise ValueError(
            "--class-ids known needs one folder in --images, which holds a folder of "
            f"images for each class. Received: {len(options.images)} paths."
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
    print(f"Wrote {done.path}: {done.num_boxes} boxes of {done.num_images} images.")
    print(f"Paths in it are below {done.images_root}.")
    if done.left_out:
        print(f"Left out {len(done.left_out)} images; see {done.left_out_path}.")
    if options.pictures:
        written = _write_pictures(localizer, images, options)
        print(f"Wrote {written} pictures into {options.pictures}.")


def _write_pictures(
    localizer: keras.Model, images: data.ImageDataset, options: argparse.Namespace
) -> int:
    """Paints score maps and boxes over the first images."""
    from PIL import Image

    make_folder(options.pictures)
    number = min(options.num_pictures, len(images))
    for index in range(number):
        image = images.image(index)
        class_ids = images.class_ids[[index]] if options.class_ids == "known" else None
        out = localizer(image[None], class_ids)
        out = {k: keras.ops.convert_to_numpy(out[k])[0] for k in _PAINTED}
        shown = out["valid"][0] and out["scores"][0] >= options.min_score
        boxes = out["boxes"][:1] if shown else None
        picture = viz.overlay(image, out["score_maps"][0], boxes=boxes)
        name = f"{index:04d}-{Path(images.paths[index]).stem}.png"
        Image.fromarray(picture).save(options.pictures / name)
    return number
