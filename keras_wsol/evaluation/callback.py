"""Localization measured while a classifier trains."""

from collections.abc import Mapping
from numbers import Integral
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_wsol.data import ImageDataset
from keras_wsol.data.images import check_view
from keras_wsol.evaluation.best_index import best_index
from keras_wsol.evaluation.best_model import BestModel
from keras_wsol.evaluation.class_check import check_classes
from keras_wsol.evaluation.measure import MapReader, measure
from keras_wsol.evaluation.score_map_images import ScoreMapImages
from keras_wsol.evaluation.split_names import check_named, check_not_test
from keras_wsol.metrics import threshold_grid
from keras_wsol.models import Localizer


class LocalizationEvaluation(keras.callbacks.Callback):
    """Measures localization on a held-out split, epoch by epoch.

    After the first epoch of a `fit`, then after every `every`-th, and after the last,
    one pass over the split in inference mode adds to the logs of the epoch:

    - `val_gt_known_loc` and `val_top1_loc` at the threshold that is best on this
      split in this epoch, and that threshold, `val_cam_threshold`;
    - `val_max_box_acc_v2` and `val_top1_cls`.

    They are what `evaluate` gives for the split: the last two, and those of
    `Report.oracle`. Callbacks that come after this one (`CSVLogger`, `EarlyStopping`,
    `ModelCheckpoint`, `TensorBoard`) see them, and `History` keeps them. The split
    must share no image with the training images, and figures to publish come from
    another one: a model that was chosen on a split looks too good there.

    Weights, optimizer and seed generators stay as they are. Images that cannot be
    read are left out, as in `evaluate`.

    Args:
        dataset: An `ImageDataset` with boxes, such as `"train-fullsup"`, or what else
            `evaluate` takes and can be gone through repeatedly. Batches, which do not
            say which split they are of, need `allow_test=True`.
        every: Integer of at least 1, epochs from one evaluation to the next.
        view: As in `evaluate`.
        batch_size: Images in a batch of an `ImageDataset`.
        num_thresholds: Size of the threshold grid in [0, 1).
        localizer_options: Arguments of `models.Localizer`, such as
            `{"score_map": "grad_cam", "layer": "conv5"}`.
        save_best: Optional path, `.keras`, of the best model so far, to be loaded by
            `keras.saving.load_model(path, compile=False)` once `keras_wsol.models`
            has been imported. A training that is resumed, `fit(initial_epoch=...)`,
            goes on from what lies there.
        measure: What the best model is chosen by: `"gt_known_loc"`, `"top1_loc"`,
            `"max_box_acc_v2"` or `"top1_cls"`.
        log_dir: Optional folder for TensorBoard: score maps with boxes of a few
            images of the split. Needs TensorFlow, on any backend.
        num_images: Integer of at least 1, how many images.
        allow_test: Whether the split may be called a test split, or have no name, as
            batches have none. Models and
            thresholds are chosen by these figures, which makes those on the split
            worthless.

    Attributes:
        best: The `BestModel` with `epoch` and `value`, or `None` without `save_best`.

    Raises:
        ImportError: `log_dir` is given, and TensorFlow is not installed.
        TypeError: An argument has another type than it must have.
        ValueError: The split is a test split, has no name or has no boxes, an argument
            is out of range, or, when training begins, the model knows other classes.

    Example:
        held_out = data.cub200(root, "train-fullsup")
        evaluation = LocalizationEvaluation(held_out, save_best="runs/birds/best.keras")
        model.fit(train.batches(32, training=True), epochs=12, callbacks=[evaluation])
    """

    def __init__(
        self,
        dataset: Any,
        *,
        every: int = 1,
        view: str = "whole",
        batch_size: int = 32,
        num_thresholds: int = 1000,
        localizer_options: Mapping[str, Any] | None = None,
        save_best: str | Path | None = None,
        measure: str = "gt_known_loc",
        log_dir: str | Path | None = None,
        num_images: int = 4,
        allow_test: bool = False,
    ) -> None:
        super().__init__()
        check_view(view)
        _check_split(dataset, allow_test)
        self.dataset = dataset
        self.every = _check_count("every", every)
        self.view = view
        self.batch_size = _check_count("batch_size", batch_size)
        self.best = None if save_best is None else BestModel(save_best, measure)
        num_images = _check_count("num_images", num_images)
        self._images = None
        if log_dir is not None:
            self._images = ScoreMapImages(dataset, log_dir, num_images)
        self._grid = self._thresholds = threshold_grid(num_thresholds)
        self._localizer_options = dict(localizer_options or {})
        self._localizer: Localizer | None = None
        self._first_epoch: int | None = None

    def on_train_begin(self, logs: Any = None) -> None:
        """Finds out whether the model can be measured, before it has cost an epoch."""
        self._localizer = Localizer(self.model, **self._localizer_options)
        check_classes(self._localizer, self.dataset)
        # The thresholds of `evaluate`, so that the figures are its figures.
        fixed = np.float32(self._localizer.cam_threshold)
        self._thresholds = np.union1d(self._grid, fixed)
        self._first_epoch = None

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Notes which epoch is the first of this training."""
        if self._first_epoch is not None:
            return
        self._first_epoch = epoch
        if self.best is not None and epoch > 0:
            self.best.recall()
        elif self.best is not None:
            self.best.forget()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Measures, and adds to the logs."""
        # `CSVLogger` takes its columns from the first epoch.
        ends = (self._first_epoch, (self.params or {}).get("epochs", 0) - 1)
        if epoch % self.every and epoch not in ends:
            return
        # A new one each time: it holds the weights of the head as they are now.
        reader = MapReader(self._localizer)
        figures = self._measure(reader)
        if logs is not None:
            logs.update(figures)
        if self.best is not None:
            self.best.offer(self.model, epoch, figures)
        if self._images is not None:
            self._images.write(reader, epoch, figures["val_cam_threshold"])

    def on_train_end(self, logs: Any = None) -> None:
        """Closes the file of images, and lets go of the model."""
        if self._images is not None:
            self._images.close()
        self._localizer = None

    def _measure(self, reader: MapReader) -> dict[str, float]:
        measured = measure(
            reader,
            self.dataset,
            self.view,
            self.batch_size,
            self._thresholds,
            grid=self._grid,
        )
        best = best_index(measured.gt_known)
        return {
            "val_gt_known_loc": float(measured.gt_known[best]),
            "val_top1_loc": float(measured.top1_loc[best]),
            "val_max_box_acc_v2": float(measured.max_box_acc_v2),
            "val_top1_cls": float(measured.top1_cls),
            "val_cam_threshold": float(self._thresholds[best]),
        }


def _check_split(dataset: Any, allow_test: bool) -> None:
    if not allow_test:
        check_named(dataset)
        check_not_test(dataset, "models")
    if isinstance(dataset, ImageDataset) and dataset.boxes is None:
        raise ValueError(
            f"The split {dataset.split!r} of {dataset.name!r} has no boxes, so "
            "localization cannot be measured on it."
        )


def _check_count(name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, Integral) or value < 1:
        raise ValueError(
            f"`{name}` must be an integer of at least 1. Received: {name}={value!r}."
        )
    return int(value)
