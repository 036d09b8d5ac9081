"""Texts of the command line to values, or to a message of what they must be."""

import json
from argparse import ArgumentTypeError
from pathlib import Path
from typing import Any


def folder(text: str) -> Path:
    """Returns the path of a folder that exists.

    Args:
        text: The path.

    Returns:
        The path.

    Raises:
        ArgumentTypeError: There is no such folder.
    """
    if not Path(text).is_dir():
        raise ArgumentTypeError(f"must be a folder. Nothing is at: {text}")
    return Path(text)


def file(text: str) -> Path:
    """Returns the path of a file that exists.

    Args:
        text: The path.

    Returns:
        The path.

    Raises:
        ArgumentTypeError: There is no such file.
    """
    if not Path(text).is_file():
        raise ArgumentTypeError(f"must be a file. No file is at: {text}")
    return Path(text)


def file_or_folder(text: str) -> Path:
    """Returns the path of a file or folder that exists.

    Args:
        text: The path.

    Returns:
        The path.

    Raises:
        ArgumentTypeError: There is neither.
    """
    return Path(text) if Path(text).is_dir() else file(text)


def count(text: str) -> int:
    """Returns an integer of at least 1.

    Args:
        text: Its digits.

    Returns:
        The integer.

    Raises:
        ArgumentTypeError: It is none.

    Example:
    >>> count("12")
    12
    """
    try:
        if int(text) >= 1:
            return int(text)
    except ValueError:
        pass
    raise ArgumentTypeError(f"must be an integer of at least 1. Received: {text}")


def share(text: str) -> float:
    """Returns a number in [0, 1).

    Args:
        text: The number.

    Returns:
        The number.

    Raises:
        ArgumentTypeError: It is none.

    Example:
    >>> share("0.25")
    0.25
    """
    try:
        if 0 <= float(text) < 1:
            return float(text)
    except ValueError:
        pass
    raise ArgumentTypeError(f"must be a number in [0, 1). Received: {text}")


def positive(text: str) -> float:
    """Returns a number above 0.

    Args:
        text: The number.

    Returns:
        The number.

    Raises:
        ArgumentTypeError: It is none.

    Example:
    >>> positive("0.5")
    0.5
    """
    try:
        if 0 < float(text) < float("inf"):
            return float(text)
    except ValueError:
        pass
    raise ArgumentTypeError(f"must be a number above 0. Received: {text}")


def json_object(text: str) -> dict[str, Any]:
    """Returns a JSON object.

    Args:
        text: The object.

    Returns:
        The dictionary.

    Raises:
        ArgumentTypeError: It is none.

    Example:
    >>> json_object('{"drop_rate": 0.5}')
    {'drop_rate': 0.5}
    """
    try:
        value = json.loads(text)
    except ValueError:
        value = None
    if isinstance(value, dict):
        return value
    raise ArgumentTypeError(
        f"must be a JSON object, such as '{{\"drop_rate\": 0.5}}'. Received: {text}"
    )


def check_free(path: Path, overwrite: bool) -> None:
    """Refuses to replace what exists.

    Args:
        path: What is to be written.
        overwrite: Whether it may be replaced.

    Raises:
        FileExistsError: It exists and may not.
    """
    if path.exists() and not overwrite:
        raise FileExistsError(
            f"{path} exists. Choose another --out, or pass --overwrite."
        )
