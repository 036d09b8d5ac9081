"""Batches with boxes as Keras and KerasCV have them."""

from typing import Any

# What each calls the class of a box.
CLASSES = {"keras": "labels", "keras_cv": "classes"}


def bounding_box_batch(batch: dict[str, Any], layout: str) -> dict[str, Any]:
    """Makes a batch that layers with a `bounding_box_format` take, in a graph.

    Args:
        batch: Batch of `ImageDataset.batches(with_boxes=True)`.
        layout: `"keras"` or `"keras_cv"`.

    Returns:
        `"images"` and `"bounding_boxes"`: `"boxes"` `(B, M, 4)`, of the format
        `"xyxy"`, padded with -1, and the class of each, int32 `(B, M)`, -1 where there
        is no box, as `"labels"` for Keras and `"classes"` for KerasCV.

    Example:
    >>> import numpy as np
    >>> boxes = np.array([[[1.0, 2.0, 3.0, 4.0], [-1.0, -1.0, -1.0, -1.0]]])
    >>> batch = {"images": 0, "boxes": boxes, "class_ids": np.array([7])}
    >>> bounding_box_batch(batch, "keras")["bounding_boxes"]["labels"].numpy().tolist()
    [[7, -1]]
    """
    import tensorflow as tf

    boxes = batch["boxes"]
    none = tf.convert_to_tensor(boxes[..., 2] < 0)
    class_ids = tf.cast(batch["class_ids"], tf.int32)[:, None]
    return {
        "images": batch["images"],
        "bounding_boxes": {
            "boxes": boxes,
            CLASSES[layout]: tf.where(none, -1, class_ids),
        },
    }
