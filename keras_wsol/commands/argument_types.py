"""Texts of the command line to values, or to a message of what they must be."""

import json
from argparse import ArgumentTypeError
from pathlib import Path
from typing import Any


def folder(text: str) -> Path:
    """Returns the path of a folder that exists."""
    if not Path(text).is_dir():
        raise ArgumentTypeError(f"must be a folder. Nothing is at: {text}")
    return Path(text)


def file(text: str) -> Path:
    """Returns the path of a file that exists."""
    if not Path(text).is_file():
        raise ArgumentTypeError(f"must be a file. No file is at: {text}")
    return Path(text)


def file_or_folder(text: str) -> Path:
    """Returns the path of a file or folder that exists."""
    return Path(text) if Path(text).is_dir() else file(text)


def count(text: str) -> int:
    """Returns an integer of at least 1."""
    try:
        if int(text) >= 1:
            return int(text)
    except ValueError:
        pass
    raise ArgumentTypeError(f"must be an integer of at least 1. Received: {text}")


def share(text: str) -> float:
    """Returns a number in [0, 1)."""
    try:
        if 0 <= float(text) < 1:
            return float(text)
    except ValueError:
        pass
    raise ArgumentTypeError(f"must be a number in [0, 1). Received: {text}")


def positive(text: str) -> float:
    """Returns a number above 0."""
    try:
        if 0 < float(text) < float("inf"):
            return float(text)
    except ValueError:
        pass
    raise ArgumentTypeError(f"must be a number above 0. Received: {text}")


def json_object(text: str) -> dict[str, Any]:
    """Returns a JSON object."""
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
    """Refuses to replace what exists."""
    if path.exists() and not overwrite:
        raise FileExistsError(
            f"{path} exists. Choose another --out, or pass --overwrite."
        )
