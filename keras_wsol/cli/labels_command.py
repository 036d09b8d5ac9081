"""The commands that find boxes in images, with a trained model and without."""

import argparse
import math
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np

from keras_wsol import data, labels, models, viz
from keras_wsol.cli import shared_arguments as shared
from keras_wsol.files import make_folder
from keras_wsol.label_formats import LABEL_FORMATS
from keras_wsol.labels import LabelsWritten
from keras_wsol.models import class_names_of
from keras_wsol.viz.side_by_side import evenly, show_found

_FEWEST_PICTURES, _MOST_PICTURES, _SHEET_ROWS = 12, 100, 20
_SHEET_THRESHOLDS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6)


def _add_labels(
    add: Callable[..., None], images: str, form: str, replaced: str
) -> None:
    """Adds the arguments that say of which images to write labels, and which."""
    add("--images", images, type=shared.existing, nargs="+", required=True)
    text = "a file .csv or .json (coco), or a folder (yolo, voc)"
    add("--out", text, type=Path, required=True)
    add("--format", "what to write", default=form, choices=list(LABEL_FORMATS))
    add("--batch-size", "images in a batch", type=shared.count, default=32)
    text = "put the images of yolo or voc into one folder, without those of classes"
    add("--flat", text, action="store_true")
    add("--overwrite", f"replace {replaced}", action="store_true")


def localize_arguments(add: Callable[..., None]) -> None:
    """Adds the arguments of `localize`."""
    shared.add_model(add)
    text = "images, and folders with images in them at any depth"
    _add_labels(add, text, "csv", "labels at --out, and pictures")
    text = "box of the most probable class; or of that which the image's folder names"
    add("--class-ids", text, default="predicted", choices=["predicted", "known"])
    text = "least probability of a class"
    add("--min-score", text, type=shared.probability, default=0.0)
    text = "components of a score map that have a box"
    add("--max-boxes", text, "the model's own", type=shared.count)
    text = "how large they must be, as a share of the largest"
    add("--min-share", text, "the model's own", type=shared.probability)
    text = "folder for pictures of all classes, and the boxes of other thresholds"
    add("--pictures", text, "none are written", type=Path)
    text = f"one a class, {_FEWEST_PICTURES} to {_MOST_PICTURES}"
    add("--num-pictures", "how many", text, type=shared.count)


def localize(options: argparse.Namespace) -> None:
    r"""Images to boxes, classes and scores: CSV, COCO, YOLO or Pascal VOC.

    An image that cannot be read, or has no box, or too low a score is left out and
    listed with the reason, in NAME.left_out.csv beside what is written. Look at
    --pictures before using the boxes: the threshold moves every one of them, and
    thresholds.png shows how. Interrupted, the same command goes on where it was.

    Ultralytics reads the folder of YOLO as it is: it links to the images, and keeps a
    fifth of each class for validation. With --max-boxes, the largest box has the score
    of its image's class, the others their share of the largest.

    Example:
      keras-wsol localize --model runs/birds/localizer.keras \
        --images photos --format coco --out birds.json --pictures look
    """
    labels.check_output(options.out, options.format, options.overwrite, options.flat)
    _check_pictures(options)
    localizer = shared.load_localizer(options)
    for name in ("max_boxes", "min_share"):
        if getattr(options, name) is not None:
            setattr(localizer, name, getattr(options, name))
    known, verify = options.class_ids == "known", labels.verdicts_of(options.out)
    if not known:
        images = labels.open_images(options.images, verify)
    elif len(options.images) == 1:
        names = class_names_of(localizer.model)
        images = data.image_folder(options.images[0], class_names=names, verify=verify)
    else:
        raise ValueError(
            "--class-ids known needs one folder in --images, with a folder for each "
            f"class. Received: {len(options.images)} paths."
        )
    shared.say(f"Finding boxes in {shared.counted(len(images), 'image')} ...")
    labels.write_pseudo_labels(
        localizer,
        images,
        options.out,
        options.format,
        class_ids=options.class_ids,
        min_score=options.min_score,
        flat=options.flat,
        overwrite=options.overwrite,
        batch_size=options.batch_size,
        then=lambda done: _finish(localizer, images, done, options),
    )


def _check_pictures(options: argparse.Namespace) -> None:
    folder = options.pictures
    if not folder or not folder.exists() or options.overwrite:
        return
    if labels.journal_of(options.out).owns(folder):
        return  # a kill came while it was filled
    if not folder.is_dir() or any(folder.iterdir()):
        raise FileExistsError(
            f"{folder} is not an empty folder. Choose another one for --pictures, or "
            "pass --overwrite."
        )


def _finish(
    localizer: keras.Model,
    images: data.ImageDataset,
    done: LabelsWritten,
    options: argparse.Namespace,
) -> None:
    """Shows images of each class that was found, and of those that were left out."""
    shared.print_labels(done, options.format)
    if not options.pictures:
        return
    class_ids = done.class_ids
    make_folder(options.pictures)
    labels.journal_of(options.out).own(options.pictures)
    known, count = options.class_ids == "known", options.num_pictures
    if count is None:
        classes = len(np.unique(class_ids))
        count = min(max(classes, _FEWEST_PICTURES), _MOST_PICTURES)
    chosen = evenly(class_ids, count)
    shared.say(f"Painting {shared.counted(len(chosen), 'picture')} ...")
    for index in chosen:
        figure = show_found(
            localizer, images, index, true_class=known, min_score=options.min_score
        )
        name = f"{index:04d}-{Path(images.paths[index]).stem}.png"
        figure.savefig(options.pictures / name)
    own = localizer.cam_threshold
    # One that was found may be 0.3 but for the digits that float32 lacks.
    thresholds = [
        x for x in _SHEET_THRESHOLDS if not math.isclose(x, own, rel_tol=1e-6)
    ]
    sheet = viz.show_thresholds(
        localizer,
        images,
        evenly(class_ids, _SHEET_ROWS),
        sorted([own, *thresholds]),
        true_classes=known,
    )
    sheet.savefig(options.pictures / "thresholds.png")
    print(f"Wrote pictures into {options.pictures}; look at thresholds.png first.")


def boxes_arguments(add: Callable[..., None]) -> None:
    """Adds the arguments of `boxes`."""
    text = "images of one kind of object, and folders with them at any depth"
    _add_labels(add, text, "coco", "labels at --out")
    of_table = {"choices": list(models.BACKBONES), "metavar": "NAME"}
    add("--backbone", "one of %(choices)s", default="mobilenet", **of_table)
    add("--alpha", shared.ALPHA, "1.0", type=shared.positive)
    text = "imagenet (downloaded once), or an .h5 or .keras file"
    add("--weights", text, default="imagenet", type=shared.weights)
    text = "side of the images as the backbone sees them, a multiple of 32"
    add("--image-size", text, "the backbone's own", type=shared.count)
    text = "components of a score map that have a box"
    add("--max-boxes", text, type=shared.count, default=1)


def boxes(options: argparse.Namespace) -> None:
    r"""Images of one kind of object to boxes, without any training or class.

    What all images have in common is taken for the object, as the features of a
    pretrained backbone show it: birds, say, in a folder of birds. For several kinds of
    objects, sort the images by class and `train`.

    Example:
      keras-wsol boxes --images birds --out boxes.json
    """
    labels.check_output(options.out, options.format, options.overwrite, options.flat)
    images = labels.open_images(options.images, labels.verdicts_of(options.out))
    model = models.build_classifier(
        options.backbone,
        num_classes=1,
        class_names=("object",),
        weights=options.weights,
        backbone_options={"alpha": options.alpha} if options.alpha else None,
    )
    weights = options.weights or "random weights"
    weights = "ImageNet weights" if weights == "imagenet" else weights
    shared.say(
        f"Taken for granted: all {len(images)} images show one kind of object, which "
        f"{options.backbone} with {weights} tells from what is around it."
    )
    size = options.image_size
    sizes = {"input_sizes": [(size, size)]} if size else {}
    shared.say("Choosing what boxes are read from ...")
    localizer = models.fit_localizer(model, images, **sizes)
    localizer.max_boxes = options.max_boxes
    done = labels.write_pseudo_labels(
        localizer,
        images,
        options.out,
        options.format,
        flat=options.flat,
        overwrite=options.overwrite,
        batch_size=options.batch_size,
    )
    shared.print_labels(done, options.format)
