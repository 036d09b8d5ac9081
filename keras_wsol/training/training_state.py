"""What training changes: weights, seed generators, and the optimizer's variables."""

import re
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_wsol.files import replaced
from keras_wsol.training.distribution import scope_of

# Keras tells layers without a name of their own apart by counting: dense, dense_1.
_COUNT = re.compile(r"^(.*?)(?:_(\d+))?$")


def state_variables(model: keras.Model) -> list[Any]:
    """Returns all variables that training changes, but for the metrics'."""
    optimizer = getattr(model, "optimizer", None)
    if optimizer is None:
        raise ValueError(
            "A checkpoint holds the optimizer, too: compile the model before `restore`."
        )
    if not optimizer.built:
        with scope_of(model):
            optimizer.build(model.trainable_variables)
    metrics = {id(variable) for variable in model.metrics_variables}
    state = [variable for variable in model.variables if id(variable) not in metrics]
    return [*state, *optimizer.variables]


def values(variables: Iterable[Any]) -> list[np.ndarray]:
    """Copies variables to the host."""
    # As tensors: the copies of a metric on several replicas are no array.
    tensors = map(keras.ops.convert_to_tensor, variables)
    return [np.array(keras.ops.convert_to_numpy(tensor)) for tensor in tensors]


def assign(variables: Iterable[Any], arrays: Iterable[np.ndarray]) -> None:
    """Puts values into variables."""
    for variable, array in zip(variables, arrays, strict=True):
        # NumPy reads bfloat16 back as two bytes without a type.
        if array.dtype.kind == "V":
            array = array.view(np.dtype(variable.dtype))
        variable.assign(array)


def check_same(
    path: Path,
    arrays: list[np.ndarray],
    names: list[str],
    variables: list[Any],
    own: list[str],
) -> None:
    """Refuses what was saved of another model or optimizer."""
    other = f"The checkpoint {path} is of another model or optimizer: it has "
    way_out = "Train into another folder, or delete it."
    if [array.shape for array in arrays] != [tuple(v.shape) for v in variables]:
        raise ValueError(
            f"{other}{len(arrays)} variables, this one {len(variables)}, or their "
            f"shapes differ. {way_out}"
        )
    for before, now in zip(names, own, strict=True):
        if before != now:
            raise ValueError(f"{other}{before!r} where this one has {now!r}. {way_out}")


def non_finite(variables: Iterable[Any], arrays: Iterable[np.ndarray]) -> list[str]:
    """Names the variables that hold NaN or infinity."""
    return [
        variable.path
        for variable, array in zip(variables, arrays, strict=True)
        if not np.isfinite(array.astype("float32", copy=False)).all()
    ]


def state_names(model: keras.Model, variables: list[Any]) -> list[str]:
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
    """Replaces numbers at the ends of names by their rank."""
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


_ENTRY_BYTES = 512  # around an array: headers of NumPy and of the archive


def check_room(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Refuses a folder that cannot be written, or whose disk is too full."""
    with replaced(path):
        pass
    size = sum(array.nbytes + _ENTRY_BYTES for array in arrays.values())
    needed = size if path.is_file() else 2 * size
    free = shutil.disk_usage(path.parent).free
    if free < needed:
        raise OSError(
            f"The disk is too full to keep {path}: {needed:,} bytes are needed, "
            f"{free:,} are free. Make room, or choose another folder."
        )


def write_arrays(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Writes arrays to a `.npz` file, so that there is always a whole one."""
    with replaced(path) as temporary, temporary.open("wb") as file:
        np.savez(file, **arrays)
