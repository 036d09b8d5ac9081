"""What several commands take: a saved model, files, numbers; and what they say."""

import argparse
import math
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any

import keras

from keras_wsol.arguments import near_name
from keras_wsol.data import ImageDataset
from keras_wsol.export.saved_model import as_localizer
from keras_wsol.files import claimed, make_folder, reading
from keras_wsol.labels import LabelsWritten

VERIFIED = "verified.jsonl"
ALPHA = 'width of a MobileNet; in Python, backbone_options={"alpha": ...}'
TRAINED_ON = "trained_on.txt"  # beside a model: the images that it learned from


def adder(parser: argparse.ArgumentParser) -> Callable[..., None]:
    """Returns `add_argument` with the help, and what is done otherwise, in front."""
    names: set[str] = set()
    parser.set_defaults(names=names)  # of all options, for errors to speak of

    def add(flag: str, text: str, otherwise: str = "%(default)s", **more: Any) -> None:
        if not more.get("required") and more.get("action") != "store_true":
            text += f" (default: {otherwise})"
        if "choices" in more:
            more["type"] = partial(_choice, more["choices"])
        names.add(parser.add_argument(flag, help=text, **more).dest)

    return add


def _choice(choices: Sequence[str], text: str) -> str:
    """The text, unless it is no choice but spelt nearly as one."""
    if text not in choices and (near := near_name(text, choices)):
        raise argparse.ArgumentTypeError(f"invalid choice: {text!r}.{near}")
    return text


def add_model(add: Callable[..., None]) -> None:
    """Adds the arguments that say which localizer."""
    add("--model", "a .keras file", type=existing, required=True)
    text = "share of the score map's maximum above which is object; lower makes larger"
    add("--cam-threshold", f"{text} boxes", "the model's own", type=share)


def owned(folder: Path) -> AbstractContextManager[None]:
    """Makes the folder of a command, and keeps it from other jobs meanwhile."""
    make_folder(folder)
    return claimed(folder)


def load_localizer(options: argparse.Namespace) -> keras.Model:
    """Loads the localizer, or makes one of a classifier."""
    path = options.model
    if path.is_dir():
        raise ValueError(
            f"{path} must be a .keras file, not a folder. Did you mean "
            f"{path / 'localizer.keras'}?"
        )
    with reading(path, "make it anew, as by `train`"):
        model = keras.saving.load_model(path, compile=False)
    localizer = as_localizer(model)
    if getattr(options, "save", False) and localizer is not model:
        raise ValueError(
            "--save needs the file of a localizer, such as localizer.keras of `train`. "
            f"Received: {path}, of a classifier, which would be lost."
        )
    if options.cam_threshold is not None:
        localizer.cam_threshold = options.cam_threshold
    return localizer


def existing(text: str) -> Path:
    """A file or folder that exists."""
    if not Path(text).exists():
        raise argparse.ArgumentTypeError(f"must exist. Nothing is at: {text}")
    return Path(text)


def check_folder(root: Path) -> None:
    """Raises where a folder by class is asked for, and a data set is there."""
    if any((root / x / "images.txt").is_file() for x in (".", "CUB_200_2011")):
        raise ValueError(f"{root} is CUB-200-2011: pass --dataset cub.")


def weights(text: str) -> str | None:
    """Names weights, or a file that exists."""
    if text == "none":
        return None
    return text if text == "imagenet" else str(existing(text))


def number(
    expected: str, low: float, below: float = math.inf, kind: type = float
) -> Callable[[str], float]:
    """Makes the type of an argument that is a number in `[low, below)`."""

    def read(text: str) -> float:
        try:
            value = kind(text)
        except ValueError:
            value = math.nan
        if not low <= value < below:
            raise argparse.ArgumentTypeError(f"must be {expected}. Received: {text}")
        return value

    return read


count = number("an integer of at least 1", 1, kind=int)
share = number("a number in [0, 1)", 0, 1)
probability = number("a number in [0, 1]", 0, math.nextafter(1, 2))
positive = number("a number above 0", sys.float_info.min)


def say(message: str) -> None:
    """Tells how far a command is, apart from its results."""
    print(message, file=sys.stderr, flush=True)


def say_left_out(listed: Path, *datasets: ImageDataset) -> None:
    """Tells how many files cannot be read, and where they are listed."""
    left_out = {path for dataset in datasets for path, _ in dataset.left_out}
    if left_out:
        files = counted(len(left_out), "file")
        say(f"Left out {files} that cannot be read; see {listed}.")


def counted(count: int, one: str, end: str = "s") -> str:
    """Says how many there are: 1 file, 2 files."""
    return f"{count} {one}{end * (count != 1)}"


def print_labels(done: LabelsWritten, form: str) -> None:
    """Prints what was written, and what to do with it."""
    boxes, images = (
        counted(done.num_boxes, "box", "es"),
        counted(done.num_images, "image"),
    )
    print(f"Wrote {done.path}: {boxes} of {images},")
    print(f"whose paths are below {done.images_root}.")
    if done.left_out:
        images = counted(len(done.left_out), "image")
        print(f"Left out {images}; see {done.left_out_path}.")
    if form == "yolo":
        print(f"Train on them: yolo detect train data={done.path / 'data.yaml'}")
