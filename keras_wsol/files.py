"""Writing files so that a reader sees the old or the new one, whole."""

import errno
import glob
import os
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any


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


_claims: dict[Path, Any] = {}  # of this process: open files that are locked
_ANOTHER = "Another job is writing {}: wait for its end, or choose another path."
_TAKEN = (errno.EACCES, errno.EAGAIN, errno.EDEADLK, errno.ENOENT)


def claim(path: str | Path) -> None:
    """Keeps other processes from writing to a path, until `let_go` or our end."""
    lock = _lock_of(path)
    if lock in _claims:
        return
    file = lock.open("a")
    try:
        _lock(file)
        # Else the job that held it has just deleted it.
        same = os.path.samestat(lock.stat(), os.fstat(file.fileno()))
        failure = 0 if same else errno.EAGAIN
    except OSError as error:
        failure = error.errno
    if failure in _TAKEN:
        file.close()
        raise FileExistsError(_ANOTHER.format(path))
    if failure:  # a file system without locks
        message = f"{path} is not kept from other jobs: {os.strerror(failure)}."
        warnings.warn(message, RuntimeWarning, stacklevel=2)
    _claims[lock] = file


def let_go(path: str | Path) -> None:
    """Ends what `claim` began, if it did."""
    file = _claims.pop(_lock_of(path), None)
    if file is not None:
        if os.name == "posix":  # elsewhere an open file cannot be deleted
            delete(Path(file.name))
        file.close()


@contextmanager
def claimed(path: Path) -> Iterator[None]:
    """Claims a path for a block, from this process's other jobs, too."""
    make_folder(path.parent)
    if _lock_of(path) in _claims:
        raise FileExistsError(_ANOTHER.format(path))
    claim(path)
    try:
        yield
    finally:
        let_go(path)


def _lock_of(path: str | Path) -> Path:
    path = Path(os.path.realpath(path))
    return path / ".lock" if path.is_dir() else path.with_name(f".{path.name}.lock")


def _lock(file: Any) -> None:
    """Locks a file until it is closed, by a kill too."""
    if os.name == "posix":
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    else:
        import msvcrt

        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)


@contextmanager
def reading(path: str | Path, way_out: str) -> Iterator[None]:
    """Names a file that cannot be read, and what to do if it is damaged."""
    try:
        yield
    except MemoryError:
        raise  # the file is not at fault, and must not be deleted
    except Exception as error:
        said = " ".join(str(error).split()).rstrip(".") or type(error).__name__
        message = f"Cannot read {path}: {said}. If it is damaged, {way_out}."
        raise ValueError(message) from error


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
