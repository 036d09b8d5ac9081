"""A checkpoint, after each epoch and within, from which training resumes exactly."""

import time
import warnings
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_wsol import files
from keras_wsol.arguments import check_integer, check_number
from keras_wsol.models.splice import refresh_normalizations
from keras_wsol.training.distribution import average_replicas, check_fit, scope_of
from keras_wsol.training.progress import Progress
from keras_wsol.training.training_state import (
    assign,
    check_room,
    check_same,
    non_finite,
    state_names,
    state_variables,
    values,
    write_arrays,
)

_EPOCHS = "epochs_done"
_STEPS = "steps_done"
_STEPS_PER_EPOCH = "steps_per_epoch"
_NAMES = "names"
_METRIC = "metric_"
# What ends an epoch early is `stop_training`, which ends the training, too, unless it
# is taken back. Another callback that wants the end puts `True` in its place.
_END_OF_EPOCH = "the rest of the epoch is done"


class Checkpoint(keras.callbacks.Callback):
    """Saves everything that training needs to go on, after each epoch and within.

    That is the weights, the optimizer with its step count, the state of every seed
    generator, which `save_weights` leaves out, and, within an epoch, its metrics so
    far. The file is written under another name and renamed, so an interruption leaves
    the last whole one. A state with a loss or a weight that is not finite never
    replaces it. Until there is one, the state from before the first step lies beside
    it, in a hidden file that no later run takes.

    A resumed run ends with the same weights, and logs the same, as one that was never
    interrupted, if its batches go on where the other's were: see the example. Begun
    within an epoch, `fit` does the rest of it first. For that the batches must be
    repeated and `fit` be given `steps_per_epoch`. Metrics are taken for sums over the
    images, as all of Keras' are. What other callbacks remember, such as the patience of
    `EarlyStopping`, is not saved.

    A folder that cannot be written, or has too little room, is an error before the
    first step. A save that fails later is a warning, and training goes on: the last
    file is whole still. One process may write to a path, no two at the same time.

    A checkpoint is of the model if every weight has the same shape, and the same name
    but for the numbers that Keras counts up in a process; and if the optimizer is of
    the same class.

    Args:
        path: Path of the checkpoint, `.npz`. Its folder is made.
        every_steps: Integer, steps of an epoch between two saves; `None` to save after
            epochs only. With `steps_per_execution`, at the first chance after them.
        every_seconds: Number, seconds of training after which to save, as
            `every_steps`, which may be given, too.

    Raises:
        ValueError: The path does not end in `.npz`, or a number is out of range.
        OSError: The folder cannot be made.

    Example:
        steps = train.steps_per_epoch(32)
        checkpoint = Checkpoint("runs/birds/checkpoint.npz", every_seconds=600)
        done = checkpoint.restore(model)  # after compile; nothing without a file
        model.fit(
            train.batches(
                32, training=True, start_step=done.start_step(steps)
            ).repeat(),
            steps_per_epoch=steps,
            epochs=12, initial_epoch=done, callbacks=[checkpoint],
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
        # The last good state of this run and where it lies; `None` if there is none.
        self.kept: Progress | None = None
        self.kept_path: Path | None = None
        self.steps_before = 0  # steps of this epoch that an earlier run did
        self._epoch = 0
        self._saved_step = 0
        self._saved_at = time.monotonic()
        self._metrics: list[np.ndarray] = []
        self._steps_per_epoch = 0
        self._resumed: Progress | None = None

    @property
    def async_safe(self) -> bool:
        """Whether Keras may go on training while this callback runs."""
        within = (self.every_steps, self.every_seconds) != (None, None)
        return not within and not (self._resumed and self._resumed.steps)

    def restore(self, model: keras.Model) -> Progress:
        """Puts the saved state into a compiled model.

        Args:
            model: The model, built like the saved one and compiled.

        Returns:
            How much was done: the number of whole epochs, an integer, and `steps` of
            the next one. 0 and 0 where there is no file.

        Raises:
            ValueError: The model is not compiled, or the file is of another model
                or optimizer.
        """
        return self._read(self.path, model) if self.path.is_file() else Progress()

    def go_back(self, model: keras.Model) -> Progress:
        """Puts the last good state of this run into its model.

        Args:
            model: The model of this run.

        Returns:
            As `restore`; that of before the first step where nothing was saved since.

        Raises:
            ValueError: Nothing was saved in this run, or restored for it.
        """
        if self.kept_path is None:
            raise ValueError(f"{self.path} holds no state of this run.")
        return self._read(self.kept_path, model)

    def _read(self, path: Path, model: keras.Model) -> Progress:
        variables = state_variables(model)
        with np.load(path) as saved:
            count = sum(name.isdecimal() for name in saved.files)
            arrays = [saved[str(index)] for index in range(count)]
            count = sum(name.startswith(_METRIC) for name in saved.files)
            metrics = [saved[f"{_METRIC}{index}"] for index in range(count)]
            # Files of before names and steps were saved have none.
            own = state_names(model, variables)
            names = saved[_NAMES].tolist() if _NAMES in saved.files else own
            within = _STEPS in saved.files
            steps = int(saved[_STEPS]) if within else 0
            self._steps_per_epoch = int(saved[_STEPS_PER_EPOCH]) if within else 0
            progress = Progress(int(saved[_EPOCHS]), steps)
        check_same(path, arrays, names, variables, own)
        with scope_of(model):
            assign(variables, arrays)
        refresh_normalizations(model)
        self._resumed = self.kept = progress
        self.kept_path = path
        self._metrics = metrics
        return progress

    def on_train_begin(self, logs: Any = None) -> None:
        """Checks what can go wrong before the first step."""
        check_fit(self.model)
        if not self.async_safe:
            self._check_steps(self.params["steps"], self.model.steps_per_execution)
        check_room(self.path, self._contents(0, 0)[0])

    def _check_steps(self, steps: int | None, at_once: int) -> None:
        if steps is None:
            raise ValueError(
                "To save or to go on within an epoch, its number of steps must be "
                "known: give `fit` its `steps_per_epoch`."
            )
        done = self._resumed.steps if self._resumed else 0
        if done and steps != self._steps_per_epoch:
            raise ValueError(
                f"The checkpoint {self.path} is of an epoch of "
                f"{self._steps_per_epoch} steps. Received: steps_per_epoch={steps}. "
                "Was the run begun with another batch size, or with other images?"
            )
        if (steps - done) % at_once:
            raise ValueError(
                f"`steps_per_execution` must divide the {steps - done} steps of the "
                f"epoch that are to be done. Received: steps_per_execution={at_once}."
            )

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Puts back the metrics of an epoch that was begun; saves if nothing is."""
        self._epoch, self.steps_before, self._saved_step = epoch, 0, 0
        self._saved_at = time.monotonic()
        resumed, self._resumed = self._resumed, None
        if resumed is not None and resumed.steps:
            self._go_on_within(resumed, epoch)
        if not self.path.is_file():
            self._save(epoch, 0, logs, first=True)

    def _go_on_within(self, resumed: Progress, epoch: int) -> None:
        if epoch != resumed.epochs:
            raise ValueError(
                f"The restored state is of epoch {resumed.epochs}, which must be the "
                f"`initial_epoch` of `fit`. Received: initial_epoch={epoch}."
            )
        self.steps_before = self._saved_step = resumed.steps
        # TensorFlow makes most of the variables of metrics as it traces the first step.
        if len(self.model.metrics_variables) == len(self._metrics):
            self._put_metrics(self._metrics)
            self._metrics = []

    def _put_metrics(self, arrays: list[np.ndarray]) -> None:
        variables = self.model.metrics_variables
        if [array.shape for array in arrays] != [tuple(v.shape) for v in variables]:
            raise ValueError(
                f"The checkpoint {self.path} is of an epoch with other metrics. "
                "Compile the model with the same, or train into another folder."
            )
        with scope_of(self.model):
            assign(variables, arrays)

    def _add_metrics(self) -> None:
        """Adds what metrics had summed up to what they have of the first steps."""
        arrays, self._metrics = self._metrics, []
        since = values(self.model.metrics_variables)
        if len(arrays) == len(since):
            arrays = [one + other for one, other in zip(arrays, since, strict=True)]
        self._put_metrics(arrays)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Saves within the epoch, or ends one that was begun by an earlier run."""
        if self.async_safe and not self.steps_before:
            return
        if self._metrics:
            self._add_metrics()
        done = self.steps_before + batch + 1
        if done >= self.params["steps"]:
            if self.steps_before and not self.model.stop_training:
                self.model.stop_training = _END_OF_EPOCH
        elif self._is_due(done):
            self._saved_step, self._saved_at = done, time.monotonic()
            self._save(self._epoch, done, logs)

    def _is_due(self, done: int) -> bool:
        every, seconds = self.every_steps, self.every_seconds
        if seconds is not None and time.monotonic() - self._saved_at >= seconds:
            return True
        return every is not None and done // every > self._saved_step // every

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Saves after the epoch `epoch`, counted from 0."""
        if getattr(self.model, "stop_training", False) == _END_OF_EPOCH:
            self.model.stop_training = False
        self._save(epoch + 1, 0, logs)

    def _save(self, epochs: int, steps: int, logs: Any, *, first: bool = False) -> None:
        """Saves, or warns that it did not; at first, a full disk is an error."""
        # A run that has done nothing leaves nothing at `path`.
        hidden = self.path.with_name(f".{self.path.name}.first")
        path = hidden if first else self.path
        loss = (logs or {}).get("loss", 0.0)
        contents, wrong = self._contents(epochs, steps)
        wrong = wrong if np.isfinite(loss) else [f"the loss is {loss}"]
        if not wrong:
            try:
                write_arrays(path, contents)
            except OSError as error:
                if first:
                    raise
                wrong = [str(error)]
        if not wrong:
            self.kept, self.kept_path = Progress(epochs, steps), path
            if not first:
                files.delete(hidden)
            return
        warnings.warn(
            f"The state after {epochs} epochs and {steps} steps is not saved: "
            f"{wrong[0].rstrip('.')}. {self.path} keeps "
            f"{'an earlier state' if self.kept_path == self.path else 'nothing'}.",
            RuntimeWarning,
            stacklevel=2,
        )

    def _contents(
        self, epochs: int, steps: int
    ) -> tuple[dict[str, np.ndarray], list[str]]:
        """What the file holds, and why it should not."""
        model = self.model
        average_replicas(model)  # the file holds what the first replica has
        variables = state_variables(model)
        arrays = values(variables)
        contents = {str(index): array for index, array in enumerate(arrays)}
        if steps:
            metrics = enumerate(values(model.metrics_variables))
            contents |= {f"{_METRIC}{index}": array for index, array in metrics}
            contents[_STEPS_PER_EPOCH] = np.array(self.params["steps"])
            contents[_STEPS] = np.array(steps)
        contents[_EPOCHS] = np.array(epochs)
        contents[_NAMES] = np.array(state_names(model, variables))
        wrong = non_finite(variables, arrays)
        return contents, [f"{path} is not finite" for path in wrong]
