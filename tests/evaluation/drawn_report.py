"""Tables of images made by hand, and a report drawn by hand, to be counted by eye."""

import io
from types import SimpleNamespace

import numpy as np
from PIL import Image

from keras_wsol.evaluation.measure import ImageTable
from keras_wsol.evaluation.report import AtThreshold
from keras_wsol.evaluation.tables import GalleryImage

SIZE = (90, 140)
NAMES = ('<b>"Crow"</b>', "Élan & Moose", "Zebra 10", "Zebra 9")
COUNT = 6
# By image: true class, predicted class, its score, IoU, outcome.
IMAGES = (
    (0, 0, 0.91, 0.8125, "right"),
    (1, 0, 0.52, 0.6, "wrong class"),
    (2, 2, 0.33, 0.125, "too small"),
    (3, 3, 0.77, 0.375, "too large"),
    (0, 0, 0.12, 0.0, "no box"),
    (2, -1, np.nan, 0.95, "wrong class"),
)
SHOWN = (0, 1, 2, 3, 4, 5)


def image_table(iou, ranks, *, v2=None, kept=0, on_grid=None, **columns):
    """A table of which only what is given matters; `iou` (N, T), `v2` (N, 3, T)."""
    iou, ranks = np.asarray(iou, "float32"), np.asarray(ranks, "int32")
    count, length = iou.shape
    v2 = np.zeros((count, 3, length), bool) if v2 is None else np.asarray(v2)
    class_ids = np.zeros(count, "int32")
    values = {
        "thresholds": np.linspace(0, 1, length, endpoint=False, dtype="float32"),
        "on_grid": np.full(length, True) if on_grid is None else np.array(on_grid),
        "kept": kept,
        "paths": np.array([f"birds/{n // 9}/{n}.jpg" for n in range(count)]),
        "class_ids": class_ids,
        "ranks": ranks,
        "predicted_ids": np.where(ranks == 0, class_ids, 6).astype("int32"),
        "scores": np.ones(count, "float32"),
        "iou": iou,
        "v2_bits": np.packbits(v2, axis=-1),
        "boxes": np.zeros((count, 4), "float32"),
        "true_boxes": np.zeros((count, 1, 4), "float32"),
        "errors": np.full(count, "right", "<U13"),
        "digests": np.zeros(count, "S32"),
    }
    return ImageTable(**(values | columns))


def at(threshold, gt_known, top1_loc):
    return AtThreshold(
        cam_threshold=threshold,
        gt_known_loc=gt_known,
        top1_loc=top1_loc,
        top5_loc=gt_known - 0.0213,
        mean_iou=gt_known + 0.0107,
        gt_known_interval=(gt_known - 0.15, gt_known + 0.11),
        top1_interval=(top1_loc - 0.13, top1_loc + 0.12),
    )


def drawn_report(**changes):
    """What tables and the page read of a report; its figures need not agree."""
    thresholds = np.arange(50, dtype="float32") / 50
    values = {
        "model": "vgg16 <adl>",
        "dataset": 'birds & "beasts"',
        "split": "test",
        "view": "whole",
        "num_images": 6,
        "num_left_out": 1,
        "top1_cls": 5 / 6,
        "top5_cls": 0.987,
        "fixed": at(0.2, 0.417, 0.333),
        "tuned": at(0.26, 0.5, 0.361),
        "oracle": at(0.31, 0.583, 0.444),
        "max_box_acc_v2": 0.477,
        "px_ap": None,
        "centre": {"fixed": 0.2, "tuned": 0.29, "oracle": 0.31, "max_box_acc_v2": 0.35},
        "baselines": {
            "whole image": {"gt_known_loc": 0.15, "max_box_acc_v2": 0.171},
            "random box": {"gt_known_loc": 0.073, "max_box_acc_v2": 0.091},
        },
        "thresholds": thresholds,
        "gt_known_curve": 0.6 * np.exp(-(((thresholds - 0.31) / 0.3) ** 2)),
        "top1_loc_curve": 0.4 * np.exp(-(((thresholds - 0.27) / 0.3) ** 2)),
        "notes": {"train-fullsup": "5 images a class <drawn> with seed 0"},
        "images": _images(),
        "per_class": (
            _row(0, 2, 1.0, 0.5, 0.5),
            _row(1, 1, 0.0, 1.0, 0.0),
            _row(2, 12, 0.75, 0.25, 0.25),
            _row(3, 3, 0.5, 0.667, 0.333),
        ),
        "errors": {"right": 1 / 3, "wrong class": 1 / 6, "too small": 1 / 2},
        "errors_by_class": {
            "right": {"right": 1 / 3, "wrong": 0},
            "wrong class": {"right": 0, "wrong": 1 / 6},
            "too small": {"right": 0.4, "wrong": 0.1},
        },
        "class_and_box": {
            "right": {"right": 0.361, "wrong": 0.472},
            "wrong": {"right": 0.139, "wrong": 0.028},
        },
        "top1_cls_interval": (0.7, 0.9),
        "max_box_acc_v2_interval": (0.401, 0.553),
        "class_names": NAMES,
        "gallery": tuple(kept_image(index) for index in SHOWN),
        "image_size": SIZE,
    }
    values |= changes
    return SimpleNamespace(**values, main=values["tuned"] or values["fixed"])


def _images():
    ids, predicted, scores, iou, errors = zip(*IMAGES, strict=True)
    x0 = np.arange(COUNT, dtype="float32")[:, None]
    boxes = np.concatenate([x0 + 20, x0 + 10.5, x0 + 90, x0 + 70], axis=1)
    boxes[4] = 0  # no box
    true_boxes = np.stack([boxes + 5, np.full((COUNT, 4), -1.0)], axis=1)
    true_boxes[4, 0] = (30, 20, 100, 80)
    true_boxes[0, 1] = (1, 2, 33, 44)
    return image_table(
        np.array([np.zeros(COUNT), iou]).T,
        np.array(ids) != predicted,
        kept=1,
        paths=np.array([f'photos/{n} "big" & <odd>.jpg' for n in range(COUNT)]),
        class_ids=np.array(ids, "int32"),
        predicted_ids=np.array(predicted, "int32"),
        scores=np.array(scores, "float32"),
        boxes=boxes.astype("float32"),
        true_boxes=true_boxes.astype("float32"),
        errors=np.array(errors),
    )


def _row(class_id, num_images, top1_cls, gt_known_loc, top1_loc):
    return {
        "class_id": class_id,
        "class_name": NAMES[class_id],
        "num_images": num_images,
        "top1_cls": top1_cls,
        "gt_known_loc": gt_known_loc,
        "top1_loc": top1_loc,
    }


def kept_image(index):
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    bright = np.exp(-(((x - 60) / 40) ** 2) - ((y - 45) / (15 + 5 * index)) ** 2)
    pixels = 60 + 25 * index + 0 * bright[..., None] + [0, 40, 10]
    pixels = pixels * (0.4 + 0.6 * bright[..., None])
    file = io.BytesIO()
    Image.fromarray(pixels.clip(0, 255).astype("uint8")).save(file, format="JPEG")
    score_map = np.rint(255 * bright).astype("uint8")
    return GalleryImage(index=index, jpeg=file.getvalue(), score_map=score_map)
