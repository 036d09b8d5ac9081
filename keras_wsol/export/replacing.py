"""Files and folders that are there as a whole or not at all."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Gives a path beside `path` to write a file or folder to, then renames it.

    If writing fails, what is at `path` stays as it was.

    Args:
        path: What to write or to replace. Missing folders above it are made.

    Yields:
        The path to write to; nothing is there.
    """
    temporary, replaced = (path.with_name(f".{path.name}.{x}") for x in ("tmp", "old"))
    if replaced.exists() and not path.exists():
        replaced.replace(path)  # killed between the two renames below
    for leftover in (temporary, replaced):
        _delete(leftover)
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        yield temporary
        if path.is_dir():  # a folder that is not empty cannot be replaced
            path.replace(replaced)
        temporary.replace(path)
    finally:
        _delete(temporary)
    _delete(replaced)


def _delete(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
