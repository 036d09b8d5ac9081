"""Text into a file."""

from pathlib import Path


def write_text(text: str, path: str | Path) -> None:
    r"""Writes text as UTF-8, whatever the machine's own encoding.

    Names of files may hold bytes that are no UTF-8, which Python keeps as lone
    surrogates; a question mark is written for each. Line ends stay as they are.

    Args:
        text: The text.
        path: Path of the file, replaced if it is there; its folder is made.

    Example:
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_text("\udcff.jpg\n", Path(folder, "new", "names.txt"))
    ...     Path(folder, "new", "names.txt").read_bytes()
    b'?.jpg\n'
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode("utf-8", "replace"))
