"""Files and folders that are there as a whole or not at all."""

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from keras_wsol import files
from keras_wsol.files import (
    claim,
    claimed,
    delete_leftovers,
    let_go,
    make_folder,
    reading,
    replaced,
    restore,
    silenced,
)


def fill(path, kind, text):
    if kind == "folder":
        path.mkdir(parents=True)
        path = path / "content"
    path.write_text(text)


def content(path):
    return (path / "content" if path.is_dir() else path).read_text()


def names(folder):
    return sorted(path.name for path in folder.iterdir())


kinds = pytest.mark.parametrize("kind", ["file", "folder"])


@kinds
@pytest.mark.parametrize("overwrite", [False, True])
def test_nothing_is_seen_before_all_is_written(kind, overwrite, tmp_path):
    path = tmp_path / "deep" / "birds.json"
    with replaced(path, overwrite) as temporary:
        assert not temporary.exists()
        assert temporary.name == path.name
        fill(temporary, kind, "new")
        assert not path.exists()
    assert content(path) == "new"
    assert names(path.parent) == ["birds.json"]


@kinds
def test_what_is_there_is_replaced_unless_told_not_to(kind, tmp_path):
    path = tmp_path / "x"
    fill(path, kind, "old")
    with pytest.raises(FileExistsError, match="x exists"), replaced(path, False):
        raise AssertionError("It must not begin.")
    with replaced(path) as temporary:
        fill(temporary, kind, "new")
        assert content(path) == "old"
    assert (content(path), names(tmp_path)) == ("new", ["x"])


@kinds
def test_what_fails_leaves_the_old(kind, tmp_path):
    path = tmp_path / "x"
    fill(path, kind, "old")

    def fail():
        with replaced(path) as temporary:
            fill(temporary, kind, "half")
            raise KeyError("broken")

    with pytest.raises(KeyError):
        fail()
    assert (content(path), names(tmp_path)) == ("old", ["x"])


@kinds
@pytest.mark.parametrize("other", ["file", "folder"])
def test_another_job_that_was_first_is_not_overwritten(kind, other, tmp_path):
    path = tmp_path / "x"

    def late():
        with replaced(path, overwrite=False) as temporary:
            fill(temporary, kind, "late")
            fill(path, other, "first")

    with pytest.raises(FileExistsError, match="x"):
        late()
    assert (content(path), names(tmp_path)) == ("first", ["x"])


@kinds
def test_two_jobs_at_once_do_not_meet(kind, tmp_path):
    path = tmp_path / "x"
    with replaced(path) as one:
        fill(one, kind, "one")
        with replaced(path) as other:
            assert content(one) == "one"
            fill(other, kind, "other")
        assert content(path) == "other"
        assert content(one) == "one"
    assert (content(path), names(tmp_path)) == ("one", ["x"])


def test_others_may_read_the_folder(tmp_path):
    with replaced(tmp_path / "x") as temporary:
        fill(temporary, "folder", "new")
    (tmp_path / "usual").mkdir()
    modes = [(tmp_path / name).stat().st_mode for name in ("x", "usual")]
    assert modes[0] == modes[1]


def test_a_folder_lost_between_two_renames_comes_back(tmp_path):
    # As a kill between the renames leaves it: the old folder under its other name.
    fill(tmp_path / ".model.old", "folder", "precious")
    restore(tmp_path / "model")
    assert content(tmp_path / "model") == "precious"
    assert names(tmp_path) == ["model"]
    # Behind the second rename, it has been replaced.
    fill(tmp_path / ".model.old", "folder", "done with")
    restore(tmp_path / "model")
    assert content(tmp_path / "model") == "precious"
    with replaced(tmp_path / "model") as temporary:
        fill(temporary, "folder", "new")
    assert (content(tmp_path / "model"), names(tmp_path)) == ("new", ["model"])


@kinds
def test_a_lost_folder_counts_as_there(kind, tmp_path):
    fill(tmp_path / ".x.old", kind, "precious")
    with pytest.raises(FileExistsError), replaced(tmp_path / "x", overwrite=False):
        raise AssertionError("It must not begin.")
    assert content(tmp_path / "x") == "precious"


def test_an_empty_block_changes_nothing(tmp_path):
    fill(tmp_path / "x", "file", "old")
    with replaced(tmp_path / "x"):
        pass
    assert (content(tmp_path / "x"), names(tmp_path)) == ("old", ["x"])


def test_the_file_reaches_the_disk_before_it_gets_the_name(tmp_path, monkeypatch):
    done = []
    fsync, rename = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda h: (done.append("sync"), fsync(h)))
    monkeypatch.setattr(os, "replace", lambda *a: (done.append("name"), rename(*a)))
    with replaced(tmp_path / "x") as temporary:
        temporary.write_text("new")
    assert done == ["sync", "name", "sync"]  # the file, its name, the folder


def test_errors_name_the_file(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match=r"Cannot make the folder .*file/deep: Not a dir"):
        make_folder(tmp_path / "file" / "deep")
    with pytest.raises(OSError, match=r"Cannot write .*/x: No space left"):  # noqa: SIM117
        with replaced(tmp_path / "x"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    with pytest.raises(OSError, match=r"Cannot write .*/x: .*'.*other.csv'"):  # noqa: SIM117
        with replaced(tmp_path / "x"):
            (tmp_path / "other.csv").read_text()
    assert names(tmp_path) == ["file"]


def test_leftovers_of_killed_jobs_go(tmp_path):
    path = tmp_path / "a[1].npz"
    fill(tmp_path / ".a[1].npz.k1ll3d_0", "folder", "half")
    fill(tmp_path / ".a[1].npz.old", "folder", "replaced")
    # A file of another kind, and what a job at `a[1].npz.json` is writing.
    others = [".a[1].npz.first", ".a[1].npz.json.l1v1ng_0"]
    fill(tmp_path / others[0], "file", "first")
    fill(tmp_path / others[1], "folder", "half")
    fill(path, "file", "whole")
    delete_leftovers(path)
    assert names(tmp_path) == [*others, "a[1].npz"]


def test_a_closed_stderr_is_no_error(monkeypatch):
    def closed(_):
        raise OSError(errno.EBADF, "Bad file descriptor")

    monkeypatch.setattr(os, "dup", closed)
    with silenced():
        done = True
    assert done


def test_one_job_at_a_time_holds_a_path(tmp_path):
    path = tmp_path / "deep" / "journal"
    with claimed(path):
        message = r"Another job is writing .*deep/journal: wait"
        with pytest.raises(FileExistsError, match=message), claimed(path):
            raise AssertionError("It must not begin.")
        path.write_text("begun")
    with claimed(path):  # what an ended job has written is gone on with
        assert path.read_text() == "begun"
    assert names(path.parent) == ["journal"]


def test_a_killed_job_holds_nothing(tmp_path):
    code = f"""if True:
        import os, pathlib
        from keras_wsol.files import claimed
        with claimed(pathlib.Path({str(tmp_path / "x")!r})) as _:
            pathlib.Path({str(tmp_path / "x")!r}).write_text("begun")
            os.kill(os.getpid(), 9)"""
    done = subprocess.run([sys.executable, "-c", code], check=False)
    assert done.returncode == -9
    with claimed(tmp_path / "x"):
        assert (tmp_path / "x").read_text() == "begun"


def test_no_empty_file_stands_for_a_new_one(tmp_path, monkeypatch):
    monkeypatch.setattr(type(tmp_path), "touch", None)
    with replaced(tmp_path / "x", overwrite=False) as temporary:
        temporary.write_text("new")
    assert (content(tmp_path / "x"), names(tmp_path)) == ("new", ["x"])


def test_a_disk_without_hard_links(tmp_path, monkeypatch):
    def none(*_):
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "link", none)
    with replaced(tmp_path / "x", overwrite=False) as temporary:
        temporary.write_text("new")
    assert (content(tmp_path / "x"), names(tmp_path)) == ("new", ["x"])
    with pytest.raises(FileExistsError), replaced(tmp_path / "x", overwrite=False):
        raise AssertionError("It must not begin.")


def lock_of_another_job(path):
    fcntl = pytest.importorskip("fcntl")
    file = path.open("a")
    fcntl.flock(file, fcntl.LOCK_EX)
    return file


@pytest.mark.parametrize(("name", "lock"), [("x", ".x.lock"), ("", ".lock")])
def test_what_another_job_writes_is_not_claimed(name, lock, tmp_path):
    path = tmp_path / name  # a file to be, or the folder itself
    with (
        lock_of_another_job(tmp_path / lock),
        pytest.raises(FileExistsError, match=f"Another job is writing {path}: wait"),
    ):
        claim(path)
    claim(path)  # a lock that nobody holds, as a killed job leaves it
    claim(path)  # once more in the same process
    with (tmp_path / lock).open("a") as other, pytest.raises(BlockingIOError):
        files._lock(other)
    let_go(path)
    let_go(path)
    assert names(tmp_path) == []


def test_a_lock_that_its_owner_has_just_deleted_is_not_taken(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "_lock", lambda file: Path(file.name).unlink())
    with pytest.raises(FileExistsError, match="Another job is writing"):
        claim(tmp_path / "x")


def test_a_disk_without_locks_is_said(tmp_path, monkeypatch):
    def fail(file):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(files, "_lock", fail)
    with pytest.warns(RuntimeWarning, match="x is not kept from other jobs: No locks"):
        claim(tmp_path / "x")
    let_go(tmp_path / "x")
    assert names(tmp_path) == []


def test_reading_names_the_file_and_the_way_out(tmp_path):
    message = "Cannot read a.json: Expecting value: .*. If it is damaged, delete it.$"
    with pytest.raises(ValueError, match=message), reading("a.json", "delete it"):
        json.loads("")
    with (
        pytest.raises(ValueError, match=r"a: EOFError\. If"),
        reading("a", "delete it"),
    ):
        raise EOFError
    with pytest.raises(MemoryError), reading("a", "delete it"):
        raise MemoryError
