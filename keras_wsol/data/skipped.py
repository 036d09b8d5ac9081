"""The files that could not be read, gathered while batches are made."""

import os
from typing import Any


class SkippedFiles:
    """A set of paths that a running pipeline adds to.

    Inside a `tf.data` graph it is a TensorFlow table, made when first asked for,
    so that the graph needs no Python; reading without TensorFlow adds directly.

    Example:
    >>> skipped = SkippedFiles()
    >>> skipped.add("broken.jpg")
    >>> skipped.paths, len(skipped)
    (('broken.jpg',), 1)
    """

    def __init__(self) -> None:
        self._paths: set[str] = set()
        self._table: Any = None

    def table(self) -> Any:
        """Returns the table that a graph inserts paths into. Needs TensorFlow."""
        if self._table is None:
            import tensorflow as tf

            self._table = tf.lookup.experimental.MutableHashTable(
                tf.string, tf.int64, default_value=0
            )
        return self._table

    def add(self, path: str) -> None:
        """Adds one path.

        Args:
            path: Path of a file that could not be read.
        """
        self._paths.add(str(path))

    @property
    def paths(self) -> tuple[str, ...]:
        """The paths gathered so far, sorted."""
        found = set(self._paths)
        if self._table is not None:
            found |= set(map(os.fsdecode, self._table.export()[0].numpy()))
        return tuple(sorted(found))

    def __len__(self) -> int:
        return len(self.paths)
