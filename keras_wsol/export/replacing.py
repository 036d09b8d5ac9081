"""Files and folders that are there as a whole or not at all."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: Path, overwrite: bool = True) -> Iterator[Path]:
    """Gives another path to write a file or folder to, then renames it to `path`.

    If writing fails, what is at `path` stays as it was. Jobs that write to the same
    path do not meet: each writes into a hidden folder of its own beside `path`, which
    stays behind only if the process is killed.

    Args:
        path: What to write or to replace. Missing folders above it are made.
        overwrite: Whether what is at `path` may be replaced. If not, that holds to the
            end: of two jobs that write the same at once, one fails.

    Yields:
        The path to write to; nothing is there. Its name is that of `path`.

    Raises:
        FileExistsError: `path` exists, now or when all is written, and `overwrite` is
            false.
    """
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
    """Brings back what a job had moved away when it was killed.

    A folder cannot be replaced in one step: the old one is renamed, then the new one.

    Args:
        path: What was to be replaced. Nothing is done if it exists.
    """
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
