"""A checkpoint after each epoch, from which training resumes exactly."""

from pathlib import Path
from typing import Any

import keras
import numpy as np

_EPOCHS = "epochs_done"


class Checkpoint(keras.callbacks.Callback):
    """Saves everything that training needs to go on, after each epoch.

    That is the weights, the optimizer with its step count, and the state of every
    seed generator, which `save_weights` leaves out. The file is written under
    another name and renamed, so an interruption leaves the last whole one.

    Together with `start_step` of `ImageDataset.batches`, a resumed run ends with
    the same weights as one that was never interrupted.

    Args:
        path: Path of the checkpoint, `.npz`. Its folder is made.

    Raises:
        ValueError: The path does not end in `.npz`.

    Example:
        checkpoint = Checkpoint("runs/birds/checkpoint.npz")
        done = checkpoint.restore(model)  # after compile; 0 without a file
        model.fit(
            train.batches(32, training=True, start_step=done * steps),
            epochs=12, initial_epoch=done, callbacks=[checkpoint],
        )
    """

    def __init__(self, path: str | Path) -> None:
        super().__init__()
        self.path = Path(path)
        if self.path.suffix != ".npz":
            raise ValueError(f"`path` must end in .npz. Received: path={str(path)!r}.")
        self.path.parent.mkdir(parents=True, exist_ok=True)

    def restore(self, model: keras.Model) -> int:
        """Puts the saved state into a compiled model.

        Args:
            model: The model, built like the saved one and compiled.

        Returns:
            The number of epochs that were done; 0 where there is no file.

        Raises:
            ValueError: The model is not compiled, or the file is of another model
                or optimizer.
        """
        if not self.path.is_file():
            return 0
        variables = _variables(model)
        with np.load(self.path) as saved:
            shapes = [saved[str(i)].shape for i in range(len(saved.files) - 1)]
            if shapes != [tuple(variable.shape) for variable in variables]:
                raise ValueError(
                    f"The checkpoint {self.path} is of another model or optimizer: it "
                    f"has {len(shapes)} variables, this one {len(variables)}, or their "
                    "shapes differ. Train into another folder, or delete it."
                )
            for index, variable in enumerate(variables):
                variable.assign(saved[str(index)])
            return int(saved[_EPOCHS])

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Saves after the epoch `epoch`, counted from 0."""
        if not np.isfinite((logs or {}).get("loss", 0.0)):
            return  # keep the last state that was good
        variables = _variables(self.model)
        arrays = {
            str(index): keras.ops.convert_to_numpy(variable.value)
            for index, variable in enumerate(variables)
        }
        temporary = self.path.with_name(f".{self.path.name}.tmp")
        with temporary.open("wb") as file:
            np.savez(file, **arrays, **{_EPOCHS: epoch + 1})
        temporary.replace(self.path)


def _variables(model: keras.Model) -> list[Any]:
    optimizer = getattr(model, "optimizer", None)
    if optimizer is None:
        raise ValueError(
            "A checkpoint holds the optimizer, too: compile the model before `restore`."
        )
    if not optimizer.built:
        optimizer.build(model.trainable_variables)
    metrics = {id(variable) for variable in model.metrics_variables}
    state = [variable for variable in model.variables if id(variable) not in metrics]
    return [*state, *optimizer.variables]
