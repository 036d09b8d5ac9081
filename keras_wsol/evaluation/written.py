"""Text into a file."""

from pathlib import Path


def write_text(text: str, path: str | Path) -> None:
    r"""Writes text as UTF-8, whatever the machine's own encoding."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode("utf-8", "replace"))
