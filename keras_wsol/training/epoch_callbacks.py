"""Callbacks that act once an epoch: log, best model, what layers drop, replicas."""

import contextlib
import csv
import math
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_wsol import files
from keras_wsol.evaluation.callback import check_before_loggers
from keras_wsol.models import drop_shares, inserted_layers
from keras_wsol.models.classifier import check_devices

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


# BatchNormalization(synchronized=True) exchanges moments at every layer and step, and
# keras.applications builds pretrained backbones without it.
class AverageReplicas(keras.callbacks.Callback):
    """Gives the replicas of a `tf.distribute.MirroredStrategy` the same statistics.

    The moving averages of batch normalization differ, each of a share of the batches.
    Before each validation and at the end of each epoch they become their mean, which
    is what averaging after each step gives. On one device nothing is done.

    Put it before the callbacks that save or measure the model.

    Example:
        with tf.distribute.MirroredStrategy().scope():
            model = models.build_classifier("resnet50", "adl", 200)
            model.compile(training.LayerwiseSGD(0.01), loss)
        model.fit(batches, callbacks=[training.AverageReplicas(), checkpoint])
    """

    def on_train_begin(self, logs: Any = None) -> None:
        check_fit(self.model)

    def on_test_begin(self, logs: Any = None) -> None:
        average_replicas(self.model)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        average_replicas(self.model)


def average_replicas(model: keras.Model) -> int:
    """Averages what differs between replicas; returns how many variables did."""
    strategy, changed = _strategy(model), 0
    if strategy is None or strategy.num_replicas_in_sync == 1:
        return 0
    for variable in model.non_trainable_variables:
        copies = strategy.experimental_local_results(variable.value)
        arrays = [np.asarray(copy) for copy in copies]
        if any(not np.array_equal(arrays[0], array) for array in arrays[1:]):
            with strategy.scope():
                variable.assign(np.mean(arrays, axis=0, dtype="float64"))
            changed += 1
    return changed


def check_fit(model: keras.Model) -> None:
    """Raises if `fit` would crash on several devices, or not use them."""
    strategy = _strategy(model)
    check_devices(strategy)
    replicas = 1 if strategy is None else strategy.num_replicas_in_sync
    if replicas > 1 and model.jit_compile:
        raise ValueError(
            "`jit_compile=True` does not work on more than one replica: compile the "
            f"model with `jit_compile=False`. Received: {replicas} replicas."
        )
    processes = 1
    if keras.backend.backend() == "torch":
        distributed = sys.modules["torch"].distributed
        begun = distributed.is_available() and distributed.is_initialized()
        processes = distributed.get_world_size() if begun else 1
    if processes > 1:
        raise ValueError(
            "`fit` does not exchange gradients between the processes of "
            f"`torch.distributed`: each of the {processes} would train another model. "
            "Write the loop with `DistributedDataParallel`, or use the JAX backend."
        )


def scope_of(model: keras.Model) -> Any:
    """Returns the scope in which variables of a model have to be made."""
    return _strategy(model).scope() if _strategy(model) else contextlib.nullcontext()


def _strategy(model: keras.Model) -> Any:
    on_tensorflow = keras.backend.backend() == "tensorflow"
    return model.distribute_strategy if on_tensorflow else None
