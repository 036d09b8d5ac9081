"""The records of TensorFlow Datasets, unpacked into files."""

import io
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from keras_wsol.data.reading import read_size

LIST = "list.json"
# Features that name an image, by builder.
_NAMES = ("image/filename", "file_name", "id")
_STARTS = {b"\xff\xd8": ".jpg", b"\x89P": ".png", b"GI": ".gif", b"BM": ".bmp"}


@dataclass(frozen=True, kw_only=True)
class Unpacked:
    """What records say beside their images.

    Attributes:
        names: Paths of the files below their folder.
        class_ids: int32 `(N,)`.
        boxes: float32 `(N, 4)`, x0, y0, x1, y1 in pixels, or `None`.
        label_names: Class id to the name that records give it, or their folder.
    """

    names: tuple[str, ...]
    class_ids: np.ndarray
    boxes: np.ndarray | None
    label_names: dict[int, str]


def unpack(
    builder: Any,
    split: str,
    folder: Path,
    progress: Callable[[int, int], None] | None = None,
) -> Unpacked:
    """Writes the images of a split to files, unless that has been done.

    Args:
        builder: Prepared builder of TensorFlow Datasets.
        split: Name of its split.
        folder: Folder for the files. It appears when all are written.
        progress: Function of two integers, images written and in all.

    Returns:
        What the records say.

    Raises:
        ValueError: An image has no size, so that its box has no pixels.
    """
    if not (folder / LIST).is_file():
        # Under a name of this process, so that two at once do not mix.
        part = folder.with_name(f"{folder.name}.{os.getpid()}.part")
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        rows = _write(builder, split, part, progress)
        (part / LIST).write_text(json.dumps(rows), "utf-8")
        try:
            part.rename(folder)
        except OSError:
            # Another process was faster.
            shutil.rmtree(part)
    rows = json.loads((folder / LIST).read_text("utf-8"))
    boxes = [row["box"] for row in rows]
    return Unpacked(
        names=tuple(row["name"] for row in rows),
        class_ids=np.array([row["class_id"] for row in rows], "int32"),
        boxes=None if None in boxes else np.array(boxes, "float32").reshape(-1, 4),
        label_names={row["class_id"]: row["label"] for row in rows if row["label"]},
    )


def _write(
    builder: Any,
    split: str,
    folder: Path,
    progress: Callable[[int, int], None] | None,
) -> list[dict[str, Any]]:
    import tensorflow_datasets

    wanted = [*("image", "label", "label_name", "bbox"), *_NAMES]
    features = {key: True for key in wanted if key in builder.info.features}
    skip = {"image": tensorflow_datasets.decode.SkipDecoding()}
    records = builder.as_dataset(
        split=split,
        shuffle_files=False,
        decoders=tensorflow_datasets.decode.PartialDecoding(features, decoders=skip),
    )
    total = builder.info.splits[split].num_examples
    rows: list[dict[str, Any]] = []
    for record in records.as_numpy_iterator():
        rows.append(_write_one(record, folder, len(rows)))
        if progress and (len(rows) % 1000 == 0 or len(rows) == total):
            progress(len(rows), total)
    return rows


def _write_one(record: dict[str, Any], folder: Path, number: int) -> dict[str, Any]:
    content = record["image"]
    name = _file_name(record, content, number)
    path = folder / name
    if path.exists():
        path = path.with_name(f"{path.stem}-{number}{path.suffix}")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    box = None
    if "bbox" in record:
        height, width = read_size(io.BytesIO(content))
        y0, x0, y1, x1 = map(float, record["bbox"])
        box = [x0 * width, y0 * height, x1 * width, y1 * height]
    # CUB's name of a class is in lower letters; that of its folder is not.
    label = PurePosixPath(name).parent.name
    if not label.partition(".")[0].isdecimal():
        label = record.get("label_name", b"").decode()
    return {
        "name": path.relative_to(folder).as_posix(),
        "class_id": int(record["label"]),
        "label": label,
        "box": box,
    }


def _file_name(record: dict[str, Any], content: bytes, number: int) -> str:
    key = next((key for key in _NAMES if key in record), None)
    given = record[key].decode() if key else f"{number:08d}"
    parts = PurePosixPath(given.replace("\\", "/")).parts
    # A name is a place below the folder, whatever a record says.
    name = "/".join(part for part in parts if part not in ("/", "..", "."))
    if not name or name == LIST:
        name = f"{number:08d}"
    known = PurePosixPath(name).suffix.lower() in (".jpg", ".jpeg", ".png")
    return name if known else name + _STARTS.get(content[:2], "")
