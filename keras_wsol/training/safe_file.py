"""A file that is replaced whole or not at all, whatever happens meanwhile."""

import contextlib
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

_ENTRY_BYTES = 512  # around an array: headers of NumPy and of the archive


def check_room(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Refuses a folder that cannot be written, or whose disk is too full.

    A new file is whole before the old one goes, so both need room.

    Args:
        path: Path of the file.
        arrays: What it is to hold.

    Raises:
        OSError: It cannot be written; the message names the file and the reason. Or
            there is too little room; the message has bytes needed and free.
    """
    with replaced(path) as temporary:
        temporary.open("wb").close()
        temporary.unlink()  # nothing takes the name
    size = sum(array.nbytes + _ENTRY_BYTES for array in arrays.values())
    needed = size if path.is_file() else 2 * size
    free = shutil.disk_usage(path.parent).free
    if free < needed:
        raise OSError(
            f"The disk is too full to keep {path}: {needed:,} bytes are needed, "
            f"{free:,} are free. Make room, or choose another folder."
        )


def replace(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Writes arrays to a `.npz` file, so that there is always a whole one.

    Args:
        path: Path of the file.
        arrays: Arrays by name.

    Raises:
        OSError: It cannot be written; the message names the file and the reason.
    """
    with replaced(path) as temporary, temporary.open("wb") as file:
        np.savez(file, **arrays)


@contextlib.contextmanager
def replaced(path: Path) -> Iterator[Path]:
    """Replaces a file by what is written within, if anything is.

    That goes to a temporary file in the same folder, to the disk, and only then to the
    name. If that fails, the temporary file is removed and the old one is as it was.
    There is one temporary file: no two processes may write to the same path.

    Args:
        path: Path of the file.

    Yields:
        Path of the temporary file, which is not there yet. It ends as `path` does.

    Raises:
        OSError: It cannot be written; the message names the file and the reason.
    """
    temporary = path.with_name(f".{path.name}.tmp{path.suffix}")
    remove(temporary)  # of a run that was killed
    try:
        yield temporary
        if temporary.is_file():
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())
            temporary.replace(path)
            _sync_folder(path.parent)
    except OSError as error:
        reason = error.strerror or error
        raise OSError(f"Cannot write {path}: {reason}.") from error
    finally:
        remove(temporary)


def remove(path: Path) -> None:
    """Removes a file that nothing needs; one that cannot be removed stays.

    Args:
        path: Its path.
    """
    with contextlib.suppress(OSError):
        path.unlink()


def make_folder(folder: Path) -> None:
    """Makes a folder with all above it.

    Args:
        folder: Its path.

    Raises:
        OSError: It cannot be made; the message names it and the reason.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = error.strerror or error
        raise OSError(f"Cannot make the folder {folder}: {reason}.") from error


def _sync_folder(folder: Path) -> None:
    """Has the disk keep the new name, too."""
    if os.name != "posix":
        return  # elsewhere a folder cannot be opened
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
