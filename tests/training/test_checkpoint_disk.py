"""A disk that is full, or fills, and folders that cannot be written."""

import errno
import os
import resource
import shutil
import signal
import tempfile
from collections import namedtuple
from contextlib import contextmanager

import keras
import pytest

from keras_wsol.training import Checkpoint
from tests.training.small_run import assert_same_state, fit, make_model, state

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


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def begun(path, model):
    """A checkpoint that `fit` has just begun with."""
    checkpoint = Checkpoint(path)
    checkpoint.set_model(model)
    checkpoint.set_params({"steps": 4})
    checkpoint.on_train_begin()
    return checkpoint


@pytest.mark.parametrize(("exists", "times"), [(False, 2), (True, 1)])
def test_too_little_room_is_said_before_training(tmp_path, monkeypatch, exists, times):
    path = tmp_path / "a.npz"
    model = make_model()
    if exists:
        begun(path, model).on_epoch_end(0)
    kept = path.read_bytes() if exists else None
    model.optimizer.build(model.trainable_variables)
    size = sum(value.nbytes for value in state(model).values())
    asked = []

    def usage(folder):
        asked.append(folder)
        return Usage(10**12, 10**12, size * times)  # not the headers

    monkeypatch.setattr(shutil, "disk_usage", usage)
    with pytest.raises(OSError, match="The disk is too full to keep") as caught:
        begun(path, model)
    message = str(caught.value)
    assert str(path) in message
    assert f", {size * times:,} are free" in message
    needed = int(message.split(": ")[1].split(" ")[0].replace(",", ""))
    assert size * times < needed
    assert asked == [tmp_path]
    assert (path.read_bytes() if exists else None) == kept
    # What it asked for is enough for what it writes.
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(0, 0, needed))
    begun(path, model).on_epoch_end(0)
    assert needed / times / 3 < path.stat().st_size <= needed / times


def test_a_disk_that_takes_nothing_is_said_before_training(tmp_path):
    with (
        files_up_to(100),
        pytest.raises(OSError, match=r"Cannot write .*a\.npz: File too large"),
    ):
        begun(tmp_path / "a.npz", make_model())
    assert names(tmp_path) == [".a.npz.lock"]  # of this process, till its end


class FullDisk(keras.callbacks.Callback):
    """Fills the disk at the first step."""

    def __init__(self, stack):
        super().__init__()
        self.disk = stack

    def on_train_batch_begin(self, batch, logs=None):
        if batch == 0:
            self.disk.__enter__()

    def on_train_end(self, logs=None):
        self.disk.__exit__(None, None, None)


def test_a_disk_that_fills_leaves_the_last_state_and_training(tmp_path):
    path = tmp_path / "a.npz"
    model = make_model()
    checkpoint = begun(path, model)
    checkpoint.on_epoch_end(0)
    kept, saved = path.read_bytes(), state(model)
    checkpoint.every_steps = 1
    with pytest.warns(RuntimeWarning, match="is not saved: Cannot write") as caught:
        fit(model, 1, checkpoint, FullDisk(files_up_to(100)))
    ours = [str(w.message) for w in caught if "is not saved" in str(w.message)]
    assert len(ours) == 4  # three within the epoch, one after: each is said
    assert "after 0 epochs and 2 steps is not saved: Cannot write" in ours[1]
    assert f"{path}: File too large. {path} keeps an earlier state." in ours[1]
    assert path.read_bytes() == kept
    assert list(tmp_path.iterdir()) == [path]  # no temporary file is left
    assert int(model.optimizer.iterations) == 4  # training went on
    other = make_model()
    assert checkpoint.restore(other) == 1
    assert_same_state(state(other), saved)
    # With room again, so do the saves.
    begun(path, model).on_epoch_end(1)
    assert path.read_bytes() != kept


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=r"Cannot make the folder .*file/runs: Not a dir"):
        Checkpoint(tmp_path / "file" / "runs" / "a.npz")


def test_a_folder_that_cannot_be_written_is_said_before_training(tmp_path, monkeypatch):
    # The tests may run as root, whom no permission stops.
    def refuse(*arguments, dir, **options):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(dir))

    monkeypatch.setattr(tempfile, "mkdtemp", refuse)
    with pytest.raises(OSError, match=r"Cannot write .*/a\.npz: Permission denied\."):
        begun(tmp_path / "a.npz", make_model())


def test_what_a_killed_run_left_is_deleted(tmp_path):
    (tmp_path / ".a.npz.x1y2z3__").mkdir()
    (tmp_path / ".a.npz.x1y2z3__" / "a.npz").write_bytes(b"half a file")
    begun(tmp_path / "a.npz", make_model()).on_train_end()
    assert names(tmp_path) == []
