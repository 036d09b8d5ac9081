"""The threshold of a localizer, from few boxes."""

import re
import sys
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np

from keras_wsol.boxes import sweep_largest_boxes
from keras_wsol.boxes.iou import pairwise_iou
from keras_wsol.data import ImageDataset
from keras_wsol.data.images import boxes_in_view
from keras_wsol.models.localizer_batches import measured_with

IOU_THRESHOLD = 0.5  # from which on a box is right [Russakovsky et al., 2015]


@dataclass(frozen=True, eq=False, kw_only=True)
class TunedThreshold:
    """A threshold, and how far it can be trusted."""

    cam_threshold: float
    interval: tuple[float, float]  # of the threshold, 95 % by bootstrap
    criterion: str
    num_images: int
    mean_iou: float  # of the images it was chosen on, hence flattering
    gt_known_loc: float  # likewise
    held_out_mean_iou: float  # estimate for other images
    held_out_gt_known_loc: float  # likewise
    thresholds: np.ndarray = field(repr=False)  # of each point of the curves
    mean_iou_curve: np.ndarray = field(repr=False)
    gt_known_curve: np.ndarray = field(repr=False)


def ious_by_image(
    localizer: keras.Model,
    held_out: Any,
    thresholds: np.ndarray,
    view: str,
    batch_size: int,
    verbose: bool | str,
) -> np.ndarray:
    """IoU of the box of the true class at every threshold, `(N, T)`."""
    size, found = localizer.input_size, []
    bar = progress_bar(held_out, verbose)
    if isinstance(held_out, ImageDataset):
        check_has_boxes(held_out)
        held_out = held_out.evaluation_batches(batch_size, image_size=size, view=view)
    elif view != "whole":
        raise ValueError(
            "`view` is for an `ImageDataset`; batches are taken as they are. Received: "
            f"view={view!r}."
        )
    for batch in map(measured_with, held_out):
        images, class_ids, boxes = (np.asarray(value) for value in batch.values())
        check_class_ids(class_ids, localizer.num_classes)
        inputs = {"images": images, "class_ids": class_ids}
        maps = localizer.predict_on_batch(inputs)["score_maps"][:, 0]
        boxes = boxes_in_view(boxes, images.shape[1:3], "whole", size)
        swept = sweep_largest_boxes(maps, thresholds).transpose(1, 0, 2)
        found.append(pairwise_iou(swept, boxes, np).max(axis=-1, initial=0))
        bar.add(len(images))
    return np.concatenate([np.zeros((0, len(thresholds))), *found])


def best_threshold(
    ious: np.ndarray, thresholds: np.ndarray, criterion: str, draws: int, seed: int
) -> TunedThreshold:
    """Chooses a threshold, and by a bootstrap tells how well it is known.

    Images are drawn with replacement and the threshold is chosen on them anew, many
    times. Measured on the images not drawn, figures are rather too low than too high.
    """
    if len(ious) < 2:
        raise ValueError(
            f"A threshold is tuned on at least two images. Received: {len(ious)}."
        )
    right = (ious >= IOU_THRESHOLD).astype(ious.dtype)
    figures = {"mean_iou": ious, "gt_known_loc": right}
    curves = {name: values.mean(axis=0) for name, values in figures.items()}
    best = best_index(curves[criterion])
    # How often each image is drawn, (draws, images).
    chances = np.full(len(ious), 1 / len(ious))
    counts = np.random.default_rng(seed).multinomial(len(ious), chances, draws)
    again = [best_index(curve) for curve in counts @ figures[criterion] / len(ious)]
    low, high = np.quantile(thresholds[again], [0.025, 0.975])
    return TunedThreshold(
        cam_threshold=float(thresholds[best]),
        interval=(float(low), float(high)),
        criterion=criterion,
        num_images=len(ious),
        mean_iou=float(curves["mean_iou"][best]),
        gt_known_loc=float(curves["gt_known_loc"][best]),
        held_out_mean_iou=_held_out(ious, counts, again),
        held_out_gt_known_loc=_held_out(figures["gt_known_loc"], counts, again),
        thresholds=thresholds,
        mean_iou_curve=curves["mean_iou"],
        gt_known_curve=curves["gt_known_loc"],
    )


def best_index(curve: np.ndarray) -> int:
    """Where a curve is highest; of equal places the middle one."""
    curve = curve.round(9)  # the last digits depend on the order of the sums
    best = np.flatnonzero(curve == curve.max())
    return int(best[len(best) // 2])


def _held_out(values: np.ndarray, counts: np.ndarray, chosen: list[int]) -> float:
    """Mean over draws of the mean of the images that a draw left out."""
    means = [
        values[count == 0, index].mean()
        for count, index in zip(counts, chosen, strict=True)
        if not count.all()
    ]
    return float(np.mean(means)) if means else float("nan")


def progress_bar(source: Any, verbose: bool | str) -> keras.utils.Progbar:
    """Counts images; `"auto"` shows the bar in a terminal or notebook."""
    if verbose == "auto":
        verbose = sys.stdout.isatty() or "ipykernel" in sys.modules
    total = len(source) if isinstance(source, ImageDataset) else None
    return keras.utils.Progbar(total, verbose=int(verbose), unit_name="image")


def check_has_boxes(dataset: Any) -> None:
    """Raises for a data set without boxes."""
    if isinstance(dataset, ImageDataset) and dataset.boxes is None:
        raise ValueError(
            f"The split {dataset.split!r} of {dataset.name!r} has no boxes, so "
            "localization cannot be measured on it."
        )


def check_class_ids(class_ids: np.ndarray, num_classes: int) -> None:
    """Raises for classes that a model does not have."""
    wrong = class_ids[(class_ids < 0) | (class_ids >= num_classes)]
    if len(wrong):
        raise ValueError(
            f"`class_ids` must be in [0, {num_classes}), the classes of the model. "
            f"Received: {np.unique(wrong)[:8]}."
        )


def check_not_test(dataset: Any, chosen: str) -> None:
    """Raises where a split is called a test split."""
    names = [str(getattr(dataset, name, "")) for name in ("name", "split")]
    words = {word for name in names for word in re.split(r"[\W_]+", name.lower())}
    if "test" in words:
        raise ValueError(
            f"{chosen.capitalize()} are chosen on this split, which the test split "
            "must not see: pass a held-out split, such as 'train-fullsup', or "
            f"`allow_test=True`. Received: name={names[0]!r}, split={names[1]!r}."
        )
