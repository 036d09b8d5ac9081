"""Small splits in memory, and what an evaluation on them should say."""

import functools

import numpy as np

from keras_wsol.data import ImageDataset
from keras_wsol.models import Localizer
from tests.models.painted import blob_images, expected_maps, painted_classifier
from tests.reference import cam_numpy, evaluation_numpy
from tests.reference.max_box_acc_numpy import boxes_at

NAMES = tuple(f"kind {number}" for number in range(7))
VIEWS = ("whole", "center_crop")


@functools.cache
def localizer(cam_threshold):
    """One for all tests of a process: what it has compiled stays."""
    return Localizer(painted_classifier(class_names=NAMES), cam_threshold)


@functools.cache
def split_of(name, count, *, size=(31, 50), seed=0):
    """Images of `size` with up to three true boxes, of which `painted_classifier` gets
    some right: half the classes are its top ones, one box is near what it finds.
    """
    rng = np.random.default_rng(seed)
    images = blob_images(count, size, seed)
    _, logits, maps = expected_maps(painted_classifier(), images)
    random_ids = rng.integers(0, 7, count)
    class_ids = np.where(rng.random(count) < 0.5, logits.argmax(axis=1), random_ids)
    near = rng.uniform(0, 0.4, (count, 3, 2)) * size[::-1]
    far = near + rng.uniform(0.3, 0.6, near.shape) * size[::-1]
    boxes = np.concatenate([near, far], axis=-1).astype("float32")
    boxes[rng.random((count, 3)) < 0.6] = -1
    scale = np.array(size[::-1] * 2) / (maps.shape[:1:-1] * 2)
    for b, score_map in enumerate(maps[np.arange(count), class_ids]):
        found = boxes_at(score_map, rng.uniform(0.2, 0.7))[0] * scale
        boxes[b, 0] = np.abs(found + rng.uniform(-4, 4, 4))
    return ImageDataset(
        name="painted",
        split=name,
        class_names=NAMES,
        class_ids=class_ids.astype("int32"),
        paths=np.array([f"{name}/{index}" for index in range(count)]),
        images=images,
        boxes=boxes,
        notes={"drawn": f"with seed {seed}"},
    )


@functools.cache
def in_view(split, view, size):
    """Images and boxes as the view shows them, in float64."""
    resize_to = {
        ("whole", (24, 36)): (24, 36),
        ("center_crop", (24, 36)): (27, 41),  # 256 / 224 of it
    }[view, size]
    top, left = (0, 0) if view == "whole" else (1, 2)
    resized = [cam_numpy.resize(x, resize_to, antialias=True) for x in split.images]
    images = np.stack(resized)[:, top : top + size[0], left : left + size[1]]
    boxes = split.boxes.astype("float64")
    for image_boxes in boxes:
        for box in image_boxes:
            if box[0] < 0:
                continue
            for side in range(4):
                axis = 1 - side % 2  # x0 and x1 go with the width
                moved = box[side] * resize_to[axis] / split.images.shape[1:3][axis]
                moved -= (top, left)[axis]
                box[side] = min(max(moved, 0), size[axis])
    return images, boxes


@functools.cache
def seen(model, split, view):
    """Images and boxes in the view, logits and score maps of every class."""
    images, boxes = in_view(split, view, model.input_shape[1:3])
    return images, boxes, *expected_maps(model, images)[1:]


def expected_figures(model, split, view, thresholds):
    _, boxes, logits, maps = seen(model, split, view)
    of_true = maps[np.arange(len(split)), split.class_ids]
    figures = evaluation_numpy.figures(
        split.class_ids, logits, of_true, boxes, thresholds
    )
    top5 = [
        class_id in row.argsort()[-5:]
        for class_id, row in zip(split.class_ids, logits, strict=True)
    ]
    figures["top5_loc"] = [
        np.mean([iou >= 0.5 and hit for iou, hit in zip(ious, top5, strict=True)])
        for ious in figures["ious"]
    ]
    return figures
