"""What several commands take: a saved model, files, numbers; and what they say."""

import argparse
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras

from keras_wsol.data import ImageDataset
from keras_wsol.export.saved_model import as_localizer

VERIFIED = "verified.jsonl"


def add_model(add: Callable[..., Any]) -> None:
    """Adds the arguments that say which localizer."""
    add("--model", type=existing, required=True, help="a .keras file")
    add(
        "--cam-threshold",
        type=share,
        help="share of the score map's maximum above which is object; lower makes "
        "larger boxes (default: the model's own)",
    )


def load_localizer(options: argparse.Namespace) -> keras.Model:
    """Loads the localizer, or makes one of a classifier."""
    path = options.model
    try:
        model = keras.saving.load_model(path, compile=False)
    except (KeyError, zipfile.BadZipFile) as error:
        raise ValueError(
            f"{path} must be a .keras file of a model. It lacks a part: {error}."
        ) from error
    localizer = as_localizer(model)
    if options.cam_threshold is not None:
        localizer.cam_threshold = options.cam_threshold
    return localizer


def existing(text: str) -> Path:
    """A file or folder that exists."""
    if not Path(text).exists():
        raise argparse.ArgumentTypeError(f"must exist. Nothing is at: {text}")
    return Path(text)


def count(text: str) -> int:
    """An integer of at least 1."""
    return int(_number(text, 1, float("inf"), "an integer of at least 1", int))


def share(text: str) -> float:
    """A number in [0, 1)."""
    return _number(text, 0, 1, "a number in [0, 1)")


def positive(text: str) -> float:
    """A number above 0."""
    return _number(text, sys.float_info.min, float("inf"), "a number above 0")


def _number(
    text: str, low: float, below: float, expected: str, kind: type = float
) -> float:
    try:
        value = kind(text)
    except ValueError:
        value = float("nan")
    if not low <= value < below:
        raise argparse.ArgumentTypeError(f"must be {expected}. Received: {text}")
    return value


def say(message: str) -> None:
    """Tells how far a command is, apart from its results."""
    print(message, file=sys.stderr, flush=True)


def say_left_out(listed: Path, *datasets: ImageDataset) -> None:
    """Tells how many files cannot be read, and where they are listed."""
    left_out = {path for dataset in datasets for path, _ in dataset.left_out}
    if left_out:
        say(f"Left out {len(left_out)} files that cannot be read; see {listed}.")
