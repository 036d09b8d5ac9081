"""Callbacks that act once an epoch: the log, the best model, what layers drop."""

# keras.callbacks.CSVLogger(append=True) keeps the rows of epochs that a resumed run
# does again, and half a row of a killed one.

import csv
import math
from pathlib import Path
from typing import Any

import keras

from keras_wsol import files
from keras_wsol.models import drop_shares, inserted_layers


class EpochLog(keras.callbacks.CSVLogger):
    """Writes the logs of each epoch to a CSV file, one row each after any restart.

    As training begins, rows of epochs that are to come, and half a row, are taken out.
    Put it before the `Checkpoint`, so that no epoch is done without its row.

    Args:
        path: Path of the file. Its folder exists.
        epochs_done: Integer. Whole epochs that are done, as `Checkpoint.restore`
            returns them. Default 0: the file is written anew.

    Example:
        done = checkpoint.restore(model)
        callbacks = [EpochLog("runs/birds/log.csv", done), checkpoint]
    """

    def __init__(self, path: str | Path, epochs_done: int = 0) -> None:
        super().__init__(path, append=True)
        self.epochs_done = epochs_done

    def on_train_begin(self, logs: Any = None) -> None:
        path = Path(self.filename)
        if path.is_file():
            kept = _rows_before(path, self.epochs_done)
            with files.replaced(path) as temporary:
                temporary.write_text(kept, newline="")
        super().on_train_begin(logs)


def _rows_before(path: Path, epoch: int) -> str:
    """The header and the whole rows of the epochs before one."""
    with path.open(newline="") as file:
        lines = file.readlines()
    kept = [
        line
        for line, row in zip(lines[1:], csv.DictReader(lines), strict=False)
        if line.endswith("\n") and int(row["epoch"]) < epoch
    ]
    return "".join([lines[0], *kept]) if kept else ""


def keep_best(
    path: str | Path, log: str | Path, epochs_done: int = 0
) -> keras.callbacks.ModelCheckpoint:
    """Returns a `ModelCheckpoint` of the best `val_accuracy` that survives restarts.

    The file is replaced whole. `fit` needs `validation_data`.

    Args:
        path: Path of the model, `.keras`.
        log: Path of the run's `EpochLog`; it need not be there.
        epochs_done: Integer. Epochs of the log that are done, the best of which is to
            be beaten. Default 0.

    Returns:
        The callback.

    Example:
        best = keep_best("runs/birds/best.keras", "runs/birds/log.csv", done)
    """
    return _ReplaceWhole(
        path,
        monitor="val_accuracy",
        mode="max",
        save_best_only=True,
        initial_value_threshold=_best_accuracy(Path(log), int(epochs_done)),
    )


class _ReplaceWhole(keras.callbacks.ModelCheckpoint):
    """Has Keras write to another path, which takes the place of the file."""

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        path = self.filepath
        with files.replaced(path) as temporary:
            self.filepath = str(temporary)
            try:
                super().on_epoch_end(epoch, logs)
            finally:
                self.filepath = path


def _best_accuracy(log: Path, epochs: int) -> float | None:
    if not (epochs and log.is_file()):
        return None
    rows = csv.DictReader(_rows_before(log, epochs).splitlines())
    given = [row.get("val_accuracy") for row in rows]
    found = [float(value) for value in given if value not in (None, "", "NA")]
    return max(filter(math.isfinite, found), default=None)


class LogDropShares(keras.callbacks.Callback):
    """Adds to the logs of each epoch what the inserted layers drop of fixed images.

    The logs get `"{layer}/cells_dropped"` and `"{layer}/channels_dropped"`, in [0, 1],
    by one forward pass. Put it before the callbacks that write the logs.

    Args:
        images: `(B, H, W, 3)` in [0, 255], as for `models.drop_shares`; 32 will do.

    Raises:
        ValueError: Training begins, and the model has no such layer.

    Example:
        model.fit(train, callbacks=[LogDropShares(images), CSVLogger("log.csv")])
    """

    def __init__(self, images: Any) -> None:
        super().__init__()
        self.images = images

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        if not any(hasattr(x, "drop_shares") for x in inserted_layers(self.model)):
            raise ValueError(
                f"`{self.model.name}` has no layer that says what it drops, such as "
                "ADL or DGDM. Layers inside a model that is a layer are not seen."
            )

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        for name, shares in drop_shares(self.model, self.images).items():
            for kind, share in shares.items():
                (logs or {})[f"{name}/{kind}_dropped"] = share
