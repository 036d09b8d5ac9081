"""The log of each epoch as CSV, with one row for each, however often interrupted."""

import csv
from pathlib import Path
from typing import Any

import keras


class EpochLog(keras.callbacks.CSVLogger):
    """Writes the logs of each epoch to a CSV file, as Keras' `CSVLogger`.

    A run that was killed has written rows of epochs that a resumed one does again, or
    half a row. Here they are taken out as training begins, so that a resumed run ends
    with the same file as one that was never interrupted. It comes before the
    `Checkpoint` in the list of callbacks: a row must not be missing where the
    checkpoint says that its epoch is done.

    Args:
        path: Path of the file. Its folder exists.
        epochs_done: Integer, what `Checkpoint.restore` returned: whole epochs, whose
            rows are kept. With 0, the file is written anew.

    Example:
        done = checkpoint.restore(model)
        callbacks = [EpochLog("runs/birds/log.csv", done), checkpoint]
    """

    def __init__(self, path: str | Path, epochs_done: int = 0) -> None:
        super().__init__(path, append=True)
        self.epochs_done = epochs_done

    def on_train_begin(self, logs: Any = None) -> None:
        """Takes rows of epochs that are to come out of the file, and opens it."""
        path = Path(self.filename)
        if path.is_file():
            kept = rows_before(path, self.epochs_done)
            temporary = path.with_name(f".{path.name}.tmp")
            temporary.write_text(kept, newline="")
            temporary.replace(path)
        super().on_train_begin(logs)


def rows_before(path: Path, epoch: int) -> str:
    """Returns the header and the whole rows of some epochs of a log."""
    with path.open(newline="") as file:
        lines = file.readlines()
    kept = [
        line
        for line, row in zip(lines[1:], csv.DictReader(lines), strict=False)
        if line.endswith("\n") and int(row["epoch"]) < epoch
    ]
    return "".join([lines[0], *kept]) if kept else ""
