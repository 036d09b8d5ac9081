"""A checkpoint after each epoch, from which training resumes exactly."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import keras
import numpy as np

_EPOCHS = "epochs_done"
_NAMES = "names"
# Keras tells layers without a name of their own apart by counting: dense, dense_1.
_COUNT = re.compile(r"^(.*?)(?:_(\d+))?$")


class Checkpoint(keras.callbacks.Callback):
    """Saves everything that training needs to go on, after each epoch.

    That is the weights, the optimizer with its step count, and the state of every
    seed generator, which `save_weights` leaves out. The file is written under
    another name and renamed, so an interruption leaves the last whole one.

    Together with `start_step` of `ImageDataset.batches`, a resumed run ends with
    the same weights as one that was never interrupted.

    A checkpoint is of the model if every weight has the same shape, and the same name
    but for the numbers that Keras counts up in a process; and if the optimizer is of
    the same class.

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
            count = len(saved.files) - len({_EPOCHS, _NAMES} & set(saved.files))
            shapes = [saved[str(i)].shape for i in range(count)]
            if shapes != [tuple(variable.shape) for variable in variables]:
                raise ValueError(
                    f"The checkpoint {self.path} is of another model or optimizer: it "
                    f"has {len(shapes)} variables, this one {len(variables)}, or their "
                    "shapes differ. Train into another folder, or delete it."
                )
            self._check_names(saved, _names(model, variables))
            for index, variable in enumerate(variables):
                variable.assign(saved[str(index)])
            return int(saved[_EPOCHS])

    def _check_names(self, saved: Any, names: list[str]) -> None:
        # Files of before names were saved have none.
        before = saved[_NAMES].tolist() if _NAMES in saved.files else names
        other = [pair for pair in zip(before, names, strict=True) if pair[0] != pair[1]]
        if other:
            raise ValueError(
                f"The checkpoint {self.path} is of another model or optimizer: it has "
                f"{other[0][0]!r} where this one has {other[0][1]!r}. Train into "
                "another folder, or delete it."
            )

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
            np.savez(
                file,
                **arrays,
                **{_EPOCHS: epoch + 1, _NAMES: _names(self.model, variables)},
            )
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


def _names(model: keras.Model, variables: list[Any]) -> list[str]:
    """Names of all variables that another process gives them, too."""
    optimizer = {id(variable) for variable in model.optimizer.variables}
    own = [v.path for v in variables if id(v) not in optimizer]
    kind = type(model.optimizer).__name__
    # Theirs hold those of the weights, in the same order.
    slots = [
        f"{kind}/{re.sub(r'_[0-9]+(?=_|$)', '', variable.path.split('/')[-1])}"
        for variable in variables
        if id(variable) in optimizer
    ]
    return [*_counted_anew(own), *slots]


def _counted_anew(paths: Iterable[str]) -> list[str]:
    """Numbers at the ends of names by their rank: dense_7, dense_9 to dense, dense_1.

    >>> _counted_anew(["conv/kernel", "dense_7/kernel", "dense_9/kernel"])
    ['conv/kernel', 'dense/kernel', 'dense_1/kernel']
    """
    parts = [
        [_COUNT.match(name).groups() for name in path.split("/")] for path in paths
    ]
    numbers: dict[str, set[int]] = {}
    for stem, number in (name for path in parts for name in path):
        numbers.setdefault(stem, set()).add(int(number or 0))
    ranks = {
        stem: {number: rank for rank, number in enumerate(sorted(found))}
        for stem, found in numbers.items()
    }

    def anew(stem: str, number: str | None) -> str:
        rank = ranks[stem][int(number or 0)]
        return f"{stem}_{rank}" if rank else stem

    return ["/".join(anew(*name) for name in path) for path in parts]
