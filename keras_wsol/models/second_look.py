"""A second look: the classifier reads the crop of what it found, too."""

from dataclasses import replace
from functools import wraps
from typing import Any, ClassVar

import keras
import numpy as np
from keras import ops

from keras_wsol.arguments import check_number
from keras_wsol.boxes import largest_boxes
from keras_wsol.cam.score_map import Evidence, look
from keras_wsol.models.localizer import Localizer, check_share_below_1
from keras_wsol.models.tune import TunedThreshold


@keras.saving.register_keras_serializable(package="keras_wsol")
class SecondLook(Localizer):
    """A localizer whose classes are those of the image and of the object's crop.

    Logits are the logarithm of the mean of two softmaxes: of the image, and of the crop
    to the box of its most probable class. Score maps and boxes are those of the image.
    It takes twice the time.

    Args:
        localizer: A `Localizer`, whose model and settings are taken over.
        crop_threshold: Float in [0, 1), or None. Where the score map is cut for the
            crop. Default None, the `cam_threshold` of `localizer`.
        margin: Float in [0, 1]. Share of its sides added to the box on each side.
            Default 0.1 [ours].
        **kwargs: Passed on to `Localizer` (`name`).

    Reference:
        - [Hu et al., 2019](https://arxiv.org/abs/1901.09891), "coarse-to-fine"
    """

    _settings: ClassVar = {
        **Localizer._settings,
        "crop_threshold": lambda own, name, value: check_share_below_1(
            name, own.cam_threshold if value is None else value
        ),
        "margin": lambda _, *given: check_number(*given),
    }

    def __init__(
        self,
        localizer: Localizer,
        crop_threshold: float | None = None,
        margin: float = 0.1,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            localizer.model,
            localizer.cam_threshold,
            localizer.top_k,
            localizer.score_map,
            localizer.max_boxes,
            localizer.min_share,
            localizer.notes,
            **{"name": "second_look", **kwargs},
        )
        self.crop_threshold = crop_threshold
        self.margin = margin

    @wraps(Localizer.tune)
    def tune(self, *args: Any, **kwargs: Any) -> TunedThreshold:
        # Maps and boxes are those of the image: one look is enough.
        localizer = Localizer(self.model, self.cam_threshold, score_map=self.score_map)
        tuned = localizer.tune(*args, **kwargs)
        self.cam_threshold = tuned.cam_threshold
        self.notes = {**self.notes, **localizer.notes}
        return tuned

    def _look(self, images: Any, static_shapes: bool) -> Evidence:
        first = look(self._split, images)
        best = ops.cast(ops.argmax(first.logits, axis=1, keepdims=True), "int32")
        maps = self._maps(first, best)[:, 0]
        boxes = largest_boxes(maps, self.crop_threshold, static_shapes=static_shapes)
        boxes = with_margin(boxes, self.input_size, self.margin)
        second = look(self._split, crop_to_boxes(first.images, boxes)).logits
        both = ops.logaddexp(ops.log_softmax(first.logits), ops.log_softmax(second))
        return replace(first, logits=both - np.log(2.0).astype("float32"))

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        return {
            "name": config.pop("name"),
            "localizer": config,
            "crop_threshold": self.crop_threshold,
            "margin": self.margin,
        }

    @classmethod
    def from_config(
        cls, config: dict[str, Any], custom_objects: dict[str, Any] | None = None
    ) -> "SecondLook":
        localizer = Localizer.from_config(config["localizer"], custom_objects)
        return cls(**{**config, "localizer": localizer})


def with_margin(boxes: Any, size: tuple[int, int], margin: float) -> Any:
    """Adds a share of their sides to boxes, as far as there is image."""
    boxes = ops.convert_to_tensor(boxes, dtype="float32")
    near, far = boxes[:, :2], boxes[:, 2:]
    end = ops.convert_to_tensor([float(size[1]), float(size[0])])
    extra = margin * (far - near)
    near_edge, far_edge = ops.maximum(near - extra, 0.0), ops.minimum(far + extra, end)
    grown = ops.concatenate([near_edge, far_edge], axis=1)
    whole = ops.concatenate([ops.zeros_like(end), end])
    return ops.where(ops.all(far > near, axis=1, keepdims=True), grown, whole)


def crop_to_boxes(images: Any, boxes: Any) -> Any:
    """Crops each image to its box and resizes the crop to the size of the image."""
    images = ops.convert_to_tensor(images, dtype="float32")
    boxes = ops.convert_to_tensor(boxes, dtype="float32")
    height, width, channels = images.shape[1:]
    rows = _interpolation(boxes[:, 1], boxes[:, 3], height)
    columns = _interpolation(boxes[:, 0], boxes[:, 2], width)
    # Rows and columns in turn are the first axis behind the batch's: products of
    # three dimensions, as PyTorch would copy `columns` once a row.
    images = ops.matmul(rows, ops.reshape(images, (-1, height, width * channels)))
    images = ops.reshape(images, (-1, height, width, channels))
    images = ops.transpose(images, (0, 2, 1, 3))
    images = ops.matmul(columns, ops.reshape(images, (-1, width, height * channels)))
    images = ops.reshape(images, (-1, width, height, channels))
    return ops.transpose(images, (0, 2, 1, 3))


def _interpolation(start: Any, end: Any, length: int) -> Any:
    """What each of `length` new pixels takes of each old one, `(B, length, length)`."""
    middles = ops.arange(length, dtype="float32") + 0.5
    places = start[:, None] + middles * (end - start)[:, None] / length - 0.5
    places = ops.minimum(ops.maximum(places, 0.0), length - 1.0)
    pixels = ops.arange(length, dtype="float32")
    return ops.relu(1.0 - ops.abs(places[..., None] - pixels))
