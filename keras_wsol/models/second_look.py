"""A second look: the classifier reads the crop of what it found, too.

Reference: Hu et al., "See Better Before Looking Closer", 2019
(https://arxiv.org/abs/1901.09891), "coarse-to-fine".
"""

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_wsol.arguments import check_number, fill_options
from keras_wsol.boxes import largest_boxes

DEFAULTS = {"cam_threshold": 0.2, "margin": 0.1}


def check_second_look(options: Mapping[str, float] | None) -> dict[str, float]:
    """Checks the options of a second look and fills in what they leave out."""
    filled = fill_options("second_look_options", options, DEFAULTS)
    for name, value in filled.items():
        check_number(f'second_look_options["{name}"]', value)
    if filled["cam_threshold"] == 1:  # above the maximum there is no cell
        raise ValueError(
            '`second_look_options["cam_threshold"]` must be a number in [0, 1). '
            "Received: 1."
        )
    return {name: float(value) for name, value in filled.items()}


@keras.saving.register_keras_serializable(package="keras_wsol")
class ObjectCrop(keras.layers.Layer):
    """Crops images to the box of their score map."""

    def __init__(
        self,
        cam_threshold: float = DEFAULTS["cam_threshold"],
        margin: float = DEFAULTS["margin"],
        **kwargs: Any,
    ) -> None:
        # Images in [0, 255] do not survive a cast to float16 on the way in.
        super().__init__(**{**kwargs, "dtype": "float32"})
        self.cam_threshold = cam_threshold
        self.margin = margin
        if keras.backend.backend() == "tensorflow":
            # There, boxes come from an algorithm whose shapes depend on the values,
            # which XLA cannot compile; Keras would try on a GPU.
            self.supports_jit = False

    def call(self, images: Any, score_maps: Any, static_shapes: bool = False) -> Any:
        size = images.shape[1:3]
        boxes = largest_boxes(
            score_maps, self.cam_threshold, static_shapes=static_shapes
        )
        return crop_to_boxes(images, with_margin(boxes, size, self.margin))

    def compute_output_shape(self, images_shape: Any, score_maps_shape: Any) -> Any:
        return images_shape

    def get_config(self) -> dict[str, Any]:
        options = {"cam_threshold": self.cam_threshold, "margin": self.margin}
        return {**super().get_config(), **options}


def with_margin(boxes: Any, size: tuple[int, int], margin: float) -> Any:
    """Adds a share of their sides to boxes, as far as there is image."""
    boxes = ops.convert_to_tensor(boxes, dtype="float32")
    near, far = boxes[:, :2], boxes[:, 2:]
    end = ops.convert_to_tensor([float(size[1]), float(size[0])])
    extra = margin * (far - near)
    grown = [ops.maximum(near - extra, 0.0), ops.minimum(far + extra, end)]
    whole = [ops.zeros_like(near), ops.zeros_like(far) + end]
    return ops.where(
        ops.all(far > near, axis=1, keepdims=True),
        ops.concatenate(grown, axis=1),
        ops.concatenate(whole, axis=1),
    )


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
    images = _turned(ops.reshape(images, (-1, height, width, channels)))
    images = ops.matmul(columns, ops.reshape(images, (-1, width, height * channels)))
    return _turned(ops.reshape(images, (-1, width, height, channels)))


def _turned(images: Any) -> Any:
    """The same with rows for columns."""
    return ops.transpose(images, (0, 2, 1, 3))


def mean_of_two_looks(logits: Any, of_crop: Any) -> Any:
    """Returns the logarithm of the mean of two softmaxes."""
    both = ops.logaddexp(ops.log_softmax(logits), ops.log_softmax(of_crop))
    return both - np.log(2.0).astype("float32")


def _interpolation(start: Any, end: Any, length: int) -> Any:
    """What each of `length` new pixels takes of each old one, `(B, length, length)`."""
    middles = ops.arange(length, dtype="float32") + 0.5
    places = start[:, None] + middles * (end - start)[:, None] / length - 0.5
    places = ops.minimum(ops.maximum(places, 0.0), length - 1.0)
    pixels = ops.arange(length, dtype="float32")
    return ops.relu(1.0 - ops.abs(places[..., None] - pixels))
