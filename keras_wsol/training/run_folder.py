"""The folder of a training: what an interrupted one needs to go on."""

from pathlib import Path

import keras
import numpy as np

from keras_wsol.training.checkpoint import Checkpoint


def resume(
    model: keras.Model, folder: str | Path, *, keep_lowest_error: bool
) -> tuple[int, list[keras.callbacks.Callback]]:
    """Goes on from what lies in a folder, and makes the callbacks.

    The folder gets `checkpoint.npz`, from which an interrupted run resumes, the log of
    each epoch, `log.csv`, and, if asked for, `best.keras`: the model with the lowest
    Top-1 error on the validation images so far, of equal ones the first. A resumed run
    keeps it until there is a better one.

    Args:
        model: The compiled model.
        folder: Where the run is kept. It is made.
        keep_lowest_error: Whether to keep `best.keras`.

    Returns:
        The number of epochs that were done, and the callbacks for `fit`.

    Raises:
        ValueError: The folder holds a run of another model.
    """
    folder = Path(folder)
    checkpoint = Checkpoint(folder / "checkpoint.npz")
    done = checkpoint.restore(model)
    log = folder / "log.csv"
    callbacks = [keras.callbacks.TerminateOnNaN(), checkpoint]
    if keep_lowest_error:
        best = keras.callbacks.ModelCheckpoint(
            folder / "best.keras",
            monitor="val_accuracy",
            mode="max",
            save_best_only=True,
            initial_value_threshold=_best_accuracy(log, done),
        )
        callbacks.append(best)
    return done, [*callbacks, keras.callbacks.CSVLogger(log, append=done > 0)]


def _best_accuracy(log: Path, done: int) -> float | None:
    """The best validation accuracy of the epochs before `done`, from the log."""
    if not (done and log.is_file()):
        return None
    rows = np.atleast_1d(np.genfromtxt(log, delimiter=",", names=True))
    if "val_accuracy" not in (rows.dtype.names or ()):
        return None
    found = rows["val_accuracy"][rows["epoch"] < done]
    return float(np.nanmax(found)) if np.isfinite(found).any() else None
