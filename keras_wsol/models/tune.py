"""A pass over images with boxes, and the threshold that is best on them."""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np

from keras_wsol.arguments import shows_progress
from keras_wsol.boxes import sweep_largest_boxes
from keras_wsol.boxes.iou import check_true_boxes, pairwise_iou
from keras_wsol.cam.by_class import check_class_ids
from keras_wsol.cam.score_map import resize_to_input
from keras_wsol.data import ImageDataset
from keras_wsol.data.images import boxes_in_view, view_geometry
from keras_wsol.models.localizer_batches import filled, measured_with

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
    found = []
    for batch, _, maps in measured_batches(
        localizer, held_out, view, batch_size, verbose
    ):
        swept = sweep_largest_boxes(maps, thresholds).transpose(1, 0, 2)
        found.append(pairwise_iou(swept, batch["boxes"], np).max(axis=-1, initial=0))
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


def tuned_on(held_out: Any, tuned: TunedThreshold) -> str:
    """Says how a threshold was chosen."""
    split = getattr(held_out, "split", None)
    where = f" of {split!r}" if isinstance(split, str) else ""
    return f"tuned on {tuned.num_images} images{where} by {tuned.criterion}"


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


# Batches with boxes


def measured_batches(
    localizer: keras.Model,
    source: Any,
    view: str,
    batch_size: int,
    verbose: bool | str,
) -> Iterator[tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]]:
    """Gives batches in a view, each with its logits and maps of the true classes."""
    total = len(source) if isinstance(source, ImageDataset) else None
    shown = shows_progress(verbose)
    progress = keras.utils.Progbar(total, verbose=shown, unit_name="image")
    largest = 0
    for batch in view_batches(source, view, localizer.input_size, batch_size):
        if localizer.num_classes == 1:  # for such a model, all objects are of one class
            batch["class_ids"] = np.zeros_like(batch["class_ids"])
        images, class_ids = batch["images"], batch["class_ids"]
        check_class_ids(class_ids, localizer.num_classes)
        count = len(images)
        if not count:
            continue
        largest = max(largest, count)
        inputs = filled(largest, images=images, class_ids=class_ids)
        out = localizer.predict_on_batch(inputs)
        yield batch, out["logits"][:count], out["score_maps"][:count, 0]
        progress.add(count)


def view_batches(
    source: Any, view: str, image_size: tuple[int, int], batch_size: int
) -> Iterator[dict[str, np.ndarray]]:
    """Gives the batches of a split in a view, with boxes in pixels of the view."""
    check_has_boxes(source)
    if isinstance(source, ImageDataset):
        check_true_boxes(source.boxes, source.paths)
        yield from source.evaluation_batches(
            batch_size, image_size=image_size, view=view
        )
        return
    size, (top, left) = view_geometry(view, image_size)
    for batch in source:
        arrays = {key: np.asarray(x) for key, x in measured_with(batch).items()}
        if "paths" in batch:
            texts = np.asarray(batch["paths"]).tolist()
            texts = [os.fsdecode(x) if isinstance(x, bytes) else str(x) for x in texts]
            arrays["paths"] = np.array(texts)
        _check_batch(arrays)
        stored = arrays["images"].shape[1:3]
        arrays["boxes"] = boxes_in_view(arrays["boxes"], stored, view, image_size)
        images = keras.ops.convert_to_numpy(resize_to_input(arrays["images"], size))
        cut = images[:, top : top + image_size[0], left : left + image_size[1]]
        yield {**arrays, "images": cut}


def _check_batch(batch: dict[str, np.ndarray]) -> None:
    images, class_ids, boxes = batch["images"], batch["class_ids"], batch["boxes"]
    count = len(images) if images.ndim else 0
    ends = (images.shape[3:], class_ids.shape, boxes.shape[::2], boxes.ndim)
    integers = class_ids.dtype.kind in "iu"
    if ends != ((3,), (count,), (count, 4), 3) or not integers:
        raise ValueError(
            "A batch must hold images (B, H, W, 3), integer class_ids (B,) and boxes "
            f"(B, M, 4). Received: {images.shape}, {class_ids.shape} of "
            f"{class_ids.dtype} and {boxes.shape}."
        )
    check_true_boxes(boxes, batch.get("paths"))


def check_has_boxes(dataset: Any) -> None:
    """Raises for a data set without boxes, or what is neither one nor batches."""
    if not isinstance(dataset, ImageDataset):
        if isinstance(dataset, str) or not hasattr(dataset, "__iter__"):
            raise TypeError(
                "Images with boxes must be an `ImageDataset`, as of "
                "`data.boxes_from_csv(images, path)`, or batches. "
                f"Received: {dataset!r} (of type {type(dataset).__name__})."
            )
    elif dataset.boxes is None:
        raise ValueError(
            f"The split {dataset.split!r} of {dataset.name!r} has no boxes, so "
            "localization cannot be measured on it."
        )


def check_not_test(
    dataset: Any, chosen: str, way_out: str = ", or `allow_test=True`"
) -> None:
    """Raises where a split is called a test split."""
    names = [str(getattr(dataset, name, "")) for name in ("name", "split")]
    words = {word for name in names for word in re.split(r"[\W_]+", name.lower())}
    if any(re.fullmatch(r"test(s|ing|set)?\d*", word) for word in words):
        raise ValueError(
            f"{chosen.capitalize()} are chosen on this split, which the test split "
            f"must not see: pass a held-out split, such as 'train-fullsup'{way_out}. "
            f"Received: name={names[0]!r}, split={names[1]!r}."
        )
