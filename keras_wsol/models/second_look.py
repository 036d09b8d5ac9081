"""A second look: the classifier reads the crop of what it found, too.

Reference: Hu et al., "See Better Before Looking Closer", 2019
(https://arxiv.org/abs/1901.09891), "coarse-to-fine".
"""

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_wsol.boxes import largest_boxes
from keras_wsol.layers.arguments import check_number, fill_options

DEFAULTS = {"cam_threshold": 0.2, "margin": 0.1}


def check_second_look(options: Mapping[str, float] | None) -> dict[str, float]:
    """Checks the options of a second look and fills in what they leave out.

    Args:
        options: `"cam_threshold"` and `"margin"`, each optional; `None` is neither.

    Returns:
        Both.

    Raises:
        TypeError: They are no dictionary, or an option is no number.
        ValueError: An option is unknown or out of range.

    Example:
    >>> check_second_look({"margin": 0})
    {'cam_threshold': 0.2, 'margin': 0.0}
    """
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
    """Crops images to the box of their score map and resizes the crops to their size.

    The crop is stretched to the shape of the image [ours: the paper does not say].

    Args:
        cam_threshold: As in `Localizer`.
        margin: Float in [0, 1], the share of the box's width and height that is added
            on each side, as far as there is image.
        **kwargs: Passed on to `keras.layers.Layer`.

    Call arguments:
        images: float32 `(B, H, W, 3)`.
        score_maps: float32 `(B, H, W)` in [0, 1].
        static_shapes: As in `Localizer`.

    Returns:
        float32 `(B, H, W, 3)`; the whole image where the map is empty.

    Example:
    >>> score_map = np.array([[0, 0, 1, 1], [0, 0, 1, 1]], "float32")
    >>> image = np.arange(8, dtype="float32").reshape(1, 2, 4, 1)
    >>> crop = ObjectCrop(margin=0)(image, score_map[None])
    >>> ops.convert_to_numpy(crop)[0, 0, :, 0].tolist()
    [1.75, 2.25, 2.75, 3.0]
    """

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
    """Adds a share of their sides to boxes, as far as there is image.

    Args:
        boxes: float32 `(B, 4)`, x0, y0, x1, y1 in pixels, the far edge exclusive.
        size: Height and width of the image.
        margin: The share, on each side.

    Returns:
        float32 `(B, 4)`; the whole image for a box without an area.

    Example:
    >>> boxes = np.array([[2, 2, 6, 4], [0, 0, 0, 0]], "float32")
    >>> ops.convert_to_numpy(with_margin(boxes, (10, 7), 0.5)).tolist()
    [[0.0, 1.0, 7.0, 5.0], [0.0, 0.0, 7.0, 10.0]]
    """
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
    """Crops each image to its box and resizes the crop to the size of the image.

    Bilinear with half-pixel centres, as two products of matrices: of Keras' own,
    `ops.image.crop_images` takes one box for the whole batch.

    Args:
        images: float32 `(B, H, W, C)`.
        boxes: float32 `(B, 4)`, x0, y0, x1, y1 in pixels within the image.

    Returns:
        float32 `(B, H, W, C)`.

    Example:
    >>> image = np.array([[[[0.0], [4.0]]]], "float32")
    >>> crop = crop_to_boxes(image, np.array([[0, 0, 1, 1]], "float32"))
    >>> ops.convert_to_numpy(crop)[0, 0, :, 0].tolist()
    [0.0, 1.0]
    """
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
    """Returns the logarithm of the mean of two softmaxes.

    Args:
        logits: float32 `(B, num_classes)`, of the images.
        of_crop: The same of their crops.

    Returns:
        float32 `(B, num_classes)`; its softmax is the mean.

    Example:
    >>> one, other = np.log([[[0.5, 0.5]], [[0.1, 0.9]]]).astype("float32")
    >>> mean = ops.convert_to_numpy(ops.exp(mean_of_two_looks(one, other)))
    >>> [round(share, 2) for share in mean[0].tolist()]
    [0.3, 0.7]
    """
    both = ops.logaddexp(ops.log_softmax(logits), ops.log_softmax(of_crop))
    return both - np.log(2.0).astype("float32")


def _interpolation(start: Any, end: Any, length: int) -> Any:
    """What each of `length` new pixels takes of each old one, `(B, length, length)`."""
    middles = ops.arange(length, dtype="float32") + 0.5
    places = start[:, None] + middles * (end - start)[:, None] / length - 0.5
    places = ops.minimum(ops.maximum(places, 0.0), length - 1.0)
    pixels = ops.arange(length, dtype="float32")
    return ops.relu(1.0 - ops.abs(places[..., None] - pixels))
