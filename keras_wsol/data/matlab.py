"""MATLAB files, in which Stanford Cars and ILSVRC 2012 keep their lists."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np


def read_matlab(path: str | Path) -> Mapping[str, Any]:
    """Reads the variables of a MATLAB file of version 5 to 7.2.

    Args:
        path: The file.

    Returns:
        Name to array, without the dimensions of length one.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is no MATLAB file; the message names it.
    """
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"The list is missing: {path}.")
    try:
        return loadmat(path, squeeze_me=True)
    # What scipy raises on files that are cut off or something else.
    except (MatReadError, ValueError, TypeError, OSError, NotImplementedError) as error:
        raise ValueError(f"Cannot read the MATLAB file: {path} ({error}).") from error


def struct_fields(
    table: Mapping[str, Any], variable: str, names: tuple[str, ...], path: str | Path
) -> tuple[list[Any], ...]:
    """Takes fields of an array of structs.

    Args:
        table: What `read_matlab` gave.
        variable: Name of the array.
        names: Names of the fields.
        path: The file, for messages.

    Returns:
        For each field, its values.

    Raises:
        ValueError: The variable or a field is missing.

    Example:
    >>> pets = np.array([("cat", 4), ("hen", 2)], dtype=[("name", "O"), ("legs", "O")])
    >>> struct_fields({"pets": pets}, "pets", ("legs", "name"), "pets.mat")
    ([4, 2], ['cat', 'hen'])
    """
    # One struct alone has lost its dimension.
    rows = np.atleast_1d(table.get(variable, ()))
    found = rows.dtype.names or ()
    missing = [name for name in names if name not in found]
    if missing:
        raise ValueError(
            f"{path} must hold an array of structs `{variable}` with the fields "
            f"{list(names)}. Missing: {missing}. Received: {list(found)}."
        )
    return tuple(list(rows[name]) for name in names)
