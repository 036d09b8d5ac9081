"""The threshold of a localizer, from few boxes."""

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np

from keras_wsol.arguments import check_choice, check_integer
from keras_wsol.boxes import sweep_largest_boxes
from keras_wsol.boxes.iou import pairwise_iou
from keras_wsol.data import ImageDataset
from keras_wsol.data.images import boxes_in_view
from keras_wsol.models.localizer_batches import measured_with

IOU_THRESHOLD = 0.5  # from which on a box is right [Russakovsky et al., 2015]


@dataclass(frozen=True, eq=False, kw_only=True)
class TunedThreshold:
    """A threshold, and how far it can be trusted.

    Attributes:
        cam_threshold: The threshold chosen, in [0, 1).
        interval: Bootstrap 95 % interval of it: had other images been at hand, as
            many, the threshold would mostly have come to lie in it.
        criterion: What it was chosen by.
        num_images: Images it was chosen on.
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
    mean_iou: float
    gt_known_loc: float
    held_out_mean_iou: float
    held_out_gt_known_loc: float
    thresholds: np.ndarray = field(repr=False)
    mean_iou_curve: np.ndarray = field(repr=False)
    gt_known_curve: np.ndarray = field(repr=False)


def tune_threshold(
    localizer: keras.Model,
    held_out: Any,
    criterion: str = "mean_iou",
    *,
    view: str = "whole",
    batch_size: int = 32,
    num_thresholds: int = 1000,
    draws: int = 1000,
    seed: int = 0,
    allow_test: bool = False,
    verbose: bool | str = "auto",
) -> TunedThreshold:
    """Chooses a threshold, see `Localizer.tune`; the localizer keeps its own.

    The interval and the figures on other images come from a bootstrap: images are
    drawn with replacement and the threshold is chosen on them anew, many times; it
    is measured on the images not drawn (about a third), which makes these figures
    a little too low rather than too high.
    """
    check_choice("criterion", criterion, ("mean_iou", "gt_known_loc"))
    check_integer("draws", draws)
    check_integer("num_thresholds", num_thresholds)
    if not allow_test:
        check_not_test(held_out, "thresholds")
    thresholds = np.linspace(0, 1, num_thresholds, endpoint=False, dtype="float32")
    bar = progress_bar(held_out, verbose)
    found = [np.zeros((0, num_thresholds))]
    for ious in ious_by_image(localizer, held_out, thresholds, view, batch_size):
        found.append(ious)
        bar.add(len(ious))
    ious = np.concatenate(found)
    if len(ious) < 2:
        raise ValueError(
            "A threshold is tuned on at least two images, better 30. Received: "
            f"{len(ious)}."
        )
    return _tuned(ious, thresholds, criterion, draws, seed)


def ious_by_image(
    localizer: keras.Model,
    held_out: Any,
    thresholds: np.ndarray,
    view: str = "whole",
    batch_size: int = 32,
) -> Iterator[np.ndarray]:
    """IoU of the box of the true class at every threshold, batches of `(B, T)`."""
    size = localizer.input_size
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
        yield pairwise_iou(swept, boxes, np).max(axis=-1, initial=0)


def _tuned(
    ious: np.ndarray, thresholds: np.ndarray, criterion: str, draws: int, seed: int
) -> TunedThreshold:
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
    # Sums in another order differ in the last digits, which must not part what is
    # equal.
    curve = curve.round(9)
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
            f"{chosen[0].upper()}{chosen[1:]} are chosen on this split, which the test "
            "split must not see: pass a held-out split, such as 'train-fullsup', or "
            "`allow_test=True` if this is not the split that results are reported "
            f"on. Received: name={names[0]!r}, split={names[1]!r}."
        )
