"""Callbacks that act once an epoch: the log, the best model, what layers drop."""

import csv
import math
from pathlib import Path
from typing import Any

import keras

from keras_wsol import files
from keras_wsol.evaluation.callback import check_before_loggers
from keras_wsol.models import drop_shares, inserted_layers

_LOG_WAY_OUT = "delete it: only the log of past epochs is lost"


class EpochLog(keras.callbacks.CSVLogger):
    """Writes the logs of each epoch to a CSV file, one row each after any restart.

    Keras' keeps half a row of a killed run, and rows of epochs that are done again.
    Put it before the `Checkpoint`, so that no epoch is done without its row. A file
    that another process logs to is a `FileExistsError`.

    Args:
        path: Path of the file. Its folder exists.
        epochs_done: Integer. Whole epochs that are done, whose rows stay: what
            `Checkpoint.restore` returns. Default 0.

    Example:
        done = checkpoint.restore(model)
        callbacks = [EpochLog("runs/birds/log.csv", done), checkpoint]
    """

    def __init__(self, path: str | Path, epochs_done: int = 0) -> None:
        super().__init__(path, append=True)
        self.epochs_done = epochs_done

    def best(self, name: str) -> float | None:
        """Returns the highest value of an entry in the epochs that are done."""
        rows = csv.DictReader(self._kept())
        values = [(row.get(name) or "NA").replace("NA", "nan") for row in rows]
        with files.reading(self.filename, _LOG_WAY_OUT):
            return max(filter(math.isfinite, map(float, values)), default=None)

    def on_train_begin(self, logs: Any = None) -> None:
        files.claim(self.filename)
        with files.replaced(self.filename) as temporary:
            temporary.write_text("".join(self._kept()), newline="")
        super().on_train_begin(logs)

    def on_train_end(self, logs: Any = None) -> None:
        super().on_train_end(logs)
        files.let_go(self.filename)

    def _kept(self) -> list[str]:
        """The header and the whole rows of the epochs that are done, if any."""
        path = Path(self.filename)
        if not path.is_file():
            return []
        with files.reading(path, _LOG_WAY_OUT), path.open(newline="") as file:
            lines = file.readlines()
            kept = [
                line
                for line, row in zip(lines[1:], csv.DictReader(lines), strict=False)
                if line.endswith("\n") and int(row["epoch"]) < self.epochs_done
            ]
        return [lines[0], *kept] if kept else []


class WholeCheckpoint(keras.callbacks.ModelCheckpoint):
    """Has Keras write to another path, which takes the place of the file."""

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        if self.monitor not in (logs or {}):
            return  # Keras would save an epoch that nobody measured
        path = self.filepath
        with files.replaced(path) as temporary:
            self.filepath = str(temporary)
            try:
                super().on_epoch_end(epoch, logs)
            finally:
                self.filepath = path


class LogDropShares(keras.callbacks.Callback):
    """Adds to the logs of each epoch what the inserted layers drop of fixed images.

    The logs get `"{layer}/cells_dropped"` and `"{layer}/channels_dropped"`, in [0, 1].
    Put it before the callbacks that write the logs.

    Args:
        images: `(B, H, W, 3)` in [0, 255], as for `models.drop_shares`; 32 will do.

    Example:
        model.fit(train, callbacks=[LogDropShares(images), CSVLogger("log.csv")])
    """

    def __init__(self, images: Any) -> None:
        super().__init__()
        self.images = images

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        check_before_loggers(self)
        if not any(hasattr(x, "drop_shares") for x in inserted_layers(self.model)):
            raise ValueError(
                f"`{self.model.name}` has no layer that says what it drops, such as "
                "ADL, outside of nested models."
            )

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        for name, shares in drop_shares(self.model, self.images).items():
            for kind, share in shares.items():
                (logs or {})[f"{name}/{kind}_dropped"] = share
