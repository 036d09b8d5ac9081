"""Record files: few of them open, what cannot be written, and conversions again."""

import json
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from keras_wsol import data
from keras_wsol.data import record_files
from keras_wsol.data.record_files import FORMATS, WRITERS, RecordFiles
from tests.data.small_datasets import as_files, noise


@pytest.fixture
def dataset(tmp_path):
    (tmp_path / "images").mkdir()
    return as_files(tmp_path / "images", noise(10))


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "records"


@pytest.fixture(params=FORMATS)
def kind(request):
    if request.param == "array_record":
        pytest.importorskip("array_record")
    return request.param


def contents(dataset):
    return [Path(path).read_bytes() for path in dataset.paths]


def test_few_files_are_open_and_any_thread_reads_any(
    dataset, folder, kind, monkeypatch
):
    monkeypatch.setattr(record_files, "MOST_OPEN", 2)
    data.write_records(dataset, folder, format=kind, images_a_shard=1)
    copied = data.records(folder, "train")
    indices = np.random.default_rng(0).integers(10, size=200).tolist()
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(copied.encoded, indices))
    assert found == [contents(dataset)[index] for index in indices]
    descriptors = Path("/proc/self/fd")
    if descriptors.is_dir():
        links = [link for link in descriptors.iterdir() if link.is_symlink()]
        links = [link.readlink() for link in links]
        assert sum(link.is_relative_to(folder) for link in links) == 2


def test_without_pread(dataset, folder, monkeypatch):
    data.write_records(dataset, folder, images_a_shard=4)
    monkeypatch.delattr(os, "pread", raising=False)
    copied = data.records(folder, "train")
    indices = [*range(10)] * 20
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(copied.encoded, indices))
    assert found == contents(dataset) * 20


def test_a_missing_file_is_all_that_is_said(tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr(sys, "unraisablehook", said.append)
    files = RecordFiles(
        format="tfrecord",
        files=(str(tmp_path / "none"),),
        places=np.zeros((1, 4), "int64"),
    )
    with pytest.raises(FileNotFoundError):
        files.content(0)
    assert said == []


def test_what_cannot_be_written_is_an_error_of_the_system(kind, tmp_path):
    def write(path):
        writer = WRITERS[kind](path)
        writer.write(bytes(1_000_000))
        writer.close()

    with pytest.raises(OSError, match="No such file or directory"):
        write(tmp_path / "none" / "file")
    if Path("/dev/full").exists():
        with pytest.raises(OSError, match="No space left on device"):
            write(Path("/dev/full"))


def test_a_failed_conversion_leaves_no_part(dataset, folder, kind, monkeypatch):
    closed = []

    class Failing(WRITERS[kind]):
        def write(self, record):
            super().write(record)
            raise OSError("No space left on device")

        def close(self):
            super().close()
            closed.append(True)

    monkeypatch.setitem(WRITERS, kind, Failing)
    with pytest.raises(OSError, match="No space left on device"):
        data.write_records(dataset, folder, format=kind)
    assert closed == [True]
    assert list(folder.iterdir()) == []


def test_repaired_images_are_converted_by_the_next_call(dataset, folder):
    before = contents(dataset)
    Path(dataset.paths[3]).write_bytes(b"no image")
    data.write_records(dataset, folder, images_a_shard=4)
    last = folder / "train-00002-of-00003.tfrecord"
    written = last.stat().st_mtime_ns
    Path(dataset.paths[3]).write_bytes(before[3])
    data.write_records(dataset, folder, images_a_shard=4)
    copied = data.records(folder, "train", verify=True)
    assert [copied.encoded(index) for index in range(10)] == before
    assert "left out" not in copied.notes
    assert last.stat().st_mtime_ns == written


def test_reasons_name_no_path(dataset, folder):
    Path(dataset.paths[0]).unlink()
    Path(dataset.paths[1]).write_bytes(b"no image")
    Path(dataset.paths[2]).write_bytes(contents(dataset.take([2], "one"))[0][:200])
    data.write_records(dataset, folder)
    text = (folder / "train-00000-of-00001.json").read_text()
    reasons = [reason for _, reason in json.loads(text)["unreadable"]]
    assert reasons[:2] == ["No such file or directory", "no known kind of image"]
    assert len(reasons) == 3
    assert str(folder.parent) not in text
    assert " at 0x" not in text


def test_files_of_other_options_go_when_the_new_are_there(dataset, folder, kind):
    data.write_records(dataset, folder, images_a_shard=4)
    (folder / "train-notes.txt").write_text("kept")
    data.write_records(dataset.take([0], "test"), folder)
    for options in ({"images_a_shard": 6}, {"images_a_shard": 6, "format": kind}):
        data.write_records(dataset, folder, **options)
    shards = [f"train-0000{number}-of-00002" for number in range(2)]
    shards += ["test-00000-of-00001"]
    expected = {"train.json", "test.json", "train-notes.txt"}
    expected |= {f"{shard}.json" for shard in shards}
    expected |= {f"{shard}.{kind}" for shard in shards[:2]}
    expected |= {f"{shards[2]}.tfrecord"}
    assert {path.name for path in folder.iterdir()} == expected
    assert len(data.records(folder, "train", verify=True)) == 10


def test_progress_is_said(dataset, folder, capsys):
    def lines():
        return capsys.readouterr().err.splitlines()

    data.write_records(dataset, folder, images_a_shard=4, verbose=True)
    ends = ["Converting: 0 of 10 images", "Converting: 10 of 10 images"]
    assert [line for line in lines() if "onverting" in line] == ends
    (folder / "train-00002-of-00003.json").unlink()
    data.write_records(dataset, folder, images_a_shard=4, verbose=True)
    ends[0] = "Converting: 8 of 10 images"
    assert [line for line in lines() if "onverting" in line] == ends
    data.records(folder, "train", verify=True, verbose=True)
    assert lines() == ["Verifying: 0 of 3 files", "Verifying: 3 of 3 files"]
    data.write_records(dataset, folder, images_a_shard=4, verbose=False)
    data.records(folder, "train", verify=True, verbose=False)
    assert lines() == []
