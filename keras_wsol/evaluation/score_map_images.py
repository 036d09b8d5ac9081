"""Score maps of a few fixed images, for TensorBoard."""

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np

from keras_wsol.boxes import sweep_largest_boxes
from keras_wsol.data import ImageDataset
from keras_wsol.evaluation.measure import MapReader
from keras_wsol.viz import overlay


class ScoreMapImages:
    """Writes images with score map and boxes where TensorBoard finds them."""

    def __init__(self, dataset: Any, log_dir: str | Path, count: int) -> None:
        if importlib.util.find_spec("tensorflow") is None:
            raise ImportError(
                "`log_dir` needs TensorFlow, which writes TensorBoard's files: install "
                "it beside the backend in use, or leave `log_dir` out."
            )
        if not isinstance(dataset, ImageDataset):
            raise TypeError(
                "`log_dir` needs an `ImageDataset`, of which single images can be "
                f"read. Received: {type(dataset).__name__}."
            )
        self._dataset = dataset
        self._log_dir = str(log_dir)
        places = np.linspace(0, len(dataset) - 1, min(count, len(dataset)))
        self._indices = np.unique(np.rint(places).astype(int)).tolist()
        self._writer: Any = None

    def write(self, reader: MapReader, epoch: int, cam_threshold: float) -> None:
        """Writes the images as the model sees them after an epoch."""
        import tensorflow as tf

        if self._writer is None:
            self._writer = tf.summary.create_file_writer(self._log_dir)
        # `tf.summary.image` would need the package `tensorboard` beside TensorFlow;
        # this is what it writes.
        metadata = tf.compat.v1.SummaryMetadata(
            plugin_data={"plugin_name": "images"}, data_class="DATA_CLASS_BLOB_SEQUENCE"
        )
        with self._writer.as_default():
            for name, picture in self._pictures(reader, cam_threshold).items():
                height, width, _ = picture.shape
                value = [str(width), str(height), tf.io.encode_png(picture)]
                tf.summary.write(name, tf.stack(value), step=epoch, metadata=metadata)
        self._writer.flush()

    def close(self) -> None:
        """Closes the file; another one is begun by the next `write`."""
        if self._writer is not None:
            self._writer.close()
        self._writer = None

    def _pictures(
        self, reader: MapReader, cam_threshold: float
    ) -> dict[str, np.ndarray]:
        images = self._read()
        if not images:
            return {}
        size = reader.input_size
        from PIL import Image

        inputs = np.stack(
            [Image.fromarray(i).resize(size[::-1], 2) for i in images.values()]
        )
        class_ids = self._dataset.class_ids[list(images)]
        _, maps = reader.read(inputs.astype("float32"), class_ids[:, None])
        maps = np.nan_to_num(maps[:, 0])  # of a model that broke
        boxes = sweep_largest_boxes(maps, [cam_threshold])[0]
        pictures = {}
        for (index, image), score_map, box in zip(
            images.items(), maps, boxes, strict=True
        ):
            height, width = image.shape[:2]
            box = box * np.array([width / size[1], height / size[0]] * 2)
            name = self._dataset.class_names[self._dataset.class_ids[index]]
            pictures[f"score_maps/{index} {name}"] = overlay(
                image, score_map, box[None], self._dataset.boxes[index]
            )
        return pictures

    def _read(self) -> dict[int, np.ndarray]:
        images = {}
        for index in self._indices:
            try:
                images[index] = self._dataset.image(index)
            except ValueError:  # no readable image
                continue
        return images
