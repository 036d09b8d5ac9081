"""What images are called in a file of labels."""

import os
from collections import Counter
from pathlib import Path, PurePosixPath

from keras_wsol.data import ImageDataset


def lowest_folder(dataset: ImageDataset) -> Path:
    """Returns the lowest folder that holds all images.

    Args:
        dataset: The images.

    Returns:
        The folder.

    Raises:
        ValueError: There are no images, or absolute and relative paths among them.
    """
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
    """Returns the paths of images relative to a folder, parted by `/`.

    Args:
        root: The folder.
        dataset: The images.
        a_file_an_image: Whether names must differ without their suffix, too.

    Returns:
        As many strings as images, in their order.

    Raises:
        ValueError: An image is not below the folder, or two have one name.

    Example:
    >>> import numpy as np
    >>> pets = ImageDataset(name="pets", split="all", class_names=("cat",),
    ...                     class_ids=np.zeros(1, int), paths=np.array(["a/b/1.jpg"]))
    >>> names_below(Path("a"), pets)
    ['b/1.jpg']
    """
    names = []
    for path in dataset.paths.tolist():
        try:
            names.append(Path(path).relative_to(root).as_posix())
        except ValueError as error:
            raise ValueError(
                f"All images must be below `images_root`, {root}. Received: {path}."
            ) from error
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
