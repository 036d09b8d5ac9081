"""A data set's images, copied into a few large files, for slow disks."""

import hashlib
import json
import os
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path, PurePath
from typing import Any

import numpy as np

from keras_wsol.data.dataset import ImageDataset, check_integer
from keras_wsol.data.progress_line import ProgressLine
from keras_wsol.data.record_entries import Entry, entries_of, told
from keras_wsol.data.record_files import FORMATS, WRITERS, array_record_module

# Raised by whatever changes the files; readers refuse other versions.
VERSION = 1
IMAGES_A_SHARD = 1000


def write_records(
    dataset: ImageDataset,
    folder: str | Path,
    *,
    format: str = "tfrecord",
    images_a_shard: int = IMAGES_A_SHARD,
    max_side: int | None = None,
    num_threads: int = 4,
    verbose: bool | str = "auto",
) -> Path:
    """Copies the images of a data set into files of records; `records` opens them.

    Every image is decoded once. One that cannot be is left out and listed. The others
    are copied byte by byte, unless they are larger than `max_side`.

    Files appear when they are whole, and the index when all of them have. A conversion
    that was killed goes on, when called again, with the file that it was at; it starts
    anew if the data set or an option has changed, and then removes the files of before.
    Files with images that could not be read are written again by each call. An image
    that was replaced under its old path counts as unchanged: to have it copied, remove
    the split's files. One process at a time may write a split.

    A record is a `tf.train.Example` with `image/encoded`, `image/path`,
    `image/class/label`, `image/height`, `image/width` and `image/boxes`, so that
    other programs can read it as well.

    Args:
        dataset: The split.
        folder: Folder for the files; several splits may share one.
        format: `"tfrecord"` or `"array_record"`, which needs the package of this name.
        images_a_shard: Integer, images in a file.
        max_side: Integer; images with a longer side are made so much smaller, as JPEG
            files of quality 95, with their boxes. `None` keeps all as they are.
        num_threads: Integer, images that are read at once.
        verbose: `True` for a line on standard error that says how far it is, `False`
            for none, `"auto"` for one in a terminal or notebook.

    Returns:
        Path of the index.

    Raises:
        ValueError: An argument is out of range, or no image can be read.
        ImportError: The package `array_record` is missing.
        OSError: A file cannot be written.

    Example:
        train = data.cub200(root, "train-weaksup")
        data.write_records(train, "cub200-records")
        train = data.records("cub200-records", "train-weaksup")
        batches = train.batches(32, training=True)
    """
    _check(dataset, format, images_a_shard, max_side, num_threads)
    line = ProgressLine("Converting", verbose)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    options = {"format": format, "images_a_shard": images_a_shard, "max_side": max_side}
    fingerprint = _fingerprint(dataset, options)
    total = len(dataset)
    starts = range(0, total, images_a_shard)
    shards = []
    for number, start in enumerate(starts):
        indices = range(start, min(start + images_a_shard, total))
        stem = f"{dataset.split}-{number:05d}-of-{len(starts):05d}"
        done = _done(folder / f"{stem}.json", fingerprint)
        if done is None:
            entries = entries_of(dataset, max_side, indices, num_threads)
            entries = told(entries, line, start, total)
            done = _write_shard(entries, folder, stem, format)
            done["fingerprint"] = fingerprint
            _write_json(folder / f"{stem}.json", done)
        shards.append({"list": f"{stem}.json", "images": len(done["rows"])})
    line(total, total)
    if not sum(shard["images"] for shard in shards):
        raise ValueError(f"{dataset!r} must have an image that can be read. None can.")
    index = {
        "version": VERSION,
        "fingerprint": fingerprint,
        "name": dataset.name,
        "split": dataset.split,
        "class_names": list(dataset.class_names),
        "orientation": dataset.orientation,
        "has_boxes": dataset.boxes is not None,
        "max_boxes": 0 if dataset.boxes is None else dataset.boxes.shape[1],
        "notes": dict(dataset.notes),
        "shards": shards,
        **options,
    }
    path = folder / f"{dataset.split}.json"
    before = _names(path)
    _write_json(path, index)
    for name in before - _names(path):
        (folder / name).unlink(missing_ok=True)
    return path


def _names(index: Path) -> set[str]:
    """The files, and their lists, that an index stands for."""
    if not index.is_file():
        return set()
    about = json.loads(index.read_text("utf-8"))
    lists = {PurePath(shard["list"]).name for shard in about["shards"]}
    return lists | {f"{PurePath(name).stem}.{about['format']}" for name in lists}


def _write_shard(
    entries: Iterable[Entry], folder: Path, stem: str, kind: str
) -> dict[str, Any]:
    name = f"{stem}.{kind}"
    # Under a name of this process: two at once fail, and do not mix.
    part = folder / f"{name}.{os.getpid()}.part"
    try:
        with closing(WRITERS[kind](part)) as writer:
            rows, unreadable = _write_entries(entries, writer)
        digest = _digest(part)
        size = part.stat().st_size
        part.replace(folder / name)
    finally:
        part.unlink(missing_ok=True)  # there if anything failed
    for left in folder.glob(f"{name}.*.part"):
        left.unlink()  # by a conversion that was killed
    return {
        "file": name,
        "bytes": size,
        "blake2b": digest,
        "columns": "path, class_id, boxes, height, width, start, length",
        "rows": rows,
        "unreadable": unreadable,
    }


def _write_entries(
    entries: Iterable[Entry], writer: Any
) -> tuple[list[list[Any]], list[list[str]]]:
    """Rows of what was written, and what could not be."""
    rows, unreadable = [], []
    for entry in entries:
        if entry.problem:
            unreadable.append([entry.path, entry.problem])
            continue
        record = _example(entry)
        # The image's bytes stand whole in the record: its fields are not compressed.
        start = writer.write(record) + record.index(entry.content)
        place = [start, len(entry.content)]
        rows.append([entry.path, entry.class_id, entry.boxes, *entry.size, *place])
    return rows, unreadable


def _example(entry: Entry) -> bytes:
    import tensorflow as tf

    def of_bytes(value: bytes) -> Any:
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))

    def of_int(value: int) -> Any:
        return tf.train.Feature(int64_list=tf.train.Int64List(value=[value]))

    boxes = [edge for box in entry.boxes for edge in box]
    feature = {
        "image/encoded": of_bytes(entry.content),
        "image/path": of_bytes(entry.path.encode("utf-8", "surrogateescape")),
        "image/class/label": of_int(entry.class_id),
        "image/height": of_int(entry.size[0]),
        "image/width": of_int(entry.size[1]),
        "image/boxes": tf.train.Feature(float_list=tf.train.FloatList(value=boxes)),
    }
    example = tf.train.Example(features=tf.train.Features(feature=feature))
    return example.SerializeToString(deterministic=True)


def _done(path: Path, fingerprint: str) -> dict[str, Any] | None:
    """What the list of a shard says, if the shard is whole and of this data set."""
    if not path.is_file():
        return None
    done = json.loads(path.read_text("utf-8"))
    file = path.with_name(done["file"])
    whole = file.is_file() and file.stat().st_size == done["bytes"]
    same = done["fingerprint"] == fingerprint and not done["unreadable"]
    return done if whole and same else None


def _fingerprint(dataset: ImageDataset, options: dict[str, Any]) -> str:
    about = [VERSION, dataset.name, dataset.split, dataset.orientation, options]
    about += [list(dataset.class_names), list(map(str, dataset.paths))]
    digest = hashlib.blake2b(json.dumps(about).encode(), digest_size=16)
    for array in (dataset.class_ids, dataset.boxes, dataset.images):
        if array is not None:
            digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "blake2b").hexdigest()


def _write_json(path: Path, value: dict[str, Any]) -> None:
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    part.write_text(json.dumps(value), "utf-8")
    part.replace(path)


def _check(
    dataset: ImageDataset,
    kind: str,
    images_a_shard: Any,
    max_side: Any,
    num_threads: Any,
) -> None:
    if kind not in FORMATS:
        raise ValueError(
            f"`format` must be one of {list(FORMATS)}. Received: format={kind!r}."
        )
    numbers = {"images_a_shard": images_a_shard, "num_threads": num_threads}
    if max_side is not None:
        numbers["max_side"] = max_side
    for name, value in numbers.items():
        check_integer(name, value)
    if not len(dataset):
        raise ValueError(f"`dataset` must have an image. Received: {dataset!r}.")
    if PurePath(dataset.split).name != dataset.split:
        raise ValueError(
            "`dataset.split` must be fit for the name of a file. Received: "
            f"{dataset.split!r}."
        )
    if kind == "array_record":
        array_record_module()
