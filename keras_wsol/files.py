"""Writing files so that a reader sees the old or the new one, whole."""

import glob
import os
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def replaced(path: str | Path, overwrite: bool = True) -> Iterator[Path]:
    """Gives a path to write a file or folder to, which then takes the place of `path`.

    Nothing is left, and the old one stays, if the block raises or writes nothing.
    Without `overwrite`, anything at `path` is a `FileExistsError`, also if another
    job puts it there meanwhile.
    """
    path = Path(path)
    restore(path)
    if not overwrite and os.path.lexists(path):
        raise FileExistsError(f"{path} exists.")
    make_folder(path.parent)
    folder = None
    try:
        folder = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
        temporary = folder / path.name
        yield temporary
        if os.path.lexists(temporary):
            if temporary.is_file():
                _sync(temporary)
            (_put_over if overwrite else _put_where_nothing_is)(temporary, path)
            _sync(path.parent)
    except FileExistsError:
        raise
    except OSError as error:
        # Where another file is at fault, the error has to name it.
        ours = None in (folder, error.filename) or str(folder) in str(error.filename)
        reason = (error.strerror or error) if ours else error
        raise OSError(f"Cannot write {path}: {reason}.") from error
    finally:
        if folder is not None:
            delete(folder)


@contextmanager
def claimed(path: Path) -> Iterator[None]:
    """Locks the file of a job, until it ends or is killed; an empty one goes then."""
    make_folder(path.parent)
    with path.open("ab") as file:
        try:
            import fcntl  # Windows has none

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # The job that had it may have ended just now, and deleted it.
            held = os.fstat(file.fileno())
            free = path.is_file() and os.path.samestat(path.stat(), held)
        except BlockingIOError:
            free = False
        except (ImportError, OSError) as error:
            warnings.warn(f"Cannot lock {path}: {error}.", stacklevel=3)
            free = True
        if not free:
            raise FileExistsError(
                f"Another job is at work and holds {path}. Wait for its end, or choose "
                "another path."
            )
        try:
            yield
        finally:
            if path.is_file() and not path.stat().st_size:
                delete(path)


def restore(path: Path) -> None:
    """Brings back the folder that a killed job had moved away to replace it."""
    old = _old(path)
    if os.path.lexists(old) and not os.path.lexists(path):
        old.rename(path)


def delete_leftovers(path: Path) -> None:
    """Deletes what killed jobs left beside `path`, which nobody else may write now."""
    restore(path)
    delete(_old(path))
    # Named by `mkdtemp`: those of `x.csv` are none of `x`.
    for left in path.parent.glob(f".{glob.escape(path.name)}.{'[a-z0-9_]' * 8}"):
        if left.is_dir():
            delete(left)


def make_folder(folder: str | Path) -> None:
    """Makes a folder with all above it."""
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OSError(f"Cannot make the folder {folder}: {error.strerror}.") from error


def delete(path: Path) -> None:
    """Deletes a file or folder; what cannot be deleted stays."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink()


def _put_over(temporary: Path, path: Path) -> None:
    old = _old(path)
    if path.is_dir():  # a folder that is not empty cannot be replaced
        delete(old)
        path.replace(old)
    temporary.replace(path)
    delete(old)


def _put_where_nothing_is(temporary: Path, path: Path) -> None:
    try:
        if temporary.is_dir():
            temporary.rename(path)  # fails onto a file, and a folder that is not empty
        else:
            try:
                path.hardlink_to(temporary)  # at once
            except OSError:  # also where something is, and where a disk has no links
                path.touch(exist_ok=False)  # from here on the name is this job's
                temporary.replace(path)
    except OSError as error:
        if not os.path.lexists(path):
            raise
        message = f"{path} exists: another job has written it meanwhile."
        raise FileExistsError(message) from error


def _old(path: Path) -> Path:
    return path.with_name(f".{path.name}.old")


def _sync(path: Path) -> None:
    """Has the disk keep a file, or the names in a folder."""
    if path.is_dir() and os.name != "posix":
        return  # elsewhere a folder cannot be opened
    handle = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def silenced(silent: bool = True) -> Iterator[None]:
    """Drops what C++ writes to stderr, as TensorFlow does while it loads and after."""
    stderr = -1
    with suppress(OSError):  # it may be closed, as by `2>&-`
        stderr = os.dup(2) if silent else -1
    if stderr < 0:
        yield
        return
    # It is for what comes after: while TensorFlow 2.21 loads, it does not look.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(nowhere)
        os.close(stderr)
