"""The end of a training whose loss is no number, with the step, batch and layer."""

import itertools
import math
import sys
from collections.abc import Callable, Iterable
from typing import Any

import keras

from keras_wsol.arguments import check_integer
from keras_wsol.data.progress_line import ProgressLine, tracked
from keras_wsol.training.checkpoint import Checkpoint
from keras_wsol.training.distribution import scope_of
from keras_wsol.training.non_finite_layer import first_non_finite
from keras_wsol.training.progress import Progress
from keras_wsol.training.training_state import (
    assign,
    non_finite,
    state_variables,
    values,
)


class NonFiniteLossError(RuntimeError):
    """The loss of a training is NaN or infinite."""


class StopAtNonFinite(keras.callbacks.Callback):
    """Ends training with an error as soon as the loss is NaN or infinite.

    The error says the step, how to get its batch again, and where the last good state
    is. As the step that gives such a loss also spoils every weight, the layer that
    it began in is found by going back: to the weights of the last checkpoint, through
    the steps since, to the one where the loss stops being a number, whose batch is
    then taken through the model layer by layer. The error names the first one with a
    weight or an output that is not finite. That needs `checkpoint` and `batches`, and
    a model on one replica; where it cannot be done, the error says why.

    A step that `LossScaleOptimizer` leaves out, because its scaled gradients overflow,
    is none of these: its loss is finite. Steps cost what they cost with Keras'
    `TerminateOnNaN`: the loss is read after each.

    Put it before `checkpoint` in the list of callbacks.

    Args:
        checkpoint: The `Checkpoint` of the run; `None` if there is none.
        batches: Function of a number of steps that gives the batches after these, as
            `fit` gets them: `(images, class_ids)`, or with sample weights.
        class_weight: What `fit` is given under this name.
        most_steps: Integer, how many steps to go through again at most; where more
            have been done since the checkpoint, no layer is named.

    Raises:
        NonFiniteLossError: In `fit`: the loss is NaN or infinite. The model is left
            with the state of the checkpoint if that was gone back to.

    Example:
        def batches(start_step):
            return train.batches(32, training=True, start_step=start_step).repeat()

        done = checkpoint.restore(model)
        model.fit(
            batches(done.start_step(steps)),
            steps_per_epoch=steps, epochs=12, initial_epoch=done,
            callbacks=[StopAtNonFinite(checkpoint, batches), checkpoint],
        )
    """

    def __init__(
        self,
        checkpoint: Checkpoint | None = None,
        batches: Callable[[int], Iterable[Any]] | None = None,
        *,
        class_weight: dict[int, float] | None = None,
        most_steps: int = 2000,
    ) -> None:
        super().__init__()
        self.checkpoint = checkpoint
        self.batches = batches
        self.class_weight = class_weight
        self.most_steps = check_integer("most_steps", most_steps)
        self._epoch = 0
        self._begin = 0

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Notes the epoch."""
        self._epoch = epoch

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        """Notes the first of the steps that are done at once."""
        self._begin = batch

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Looks at the loss of the epoch so far, which a step without one spoils."""
        loss = (logs or {}).get("loss")
        if loss is None or math.isfinite(loss):
            return
        before = self.checkpoint.steps_before if self.checkpoint else 0
        first, last = before + self._begin, before + batch
        raise NonFiniteLossError(self._message(float(loss), first, last))

    def _message(self, loss: float, first: int, last: int) -> str:
        steps = f"step {first}" if first == last else f"steps {first} to {last}"
        parts = [f"The loss is {loss} at {steps} of epoch {self._epoch}, from 0."]
        per_epoch = self.params.get("steps")
        if per_epoch:
            start = self._epoch * per_epoch + first
            parts.append(
                f"Its batch is the first of `batches` with start_step={start}."
            )
        kept = self.checkpoint.kept if self.checkpoint else None
        parts.append(self._where(last, kept))
        if kept is not None and self.checkpoint.kept_path == self.checkpoint.path:
            parts.append(
                f"The last good state, after {kept.epochs} epochs and {kept.steps} "
                f"steps, is in {self.checkpoint.path}."
            )
        parts.append("A lower learning rate is the first thing to try.")
        return " ".join(parts)

    def _where(self, last: int, kept: Progress | None) -> str:
        """A sentence on the layer."""
        weights = self._weights()  # before the model goes back to others
        why_not = self._missing(kept)
        if not why_not:
            per_epoch = self.params["steps"]
            start = kept.epochs * per_epoch + kept.steps
            steps = self._epoch * per_epoch + last + 1 - start
            why_not = self._too_far(steps)
        if not why_not:
            try:
                return self._look(start, steps)
            except _failures() as error:
                # That the loss is no number has to be told whatever else goes wrong.
                why_not = f"looking for it failed with {type(error).__name__}: {error}"
        return f"{weights} The layer that it began in is not named: {why_not}."

    def _missing(self, kept: Progress | None) -> str:
        """What is needed to look for the layer and not there; "" if all is."""
        if self.checkpoint is None or self.batches is None:
            return "`checkpoint` and `batches` are needed"
        if kept is None:
            return (
                f"{self.checkpoint.path} holds no state of this run, as `checkpoint` "
                "is not in the list of callbacks"
            )
        if not self.params.get("steps"):
            return "the number of steps in an epoch is not known"
        # Of `tf.distribute`, which is TensorFlow's alone.
        strategy = getattr(self.model, "distribute_strategy", None)
        replicas = getattr(strategy, "num_replicas_in_sync", 1)
        if replicas > 1:
            return (
                f"each of {replicas} replicas has a share of the batch, which cannot "
                "be taken through the model layer by layer outside of their step"
            )
        return ""

    def _too_far(self, steps: int) -> str:
        """Why the steps since the checkpoint cannot be done again; "" if they can."""
        if steps < 1:
            return (
                "the last checkpoint is of a later step, so of another call of `fit` "
                "or of an epoch after its `initial_epoch`"
            )
        if steps > self.most_steps:
            return (
                f"the last checkpoint is {steps} steps old, more than "
                f"most_steps={self.most_steps}"
            )
        return ""

    def _look(self, start: int, steps: int) -> str:
        """Does the steps since the checkpoint again; a sentence on what they gave."""
        model, per_epoch = self.model, self.params["steps"]
        self.checkpoint.go_back(model)
        line = ProgressLine("Looking for the layer", unit="steps")
        batches = tracked(itertools.islice(self.batches(start), steps), line, steps)
        try:
            found = _go_through(model, batches, self.class_weight)
        finally:
            self.checkpoint.go_back(model)
        if found is None:
            return (
                f"Going through the {steps} steps since the checkpoint once more, the "
                "loss was finite: they are not deterministic, or the data has changed."
            )
        step, what = found
        return f"It began in {what} (step {(start + step) % per_epoch})."

    def _weights(self) -> str:
        variables = self.model.weights
        wrong = non_finite(variables, values(variables))
        if not wrong:
            return "All weights are finite."
        return (
            f"{len(wrong)} of {len(variables)} weights are not finite, the first is "
            f"{wrong[0]!r}."
        )


def _failures() -> tuple[type[Exception], ...]:
    """What reading batches again, or a step with them, may raise."""
    # Loaded already, if an error is from there.
    errors = getattr(sys.modules.get("tensorflow"), "errors", None)
    of_tensorflow = () if errors is None else (errors.OpError,)
    return (OSError, ValueError, RuntimeError, *of_tensorflow)


def _go_through(
    model: keras.Model, batches: Iterable[Any], class_weight: dict[int, float] | None
) -> tuple[int, str] | None:
    """Trains up to the step whose loss is not finite."""
    model.reset_metrics()
    for step, batch in enumerate(batches):
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(batch)
        variables = state_variables(model)
        before = values(variables)
        logs = model.train_on_batch(x, y, sample_weight, class_weight, return_dict=True)
        if math.isfinite(logs["loss"]):
            continue
        with scope_of(model):
            assign(variables, before)
        what = first_non_finite(model, x, y, sample_weight)
        return step, what or "no layer: taken one by one, all is finite"
    return None
