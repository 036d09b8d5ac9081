"""Boxes of posted images, by BentoML.

    SAVED_MODEL=saved_models/birds/1 bentoml serve bento_service:Boxes
    curl -F images=@bird.jpg -F images=@other.jpg http://localhost:3000/localize

answers with one entry an image: class ids, scores and boxes of its best classes, empty
lists for what cannot be read.
"""

import os
from pathlib import Path
from typing import Any

import bentoml
import tensorflow as tf


@bentoml.service
class Boxes:
    """Runs the SavedModel that the environment names."""

    def __init__(self) -> None:
        self.model = tf.saved_model.load(os.environ["SAVED_MODEL"])

    @bentoml.api
    def localize(self, images: list[Path]) -> list[dict[str, list[Any]]]:
        """Returns what `serve_bytes` says of each file."""
        contents = tf.constant([image.read_bytes() for image in images], tf.string)
        found = self.model.signatures["serve_bytes"](image_bytes=contents)
        valid = found["valid"].numpy()
        return [
            {
                name: found[name][index][valid[index]].numpy().tolist()
                for name in ("class_ids", "scores", "boxes")
            }
            for index in range(len(images))
        ]
