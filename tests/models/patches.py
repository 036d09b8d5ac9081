"""Objects of patches, a classifier that sees them, and how well boxes fit."""

from functools import partial

import numpy as np

from keras_wsol.boxes.iou import pairwise_iou
from keras_wsol.data import ImageDataset
from keras_wsol.models import fit_localizer
from tests.models.painted import painted_classifier

SIZE = (24, 36)  # cells of 4 pixels
NAMES = ("red", "green", "blue")


def drawn(count, seed=0, boxes="whole", split="train"):
    """An object of three patches, each rather of one colour; its class has the tallest.

    The box is of the whole object, or of the patch of its class.
    """
    rng = np.random.default_rng(seed)
    images = rng.normal(30, 4, (count, *SIZE, 3))
    class_ids = np.arange(count) % 3
    found = {"whole": [], "part": []}
    for image, class_id in zip(images, class_ids, strict=True):
        top, left = 4 * rng.integers((1, 1), (3, 3))
        found["whole"].append((left, top, left + 24, top + 12))
        for place, channel in enumerate(rng.permutation(3)):
            x, height = left + 8 * place, 12 if channel == class_id else 8
            image[top : top + height, x : x + 8] += 90
            image[top : top + height, x : x + 8, channel] += 90
            if channel == class_id:
                found["part"].append((x, top, x + 8, top + 12))
    return ImageDataset(
        name="patches",
        split=split,
        class_names=NAMES,
        class_ids=class_ids.astype("int32"),
        paths=np.array([f"{number}.png" for number in range(count)]),
        images=images.clip(0, 255).astype("uint8"),
        boxes=np.array(found[boxes], "float32")[:, None],
    )


def classifier():
    """Sees class c in channel c."""
    made = painted_classifier(SIZE, 3, kernel=np.eye(3), class_names=NAMES)
    dense = made.layers[-1]
    dense.set_weights([dense.get_weights()[0], np.zeros(3, "float32")])
    return made


fit = partial(fit_localizer, verbose=False)


def mean_iou(localizer, dataset):
    given = {"images": dataset.images, "class_ids": dataset.class_ids}
    boxes = localizer.predict_on_batch(given)["boxes"][:, :1]
    return float(pairwise_iou(boxes, dataset.boxes, np).mean())
