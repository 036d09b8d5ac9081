"""A disk that is full, or fills, and folders that cannot be written."""

import errno
import os
import resource
import shutil
import signal
from collections import namedtuple
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from keras_wsol import files
from keras_wsol.training import Checkpoint
from tests.training.test_checkpoint import (
    assert_same_state,
    make_model,
    state,
)
from tests.training.test_checkpoint_within import fit

Usage = namedtuple("Usage", ["total", "used", "free"])


@contextmanager
def files_up_to(size):
    """Has writing more than some bytes to a file fail, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


def size_of(model):
    return sum(value.nbytes for value in state(model).values())


@pytest.mark.parametrize(("exists", "times"), [(False, 2), (True, 1)])
def test_too_little_room_is_said_before_training(tmp_path, monkeypatch, exists, times):
    path = tmp_path / "a.npz"
    if exists:
        fit(make_model(), 1, Checkpoint(path))
    kept = path.read_bytes() if exists else None
    model = make_model()
    model.optimizer.build(model.trainable_variables)
    size = size_of(model)
    before = state(model)
    asked = []

    def usage(folder):
        asked.append(folder)
        return Usage(10**12, 10**12, size * times)  # not the headers

    monkeypatch.setattr(shutil, "disk_usage", usage)
    with pytest.raises(OSError, match="The disk is too full to keep") as caught:
        fit(model, 1, Checkpoint(path))
    message = str(caught.value)
    assert str(path) in message
    assert f", {size * times:,} are free" in message
    needed = int(message.split(": ")[1].split(" ")[0].replace(",", ""))
    assert size * times < needed
    assert asked == [tmp_path]
    assert_same_state(state(model), before)
    assert (path.read_bytes() if exists else None) == kept
    # What it asked for is enough for what it writes.
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(0, 0, needed))
    fit(model, 1, Checkpoint(path))
    assert needed / times / 3 < path.stat().st_size <= needed / times


def test_a_disk_that_takes_nothing_is_said_before_training(tmp_path):
    model = make_model()
    before = model.get_weights()
    with (
        files_up_to(100),
        pytest.raises(OSError, match=r"Cannot write .*a\.npz\.first: File too large"),
    ):
        fit(model, 1, Checkpoint(tmp_path / "a.npz"))
    assert list(tmp_path.iterdir()) == []
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_a_disk_that_fills_leaves_the_last_state_and_training(tmp_path, monkeypatch):
    path = tmp_path / "a.npz"
    model = make_model()
    checkpoint = Checkpoint(path, every_steps=1)
    fit(model, 1, checkpoint)
    kept, saved = path.read_bytes(), state(model)
    with (
        files_up_to(100),
        pytest.warns(RuntimeWarning, match="is not saved: Cannot write") as caught,
    ):
        fit(model, 1, checkpoint)
    ours = [str(w.message) for w in caught if "is not saved" in str(w.message)]
    assert len(ours) == 4  # three within the epoch, one after: each is said
    assert "after 0 epochs and 2 steps is not saved: Cannot write" in ours[1]
    assert f"{path}: File too large. {path} keeps an earlier state." in ours[1]
    assert path.read_bytes() == kept
    assert list(tmp_path.iterdir()) == [path]  # no temporary file is left
    assert int(model.optimizer.iterations) == 8  # training went on
    other = make_model()
    assert checkpoint.restore(other) == 1
    assert_same_state(state(other), saved)
    # With room again, so do the saves.
    fit(model, 1, checkpoint)
    assert path.read_bytes() != kept


def test_the_file_reaches_the_disk_before_it_gets_the_name(tmp_path, monkeypatch):
    done = []
    fsync, rename = os.fsync, os.replace

    def note_sync(handle):
        done.append("file" if Path(f"/proc/self/fd/{handle}").is_file() else "folder")
        fsync(handle)

    def note_rename(source, target):
        done.append("rename")
        rename(source, target)

    monkeypatch.setattr(os, "fsync", note_sync)
    monkeypatch.setattr("pathlib.Path.replace", note_rename)
    checkpoint = Checkpoint(tmp_path / "a.npz")
    checkpoint.set_model(make_model())
    checkpoint.on_epoch_end(0)
    assert done == ["file", "rename", "folder"]


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=r"Cannot make the folder .*file/runs: Not a dir"):
        Checkpoint(tmp_path / "file" / "runs" / "a.npz")


@pytest.mark.parametrize("exists", [False, True])
def test_a_folder_that_cannot_be_written_is_said_before_training(
    tmp_path, monkeypatch, exists
):
    # The tests may run as root, whom no permission stops.
    def refuse(self, *arguments, **options):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(self))

    model = make_model()
    checkpoint = Checkpoint(tmp_path / "a.npz")
    if exists:
        fit(model, 1, checkpoint)
    monkeypatch.setattr("pathlib.Path.open", refuse)
    with pytest.raises(OSError, match=r"Cannot write .*/a\.npz: Permission denied\."):
        fit(model, 1, checkpoint)
    assert int(model.optimizer.iterations) == (4 if exists else 0)


def test_a_temporary_file_that_stays_does_not_hide_the_reason(tmp_path, monkeypatch):
    def refuse(self, *arguments, **options):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(self))

    monkeypatch.setattr("pathlib.Path.open", refuse)
    monkeypatch.setattr("pathlib.Path.unlink", refuse)
    with pytest.raises(OSError, match=r"Cannot write .*/a\.npz: Read-only file sys"):
        files.replace(tmp_path / "a.npz", {"x": np.zeros(3)})
