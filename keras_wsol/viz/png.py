"""Pictures to files."""

import os
import uuid
from pathlib import Path
from typing import Any

import numpy as np


def save_png(path: str | os.PathLike[str], array: Any) -> Path:
    """Writes a picture as a PNG file, whole or not at all.

    The file is written under a temporary name in the same folder and then
    renamed, so that nobody ever finds half a picture under `path`, not even after
    the process was killed. Missing folders are made; an existing file is replaced.

    Args:
        path: Where to write; the name has to end in `.png`.
        array: `uint8` array `(H, W, 3)`, as the functions of this package return.

    Returns:
        `path` as a `pathlib.Path`.

    Raises:
        TypeError: If `array` is not of type `uint8`.
        ValueError: If `array` is not `(H, W, 3)` or `path` does not end in `.png`.

    Example:
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_png(f"{folder}/new/bird.png", np.zeros((3, 4, 3), "uint8")).name
    'bird.png'
    """
    path = Path(path)
    if path.suffix.lower() != ".png":
        raise ValueError(f"`path` must end in '.png'. Received: path={str(path)!r}.")
    pixels = np.asarray(array)
    if pixels.dtype != np.uint8:
        raise TypeError(
            "`array` must be of type uint8, with values from 0 to 255. "
            f"Received: array.dtype={pixels.dtype}."
        )
    if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.size == 0:
        raise ValueError(
            f"`array` must have shape (H, W, 3). Received: array.shape={pixels.shape}."
        )
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    # Not `tempfile`: its files are readable by their owner only, and stay so.
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        Image.fromarray(np.ascontiguousarray(pixels)).save(temporary, format="PNG")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return path
