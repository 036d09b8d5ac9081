"""A checkpoint from which training resumes; Keras' has epochs alone, not atomic."""

# keras.callbacks.BackupAndRestore writes weights and epoch in two files, takes any
# model whose shapes fit, and deletes the files at the end.

import re
import shutil
import time
import warnings
from itertools import zip_longest
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_wsol import files
from keras_wsol.arguments import check_integer, check_number
from keras_wsol.models.splice import refresh_normalizations, stable_names
from keras_wsol.training.epoch_callbacks import average_replicas, check_fit, scope_of

_SEEDS = re.compile(r"(?<=^seed_generator)_\d+$")
_ENTRY_BYTES = 512  # around an array: headers of NumPy and of the archive


class Progress(int):
    """Whole epochs that are done, as an integer, and `steps` of the next one."""

    def __new__(cls, epochs: int = 0, steps: int = 0) -> "Progress":
        self = super().__new__(cls, epochs)
        self.steps = steps
        return self

    def start_step(self, steps_per_epoch: int) -> int:
        """Returns how many steps are done in all: where the batches go on."""
        expected = f"an integer > {self.steps}, the steps of the epoch that are done"
        steps = check_integer(
            "steps_per_epoch", steps_per_epoch, self.steps + 1, expected=expected
        )
        return self * steps + self.steps

    def __bool__(self) -> bool:
        return (int(self), self.steps) != (0, 0)

    def __repr__(self) -> str:
        return f"Progress({int(self)}, steps={self.steps})"

    __str__ = int.__repr__


class Checkpoint(keras.callbacks.Callback):
    """Saves all that training needs to go on, after each epoch and within.

    The file holds the weights, the optimizer, every seed generator, and the number of
    epochs and steps. It is replaced whole, and never by a state with a NaN or infinite
    loss or weight. A resumed run ends with the same weights, to the bit, as one that
    was never interrupted, if its batches go on where the other's were (see Example).
    A begun epoch is finished, with the metrics of the rest of it.

    Put loggers before this callback, and what ends training (`EarlyStopping`) after it.
    What cannot be written is an `OSError` before the first step, later a warning. A
    path that another process trains to is a `FileExistsError`.

    Args:
        path: Path of the checkpoint, `.npz`. Its folder is made.
        every_steps: Integer. Steps of an epoch between two saves. Default `None`: after
            epochs only. Else `fit` needs `steps_per_epoch`.
        every_seconds: Float. Seconds between two saves within an epoch. Default `None`.

    Example:
        steps = train.steps_per_epoch(32)
        checkpoint = Checkpoint("runs/birds/checkpoint.npz", every_seconds=600)
        done = checkpoint.restore(model)  # after compile; nothing without a file
        start = done.start_step(steps)
        model.fit(
            train.batches(32, training=True, start_step=start).repeat(),
            steps_per_epoch=steps,
            epochs=12, initial_epoch=done, callbacks=[checkpoint], shuffle=False,
        )
    """

    def __init__(
        self,
        path: str | Path,
        *,
        every_steps: int | None = None,
        every_seconds: float | None = None,
    ) -> None:
        super().__init__()
        self.path = Path(path)
        if self.path.suffix != ".npz":
            raise ValueError(f"`path` must end in .npz. Received: path={str(path)!r}.")
        if every_steps is not None:
            check_integer("every_steps", every_steps)
        if every_seconds is not None:
            check_number("every_seconds", every_seconds, high=None)
        self.every_steps, self.every_seconds = every_steps, every_seconds
        files.make_folder(self.path.parent)
        self._resumed = Progress()  # what `fit` has to go on from
        self._steps_per_epoch = 0  # of the run that was restored
        self._epoch = self._steps_before = self._saved_step = self._saved_at = 0
        self._ends_epoch = False  # `stop_training` is ours, and to be taken back

    @property
    def async_safe(self) -> bool:
        """Whether Keras may go on training while this callback runs."""
        within = (self.every_steps, self.every_seconds) != (None, None)
        return not within and not self._resumed.steps

    def restore(self, model: keras.Model) -> Progress:
        """Puts the saved state into a compiled model, built like the saved one.

        Returns:
            An integer, the whole epochs that are done, 0 without a file. Its `steps`
            are those of the next epoch, its `start_step(steps_per_epoch)` is where
            `ImageDataset.batches` goes on.

        Raises:
            ValueError: The model is not compiled, or the file is of another one, or
                damaged.
        """
        if not self.path.is_file():
            return Progress()
        variables = _state(model)
        way_out = "delete it to begin anew, or train into another folder"
        with files.reading(self.path, way_out), np.load(self.path) as saved:
            arrays = [saved[str(index)] for index in range(len(saved["names"]))]
            names = saved["names"].tolist()
            epochs, steps, self._steps_per_epoch = saved["progress"].tolist()
        for found, own in zip_longest(names, _names(model), fillvalue="nothing"):
            if found != own:
                raise ValueError(
                    f"The checkpoint {self.path} is of another model or optimizer: it "
                    f"has {found} where this one has {own}. Train into another folder, "
                    "or delete it."
                )
        with scope_of(model):
            for variable, array in zip(variables, arrays, strict=True):
                # NumPy reads bfloat16 back as two bytes without a type.
                raw = array.dtype.kind == "V"
                variable.assign(array.view(variable.dtype) if raw else array)
        refresh_normalizations(model)
        self._resumed = Progress(epochs, steps)
        return self._resumed

    def on_train_begin(self, logs: Any = None) -> None:
        """Checks what can go wrong before the first step."""
        check_fit(self.model)
        if not self.async_safe:
            self._check_steps(self.params["steps"], self.model.steps_per_execution)
        files.claim(self.path)
        files.delete_leftovers(self.path)
        contents = self._contents(0, 0)
        needed = sum(array.nbytes + _ENTRY_BYTES for array in contents.values())
        needed *= 1 if self.path.is_file() else 2
        free = shutil.disk_usage(self.path.parent).free
        if free < needed:
            raise OSError(
                f"The disk is too full to keep {self.path}: {needed:,} bytes are "
                f"needed, {free:,} are free."
            )
        with files.replaced(self.path) as trial:  # a quota or a permission may say no
            np.savez(trial, **contents)
            trial.unlink()

    def _check_steps(self, steps: int | None, at_once: int) -> None:
        if steps is None:
            raise ValueError(
                "To save or go on within an epoch, give `fit` its `steps_per_epoch`."
            )
        done = self._resumed.steps
        if done and steps != self._steps_per_epoch:
            raise ValueError(
                f"The checkpoint {self.path} is of an epoch of "
                f"{self._steps_per_epoch} steps. Received: steps_per_epoch={steps}."
            )
        if (steps - done) % at_once:
            raise ValueError(
                f"`steps_per_execution` must divide the {steps - done} steps of the "
                f"epoch that are to be done. Received: steps_per_execution={at_once}."
            )

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        resumed, self._resumed = self._resumed, Progress()
        if resumed.steps and epoch != resumed:
            raise ValueError(
                f"The restored state is of epoch {resumed}, which must be the "
                f"`initial_epoch` of `fit`. Received: initial_epoch={epoch}."
            )
        self._epoch = epoch
        self._steps_before = self._saved_step = resumed.steps
        self._saved_at = time.monotonic()

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Saves within the epoch, or ends one that an earlier run began."""
        if self.async_safe and not self._steps_before:
            return  # how many steps an epoch has need not be known
        done = self._steps_before + batch + 1
        if done >= self.params["steps"]:
            if self._steps_before and not self.model.stop_training:
                self.model.stop_training = self._ends_epoch = True
        elif self._is_due(done):
            self._saved_step, self._saved_at = done, time.monotonic()
            self._save(self._epoch, done, logs)

    def _is_due(self, done: int) -> bool:
        every, seconds = self.every_steps, self.every_seconds
        if seconds is not None and time.monotonic() - self._saved_at >= seconds:
            return True
        return every is not None and done // every > self._saved_step // every

    def on_test_begin(self, logs: Any = None) -> None:
        """Takes back what ended the epoch early, once it has."""
        if self._ends_epoch:
            self.model.stop_training = self._ends_epoch = False

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.on_test_begin()  # which came already if there is validation
        self._save(epoch + 1, 0, logs)

    def on_train_end(self, logs: Any = None) -> None:
        files.let_go(self.path)

    def _save(self, epochs: int, steps: int, logs: Any) -> None:
        """Saves, or warns that it did not."""
        loss = (logs or {}).get("loss", 0.0)
        try:
            if not np.isfinite(loss):
                raise ValueError(f"the loss is {loss}")
            contents = self._contents(epochs, steps)
            for index, name in enumerate(contents["names"].tolist()):
                array = contents[str(index)].astype("float32", copy=False)
                if not np.isfinite(array).all():
                    raise ValueError(f"{name} is not finite")
            with files.replaced(self.path) as temporary:
                np.savez(temporary, **contents)
        except (OSError, ValueError) as error:
            warnings.warn(
                f"The state after {epochs} epochs and {steps} steps is not saved: "
                f"{str(error).rstrip('.')}. {self.path} keeps "
                f"{'an earlier state' if self.path.is_file() else 'nothing'}.",
                RuntimeWarning,
                stacklevel=2,
            )

    def _contents(self, epochs: int, steps: int) -> dict[str, np.ndarray]:
        average_replicas(self.model)  # the file holds what the first replica has
        tensors = [keras.ops.convert_to_tensor(each) for each in _state(self.model)]
        arrays = [np.array(keras.ops.convert_to_numpy(tensor)) for tensor in tensors]
        steps_per_epoch = (self.params or {}).get("steps") or 0
        return {
            **{str(index): array for index, array in enumerate(arrays)},
            "names": np.array(_names(self.model)),
            "progress": np.array([epochs, steps, steps_per_epoch]),
        }


def _state(model: keras.Model) -> list[Any]:
    """All variables that training changes, but for the metrics'."""
    optimizer = getattr(model, "optimizer", None)
    if optimizer is None:
        raise ValueError("The model must be compiled: its optimizer is saved, too.")
    if not optimizer.built:
        with scope_of(model):
            optimizer.build(model.trainable_variables)
    metrics = {id(variable) for variable in model.metrics_variables}
    state = [variable for variable in model.variables if id(variable) not in metrics]
    return [*state, *optimizer.variables]


def _names(model: keras.Model) -> list[str]:
    """Names and shapes of the state, without the numbers that Keras counts up."""
    layers = {model.name: "model", **stable_names(model)}
    optimizer = type(model.optimizer).__name__
    slots = {id(variable) for variable in model.optimizer.variables}
    names = []
    for variable in _state(model):
        *parts, last = variable.path.split("/")
        if id(variable) in slots:  # in the order of the weights, whose names they hold
            parts, last = [optimizer], re.sub(r"_[0-9]+(?=_|$)", "", last)
        else:
            parts = [layers.get(part, _SEEDS.sub("", part)) for part in parts]
        names.append(f"{'/'.join([*parts, last])} {tuple(variable.shape)}")
    return names
