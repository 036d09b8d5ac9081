"""What images are called in a file of labels."""

import os
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from keras_wsol.data import ImageDataset

# Control characters, which XML cannot hold or which end a line; halves of characters,
# which Python makes of file names that are not UTF-8; and what Unicode never assigns.
_UNWRITABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufffe\uffff]")


def lowest_folder(dataset: ImageDataset) -> Path:
    """Returns the lowest folder that holds all images."""
    folders = {Path(path).parent for path in dataset.paths.tolist()}
    try:
        return Path(os.path.commonpath(folders))
    except ValueError as error:
        raise ValueError(
            f"The images must lie in one folder, or pass `images_root`. Received: "
            f"{len(dataset)} images in {sorted(map(str, folders))[:4]}."
        ) from error


def names_below(
    root: Path, dataset: ImageDataset, a_file_an_image: bool = False
) -> list[str]:
    """Returns the paths of images relative to a folder, parted by `/`."""
    names = []
    for path in dataset.paths.tolist():
        try:
            names.append(Path(path).relative_to(root).as_posix())
        except ValueError as error:
            raise ValueError(
                f"All images must be below `images_root`, {root}. Received: {path}."
            ) from error
    check_writable("The name of an image", names, "Rename the file or its folder.")
    files = names
    if a_file_an_image:
        files = [str(PurePosixPath(name).with_suffix("")) for name in names]
    twice = [name for name, count in Counter(files).items() if count > 1]
    if twice:
        raise ValueError(
            "Each image must have a name of its own in the labels"
            f"{', also without its suffix' if a_file_an_image else ''}. "
            f"Several are called: {twice[:8]}."
        )
    return names


def check_writable(what: str, names: Sequence[str], way_out: str) -> None:
    """Refuses names that not every format can hold."""
    wrong = [name for name in names if _UNWRITABLE.search(name)]
    if wrong:
        raise ValueError(
            f"{what} must be UTF-8 text without control characters. Received: "
            f"{', '.join(map(ascii, wrong[:8]))}. {way_out}"
        )


def check_yolo_name(name: str) -> None:
    """Refuses a name whose labels Ultralytics would look for elsewhere."""
    for folder in PurePosixPath(name).parent.parts:
        if folder == "images" or folder.endswith("."):
            raise ValueError(
                "For YOLO, no folder in the name of an image may be called 'images' or "
                f"end in a dot: its labels would not be found. Received: {name!r}. "
                "Choose `images_root` so that names begin below that folder, rename "
                "it, or write another format."
            )
