"""The localizer that suits the images at hand, chosen without boxes."""

import sys
import warnings
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_wsol.arguments import check_bool, check_integer
from keras_wsol.cam import ClassMaps, ScoreMap
from keras_wsol.cam.by_class import has_classes_of
from keras_wsol.cam.ddt import check_read_again
from keras_wsol.cam.score_map import score_map_of
from keras_wsol.cam.split import split_at
from keras_wsol.data import ImageDataset, boxes_from_csv
from keras_wsol.models.candidates import (
    Candidate,
    Sample,
    candidates,
    choose,
    in_words,
    some_of,
)
from keras_wsol.models.classifier import build_classifier
from keras_wsol.models.contrast import SIDE
from keras_wsol.models.localizer import Localizer
from keras_wsol.models.methods.method import as_read
from keras_wsol.models.splice import with_input_size
from keras_wsol.models.tune import check_not_test

_FEW_IMAGES = 20
# Mean difference of colours, in [0, 1], between images that are nearly the same.
_NEARLY_THE_SAME = 0.02
_MANY = 0.2  # share of the images
_FILLED, _EMPTY = 0.8, 0.02  # share of the image that a map covers
_LOW_CONTRAST = 0.03
_FOREIGN = (
    "the classes of the images are not the model's, so that predicted ones were used"
)


def fit_localizer(
    model: keras.Model | str,
    images: Any,
    boxes: ImageDataset | str | Path | None = None,
    *,
    score_maps: Sequence[ScoreMap | str] | None = None,
    input_sizes: Sequence[tuple[int, int]] | None = None,
    seed: int = 0,
    verbose: bool = True,
) -> Localizer:
    """Makes the localizer that suits the images; no box is needed.

    `DDT` and `Foreground` are fitted to up to 300 of the images, at the last layers in
    front of and behind the last stride. With labels, and a classifier that knows them,
    `ByClass` is fitted, too, if there are five images a class on average: of at most 60
    classes. Each map is cut where colour and texture inside and outside of it differ
    most, its contrast. The `Mean` is taken of two fitted maps of the layer with the
    highest contrast, one of all images and one by class if there is one; of one of
    another layer; and with a trained classifier of the class activation map without
    negative weights [ours]. With a few boxes, map and threshold are those of the
    highest mean IoU, also among `DDT` fitted to each class.

    Args:
        model: A classifier, as in `Localizer`, or a `Localizer`, whose classifier is
            taken. Without training: the name of a row of `models.BACKBONES`, whose
            ImageNet weights are downloaded, or a functional model whose output is a
            map, such as one of `keras.applications` with `include_top=False` for
            images in [0, 255]. All images must then show one
            kind of object; its class is called "object".
        images: An `ImageDataset`, whose labels are used if its classes are the model's,
            and whose boxes are not; or batches, or one batch: images `(B, H, W, 3)` in
            [0, 255], tuples of images and class ids, or dictionaries with `"images"`
            and, optionally, `"class_ids"`.
        boxes: An `ImageDataset` with boxes, or the path of a CSV file with boxes of
            some of `images`, as in `data.boxes_from_csv`. About 30 are a beginning, of
            more than 300 as many are drawn. None of them may be measured on later.
            Default None.
        score_maps: Score maps to choose among, fitted or by name. Default None, those
            above.
        input_sizes: Sizes `(height, width)` to choose among, multiples of 32. Larger
            ones give finer maps and take longer. Default None, the model's own.
        seed: Integer. Draws the images that are looked at. Default 0.
        verbose: Boolean. Whether to print what was chosen and why, and before it, in a
            terminal or notebook, how many batches and score maps are done. Default
            True.

    Returns:
        A `Localizer`, whose `notes` say what was chosen and why.

    Raises:
        ValueError: There are fewer than two images, or `boxes` is of a test split.
        TypeError: `images` is an iterator, and there are several `input_sizes`.

    Example:
    >>> model = build_classifier("mobilenet", "cam", 2, weights=None,
    ...                          input_shape=(64, 64, 3),
    ...                          backbone_options={"alpha": 0.25})
    >>> images = np.random.default_rng(0).uniform(0, 255, (24, 64, 64, 3))
    >>> localizer = fit_localizer(model, [images], verbose=False)
    >>> list(localizer.notes)
    ['score map', 'read at', 'threshold', 'chosen on']
    """
    check_bool("verbose", verbose)
    check_integer("seed", seed, low=0)
    model = _with_head(model.model if isinstance(model, Localizer) else model)
    model, own_map = as_read(model, None)
    boxed = _boxed(images, boxes, seed)
    maps = None if score_maps is None else _checked(score_maps)
    if len(input_sizes or ()) > 1:
        check_read_again(images)
    own = (maps[0].split(model) if maps else split_at(model)).input_size
    tried, shown = [], "auto" if verbose else False
    for size in input_sizes or [own]:
        sized = model if size == own else with_input_size(model, size)
        found, sample = candidates(sized, images, boxed, maps, seed, own_map, shown)
        best = choose(found, given=maps is not None)
        tried.append((best, found, sized, sample))
    best, found, sized, sample = max(tried, key=lambda each: each[0].merit)
    _warn_of_images(best, sample, images, boxed)
    notes = _notes(best, found, sample, images, boxed)
    if maps is None and not isinstance(own_map, str | ClassMaps):
        name = type(own_map).__name__
        notes["map of the method"] = (
            f"{name}, which is no candidate: `Localizer(model)` and `--score-map own` "
            "read it"
        )
    if verbose:
        lines = [f"{name.capitalize()}: {text}\n" for name, text in notes.items()]
        sys.stdout.write("".join(lines))
    return Localizer(sized, best.cam_threshold, score_map=best.score_map, notes=notes)


def _with_head(model: keras.Model | str) -> keras.Model:
    """A classifier; a backbone gets a head of one class, which needs no training."""
    # A model that is not built has none.
    is_map = len(getattr(model, "output_shape", ())) == 4
    if isinstance(model, str) or is_map:
        return build_classifier(model, num_classes=1, class_names=("object",))
    return model


def _checked(score_maps: Sequence[ScoreMap | str]) -> list[ScoreMap]:
    if isinstance(score_maps, str) or not len(score_maps):
        raise ValueError(
            "`score_maps` must be a sequence of at least one score map or name. "
            f"Received: score_maps={score_maps!r}."
        )
    return [score_map_of(each) for each in score_maps]


def _boxed(images: Any, boxes: Any, seed: int) -> ImageDataset | None:
    """The images with boxes, if there are any; at most as many as are fitted to."""
    if boxes is None:
        return None
    if isinstance(boxes, str | Path):
        if not isinstance(images, ImageDataset):
            raise TypeError(
                "`images` must be an `ImageDataset` where `boxes` is the path of a CSV "
                f"file. Received: images of type {type(images).__name__}."
            )
        check_not_test(images, "maps and thresholds", "")
        boxes = boxes_from_csv(images, boxes)
    elif not isinstance(boxes, ImageDataset):
        raise TypeError(
            "`boxes` must be an `ImageDataset` with boxes, or the path of a CSV file. "
            f"Received an object of type {type(boxes).__name__}."
        )
    check_not_test(boxes, "maps and thresholds", "")
    return some_of(boxes, seed)


def _notes(
    best: Candidate,
    found: Sequence[Candidate],
    sample: Sample,
    images: Any,
    boxed: ImageDataset | None,
) -> dict[str, str]:
    """What was chosen, and why."""
    height, width = sample.split.input_size
    known = " and their classes" if sample.labelled else " of predicted classes"
    labels = known if sample.knows_classes else ", taken for one kind"
    of = f" of {images.name!r} ({images.split})" if hasattr(images, "split") else ""
    others = [each for each in found if each is not best]
    second = max(others, key=lambda each: each.contrast, default=None)
    why = f"contrast {best.contrast:.3f}"
    if second is not None:
        why += f" (of one alone at most {second.contrast:.3f})"
    how = "where colour and texture inside and outside differ most"
    where = f"{len(sample)} images{of}{labels}, without boxes"
    if boxed is not None:
        why = f"mean IoU {best.merit:.3f} on the images with boxes"
        how = "where the mean IoU is highest"
        where = f"{len(boxed)} images with boxes; fitted to {len(sample)}{of}"
    return {
        "score map": f"{in_words(best.score_map)}, of {len(found)} candidates: {why}",
        "read at": f"{height}x{width} pixels",
        "threshold": f"{best.cam_threshold:.2f}, {how}",
        "chosen on": where,
    }


def _is_foreign(sample: Sample, images: Any) -> bool:
    """Whether a data set has other classes than the model."""
    count = sample.split.num_classes
    # Files of unknown class have one.
    if not isinstance(images, ImageDataset) or 1 in (count, images.num_classes):
        return False
    return not has_classes_of(images, sample.model, count)


def _warn_of_images(best: Candidate, sample: Sample, *given: Any) -> None:
    """Warns where images, classifier or map are not what a choice can rest on."""
    reasons = [_FOREIGN] * any(map(partial(_is_foreign, sample), given))
    if len(sample) < _FEW_IMAGES:
        reasons.append(f"there are only {len(sample)} images")
    if sample.split.num_classes > 1 and not sample.knows_classes:
        reasons.append("the classifier is no better than chance, so it was not used")
    if sample.labelled and len(np.unique(sample.class_ids)) == 1:
        reasons.append("all images are of one class")
    same = _share_of_twins(sample.looks)
    if same > _MANY:
        reasons.append(f"{same:.0%} of the images are nearly the same as another")
    maps = sample.maps(best.score_map, (SIDE, SIDE))
    covered = float((maps > best.cam_threshold).mean())
    if not _EMPTY < covered < _FILLED:
        reasons.append(f"what was found covers {covered:.0%} of the images")
    if best.contrast < _LOW_CONTRAST:
        reasons.append("what was found hardly differs from what is around it")
    if reasons:
        warnings.warn(
            f"The localizer may be wrong: {'; '.join(reasons)}. Look at its boxes by "
            "`viz.show`, and at other thresholds by `viz.show_thresholds`.",
            stacklevel=3,
        )


def _share_of_twins(looks: np.ndarray) -> float:
    """Share of the images that hardly differ from one before."""
    colours = looks.reshape(len(looks), SIDE, SIDE, -1)[:, 3::7, 3::7, :3]
    colours = colours.reshape(len(looks), -1)
    twins = 0
    for place in range(1, len(colours)):
        apart = np.abs(colours[:place] - colours[place]).mean(axis=1)
        twins += apart.min() < _NEARLY_THE_SAME
    return twins / len(colours)
