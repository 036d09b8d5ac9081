"""One pass over a split: classes, boxes at every threshold, and the report."""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import keras
import numpy as np

from keras_wsol.boxes import sweep_largest_boxes
from keras_wsol.boxes.iou import has_area
from keras_wsol.cam import CAM, ByClass
from keras_wsol.cam.by_class import check_classes
from keras_wsol.data import ImageDataset
from keras_wsol.data.images import check_view
from keras_wsol.data.wsolevaluation import Segmentation, read_segmentation
from keras_wsol.evaluation.measure import ImageTable, measure, named
from keras_wsol.evaluation.report import Report
from keras_wsol.evaluation.tables import EvenSample
from keras_wsol.metrics import PxAP
from keras_wsol.metrics.functional import V2_IOU_THRESHOLDS, best_iou, threshold_grid
from keras_wsol.models import Localizer, SecondLook, class_names_of
from keras_wsol.models.tune import IOU_THRESHOLD, best_index

TUNED_ON_TEST = (
    "`tune_on` must share no image with `test`: a threshold that is tuned on test "
    "images makes the figure worthless."
)
# Their mean is within 0.1 points of the expected value on 250 images and more.
_RANDOM_BOXES = 1000


def evaluate(
    model: keras.Model,
    test: Any,
    tune_on: Any = None,
    view: str = "whole",
    *,
    batch_size: int = 32,
    num_thresholds: int = 1000,
    gallery: int = 0,
    segmentations: Sequence[Segmentation] | Mapping[str, Segmentation] | None = None,
    verbose: bool | str = "auto",
) -> Report:
    """Measures classification and localization on a split, in one pass.

    A box is that of the largest component of the score map of the true class, and right
    if its IoU with any true box is at least 0.5. (By the rules of published evaluators:
    `metrics.MaxBoxAcc(convention=...)`.) The threshold is the localizer's own, the best
    one on `tune_on`, and, as an upper bound that is no result, on `test`.

    An image without a true box counts as wrong. One whose score map is empty or holds a
    NaN has no box; one whose logits are not finite has no class. An image is refused as
    one of `tune_on` by its file, whatever the spelling of its path, or by its pixels in
    the view. Memory grows by 5 kB an image.

    Args:
        model: A `Localizer`, or a classifier that one can be made of.
        test: An `ImageDataset` with boxes, or batches as `batches(with_boxes=True)`.
        tune_on: The same of a held-out split whose boxes may be used to choose the
            threshold, such as `"train-fullsup"`; of a CSV file, which names images by
            the end of their paths, `data.boxes_from_csv(images, "thirty.csv")`. Default
            `None`: no tuned threshold.
        view: `"whole"`: the image squashed to the input size [wsolevaluation].
            `"center_crop"`: resized to 256/224 of it, and the centre cut out [ADL's
            code]. Batches are taken to show the whole image.
        batch_size: Integer. Images in a batch of an `ImageDataset`. Default 32.
        num_thresholds: Integer. Size of the threshold grid in [0, 1). Default 1000.
        gallery: Integer. Images kept for the page, evenly spread. Default 0.
        segmentations: For `PxAP`, those of the images in their order, or by name, as
            `data.cub200_segmentations` and `data.openimages_segmentations` give them.
        verbose: Boolean, or `"auto"`: a progress bar in a terminal or notebook.

    Returns:
        A `Report`: the figures, and in `images` a row an image.

    Raises:
        ValueError: `test` and `tune_on` share an image, a split is empty or has
            no boxes, a true box is inverted, the classes are not the model's, the
            segmentations are not one an image, or an argument is out of range.

    Example:
        held_out = data.cub200(root, "train-fullsup")
        report = evaluation.evaluate(model, data.cub200(root, "test"), held_out)
        report.tuned.top1_loc
    """
    check_view(view)
    sample = EvenSample(gallery)
    localizer = model if isinstance(model, Localizer) else Localizer(model)
    size = localizer.input_size
    pixels = None if segmentations is None else _Pixels(segmentations, view, size)
    if pixels is not None and isinstance(test, ImageDataset):
        pixels.check_count(len(test))
    _check_files(test, tune_on)
    for split in (test, tune_on):
        check_classes(split, localizer.model, localizer.num_classes)
    grid = threshold_grid(num_thresholds)
    thresholds = np.union1d(grid, np.float32(localizer.cam_threshold))
    cuts = (thresholds, np.isin(thresholds, grid))
    options = {"batch_size": batch_size, "verbose": verbose}
    kept = fixed = int(np.searchsorted(thresholds, np.float32(localizer.cam_threshold)))
    choices, tuned, held_out = {"fixed": fixed}, None, None  # for the Gaussian
    if tune_on is not None:
        held_out = measure(localizer, tune_on, view, *cuts, **options)
        kept = tuned = best_index(held_out.right_by_threshold())
        choices["tuned"] = best_index(count_centre(held_out, size)[0])
    options["watchers"] = [sample] if pixels is None else [sample, pixels]
    table = measure(localizer, test, view, *cuts, kept=kept, **options)
    if pixels is not None:
        pixels.check_count(len(table))
    num_repeated = 0 if held_out is None else _check_images(table, held_out)
    centre, count = count_centre(table, size), len(table)
    choices["oracle"] = best_index(centre[0])
    names = class_names_of(localizer.model) or getattr(test, "class_names", ())
    return Report(
        model=localizer.model.name,
        dataset=getattr(test, "name", "batches"),
        split=getattr(test, "split", "test"),
        view=view,
        images=table,
        fixed_index=fixed,
        tuned_index=tuned,
        centre={
            **{name: float(centre[0, i] / count) for name, i in choices.items()},
            "max_box_acc_v2": float(centre[1:, cuts[1]].max(axis=1).mean() / count),
        },
        baselines=baseline_figures(table, size),
        px_ap=None if pixels is None else pixels.metric.result(),
        notes=notes_of(localizer, test, tune_on, table, num_repeated),
        class_names=tuple(names),
        image_size=size,
        score_map=described_map(localizer),
        num_left_out=len(getattr(test, "left_out", ())),
        gallery=sample.images(),
    )


# What is refused


def _check_files(test: Any, tune_on: Any) -> None:
    """Refuses a shared file before anything is measured."""
    splits = [x for x in (test, tune_on) if isinstance(x, ImageDataset)]
    files = [_real_paths(named(split.paths)) for split in splits]
    shared = len(files) == 2 and files[0] & files[1]
    if shared or (tune_on is not None and tune_on is test):
        raise ValueError(TUNED_ON_TEST)


def _check_images(table: ImageTable, held_out: ImageTable) -> int:
    """Refuses shared files and pixels; returns how many pixels come twice all the same.

    Published data sets hold some images twice: a hundredth of those tuned on may be.
    """
    known = _real_paths(named(held_out.paths))
    for path in named(table.paths):
        if os.path.realpath(path) in known:
            raise ValueError(f"{TUNED_ON_TEST} Both hold {path!r}.")
    allowed = len(np.unique(held_out.digests)) // 100
    repeated = np.flatnonzero(np.isin(table.digests, held_out.digests))
    if len(repeated) > allowed:
        index = int(repeated[allowed])
        path = str(table.paths[index])
        name = f"image {index}" if path == str(index) else f"image {index}, {path!r},"
        raise ValueError(
            f"{TUNED_ON_TEST} The pixels of {name} of `test` are in `tune_on`, too."
        )
    return len(repeated)


def _real_paths(paths: Iterable[str]) -> set[str]:
    return {os.path.realpath(str(path)) for path in paths}


# What has to be beaten


def centre_gaussian(size: tuple[int, int]) -> np.ndarray:
    """Returns a centred Gaussian, float32, maximum 1 (Choe et al., 2020)."""
    # Its deviation, in shares of the sides, hardly matters: each cut is a centred box
    # with the view's proportions, and each such box is a cut.
    sides = (((np.arange(n) + 0.5) / n - 0.5) / 0.25 for n in size)
    gaussian = np.outer(*(np.exp(-0.5 * side**2) for side in sides))
    return (gaussian / gaussian.max()).astype("float32")


def count_centre(table: ImageTable, size: tuple[int, int]) -> np.ndarray:
    """How often the Gaussian is right at IoU 0.5 and those of MaxBoxAccV2, `(4, T)`."""
    boxes = sweep_largest_boxes(centre_gaussian(size)[None], table.thresholds)[:, 0]
    return count_right(table, lambda count: boxes[None])


def baseline_figures(
    table: ImageTable, size: tuple[int, int]
) -> dict[str, dict[str, float]]:
    """GT-known Loc and MaxBoxAccV2 of two boxes that look at no image."""
    whole = np.array([[[0, 0, *size[::-1]]]], "float32")
    random = partial(random_boxes, np.random.default_rng(0), size)
    found = {"whole image": lambda count: whole, "random box": random}
    count, shares = len(table), {}
    for name, boxes_of in found.items():
        right = count_right(table, boxes_of).mean(axis=1)
        gt_known, v2 = float(right[0] / count), float(right[1:].mean() / count)
        shares[name] = {"gt_known_loc": gt_known, "max_box_acc_v2": v2}
    return shares


def random_boxes(
    generator: np.random.Generator, size: tuple[int, int], count: int
) -> np.ndarray:
    """Boxes between two points, each uniform over the view, many an image."""
    points = generator.random((count, _RANDOM_BOXES, 2, 2)) * size[::-1]
    return np.sort(points, axis=-2).reshape(count, _RANDOM_BOXES, 4).astype("float32")


def count_right(table: ImageTable, boxes_of: Callable[[int], np.ndarray]) -> np.ndarray:
    """Number of images for which each box is right at each IoU, `(4, K)`."""
    levels = np.array([IOU_THRESHOLD, *V2_IOU_THRESHOLDS], "float32")[:, None]
    right = 0
    for start in range(0, len(table), 32):  # a thousand boxes an image at once
        true_boxes = table.true_boxes[start : start + 32]
        overlap = best_iou(boxes_of(len(true_boxes)), true_boxes)[:, None]
        right = right + (overlap >= levels).sum(axis=0)
    return right


# What the report says


class _Pixels:
    """Measures score maps against the segmentations of their images."""

    def __init__(self, segmentations: Any, view: str, size: tuple[int, int]) -> None:
        if view != "whole":
            raise ValueError(f"PxAP needs view='whole'. Received: view={view!r}.")
        self._segmentations, self._size = segmentations, size
        self.metric = PxAP()

    def __call__(
        self, index: int, path: str, image: np.ndarray, score_map: np.ndarray
    ) -> None:
        true, ignored = read_segmentation(self._find(index, path), self._size)
        if not np.isfinite(score_map).all():
            score_map = np.zeros_like(score_map)
        self.metric.update_state(true[None], score_map[None], ignored[None])

    def _find(self, index: int, path: str) -> Segmentation:
        given = self._segmentations
        if isinstance(given, Mapping):
            # Names are some parts long, and the path ends with one of them.
            parts = path.replace("\\", "/").split("/")
            names = ("/".join(parts[start:]) for start in range(len(parts)))
            found = next((given[name] for name in names if name in given), None)
        else:
            found = given[index] if index < len(given) else None
        if found is None:
            raise ValueError(
                "`segmentations` must hold that of each image. There is none for image "
                f"{index}, {path}."
            )
        return found

    def check_count(self, count: int) -> None:
        """Raises for a list that is of other images than the `count` measured."""
        given = self._segmentations
        if not isinstance(given, Mapping) and len(given) != count:
            raise ValueError(
                "`segmentations` must be one for each image, in their order. Received: "
                f"{len(given)} for {count} images."
            )


def described_map(localizer: keras.Model) -> str:
    """Says which score map a localizer reads, and how."""
    look = ", second look" if isinstance(localizer, SecondLook) else ""
    return _described(localizer.score_map) + look


def _described(part: Any) -> str:
    """Name of an object with the arguments that are short, and objects within."""
    if isinstance(part, ByClass):
        return repr(part)
    said = []
    for name in part.get_config():
        value = getattr(part, name)
        if isinstance(value, bool | int | float | str):
            said.append(f"{name}={value!r}")
        elif hasattr(value, "get_config"):
            said.append(f"{name}={_described(value)}")
        elif isinstance(value, tuple) and value and hasattr(value[0], "get_config"):
            said.append(f"{name}=({', '.join(map(_described, value))})")
    return f"{type(part).__name__}({', '.join(said)})"


def notes_of(
    localizer: keras.Model,
    test: Any,
    tune_on: Any,
    table: ImageTable,
    num_repeated: int,
) -> dict[str, str]:
    """Says how splits and thresholds were chosen, and what is no plain CAM."""
    notes, score_map = {}, _described(localizer.score_map)
    if score_map != _described(CAM()):
        notes["score map"] = score_map
    if isinstance(localizer, SecondLook):
        notes["classes"] = "of the image and of the crop of its box"
    if localizer.num_classes == 1:
        notes["classes"] = (
            "the model has one, so Top-1 Cls is 100 %, and Top-1 Loc is GT-known Loc"
        )
    notes |= {f"localizer's {name}": why for name, why in localizer.notes.items()}
    notes |= getattr(test, "notes", {})
    if tune_on is not None:
        for name, why in getattr(tune_on, "notes", {}).items():
            same = notes.get(name) == why
            notes[name if same else f"{name} of those tuned on"] = why
        split = getattr(tune_on, "split", "the batches given")
        notes["tuned threshold"] = f"best GT-known Loc on {split}"
    without = (~has_area(table.true_boxes).any(axis=1)).sum()
    if num_repeated:
        notes["images that the threshold was tuned on"] = (
            f"{num_repeated}, by their pixels"
        )
    if without:
        notes["images without a true box"] = f"{without}, counted as wrong"
    return notes
