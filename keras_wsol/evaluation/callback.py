"""Localization measured while a classifier trains."""

import inspect
from typing import Any

import keras

from keras_wsol.arguments import check_integer
from keras_wsol.cam.by_class import check_classes
from keras_wsol.data.images import check_view
from keras_wsol.evaluation.evaluate import evaluate
from keras_wsol.models import Localizer
from keras_wsol.models.tune import check_has_boxes, check_not_test

_LOGGERS = (keras.callbacks.CSVLogger, keras.callbacks.TensorBoard)


def check_before_loggers(own: keras.callbacks.Callback) -> None:
    """Raises, as training begins, if a callback has to write figures of a later one."""
    for entry in inspect.stack(0):  # Keras gives no other way to the callbacks
        caller = entry.frame.f_locals.get("self")
        is_list = isinstance(caller, keras.callbacks.CallbackList)
        called = caller.callbacks if is_list and own in caller.callbacks else [own]
        before = [x for x in called[: called.index(own)] if isinstance(x, _LOGGERS)]
        if before:
            raise ValueError(
                f"{type(own).__name__} must come before {type(before[0]).__name__} in "
                "`callbacks`, which would miss its figures else."
            )


class LocalizationEvaluation(keras.callbacks.Callback):
    """Measures localization on a held-out split, epoch by epoch.

    After the first epoch of a `fit`, then after every `every`-th, and after the last,
    one pass over the split in inference mode adds to the logs of the epoch:

    - `val_gt_known_loc` and `val_top1_loc` at the threshold that is best on this
      split in this epoch, and that threshold, `val_cam_threshold`;
    - `val_max_box_acc_v2` and `val_top1_cls`.

    Callbacks that come after this one see them: `ModelCheckpoint` with
    `monitor="val_gt_known_loc"`, `mode="max"` and `save_best_only=True` keeps the best
    model, with `every=1`: Keras saves each epoch without the figure. The split must
    share no image with the training images, and figures to publish come from another
    one. Weights, optimizer and seeds stay as they are.

    Args:
        held_out: An `ImageDataset` with boxes, such as `"train-fullsup"`, or batches as
            `evaluate` takes, again and again; these need `allow_test=True`.
        every: Integer. Epochs from one evaluation to the next. Default 1.
        view: `"whole"` or `"center_crop"`, as in `evaluate`.
        batch_size: Integer, as in `evaluate`.
        num_thresholds: Integer, as in `evaluate`.
        score_map: See `models.Localizer`. Default None, that of the method.
        allow_test: Boolean. Whether the split may be a test split or have no name.
            Figures that models were chosen by are worthless. Default `False`.

    Raises:
        ValueError: The split is a test split or has no boxes, or, when training begins,
            the model knows other classes, or a logger comes before this callback.

    Example:
        held_out = data.cub200(root, "train-fullsup")
        evaluation = LocalizationEvaluation(held_out)
        model.fit(train.batches(training=True), callbacks=[evaluation], shuffle=False)
    """

    def __init__(
        self,
        held_out: Any,
        *,
        every: int = 1,
        view: str = "whole",
        batch_size: int = 32,
        num_thresholds: int = 1000,
        score_map: Any = None,
        allow_test: bool = False,
    ) -> None:
        super().__init__()
        if not allow_test:
            if not isinstance(getattr(held_out, "split", None), str):
                raise ValueError(
                    "Batches do not say which split they are of: pass an "
                    "`ImageDataset`, or `allow_test=True` if no result is reported on "
                    f"these. Received: {type(held_out).__name__}."
                )
            check_not_test(held_out, "models")
        check_has_boxes(held_out)
        self.held_out = held_out
        self.every = check_integer("every", every)
        self.view = check_view(view)
        self.batch_size = check_integer("batch_size", batch_size)
        self.num_thresholds = check_integer("num_thresholds", num_thresholds)
        self.score_map = score_map
        self._first = True

    def on_train_begin(self, logs: Any = None) -> None:
        # Before the model has cost an epoch.
        check_before_loggers(self)
        localizer = self._localizer()
        check_classes(self.held_out, localizer.model, localizer.num_classes)
        self._first = True

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Measures and adds to the logs, in the epochs that are asked for."""
        last = (self.params or {}).get("epochs", 0) - 1
        # The first one always: `CSVLogger` takes its columns from it.
        chosen = self._first or epoch % self.every == 0 or epoch == last
        self._first = False
        if logs is not None and chosen:
            logs.update(self.figures())

    def figures(self) -> dict[str, float]:
        """Measures the model as it is: the five figures, as they are logged."""
        localizer = self._localizer()
        report = evaluate(
            localizer,
            self.held_out,
            view=self.view,
            batch_size=self.batch_size,
            num_thresholds=self.num_thresholds,
            verbose=False,
        )
        return {
            "val_gt_known_loc": report.oracle.gt_known_loc,
            "val_top1_loc": report.oracle.top1_loc,
            "val_max_box_acc_v2": report.max_box_acc_v2,
            "val_top1_cls": report.top1_cls,
            "val_cam_threshold": report.oracle.cam_threshold,
        }

    def _localizer(self) -> Localizer:
        # A new one each time: it holds the weights of the head as they are now. Its
        # threshold is not used, and the score map may have none.
        return Localizer(self.model, 0.0, score_map=self.score_map)
