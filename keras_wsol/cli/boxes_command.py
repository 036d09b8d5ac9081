"""The command that finds boxes without any training."""

import argparse
from collections.abc import Callable

from keras_wsol import models
from keras_wsol.cli import shared_arguments as shared
from keras_wsol.labels import (
    check_output,
    open_images,
    verdicts_of,
    write_pseudo_labels,
)


def boxes_arguments(add: Callable[..., None]) -> None:
    """Adds the arguments of `boxes`."""
    text = "images of one kind of object, and folders with them at any depth"
    add("--images", text, type=shared.existing, nargs="+", required=True)
    shared.add_labels(add, "coco")
    of_table = {"choices": list(models.BACKBONES), "metavar": "NAME"}
    add("--backbone", "one of %(choices)s", default="mobilenet", **of_table)
    add("--alpha", "width of a MobileNet", "1.0", type=shared.positive)
    text = "imagenet (downloaded once), or an .h5 or .keras file"
    add("--weights", text, default="imagenet", type=shared.weights)
    text = "side of the images as the backbone sees them, a multiple of 32"
    add("--image-size", text, "the backbone's own", type=shared.count)
    text = "components of a score map that have a box"
    add("--max-boxes", text, type=shared.count, default=1)
    add("--overwrite", "replace labels at --out", action="store_true")


def boxes(options: argparse.Namespace) -> None:
    r"""Images of one kind of object to boxes, without any training or class.

    What all images have in common is taken for the object, as the features of a
    pretrained backbone show it: birds, say, in a folder of birds. For several kinds of
    objects, sort the images by class and `train`.

    Example:
      keras-wsol boxes --images birds --out boxes.json
    """
    check_output(options.out, options.format, options.overwrite, options.flat)
    images = open_images(options.images, verdicts_of(options.out))
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
    done = write_pseudo_labels(
        localizer,
        images,
        options.out,
        options.format,
        flat=options.flat,
        overwrite=options.overwrite,
        batch_size=options.batch_size,
    )
    shared.print_labels(done, options.format)
