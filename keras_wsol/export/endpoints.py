"""The functions behind the signatures of a SavedModel. TensorFlow."""

from typing import Any

import tensorflow as tf
from keras import ops

from keras_wsol.cam.score_map import look
from keras_wsol.cam.split import SplitModel
from keras_wsol.data.tf_pipeline import decode_rgb, or_no_memory, read_each, resize
from keras_wsol.models import Localizer, class_names_of
from keras_wsol.models.localizer_batches import not_empty, probabilities


def localize(localizer: Localizer, images: Any, cam_threshold: Any) -> dict[str, Any]:
    """From images (B, H, W, 3), where B may be 0, to the localizer's outputs."""
    outputs = localizer(images, cam_threshold=cam_threshold, training=False)
    outputs.pop("logits")
    names = class_names_of(localizer.model)
    if names is not None:
        outputs["class_names"] = tf.gather(names, outputs["class_ids"])
    return outputs


def localize_bytes(
    localizer: Localizer, image_bytes: Any, cam_threshold: Any, max_pixels: int
) -> dict[str, Any]:
    """From encoded images (B,), where B may be 0, to the localizer's outputs.

    Boxes are in pixels of each image as displayed, upright. What cannot be decoded, or
    is larger than allowed, gets zeros and `valid=False`.
    """
    size = localizer.input_size

    def read_one(slot: Any) -> tuple[Any, Any]:
        encoded = image_bytes[slot]
        image = decode_rgb(encoded, orientation="exif", max_pixels=max_pixels)
        return resize(image, size), image

    images, sizes, read = read_each(tf.size(image_bytes), read_one, size)
    read = or_no_memory(read, image_bytes, max_pixels)
    outputs = localize(localizer, images, cam_threshold)
    scale = tf.cast(sizes, tf.float32) / tf.constant(size, tf.float32)
    scale = tf.gather(scale, [1, 0, 1, 0], axis=1)  # height and width to x, y, x, y
    for name in {"boxes", "component_boxes"} & set(outputs):
        outputs[name] *= _as_deep(scale, outputs[name])
    for name, value in outputs.items():
        mask = _as_deep(read[:, None], value)
        outputs[name] = tf.where(mask, value, tf.zeros_like(value))
    return outputs


def localize_maps(localizer: Localizer, images: Any) -> dict[str, Any]:
    """From images (B, h, w, 3) of the input size to all that needs no components."""
    found = localizer.find_maps(images)
    scores = probabilities(found["logits"])
    return {
        "class_ids": found["class_ids"],
        "scores": ops.take_along_axis(scores, found["class_ids"], axis=1),
        "score_maps": found["score_maps"],
    }


def look_at_features(split: SplitModel, images: Any) -> dict[str, Any]:
    """From images (B, H, W, 3) to what the score map is read from, and logits."""
    count = tf.shape(images)[0]
    evidence = look(split, not_empty(images))
    features = tf.cast(evidence.features, tf.float32)
    return {"features": features[:count], "logits": evidence.logits[:count]}


def _as_deep(value: Any, other: Any) -> Any:
    """Puts dimensions into (B, N), behind the batch, until there are as many."""
    extra = [1] * (len(other.shape) - 2)
    return tf.reshape(value, (-1, *extra, value.shape[1]))
