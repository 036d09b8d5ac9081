"""Score maps that suit some images, fitted and measured without boxes or with."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_wsol.arguments import with_progress
from keras_wsol.boxes import sweep_largest_boxes
from keras_wsol.boxes.iou import pairwise_iou
from keras_wsol.cam import CAM, ByClass, ClassMaps, Mean, ScoreMap, score_maps
from keras_wsol.cam.by_class import (
    check_class_ids,
    checked_class_ids,
    has_classes_of,
    next_by_class,
)
from keras_wsol.cam.ddt import check_batches, ddt_of, images_and_classes, scatter_of
from keras_wsol.cam.foreground import directions_of, foreground_of
from keras_wsol.cam.score_map import Evidence, look, resize_to_input
from keras_wsol.cam.split import SplitModel, split_at
from keras_wsol.data import ImageDataset
from keras_wsol.data.dataset import padded_boxes
from keras_wsol.models.contrast import SIDE, contrast, look_of
from keras_wsol.models.map_layers import map_layers
from keras_wsol.models.tune import TunedThreshold, best_threshold, view_batches

_BATCH_SIZE = 32
_MOST_IMAGES = 300  # more of them change a fit of a thousand channels little
_THRESHOLDS = np.linspace(0.02, 0.9, 45, dtype="float32")
_DRAWS = 200  # of the bootstrap
_ROUNDS = (1, 2)  # of `Foreground`; further ones may drift from object to head
_LEAST_A_CLASS = 5  # images, on average
_SHRINKAGE = 0.1  # as in `Foreground.fit`
# How far from chance to always right a classifier must be to know its classes.
_LEAST_SKILL = 0.1


@dataclass(frozen=True, eq=False, kw_only=True)
class Sample:
    """What a classifier makes of some images, read once."""

    images: list[np.ndarray]  # batches
    # Likewise, by layer; None where maps are given, which may need more than these.
    features: dict[str | None, list[np.ndarray]] | None
    logits: np.ndarray
    class_ids: np.ndarray  # the labels, or what is predicted
    looks: np.ndarray
    boxes: np.ndarray | None
    labelled: bool
    model: keras.Model
    split: SplitModel  # at the features of the head

    def __len__(self) -> int:
        return len(self.logits)

    @property
    def knows_classes(self) -> bool:
        """Whether the classifier is better than chance; without labels, taken as so."""
        count = self.logits.shape[-1]
        if count == 1 or not self.labelled:
            return count > 1
        right = (self.logits.argmax(axis=-1) == self.class_ids).mean()
        return bool(right > 1 / count + _LEAST_SKILL * (1 - 1 / count))

    def pairs(self, layer: str) -> list[tuple[np.ndarray, np.ndarray]]:
        """Batches of features and class ids."""
        features = self.features[layer]
        ends = np.cumsum([len(each) for each in features])[:-1]
        return [*zip(features, np.split(self.class_ids, ends), strict=True)]

    def maps(self, score_map: ScoreMap, size: tuple[int, int]) -> np.ndarray:
        """The maps of the images' own classes in [0, 1], `(N, height, width)`."""
        found, start = [], 0
        for evidence in self._evidence(score_map):
            part = slice(start, start := start + len(evidence.images))
            evidence = replace(evidence, class_ids=self.class_ids[part, None])
            maps = score_maps(score_map.maps(evidence), size)[:, 0]
            found.append(ops.convert_to_numpy(maps))
        return np.concatenate(found)

    def _evidence(self, score_map: ScoreMap) -> Iterator[Evidence]:
        """What a map reads of each batch, class ids apart."""
        if self.features is None:
            split = score_map.split(self.model)
            yield from (look(split, images) for images in self.images)
            return
        members = score_map.score_maps if isinstance(score_map, Mean) else [score_map]
        by_member = [self.features[each.layer] for each in members]
        start = 0
        for images, first, *others in zip(self.images, *by_member, strict=True):
            yield Evidence(
                split=self.split,
                images=ops.convert_to_tensor(np.float32(images)),
                features=first,
                logits=self.logits[start : (start := start + len(first))],
                around=others,
            )


@dataclass(frozen=True, eq=False, kw_only=True)
class Candidate:
    """A score map that may be chosen, and what speaks for it."""

    score_map: ScoreMap
    contrast: float
    contrast_threshold: float  # where that is highest
    tuned: TunedThreshold | None = None  # on the images with boxes, if there are any

    @property
    def cam_threshold(self) -> float:
        """Where the map is cut."""
        return self.tuned.cam_threshold if self.tuned else self.contrast_threshold

    @property
    def merit(self) -> float:
        """What tells sizes and layers: contrast, or with boxes mean IoU."""
        return self.tuned.mean_iou if self.tuned else self.contrast


def _batches(images: Any, size: tuple[int, int], seed: int) -> Iterator[dict[str, Any]]:
    """Gives batches of images and class ids of a data set, or of what else has them."""
    if isinstance(images, ImageDataset):
        images = some_of(replace(images, boxes=None), seed)
        yield from images.evaluation_batches(_BATCH_SIZE, image_size=size, view="whole")
        return
    check_batches(images)
    read = list(_first_images(images, size))
    if len({tuple(each) for each in read}) > 1:
        raise ValueError("`images` must have class ids in each batch, or in none.")
    # Batches of one image, or of all, would take long, or much memory.
    every = {key: np.concatenate([x[key] for x in read]) for key in (read or [()])[0]}
    for start in range(0, len(every.get("images", ())), _BATCH_SIZE):
        yield {key: each[start : start + _BATCH_SIZE] for key, each in every.items()}


def _labelled(
    batches: Iterable[dict[str, Any]], images: Any, model: keras.Model
) -> Iterator[dict[str, Any]]:
    """Leaves out class ids of other classes than the model's."""
    is_set, count = isinstance(images, ImageDataset), model.output_shape[-1]
    foreign = is_set and not has_classes_of(images, model, count)
    for batch in batches:
        yield {k: x for k, x in batch.items() if not (foreign and k == "class_ids")}


def some_of(images: ImageDataset, seed: int) -> ImageDataset:
    """At most 300 of the images, drawn by the seed."""
    if len(images) <= _MOST_IMAGES:
        return images
    order = np.random.default_rng(seed).permutation(len(images))
    return images.take(np.sort(order[:_MOST_IMAGES]), images.split)


def _first_images(batches: Any, size: tuple[int, int]) -> Iterator[dict[str, Any]]:
    """Gives the first 300 images of batches in whatever form, and their class ids."""
    missing = _MOST_IMAGES
    # This may be one batch, with its class ids or without, and no list of them.
    first = batches[0] if isinstance(batches, tuple) and batches else batches
    is_batch = isinstance(batches, dict) or getattr(first, "ndim", 0) == 4
    for batch in [batches] if is_batch else batches:
        images, class_ids = images_and_classes(batch)
        images = images[:missing]
        if not len(images):
            continue
        if np.ndim(images) != 4:
            raise ValueError(
                "`images` must be batches of images (B, H, W, 3). Received one of "
                f"shape {np.shape(images)}."
            )
        found = {"images": ops.convert_to_numpy(resize_to_input(images, size))}
        if class_ids is not None:
            found["class_ids"] = checked_class_ids(class_ids[:missing], len(images))
        yield found
        missing -= len(images)
        if not missing:
            return


def read_sample(
    model: keras.Model,
    layers: Sequence[str] | None,
    batches: Iterable[dict[str, Any]],
    split: SplitModel | None = None,
) -> Sample:
    """Runs batches of the input size through a classifier, for the maps of layers.

    Or for maps that are given, with the split of one of them.
    """
    given = layers is None
    layers = (None, *(each for each in layers or () if each is not None))
    split = split or split_at(model, *layers)
    features: dict[str | None, list[np.ndarray]] = {layer: [] for layer in layers}
    images, logits, class_ids, looks, boxes = [], [], [], [], []
    for batch in batches:
        pixels = ops.convert_to_numpy(batch["images"])
        if not len(pixels):
            continue
        first, found, *others = split.network.predict_on_batch(pixels)
        logits.append(found)
        for layer, each in zip(layers, [first, *others], strict=True):
            features[layer].append(each)
        images.append(np.uint8(np.clip(pixels, 0, 255) + 0.5))
        looks.append(look_of(pixels))
        if "class_ids" in batch:
            class_ids.append(ops.convert_to_numpy(batch["class_ids"]))
        if "boxes" in batch:
            boxes.append(batch["boxes"])
    if sum(map(len, logits)) < 2:
        raise ValueError(
            "A localizer is fitted to at least two images. Received: "
            f"{sum(map(len, logits))}."
        )
    joined = np.concatenate(logits)
    labelled = bool(class_ids) and split.num_classes > 1
    labels = np.concatenate(class_ids) if labelled else joined.argmax(axis=-1)
    check_class_ids(labels, split.num_classes)
    return Sample(
        images=images,
        features=None if given else features,
        logits=joined,
        class_ids=labels.astype("int32"),
        looks=np.concatenate(looks),
        boxes=padded_boxes([*chain(*boxes)], 0) if boxes else None,
        labelled=labelled,
        model=model,
        split=split,
    )


def candidates(
    model: keras.Model,
    images: Any,
    boxes: ImageDataset | None = None,
    maps: Sequence[ScoreMap] | None = None,
    seed: int = 0,
    own: Any = "cam",
    verbose: bool | str = False,
) -> tuple[list[Candidate], Sample]:
    """Fits the maps that may be chosen, or takes those given, and measures them.

    `own` is the map of the method that the model trained with.
    """
    fit_at = map_layers(model) if maps is None else []
    is_read = isinstance(own, ClassMaps)  # one layer's channels, and no more
    read_too = [own.layer] if is_read else []
    layers = None if maps is not None else [*fit_at, *read_too]
    split = None if maps is None else maps[0].split(model)
    size = tuple(model.input_shape[1:3])
    batches = with_progress(_batches(images, size, seed), None, "batch", verbose)
    batches = _labelled(batches, images, model)
    sample, boxed = read_sample(model, layers, batches, split), None
    if boxes is not None:
        batches = view_batches(boxes, "whole", size, _BATCH_SIZE)
        batches = _labelled(batches, boxes, model)
        boxed = read_sample(model, layers, batches, split)

    def measured(maps: Iterable[ScoreMap]) -> list[Candidate]:
        maps = with_progress(maps, None, "score map", verbose)
        return [_measured(each, sample, boxed, seed) for each in maps]

    if maps is not None:
        return measured(maps), sample
    fitted = measured(_fitted(sample, fit_at))
    others: list[ScoreMap] = []
    if sample.knows_classes:
        clamped = [CAM(negative_weights=False)] * (sample.split.dense is not None)
        others += [CAM(), *([own] if is_read else clamped)]
    members = (*members_of_mean(fitted), *others[-1:])
    if boxed is not None and sample.labelled and sample.knows_classes:
        # Without boxes they are never chosen.
        others += [_ddt_by_class(sample, layer) for layer in fit_at]
    return [*fitted, *measured([*others, Mean(members)])], sample


def members_of_mean(fitted: Sequence[Candidate]) -> list[ScoreMap]:
    """The maps of the mean: those of the highest contrast, but not all of one kind.

    Two of one layer, if there are any, a map of all images and one of each class; and
    one of another layer.
    """
    ranked = [x.score_map for x in sorted(fitted, key=lambda each: -each.contrast)]
    first, *same = (each for each in ranked if each.layer == ranked[0].layer)
    others = [each for each in ranked if each.layer != first.layer]
    kind = isinstance(first, ByClass)
    other_kind = [each for each in same if isinstance(each, ByClass) != kind]
    return [first, *(other_kind or same)[:1], *others[:1]]


def choose(found: Sequence[Candidate], given: bool = False) -> Candidate:
    """Takes the best by boxes, or of those given; else the mean.

    Contrast tells good thresholds and layers, but not which of two good maps is better.
    They err in different places, so that their mean is better than either.
    """
    if given or found[0].tuned:
        return max(found, key=lambda each: each.merit)
    return found[-1]


def _fitted(sample: Sample, layers: Sequence[str]) -> Iterator[ScoreMap]:
    """Maps that are fitted to all images, and to those of each class."""
    varying = [
        layer
        for layer in layers
        if any(np.ptp(each, axis=(0, 1, 2)).any() for each in sample.features[layer])
    ]
    num_classes = sample.split.num_classes
    by_class = sample.labelled and sample.knows_classes
    by_class &= len(sample) >= num_classes * _LEAST_A_CLASS
    for layer in varying or layers:  # if all are dead, the fit says so
        features = sample.features[layer]
        scatter = scatter_of(features, root=True)
        directions = directions_of(scatter, layer, root=True)
        yield directions[0]
        for rounds in _ROUNDS:
            begun = scatter, directions
            general, _ = foreground_of(features, rounds, _SHRINKAGE, True, begun)
            yield general
        if not by_class:
            continue
        found = ByClass((general,) * num_classes)
        with suppress(ValueError):  # all cells or none are the object's
            for _ in range(_ROUNDS[-1]):
                found, _ = next_by_class(sample.pairs(layer), found, scatter)
                yield found


def _ddt_by_class(sample: Sample, layer: str) -> ByClass:
    """A `DDT` of each class; of few images, or none that vary, that of all."""
    pairs = sample.pairs(layer)
    general = ddt_of(sample.features[layer], layer, root=True)
    found = [general] * sample.split.num_classes
    for class_id in range(len(found)):
        features = [each[class_ids == class_id] for each, class_ids in pairs]
        if sum(map(len, features)) >= _LEAST_A_CLASS:
            with suppress(ValueError):
                found[class_id] = ddt_of(features, layer, root=True)
    return ByClass(tuple(found))


def _measured(
    score_map: ScoreMap, sample: Sample, boxed: Sample | None, seed: int
) -> Candidate:
    """A candidate with its contrast, and its overlap with boxes if there are any."""
    maps = sample.maps(score_map, (SIDE, SIDE)).reshape(len(sample), -1)
    curve = contrast(sample.looks, maps, _THRESHOLDS)
    best = int(curve.argmax())
    found = Candidate(
        score_map=score_map,
        contrast=float(curve[best]),
        contrast_threshold=float(_THRESHOLDS[best]),
    )
    if boxed is None:
        return found
    maps = boxed.maps(score_map, boxed.split.input_size)
    thresholds = np.linspace(0, 1, 100, endpoint=False, dtype="float32")
    swept = sweep_largest_boxes(maps, thresholds).transpose(1, 0, 2)
    ious = pairwise_iou(swept, boxed.boxes, np).max(axis=-1, initial=0)
    tuned = best_threshold(ious, thresholds, "mean_iou", _DRAWS, seed)
    return replace(found, tuned=tuned)


def in_words(score_map: ScoreMap) -> str:
    """A score map and the layer that it reads, for a reader."""
    if isinstance(score_map, Mean):
        fits = Counter(map(in_words, score_map.score_maps))
        *first, last = (f"{x} ({n} fits)" if n > 1 else x for x, n in fits.items())
        return f"mean of {', '.join(first)}{' and ' if first else ''}{last}"
    if isinstance(score_map, ByClass):
        return f"{in_words(score_map.score_maps[0])} by class"
    name = type(score_map).__name__
    if isinstance(score_map, CAM) and not score_map.negative_weights:
        name += " without negative weights"
    return name if score_map.layer is None else f"{name} of {score_map.layer}"
