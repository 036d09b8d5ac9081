"""Encoded images in record files, any of which can be read at any time."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np

TFRECORD, ARRAY_RECORD = "tfrecord", "array_record"
FORMATS = (TFRECORD, ARRAY_RECORD)
# Systems often allow a process 1024 open files; ILSVRC takes 1282 of 1000 images.
MOST_OPEN = 256
# Each record for itself, as the images are compressed: any can be read without others.
WRITER_OPTIONS = "group_size:1,uncompressed"
_READER_OPTIONS = "readahead_buffer_size:0,max_parallelism:0"


@dataclass(frozen=True, eq=False, kw_only=True)
class RecordFiles:
    """Where the encoded images of a data set lie in files of records.

    Attributes:
        format: `"tfrecord"` or `"array_record"`.
        files: Paths of the files.
        places: int64 `(N, 4)`: of each image the number of its file, the number of its
            record in it, and where its bytes start and how many they are: in the file
            of a `"tfrecord"`, in the record of an `"array_record"`.
    """

    format: str
    files: tuple[str, ...]
    places: np.ndarray
    _open: dict[int, Any] = field(default_factory=dict, repr=False)
    _lock: Any = field(default_factory=Lock, repr=False)

    def take(self, indices: np.ndarray) -> "RecordFiles":
        """Returns the places of some of the images."""
        return replace(self, places=self.places[indices])

    def content(self, index: int) -> bytes:
        """Reads one encoded image."""
        number, record, start, length = self.places[index].tolist()
        content = self._opened(number)(record, start, length)
        if len(content) != length:
            raise OSError(
                f"{self.files[number]} must have {length} bytes at {start}. It has "
                f"{len(content)}: it is not the file that was written."
            )
        return content

    def _opened(self, number: int) -> Callable[[int, int, int], bytes]:
        file = self._open.get(number)
        if file is None:
            # Two threads at once may both open it; one of the two is closed unused.
            opened = _OPENERS[self.format](self.files[number])
            with self._lock:
                file = self._open.setdefault(number, opened)
                if len(self._open) > MOST_OPEN:
                    # The oldest is closed when no thread reads it any more.
                    del self._open[next(iter(self._open))]
        return file

    def __reduce__(self) -> tuple[Any, ...]:
        # Open files stay with their process.
        return _revive, (self.format, self.files, self.places)


def _revive(kind: str, files: tuple[str, ...], places: np.ndarray) -> RecordFiles:
    return RecordFiles(format=kind, files=files, places=places)


class _Bytes:
    """A file, any part of which any thread can read; it closes when none holds it."""

    def __init__(self, path: str) -> None:
        self._descriptor = None  # for `__del__`, if it cannot be opened
        self._lock = Lock()
        self._descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))

    def __call__(self, _: int, start: int, length: int) -> bytes:
        if hasattr(os, "pread"):
            return os.pread(self._descriptor, length, start)
        with self._lock:  # on Windows a file has one position
            os.lseek(self._descriptor, start, os.SEEK_SET)
            return os.read(self._descriptor, length)

    def __del__(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)


class _ArrayRecords:
    def __init__(self, path: str) -> None:
        reader = array_record_module().ArrayRecordReader
        self._reader = reader(path, _READER_OPTIONS)

    def __call__(self, record: int, start: int, length: int) -> bytes:
        return self._reader.read([record])[0][start : start + length]


_OPENERS: dict[str, Callable[[str], Any]] = {
    TFRECORD: _Bytes,
    ARRAY_RECORD: _ArrayRecords,
}


def array_record_module() -> Any:
    """Returns the module that reads and writes ArrayRecord files."""
    try:
        from array_record.python import array_record_module
    except ImportError as error:
        raise ImportError(
            'The format "array_record" needs the package `array_record`, which '
            "TensorFlow Datasets brings on Linux: `pip install array_record`; or use "
            'the format "tfrecord".'
        ) from error
    return array_record_module


@contextmanager
def _as_os_error(kind: type[Exception]) -> Iterator[None]:
    """What writers raise is none of the system's errors, also where a disk is full."""
    try:
        yield
    except kind as error:
        raise OSError(getattr(error, "message", str(error))) from error


class TFRecordWriter:
    """Writes a TFRecord file and tells where each record went. Needs TensorFlow."""

    def __init__(self, path: Path) -> None:
        import tensorflow as tf

        self._errors = tf.errors.OpError
        with _as_os_error(self._errors):
            self._writer = tf.io.TFRecordWriter(str(path))
        self._end = 0

    def write(self, record: bytes) -> int:
        """Writes one record."""
        with _as_os_error(self._errors):
            self._writer.write(record)
        # Eight bytes of length and four of checksum stand before it, four behind.
        start = self._end + 12
        self._end = start + len(record) + 4
        return start

    def close(self) -> None:
        """Ends the file."""
        with _as_os_error(self._errors):
            self._writer.close()


class ArrayRecordWriter:
    """Writes an ArrayRecord file whose records can each be read alone."""

    def __init__(self, path: Path) -> None:
        writer = array_record_module().ArrayRecordWriter
        with _as_os_error(RuntimeError):
            self._writer = writer(str(path), WRITER_OPTIONS)

    def write(self, record: bytes) -> int:
        """Writes one record."""
        with _as_os_error(RuntimeError):
            self._writer.write(record)
        return 0

    def close(self) -> None:
        """Ends the file."""
        with _as_os_error(RuntimeError):
            self._writer.close()


WRITERS = {TFRECORD: TFRecordWriter, ARRAY_RECORD: ArrayRecordWriter}
