"""The Beam pipeline: what it writes, and what is left of a job that was killed."""

import importlib.util
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf

from tests.extras.saved_birds import CLASS_NAMES, encoded_images, expected, exported

SCRIPT = Path(__file__).parents[2] / "examples" / "beam_localize.py"
SHARDS = 5


def script():
    # Under this name, since Beam pickles classes by reference to their module.
    spec = importlib.util.spec_from_file_location("beam_localize", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules["beam_localize"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    return exported(tmp_path_factory.mktemp("beam"), top_k=2)[1]


def write_images(folder, copies):
    """Files by path: three images and a broken one, several times over."""
    files = {}
    for copy in range(copies):
        for name, content in encoded_images().items():
            path = folder / f"{copy} {name}"
            path.write_bytes(content)
            files[str(path)] = content
    return dict(sorted(files.items()))


def arguments(images, saved, out, *more):
    return ["--images", str(images), "--model", str(saved), "--out", str(out), *more]


def rows(out, kind):
    """Rows of all shards of a kind, in order; a path may be in one of them only."""
    found = [
        json.loads(line)
        for path in sorted(out.glob(f"{kind}-*.jsonl"))
        for line in path.read_text().splitlines()
    ]
    assert len({row["path"] for row in found}) == len(found)
    return found


def assert_complete(out, saved, files):
    reference = expected(saved, files)
    boxes = {row["path"]: row["objects"] for row in rows(out, "boxes")}
    unread = {row["path"] for row in rows(out, "unread")}
    assert unread == {path for path in files if "broken" in path}
    assert set(boxes) == set(files) - unread
    for index, path in enumerate(files):
        for k, found in enumerate(boxes.get(path, [])):
            class_id = reference["class_ids"][index, k]
            assert found["class_id"] == class_id
            assert found["class_name"] == CLASS_NAMES[class_id]
            # Batches of other sizes sum in another order.
            np.testing.assert_allclose(
                [found["score"], *found["box"]],
                [reference["scores"][index, k], *reference["boxes"][index, k]],
                rtol=1e-4,
            )


def test_a_missing_file_is_named_and_ends_nothing(saved, tmp_path):
    files = write_images(tmp_path, 1)
    listing = tmp_path / "paths.parquet"
    paths = [*files, str(tmp_path / "gone.jpg")]
    pq.write_table(pa.table({"path": paths}), listing)
    out = tmp_path / "out"
    script().main(arguments(listing, saved, out))
    reasons = {row["path"]: row["reason"] for row in rows(out, "unread")}
    assert "cannot be opened" in reasons.pop(paths[-1])
    assert list(reasons) == [path for path in files if "broken" in path]
    assert len(rows(out, "boxes")) == 3


def test_tfrecord_in_parquet_out(saved, tmp_path):
    files = write_images(tmp_path, 1)
    listing = tmp_path / "paths.tfrecord"
    with tf.io.TFRecordWriter(str(listing)) as writer:
        for path in files:
            writer.write(path.encode())
    out = tmp_path / "out"
    script().main(arguments(listing, saved, out, "--format", "parquet"))
    [written] = out.glob("boxes-*.parquet")
    table = pq.read_table(written).to_pylist()
    assert [row["path"] for row in table] == [p for p in files if "broken" not in p]
    assert len(table[0]["objects"]) == 2


def test_another_job_is_refused_in_the_same_folder(saved, tmp_path):
    write_images(tmp_path, 1)
    out = tmp_path / "out"
    script().main(arguments(tmp_path / "*.jpg", saved, out))
    write_images(tmp_path, 2)
    with pytest.raises(SystemExit, match="holds another job: images, listing changed"):
        script().main(arguments(tmp_path / "*.jpg", saved, out))


def test_no_image_is_an_error(saved, tmp_path):
    with pytest.raises(SystemExit, match="There is no image"):
        script().main(arguments(tmp_path / "*.jpg", saved, tmp_path / "out"))


@pytest.mark.parametrize("finished", [0, 1, 3])
def test_a_killed_job_goes_on_where_it_was(finished, saved, tmp_path):
    files = write_images(tmp_path, SHARDS)
    out = tmp_path / "out"
    command = [sys.executable, SCRIPT]
    command += arguments(tmp_path / "*.jpg", saved, out, "--shard-size", "4")
    job = subprocess.Popen(command)
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        done = len(list(out.glob("boxes-*.jsonl")))
        if done >= finished and (out / "job.json").exists():
            break
        assert job.poll() is None, "ended before it could be killed"
        time.sleep(0.002)
    job.send_signal(signal.SIGKILL)
    job.wait()
    # As if it had been killed in the middle of a file.
    (out / "boxes-00004-of-00005.jsonl.tmp").write_text('{"pa')
    kept = {path: path.read_bytes() for path in out.glob("boxes-*.jsonl")}
    times = {path: path.stat().st_mtime_ns for path in kept}
    assert len(kept) < SHARDS
    script().main(arguments(tmp_path / "*.jpg", saved, out, "--shard-size", "4"))
    for path, content in kept.items():
        assert path.read_bytes() == content
        assert path.stat().st_mtime_ns == times[path]
    assert len(list(out.glob("boxes-*.jsonl"))) == SHARDS
    assert_complete(out, saved, files)
