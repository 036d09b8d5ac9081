"""What study.py reads from a trained model, and the images that it reads."""

from dataclasses import replace
from functools import partial
from typing import Any

import keras
import numpy as np
import study_boxes
from study_reads import Read
from study_runs import Run

from keras_wsol import cam, data, models

NOT_FITTED = {"cam": cam.CAM, "channel_mean": cam.ChannelMean}
FITTED = {
    "ddt": cam.DDT.fit,
    "foreground": partial(cam.Foreground.fit, root=False),
    "c2am": cam.C2AM.fit,
    "true_boxes": study_boxes.fit_true_boxes,
}


def localizer_of(
    model: keras.Model,
    read: Read,
    train: data.ImageDataset,
    run: Run,
    fitted: dict[tuple[str, str | None, int], Any] | None = None,
) -> models.Localizer:
    """Makes the localizer of a read; what it needs is fitted to the training images.

    Args:
        model: The classifier.
        read: What is read.
        train: The training images.
        run: Says the size.
        fitted: What earlier reads of the model were fitted; this one's is added.

    Returns:
        The localizer.
    """
    size = read.image_size or run.image_size
    if size != run.image_size:
        model = models.with_input_size(model, (size, size))
    if read.score_map == "own":
        score_map = None
    elif read.score_map in FITTED:
        fitted = {} if fitted is None else fitted
        key = (read.score_map, read.layer, size)
        if key not in fitted:
            options = {"seed": run.seed} if read.score_map == "c2am" else {}
            fit = FITTED[read.score_map]
            fitted[key] = fit(model, train, layer=read.layer, **options)
        score_map = replace(fitted[key], **read.options)
    else:
        where = {} if read.layer is None else {"layer": read.layer}
        score_map = NOT_FITTED[read.score_map](**where, **read.options)
    if read.guided_filter is not None:
        score_map = cam.Guided(score_map, **read.guided_filter)
    # The fixed threshold of all rows, also of maps that have none of their own.
    localizer = models.Localizer(model, 0.2, score_map=score_map)
    if read.second_look is not None:
        localizer = models.SecondLook(localizer, read.second_look["cam_threshold"])
    return localizer


def boxed_images(dataset: data.ImageDataset, run: Run) -> tuple[np.ndarray, np.ndarray]:
    """Returns images and their first boxes in shares of the side.

    Args:
        dataset: The images.
        run: Says the size.

    Returns:
        uint8 `(N, H, W, 3)` and float32 `(N, 4)`.
    """
    batches = list(study_boxes.whole_images(dataset, run.image_size))
    images = np.concatenate([batch["images"].astype("uint8") for batch in batches])
    true = np.concatenate([batch["boxes"][:, 0] for batch in batches])
    return images, (true / run.image_size).astype("float32")
