"""The Beam pipeline: what it writes, and what is left of a job that was killed."""

import importlib.util
import json
import pickle
import shutil
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

from keras_wsol.export import export_saved_model
from tests.extras.saved_birds import CLASS_NAMES, encoded_images, expected, exported
from tests.labels.rectangles import draw, localizer

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


def test_what_cannot_be_read_is_named_and_ends_nothing(saved, tmp_path):
    files = write_images(tmp_path, 1)
    large = tmp_path / "large.jpg"
    large.write_bytes(bytes(200_001))
    broken = [path for path in files if "broken" in path]
    reasons = {
        str(tmp_path / "gone.jpg"): "cannot be opened: FileNotFoundError",
        "nowhere://photos/1.jpg": "cannot be opened: ValueError",
        str(large): "has more than 200000 bytes",
        broken[0]: "cannot be decoded, or is above the model's size limit",
    }
    listing = tmp_path / "paths.parquet"
    pq.write_table(pa.table({"path": [*files, *reasons, None]}), listing)
    out = tmp_path / "out"
    script().main(arguments(listing, saved, out, "--max-bytes", "200000"))
    unread = {row["path"]: row["reason"] for row in rows(out, "unread")}
    assert list(unread) == sorted(reasons)
    for path, reason in reasons.items():
        assert unread[path].startswith(reason)
    assert len(rows(out, "boxes")) == 3


@pytest.mark.parametrize("output_format", ["jsonl", "parquet"])
def test_a_readable_image_without_an_object_is_in_the_boxes(output_format, tmp_path):
    """And the shards of a job are one table, whatever is in them."""
    beam_localize = script()
    saved = export_saved_model(localizer(), tmp_path / "model" / "1")
    red = draw((24, 36), (0, 200, (12, 8, 24, 16)))
    for name, image in (("black", draw((24, 36))), ("red", red)):
        png = tf.io.encode_png(image).numpy()
        (tmp_path / f"{name}.png").write_bytes(png)
    (tmp_path / "broken.png").write_bytes(png[:60])
    shards = [
        (name, (str(tmp_path / f"{name}.png"),)) for name in ("black", "broken", "red")
    ]
    handler = beam_localize.LocalizerHandler(str(saved), 2, 10_000)
    writer = beam_localize.WriteShard(str(tmp_path), output_format)
    for result in handler.run_inference(shards, handler.load_model()):
        list(writer.process(result))
    found = {}
    for kind in ("boxes", "unread"):
        if output_format == "jsonl":
            found[kind] = rows(tmp_path, kind)
        else:
            tables = map(pq.read_table, sorted(tmp_path.glob(f"{kind}-*")))
            found[kind] = pa.concat_tables(tables).to_pylist()
    black, red = found["boxes"]
    assert black == {"path": shards[0][1][0], "objects": []}
    assert red["path"] == shards[2][1][0]
    assert [row["box"] for row in red["objects"]] == [[12, 8, 24, 16]]
    assert [row["path"] for row in found["unread"]] == list(shards[1][1])


def test_a_worker_holds_a_batch_of_files(monkeypatch):
    beam_localize = script()
    read, seen = [], []

    def read_image(path, max_bytes):
        read.append(path)
        return path.encode()

    def serve(model, contents):
        seen.append((len(read), [content.decode() for content in contents]))
        return [{"objects": []}] * len(contents)

    monkeypatch.setattr(beam_localize, "read_image", read_image)
    monkeypatch.setattr(beam_localize, "localize", serve)
    handler = beam_localize.LocalizerHandler("", 2, 10)
    list(handler.run_inference([("x", tuple("abcde"))], None))
    assert seen == [(2, ["a", "b"]), (4, ["c", "d"]), (5, ["e"])]


def test_the_job_does_not_hold_the_paths(tmp_path):
    beam_localize = script()
    names = ("blå", "two\nlines", "x" * 200, '"q"')
    paths = sorted(f"/photos/{n}{name}.jpg" for n in range(500) for name in names)
    spans, listing = beam_localize.cut(paths, 8)
    assert (len(spans), spans[-1][0]) == (250, "00249-of-00250")
    assert len(pickle.dumps(spans)) < 40 * len(spans)
    (tmp_path / "paths.jsonl").write_bytes(listing)
    shards = [beam_localize.read_shard(s, str(tmp_path / "paths.jsonl")) for s in spans]
    assert [name for name, _ in shards] == [span[0] for span in spans]
    assert [path for _, chosen in shards for path in chosen] == paths


def test_a_glob_finds_files_at_any_depth(tmp_path):
    names = ("1.jpg", "a/2.jpg", "a/b/3.jpg", "a/b/x/c/4.jpg", "a/no.png")
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    list_images = script().list_images
    assert list_images(f"{tmp_path}/**/*.jpg") == [f"{tmp_path}/{n}" for n in names[:4]]
    assert list_images(f"{tmp_path}/**/b/**/*.jpg") == [
        f"{tmp_path}/{name}" for name in names[2:4]
    ]


def test_paths_that_cannot_be_written_are_refused_at_once(tmp_path):
    listing = tmp_path / "paths.tfrecord"
    with tf.io.TFRecordWriter(str(listing)) as writer:
        writer.write(b"bl\xe5.jpg")
    with pytest.raises(SystemExit, match=r"must be UTF-8 text.*bl\\udce5.jpg"):
        script().list_images(str(listing))
    pq.write_table(pa.table({"path": [1]}), tmp_path / "paths.parquet")
    with pytest.raises(SystemExit, match=r"must hold text\. Received: 1"):
        script().list_images(str(tmp_path / "paths.parquet"))


def test_a_file_is_replaced_in_one_step_under_a_name_of_its_own(tmp_path, monkeypatch):
    beam_localize = script()
    path = tmp_path / "x"
    temporary = []
    create = beam_localize.FileSystems.create

    def interrupted(name, **options):
        temporary.append(name)
        if len(temporary) == 1:
            beam_localize.write_whole(str(path), b"other")
            assert path.read_bytes() == b"other"
        return create(name, **options)

    def delete(paths):
        raise AssertionError("there is a time without the file")

    monkeypatch.setattr(beam_localize.FileSystems, "create", interrupted)
    monkeypatch.setattr(beam_localize.FileSystems, "delete", delete)
    beam_localize.write_whole(str(path), b"this")
    assert path.read_bytes() == b"this"
    assert len(set(temporary)) == 2
    assert [p.name for p in tmp_path.iterdir()] == ["x"]


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
    out, model = tmp_path / "out", tmp_path / "model"
    shutil.copytree(saved, model)
    script().main(arguments(tmp_path / "*.jpg", model, out))
    for file in ("saved_model.pb", "variables/variables.index"):
        content = (model / file).read_bytes()
        (model / file).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        with pytest.raises(SystemExit, match="another job: model_sha256 changed"):
            script().main(arguments(tmp_path / "*.jpg", model, out))
        (model / file).write_bytes(content)
    write_images(tmp_path, 2)
    with pytest.raises(SystemExit, match="holds another job: images, listing changed"):
        script().main(arguments(tmp_path / "*.jpg", model, out))


def test_no_model_is_an_error(tmp_path):
    write_images(tmp_path, 1)
    with pytest.raises(SystemExit, match="There is no SavedModel"):
        script().main(arguments(tmp_path / "*.jpg", tmp_path, tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_no_image_is_an_error(saved, tmp_path):
    with pytest.raises(SystemExit, match="There is no image"):
        script().main(arguments(tmp_path / "*.jpg", saved, tmp_path / "out"))


def test_workers_that_did_not_start_the_program(saved, tmp_path):
    files = write_images(tmp_path, 1)
    # Whose brackets are no pattern.
    out = tmp_path / "out [1]"
    command = [sys.executable, SCRIPT, "--direct_num_workers=2"]
    command += ["--direct_running_mode=multi_processing", "--shard-size", "2"]
    command += arguments(tmp_path / "*.jpg", saved, out)
    subprocess.run(command, check=True)
    assert_complete(out, saved, files)


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
    (out / "boxes-00004-of-00005.jsonl.0a1b.tmp").write_text('{"pa')
    kept = {path: path.read_bytes() for path in out.glob("boxes-*.jsonl")}
    times = {path: path.stat().st_mtime_ns for path in kept}
    assert len(kept) < SHARDS
    script().main(arguments(tmp_path / "*.jpg", saved, out, "--shard-size", "4"))
    for path, content in kept.items():
        assert path.read_bytes() == content
        assert path.stat().st_mtime_ns == times[path]
    assert len(list(out.glob("boxes-*.jsonl"))) == SHARDS
    assert list(out.glob("*.tmp")) == []
    assert_complete(out, saved, files)


def test_a_worker_without_memory_makes_no_dead_letter(monkeypatch):
    # A dead letter is for good: the next run would not read the image again.
    module = script()

    def without_memory(path):
        raise MemoryError

    monkeypatch.setattr(module, "open_file", without_memory)
    with pytest.raises(MemoryError):
        module.read_image("photo.jpg", 1000)

    def refused(path):
        raise LookupError("no such bucket")

    monkeypatch.setattr(module, "open_file", refused)
    reason = module.read_image("photo.jpg", 1000)["reason"]
    assert reason == "cannot be opened: LookupError: no such bucket"
