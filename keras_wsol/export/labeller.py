"""Images to labels, batch by batch."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import keras
import numpy as np

from keras_wsol.data import ImageDataset
from keras_wsol.evaluation.reading import view_batches
from keras_wsol.export.label_formats import PseudoLabel
from keras_wsol.models import Localizer

CLASS_IDS = ("predicted", "known")
UNREADABLE, NO_BOX, LOW_SCORE = "unreadable", "no box", "low score"


@dataclass(frozen=True, kw_only=True)
class Choice:
    """Which boxes become labels.

    Attributes:
        class_ids: `"predicted"`, or `"known"`: those of the data set.
        min_score: Lowest probability of the class with which a box is kept.
        all_components: Whether the box of each component is kept, not only that of
            the largest.
    """

    class_ids: str
    min_score: float
    all_components: bool


@dataclass(frozen=True, kw_only=True)
class LabelledImage:
    """What was found in an image.

    Attributes:
        name: What the image is called.
        labels: Its boxes, the largest first; none if it is left out.
        left_out: Why it is: `UNREADABLE`, `NO_BOX` or `LOW_SCORE`; else `None`.
    """

    name: str
    labels: tuple[PseudoLabel, ...] = ()
    left_out: str | None = None


class Labeller:
    """Runs a localizer over images and makes labels of what it finds."""

    def __init__(
        self,
        localizer: Localizer,
        class_names: Sequence[str],
        choice: Choice,
        batch_size: int,
    ) -> None:
        self._input_size = localizer.input_size
        self._class_names = class_names
        self._choice = choice
        self._batch_size = batch_size
        self._model = _BestClass(localizer, choice)

    def label(
        self, dataset: ImageDataset, names: Sequence[str]
    ) -> Iterator[LabelledImage]:
        """Finds the boxes of images."""
        # Only batches with boxes tell the size of each image.
        dataset = replace(dataset, boxes=np.zeros((len(dataset), 0, 4), "float32"))
        name = iter(names)
        for batch in view_batches(dataset, "whole", self._input_size, self._batch_size):
            found = self._find(batch["images"], batch["class_ids"])
            for row, size in enumerate(batch["sizes"]):
                of_image = {key: value[row] for key, value in found.items()}
                yield self._labelled(next(name), size, of_image)

    def _find(self, images: np.ndarray, class_ids: np.ndarray) -> dict[str, np.ndarray]:
        # A short last batch is filled up: a new shape would be compiled anew.
        count = len(images)
        fill = [(0, self._batch_size - count)]
        found = self._model.predict_on_batch(
            [np.pad(images, fill + [(0, 0)] * 3), np.pad(class_ids, fill)]
        )
        found = {key: np.asarray(value)[:count] for key, value in found.items()}
        return {**found, "read": class_ids >= 0}

    def _why_not(self, found: dict[str, Any]) -> str | None:
        """Why an image gets no label."""
        if not found["read"]:
            return UNREADABLE
        if not found["valid"]:
            return NO_BOX
        return None if found["scores"] >= self._choice.min_score else LOW_SCORE

    def _labelled(
        self, name: str, size: np.ndarray, found: dict[str, Any]
    ) -> LabelledImage:
        left_out = self._why_not(found)
        if left_out:
            return LabelledImage(name=name, left_out=left_out)
        height, width = size.tolist()
        scale = size[::-1] / np.array(self._input_size[::-1])
        boxes = found["boxes"][: found["count"]].astype("float64") * np.tile(scale, 2)
        # Hundredths of a pixel: finer than the cells of any map.
        boxes = np.clip(boxes, 0, [width, height] * 2).round(2)
        class_id = int(found["class_ids"])
        labels = [
            PseudoLabel(
                path=name,
                width=width,
                height=height,
                class_id=class_id,
                class_name=self._class_names[class_id],
                score=round(float(found["scores"]), 6),
                box=tuple(box),
            )
            for box in boxes.tolist()
        ]
        return LabelledImage(name=name, labels=tuple(labels))


class _BestClass(keras.Model):
    """One class an image and its boxes; a model, so that Keras compiles it."""

    def __init__(self, localizer: Localizer, choice: Choice) -> None:
        super().__init__(name="best_class", dtype="float32")
        self.localizer = localizer
        self._known = choice.class_ids == "known"
        self._all_components = choice.all_components
        self.built = True
        # XLA cannot compile what `Localizer` does on TensorFlow.
        self.jit_compile = localizer.jit_compile

    def call(self, inputs: Any) -> dict[str, Any]:
        images, class_ids = inputs
        found = self.localizer(images, class_ids=class_ids if self._known else None)
        best = {key: value[:, 0] for key, value in found.items()}
        count = keras.ops.cast(best["valid"], "int32")
        boxes = best["boxes"][:, None]
        if self._all_components:
            count, boxes = best["num_components"], best["component_boxes"]
        kept = {key: best[key] for key in ("class_ids", "scores", "valid")}
        return {**kept, "boxes": boxes, "count": count}
