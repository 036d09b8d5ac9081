"""Data sets copied into record files: the same batches, whatever went wrong between."""

import json
import os
import pickle
import signal
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from keras_wsol import data
from keras_wsol.data.record_files import FORMATS
from tests.data.small_datasets import (
    arrays,
    as_files,
    assert_same,
    in_memory,
    noise,
    renamed,
)

SIZE = (14, 21)
BOXES = np.array([[[4, 6, 20, 18], [-1, -1, -1, -1]], [[0, 0, 9, 9], [1, 2, 3, 4]]] * 5)
TRAINING = {"training": True, "seed": 5, "image_size": SIZE}


@pytest.fixture
def dataset(tmp_path):
    (tmp_path / "images").mkdir()
    return as_files(tmp_path / "images", noise(10), boxes=BOXES.astype("float32"))


@pytest.fixture(params=FORMATS)
def copied(request, dataset, tmp_path):
    if request.param == "array_record":
        pytest.importorskip("array_record")
    data.write_records(dataset, tmp_path, format=request.param, images_a_shard=4)
    return data.records(tmp_path, "train", verify=True)


def test_everything_is_as_it_was(copied, dataset):
    assert len(copied.records.files) == 3
    assert (copied.name, copied.split) == ("tiny", "train")
    assert copied.class_names == dataset.class_names
    np.testing.assert_array_equal(copied.class_ids, dataset.class_ids)
    np.testing.assert_array_equal(copied.boxes, dataset.boxes)
    assert copied.boxes.dtype == np.float32
    assert [Path(path).name for path in copied.paths] == [f"{i}.png" for i in range(10)]
    for index in range(10):
        assert copied.encoded(index) == Path(dataset.paths[index]).read_bytes()
        np.testing.assert_array_equal(copied.image(index), dataset.image(index))


def test_training_batches_are_those_of_the_files(copied, dataset):
    options = {**TRAINING, "start_step": 4}  # in the middle of the second epoch
    assert_same(
        arrays(copied.batches(3, **options)), arrays(dataset.batches(3, **options))
    )


def test_evaluation_batches_are_those_of_the_files(copied, dataset):
    for read in ("batches", "numpy_batches"):
        options = {"image_size": SIZE, "view": "center_crop"}
        options |= {"with_boxes": True} if read == "batches" else {}
        pairs = zip(
            getattr(copied, read)(4, **options),
            getattr(dataset, read)(4, **options),
            strict=True,
        )
        for mine, theirs in pairs:
            for key in ("images", "class_ids", "boxes", "sizes"):
                np.testing.assert_array_equal(mine[key], theirs[key])


@pytest.mark.parametrize("kind", FORMATS)
def test_names_that_are_not_utf8_stay_as_they_are(dataset, tmp_path, kind):
    if kind == "array_record":
        pytest.importorskip("array_record")
    named = renamed(dataset, 3, b"caf\xe9.png")
    data.write_records(named, tmp_path, format=kind, images_a_shard=4)
    copied = data.records(tmp_path, "train", verify=True)
    assert [Path(path).name for path in copied.paths][3] == os.fsdecode(b"caf\xe9.png")
    assert any(
        b"caf\xe9.png" in path.read_bytes() for path in tmp_path.glob(f"*.{kind}")
    )
    assert copied.encoded(3) == Path(named.paths[3]).read_bytes()
    assert_same(
        arrays(copied.batches(3, **TRAINING)), arrays(named.batches(3, **TRAINING))
    )


def test_some_of_the_images_and_another_process(copied):
    some = copied.take([7, 2], "some")
    for part in (some, replace(some, records=pickle.loads(pickle.dumps(some.records)))):
        assert part.encoded(0) == copied.encoded(7)
        [(_, ids)] = arrays(part.batches(2, image_size=SIZE))
        assert ids.tolist() == [7, 2]


def test_a_tfrecord_is_what_tensorflow_reads(dataset, tmp_path):
    data.write_records(dataset, tmp_path, images_a_shard=4)
    records = tf.data.TFRecordDataset(data.records(tmp_path, "train").records.files)
    found = [tf.train.Example.FromString(x.numpy()).features.feature for x in records]
    assert [x["image/class/label"].int64_list.value[0] for x in found] == [*range(10)]
    encoded = found[7]["image/encoded"].bytes_list.value[0]
    assert encoded == Path(dataset.paths[7]).read_bytes()
    assert list(found[1]["image/boxes"].float_list.value) == [0, 0, 9, 9, 1, 2, 3, 4]
    size = [
        found[1][f"image/{side}"].int64_list.value[0] for side in ("height", "width")
    ]
    assert size == [24, 40]


def test_what_cannot_be_read_is_left_out_and_listed(dataset, tmp_path):
    Path(dataset.paths[3]).write_bytes(b"no image")
    Path(dataset.paths[9]).unlink()
    data.write_records(dataset, tmp_path, images_a_shard=4)
    copied = data.records(tmp_path, "train")
    assert copied.class_ids.tolist() == [0, 1, 2, 4, 5, 6, 7, 8]
    assert copied.notes["left out"].startswith("2 unreadable, as ")
    assert "3.png" in copied.notes["left out"]
    listed = json.loads((tmp_path / "train-00002-of-00003.json").read_text())
    assert [path.rpartition("/")[2] for path, _ in listed["unreadable"]] == ["9.png"]


def test_images_in_memory_and_without_boxes(tmp_path):
    dataset = in_memory(noise(3))
    data.write_records(dataset, tmp_path)
    copied = data.records(tmp_path, "train")
    assert copied.boxes is None
    for index in range(3):
        np.testing.assert_array_equal(copied.image(index), dataset.images[index])


def test_smaller_images_with_their_boxes(dataset, tmp_path):
    flat = np.broadcast_to(np.array([200, 30, 90], "uint8"), (1, 24, 40, 3))
    (tmp_path / "flat").mkdir()
    one = as_files(tmp_path / "flat", flat, boxes=BOXES[1:2].astype("float32"))
    data.write_records(one, tmp_path, max_side=20)
    copied = data.records(tmp_path, "train")
    assert copied.image(0).shape == (12, 20, 3)
    np.testing.assert_allclose(copied.image(0)[6, 9], [200, 30, 90], atol=3)
    expected = [[0, 0, 4.5, 4.5], [0.5, 1, 1.5, 2]]
    np.testing.assert_array_equal(copied.boxes[0], expected)
    # Those that are small enough stay as they are.
    data.write_records(one, tmp_path, max_side=40)
    found = data.records(tmp_path, "train").encoded(0)
    assert found == Path(one.paths[0]).read_bytes()


KILLED = """
    import os, signal, sys
    import numpy as np
    from keras_wsol import data
    from keras_wsol.data import write_records as module

    folder, images, after = sys.argv[1:]
    paths = np.array([f"{images}/{index}.png" for index in range(10)])
    dataset = data.ImageDataset(
        name="tiny", split="train", class_names=tuple("abcdefghij"),
        class_ids=np.arange(10, dtype="int32"), paths=paths,
    )
    example, count = module._example, 0

    def counting(entry):
        global count
        count += 1
        if count == int(after):
            os.kill(os.getpid(), signal.SIGKILL)
        return example(entry)

    module._example = counting
    data.write_records(dataset, folder, images_a_shard=4)
    print(count)
"""


def test_a_killed_conversion_goes_on_with_the_file_it_was_at(dataset, tmp_path):
    script = tmp_path / "convert.py"
    # `from keras_wsol.data import write_records` is the function.
    name = 'sys.modules["keras_wsol.data.write_records"]'
    text = textwrap.dedent(KILLED).replace(
        "from keras_wsol.data import write_records as module", f"module = {name}"
    )
    script.write_text(text)
    folder = tmp_path / "records"

    def convert(after):
        command = [sys.executable, script, folder, tmp_path / "images", str(after)]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    killed = convert(7)  # three images into the second file
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert sorted(path.name for path in folder.glob("*") if path.suffix != ".part") == [
        "train-00000-of-00003.json",
        "train-00000-of-00003.tfrecord",
    ]
    with pytest.raises(FileNotFoundError, match="when all images are converted"):
        data.records(folder, "train")
    first = folder / "train-00000-of-00003.tfrecord"
    before = first.stat().st_mtime_ns
    again = convert(0)
    assert again.stdout.strip() == "6", again.stderr
    assert first.stat().st_mtime_ns == before
    copied = data.records(folder, "train", verify=True)
    assert copied.class_ids.tolist() == [*range(10)]
    assert not list(folder.glob("*.part"))


def test_another_data_set_begins_anew(dataset, tmp_path):
    data.write_records(dataset, tmp_path, images_a_shard=4)
    moved = replace(dataset, class_ids=dataset.class_ids[::-1].copy())
    data.write_records(moved, tmp_path, images_a_shard=4)
    assert data.records(tmp_path, "train").class_ids.tolist() == [*range(9, -1, -1)]


def test_files_that_are_not_those_written(dataset, tmp_path):
    data.write_records(dataset, tmp_path, images_a_shard=4)
    copied = data.records(tmp_path, "train")
    file = Path(copied.records.files[1])
    content = bytearray(file.read_bytes())
    content[-30] ^= 1
    file.write_bytes(content)
    data.records(tmp_path, "train")
    with pytest.raises(ValueError, match="not the checksum"):
        data.records(tmp_path, "train", verify=True)
    file.write_bytes(content[:-1])
    with pytest.raises(ValueError, match=r"must have \d+ bytes\. It has \d+"):
        data.records(tmp_path, "train")
    file.unlink()
    with pytest.raises(FileNotFoundError, match=r"missing: .*00001-of-00003"):
        data.records(tmp_path, "train")
    with pytest.raises(FileNotFoundError, match=r"must hold test\.json"):
        data.records(tmp_path, "test")
    index = json.loads((tmp_path / "train.json").read_text())
    (tmp_path / "train.json").write_text(json.dumps({**index, "version": 0}))
    with pytest.raises(ValueError, match=r"must be of version 1\. Received: 0"):
        data.records(tmp_path, "train")


def test_a_file_cut_off_while_it_is_read_is_named(dataset, tmp_path):
    data.write_records(dataset, tmp_path)
    copied = data.records(tmp_path, "train")
    os.truncate(copied.records.files[0], copied.records.places[9, 2] + 5)
    with pytest.raises(ValueError, match=r"9\.png \(.*must have \d+ bytes"):
        copied.image(9)
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"Cannot read.*9\.png"):
        list(copied.batches(5, image_size=SIZE))
    skipping = copied.batches(10, image_size=SIZE, unreadable="skip")
    [(_, ids)] = arrays(skipping)
    assert ids.tolist() == [*range(9), -1]
    assert [Path(path).name for path in copied.skipped.paths] == ["9.png"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"format": "zip"}, r"`format` must be one of \['tfrecord', 'array_record'\]"),
        ({"images_a_shard": 0}, "`images_a_shard` must be an integer of at least 1"),
        ({"images_a_shard": True}, "`images_a_shard` must be .*images_a_shard=True"),
        ({"max_side": 1.5}, "`max_side` must be an integer of at least 1"),
        ({"num_threads": 0}, "`num_threads` must be an integer of at least 1"),
        ({"verbose": "loud"}, "`verbose` must be .* Received: verbose='loud'"),
    ],
)
def test_bad_arguments(dataset, tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        data.write_records(dataset, tmp_path / "new", **options)
    assert not (tmp_path / "new").exists()


def test_a_data_set_of_which_nothing_can_be_read(dataset, tmp_path):
    none = replace(dataset, paths=np.array([f"{i}.png" for i in range(10)]))
    with pytest.raises(ValueError, match="must have an image that can be read"):
        data.write_records(none, tmp_path)
    with pytest.raises(ValueError, match="`dataset` must have an image"):
        data.write_records(dataset.take(np.array([], int), "none"), tmp_path)
