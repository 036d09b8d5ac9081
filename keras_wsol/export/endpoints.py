"""The functions behind the signatures of a SavedModel. TensorFlow."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from keras_wsol.cam.score_map import look
from keras_wsol.data.tf_pipeline import decode_rgb, read_each, resize
from keras_wsol.models import Localizer, class_names_of

Endpoint = Callable[..., dict[str, Any]]


def image_endpoint(localizer: Localizer) -> Endpoint:
    """From images (B, H, W, 3), where B may be 0, to the localizer's outputs."""

    def serve(images: Any, cam_threshold: Any = None) -> dict[str, Any]:
        outputs = _localize(localizer, images, cam_threshold)
        return _with_names(localizer, outputs)

    return serve


def feature_endpoint(localizer: Localizer) -> Endpoint:
    """From images (B, H, W, 3) to what the score map is read from, and logits."""
    split = localizer.score_map.split(localizer.model)

    def serve(images: Any) -> dict[str, Any]:
        evidence = look(split, images)
        features = tf.cast(evidence.features, tf.float32)
        return {"features": features, "logits": evidence.logits}

    return serve


def bytes_endpoint(localizer: Localizer, max_pixels: int) -> Endpoint:
    """From encoded images (B,), where B may be 0, to the localizer's outputs.

    Boxes are in pixels of each image as displayed, upright. What cannot be decoded, or
    is larger than allowed, gets zeros and `valid=False`.
    """
    size = localizer.input_size

    def serve(image_bytes: Any, cam_threshold: Any = None) -> dict[str, Any]:
        def read_one(slot: Any) -> tuple[Any, Any]:
            image = decode_rgb(
                image_bytes[slot], orientation="exif", max_pixels=max_pixels
            )
            return resize(image, size), image

        images, sizes, read = read_each(tf.size(image_bytes), read_one, size)
        outputs = _localize(localizer, images, cam_threshold)
        for name in {"boxes", "component_boxes"} & set(outputs):
            outputs[name] = _in_image_pixels(outputs[name], sizes, size)
        for name, value in outputs.items():
            outputs[name] = tf.where(_behind(read, value), value, tf.zeros_like(value))
        outputs = _with_names(localizer, outputs)
        if "class_names" in outputs:
            names = outputs["class_names"]
            outputs["class_names"] = tf.where(_behind(read, names), names, "")
        return outputs

    return serve


def _localize(localizer: Localizer, images: Any, cam_threshold: Any) -> dict[str, Any]:
    # Some kernels do not take a batch of none: one black image stands in.
    count = tf.shape(images)[0]
    missing = tf.maximum(1 - count, 0)
    images = tf.pad(images, [[0, missing], [0, 0], [0, 0], [0, 0]])
    outputs = localizer(images, cam_threshold=cam_threshold, training=False)
    return {k: value[:count] for k, value in outputs.items() if k != "logits"}


def _with_names(localizer: Localizer, outputs: dict[str, Any]) -> dict[str, Any]:
    names = class_names_of(localizer.model)
    if names is None:
        return outputs
    return {**outputs, "class_names": tf.gather(names, outputs["class_ids"])}


def _in_image_pixels(boxes: Any, sizes: Any, input_size: tuple[int, int]) -> Any:
    scale = tf.cast(sizes, tf.float32) / tf.constant(input_size, tf.float32)
    height, width = tf.unstack(scale, axis=1)
    scale = tf.stack([width, height, width, height], axis=1)
    extra = [1] * (len(boxes.shape) - 2)
    return boxes * tf.reshape(scale, (-1, *extra, 4))


def _behind(mask: Any, value: Any) -> Any:
    """Gives a mask (B,) as many dimensions as `value` has."""
    return tf.reshape(mask, (-1, *[1] * (len(value.shape) - 1)))
