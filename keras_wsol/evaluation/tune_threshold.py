"""The threshold of a localizer, from few boxes."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from numbers import Integral
from typing import Any

import keras
import numpy as np

from keras_wsol.arguments import check_choice
from keras_wsol.data.progress_line import ProgressLine
from keras_wsol.evaluation.best_index import best_index
from keras_wsol.evaluation.box_errors import RIGHT
from keras_wsol.evaluation.measure import MapReader, told
from keras_wsol.evaluation.reading import view_batches
from keras_wsol.evaluation.split_names import check_not_test
from keras_wsol.metrics import largest_box_ious, threshold_grid
from keras_wsol.models import Localizer

CRITERIA = ("mean_iou", "gt_known_loc")


@dataclass(frozen=True, eq=False, kw_only=True)
class TunedThreshold:
    """A threshold, and how far it can be trusted.

    Attributes:
        cam_threshold: The threshold chosen, in [0, 1).
        interval: Bootstrap 95 % interval of it: had other images been at hand, as
            many, the threshold would mostly have come to lie in it.
        criterion: What it was chosen by.
        num_images: Images it was chosen on.
        num_skipped: Images that could not be read.
        mean_iou: Mean IoU at the threshold on these images; flattering, since it
            was chosen on them.
        gt_known_loc: GT-known Loc at the threshold on these images; so is it.
        held_out_mean_iou: Estimate of the mean IoU on other images.
        held_out_gt_known_loc: Estimate of GT-known Loc on other images.
        thresholds: Threshold of each point of the curves.
        mean_iou_curve: Mean IoU at each threshold.
        gt_known_curve: GT-known Loc at each threshold.
    """

    cam_threshold: float
    interval: tuple[float, float]
    criterion: str
    num_images: int
    num_skipped: int
    mean_iou: float
    gt_known_loc: float
    held_out_mean_iou: float
    held_out_gt_known_loc: float
    thresholds: np.ndarray = field(repr=False)
    mean_iou_curve: np.ndarray = field(repr=False)
    gt_known_curve: np.ndarray = field(repr=False)


def tune_threshold(
    model: keras.Model,
    dataset: Any,
    *,
    criterion: str = "mean_iou",
    view: str = "whole",
    batch_size: int = 32,
    num_thresholds: int = 1000,
    draws: int = 1000,
    seed: int = 0,
    allow_test: bool = False,
    verbose: bool | str = "auto",
) -> TunedThreshold:
    """Chooses the threshold of a localizer on a few images with boxes.

    At each threshold, the box of the largest component of the score map of the true
    class is compared with the true boxes of its image, as `evaluate` does. About 30
    images are a beginning: chosen by mean IoU on 30 images of CUB-40, a threshold
    lost 2 points of GT-known Loc on average to the best one there is; on 100
    images, 1 point.

    The interval and the figures on other images come from a bootstrap: images are
    drawn with replacement and the threshold is chosen on them anew, many times; it
    is measured on the images not drawn (about a third), which makes these figures
    a little too low rather than too high.

    Args:
        model: A `Localizer`, or a classifier that one can be made of.
        dataset: Images with boxes: an `ImageDataset`, such as `data.boxes_from_csv`
            gives, or what else `evaluate` takes. None of them may be measured on
            later.
        criterion: `"mean_iou"`, which wavers less with few images: on 30 of CUB-40
            it gave GT-known Loc 0.3 to 0.7 points above that of a choice by
            GT-known Loc itself. Or `"gt_known_loc"`, what `evaluate` tunes by; equal
            from some 200 images on.
        view: As in `evaluate`.
        batch_size: Images in a batch of an `ImageDataset`.
        num_thresholds: Size of the threshold grid in [0, 1).
        draws: Integer of at least 1, how often images are drawn.
        seed: Integer, fixes the draws.
        allow_test: Whether the split may be called a test split. A threshold that was
            chosen on a split makes the figures on it worthless.
        verbose: Whether to say on standard error how far the work is and how long the
            rest will take; `"auto"`: in a terminal or notebook.

    Returns:
        The threshold and how well it is known.

    Raises:
        ValueError: Fewer than two images can be read, there are no boxes, the split
            is a test split, or an argument is out of range.

    Example:
        some = data.boxes_from_csv(data.image_folder("birds"), "thirty_boxes.csv")
        tuned = evaluation.tune_threshold(model, some)
        localizer = models.Localizer(model, cam_threshold=tuned.cam_threshold)
    """
    check_choice("criterion", criterion, CRITERIA)
    if not isinstance(draws, Integral) or draws < 1:
        raise ValueError(
            f"`draws` must be an integer of at least 1. Received: draws={draws!r}."
        )
    if not allow_test:
        check_not_test(dataset, "thresholds")
    localizer = model if isinstance(model, Localizer) else Localizer(model)
    thresholds = threshold_grid(num_thresholds)
    line = ProgressLine("Tuning the threshold", verbose)
    batches = list(
        ious_by_image(localizer, dataset, view, batch_size, thresholds, line)
    )
    ious = np.concatenate([np.zeros((0, num_thresholds)), *(x for x, _ in batches)])
    if len(ious) < 2:
        raise ValueError(
            "A threshold is tuned on at least two images that can be read, better "
            f"30. Received: {len(ious)}."
        )
    figures = {"mean_iou": ious, "gt_known_loc": (ious >= RIGHT).astype(ious.dtype)}
    curves = {name: values.mean(axis=0) for name, values in figures.items()}
    best = _best(curves[criterion])
    counts = _counts(len(ious), draws, seed)
    again = [_best(curve) for curve in counts @ figures[criterion] / len(ious)]
    low, high = np.quantile(thresholds[again], [0.025, 0.975])
    held_out = {
        name: _held_out(values, counts, again) for name, values in figures.items()
    }
    return TunedThreshold(
        cam_threshold=float(thresholds[best]),
        interval=(float(low), float(high)),
        criterion=criterion,
        num_images=len(ious),
        num_skipped=sum(skipped for _, skipped in batches),
        mean_iou=float(curves["mean_iou"][best]),
        gt_known_loc=float(curves["gt_known_loc"][best]),
        held_out_mean_iou=held_out["mean_iou"],
        held_out_gt_known_loc=held_out["gt_known_loc"],
        thresholds=thresholds,
        mean_iou_curve=curves["mean_iou"],
        gt_known_curve=curves["gt_known_loc"],
    )


def ious_by_image(
    localizer: Localizer,
    source: Any,
    view: str,
    batch_size: int,
    thresholds: np.ndarray,
    line: ProgressLine | None = None,
) -> Iterator[tuple[np.ndarray, int]]:
    """Measures the box of the true class at every threshold, image by image."""
    reader = MapReader(localizer, second_look=False)
    batches = view_batches(source, view, reader.input_size, batch_size)
    for batch in told(batches, line, source):
        read = batch["class_ids"] >= 0
        true_ids = np.maximum(batch["class_ids"], 0)[:, None]
        _, maps = reader.read(batch["images"], true_ids)
        true_boxes = batch["boxes"].astype("float32")[read]
        yield largest_box_ious(true_boxes, maps[read, 0], thresholds).T, (~read).sum()


def _best(curve: np.ndarray) -> int:
    # Sums in another order differ in the last digits, which must not part what is
    # equal.
    return best_index(curve.round(9))


def _counts(num_images: int, draws: int, seed: int) -> np.ndarray:
    """How often each image is drawn, `(draws, num_images)`."""
    chances = np.full(num_images, 1 / num_images)
    return np.random.default_rng(seed).multinomial(num_images, chances, draws)


def _held_out(values: np.ndarray, counts: np.ndarray, chosen: list[int]) -> float:
    """Mean over draws of the mean of the images that a draw left out."""
    means = [
        values[count == 0, index].mean()
        for count, index in zip(counts, chosen, strict=True)
        if not count.all()
    ]
    return float(np.mean(means)) if means else float("nan")
