"""The folder of a training: what an interrupted one needs to go on."""

import csv
import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import keras

from keras_wsol import files
from keras_wsol.training.checkpoint import Checkpoint
from keras_wsol.training.epoch_log import EpochLog, rows_before
from keras_wsol.training.progress import Progress
from keras_wsol.training.stop_at_non_finite import StopAtNonFinite

SAVE_EVERY = 600.0  # seconds that an interruption costs at most


def resume(
    model: keras.Model,
    folder: str | Path,
    batches: Callable[[int], Iterable[Any]] | None = None,
    *,
    keep_lowest_error: bool,
) -> tuple[Progress, list[keras.callbacks.Callback]]:
    """Goes on from what lies in a folder, and makes the callbacks."""
    folder = Path(folder)
    checkpoint = Checkpoint(folder / "checkpoint.npz", every_seconds=SAVE_EVERY)
    done = checkpoint.restore(model)
    log = folder / "log.csv"
    # In this order: the checkpoint says that all before it is done.
    callbacks = [StopAtNonFinite(checkpoint, batches)]
    if keep_lowest_error:
        callbacks.append(keep_best(folder / "best.keras", log, done))
    return done, [*callbacks, EpochLog(log, done), checkpoint]


def keep_best(path: Path, log: Path, done: int) -> keras.callbacks.Callback:
    """Makes the callback that keeps the model with the lowest Top-1 error.

    The file is replaced whole: an interruption leaves the last one.

    Args:
        path: Where it is kept, `.keras`.
        log: The log of the run so far, `log.csv`; it need not be there.
        done: Integer, epochs that were done: the best of them is the one to beat.

    Returns:
        A callback for `fit`, which needs `validation_data`.
    """
    return _ReplaceWhole(
        path,
        monitor="val_accuracy",
        mode="max",
        save_best_only=True,
        initial_value_threshold=_best_accuracy(log, done),
    )


class _ReplaceWhole(keras.callbacks.ModelCheckpoint):
    """Has Keras write to another name, and gives the file its own once it is whole."""

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        path = self.filepath
        with files.replaced(Path(path)) as temporary:
            self.filepath = str(temporary)
            try:
                super().on_epoch_end(epoch, logs)
            finally:
                self.filepath = path


def _best_accuracy(log: Path, done: int) -> float | None:
    """The best validation accuracy of the epochs before `done`, from the log."""
    # Not `done` itself: it is true within the first epoch, which has no row.
    if not (int(done) and log.is_file()):
        return None
    rows = csv.DictReader(rows_before(log, int(done)).splitlines())
    given = [row.get("val_accuracy") for row in rows]
    found = [float(value) for value in given if value not in (None, "", "NA")]
    return max(filter(math.isfinite, found), default=None)
