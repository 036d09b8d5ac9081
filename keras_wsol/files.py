"""Writing files so that a reader sees the old or the new one, whole."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np


@contextmanager
def replacing(path: Path, overwrite: bool = True) -> Iterator[Path]:
    """Gives another path to write a file or folder to, then renames it to `path`."""
    restore_replaced(path)
    if not overwrite and os.path.lexists(path):
        raise FileExistsError(f"{path} exists.")
    path.parent.mkdir(parents=True, exist_ok=True)
    own = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    try:
        temporary = own / path.name
        yield temporary
        if overwrite:
            _put_over(temporary, path)
        else:
            _put_where_nothing_is(temporary, path)
    finally:
        _delete(own)


def restore_replaced(path: Path) -> None:
    """Brings back what a job had moved away when it was killed."""
    replaced = _replaced(path)
    if os.path.lexists(replaced) and not os.path.lexists(path):
        replaced.rename(path)


def _put_over(temporary: Path, path: Path) -> None:
    replaced = _replaced(path)
    if path.is_dir():  # a folder that is not empty cannot be replaced
        _delete(replaced)
        path.replace(replaced)
    temporary.replace(path)
    _delete(replaced)


def _put_where_nothing_is(temporary: Path, path: Path) -> None:
    if not temporary.is_dir():
        # Fails if anything is there, so that the name is this job's from here on.
        path.touch(exist_ok=False)
        temporary.replace(path)
        return
    try:
        temporary.rename(path)  # fails onto a file, and a folder that is not empty
    except OSError as error:
        if os.path.lexists(path):
            raise FileExistsError(
                f"{path} exists: another job has written it meanwhile."
            ) from error
        raise


def _replaced(path: Path) -> Path:
    return path.with_name(f".{path.name}.old")


def _delete(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


_ENTRY_BYTES = 512  # around an array: headers of NumPy and of the archive


def check_room(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Refuses a folder that cannot be written, or whose disk is too full."""
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
    """Writes arrays to a `.npz` file, so that there is always a whole one."""
    with replaced(path) as temporary, temporary.open("wb") as file:
        np.savez(file, **arrays)


@contextlib.contextmanager
def replaced(path: Path) -> Iterator[Path]:
    """Replaces a file by what is written within, if anything is."""
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
    """Removes a file that nothing needs; one that cannot be removed stays."""
    with contextlib.suppress(OSError):
        path.unlink()


def make_folder(folder: Path) -> None:
    """Makes a folder with all above it."""
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
