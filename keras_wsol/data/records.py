"""Data sets that `write_records` has copied into files of records."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np

from keras_wsol.data.dataset import ImageDataset, padded_boxes
from keras_wsol.data.progress_line import ProgressLine, tracked
from keras_wsol.data.record_files import RecordFiles
from keras_wsol.data.write_records import VERSION


def records(
    folder: str | Path,
    split: str = "train-weaksup",
    *,
    verify: bool = False,
    verbose: bool | str = "auto",
) -> ImageDataset:
    """Opens a split that `write_records` has written.

    It is used like the data set it was made of: any image can be read at any time, so
    that batches have the same order and the same crops, and training goes on at any
    step. Paths are the last three parts of what they were. An image that could not be
    read when the files were written is not among them; notes say how many there are.

    Args:
        folder: Folder with the files.
        split: Name of the split.
        verify: Whether to read all files and compare them with their checksums.
        verbose: `True` for a line on standard error that says how far that is,
            `False` for none, `"auto"` for one in a terminal or notebook.

    Returns:
        The split.

    Raises:
        FileNotFoundError: The folder has no such split, or a file of it is missing.
        ValueError: The files are of another version, or not those that were written.

    Example:
        train = data.records("cub200-records", "train-weaksup")
    """
    folder = Path(folder)
    path = folder / f"{split}.json"
    if not path.is_file():
        raise FileNotFoundError(
            f"{folder} must hold {path.name}, which `write_records` writes when all "
            f"images are converted. Found: {sorted(map(str, folder.glob('*')))[:8]}."
        )
    index = json.loads(path.read_text("utf-8"))
    if index["version"] != VERSION:
        raise ValueError(
            f"{path} must be of version {VERSION}. Received: {index['version']}. "
            "Write the records anew."
        )
    entries = index["shards"]
    if verify:
        line = ProgressLine("Verifying", verbose, "files")
        entries = tracked(entries, line, len(entries))
    shards = [_shard(folder, index, shard, verify) for shard in entries]
    rows = [row for shard in shards for row in shard["rows"]]
    numbers = [
        (number, record)
        for number, shard in enumerate(shards)
        for record in range(len(shard["rows"]))
    ]
    columns = list(zip(*rows, strict=True))
    places = np.column_stack([numbers, *columns[5:]]).astype("int64")
    unreadable = [entry for shard in shards for entry in shard["unreadable"]]
    notes = {**index["notes"], "records": f"{index['format']}, version {VERSION}"}
    if unreadable:
        notes["left out"] = f"{len(unreadable)} unreadable, as {unreadable[0][0]}"
    boxes = None
    if index["has_boxes"]:
        # As many rows as before, also where the image with the most was left out.
        boxes = padded_boxes([*columns[2], [(-1,) * 4] * index["max_boxes"]])[:-1]
    return ImageDataset(
        name=index["name"],
        split=index["split"],
        class_names=tuple(index["class_names"]),
        class_ids=np.array(columns[1], "int32"),
        paths=np.array(columns[0]),
        boxes=boxes,
        orientation=index["orientation"],
        notes=notes,
        records=RecordFiles(
            format=index["format"],
            files=tuple(str(folder / shard["file"]) for shard in shards),
            places=places,
        ),
    )


def _shard(
    folder: Path, index: dict[str, Any], entry: dict[str, Any], verify: bool
) -> dict[str, Any]:
    """The list of a shard, whose file is there."""
    shard = json.loads((folder / entry["list"]).read_text("utf-8"))
    if shard["fingerprint"] != index["fingerprint"]:
        raise ValueError(
            f"{folder / entry['list']} must be of the data set of its index. A later "
            "`write_records` has not come to its end: call it again."
        )
    file = folder / shard["file"]
    if not file.is_file():
        raise FileNotFoundError(f"A file of the records is missing: {file}.")
    size = file.stat().st_size
    if size != shard["bytes"]:
        raise ValueError(
            f"{file} must have {shard['bytes']} bytes. It has {size}: it is not the "
            "file that was written."
        )
    if verify:
        with file.open("rb") as content:
            digest = hashlib.file_digest(content, "blake2b").hexdigest()
        if digest != shard["blake2b"]:
            raise ValueError(f"{file} has not the checksum of what was written.")
    return shard
