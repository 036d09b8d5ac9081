"""Data sets of TensorFlow Datasets."""

import io
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from keras_wsol.data.cub200 import readable_name
from keras_wsol.data.dataset import ImageDataset, images_a_class
from keras_wsol.data.ilsvrc2012 import with_annotations
from keras_wsol.data.images import read_size
from keras_wsol.data.progress_line import ProgressLine

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
    """Writes the images of a split to files, unless that has been done."""
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


SPLITS = ("train", "train-weaksup", "train-fullsup", "test")
FULLSUP_A_CLASS = 5
# The test images of ILSVRC have no public labels.
_TEST = {"imagenet2012": "validation"}


def tfds(
    name: str,
    split: str = "train-weaksup",
    data_dir: str | Path | None = None,
    *,
    files: str | Path | None = None,
    boxes: str | Path | None = None,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
    verbose: bool | str = "auto",
) -> ImageDataset:
    """Opens a split of a data set that TensorFlow Datasets has prepared on disk.

    The records are unpacked once: each image is written to a file of its own, byte by
    byte as the record has it. A record file can only be read from its beginning, and
    everything else here needs any image at any time: an order that is a function of
    the seed, resuming at a step, skipping and naming what cannot be read. It takes the
    space of the images a second time. An interrupted unpacking begins anew.

    Args:
        name: Name of the builder: `caltech_birds2011`, `cars196`, `imagenet2012`, or
            any with the features `image` and `label`, and `bbox` for boxes.
        split: `"train"`: the training images. `"train-fullsup"`: 5 of them a class,
            drawn with `seed`, whose boxes may be used to choose thresholds and
            checkpoints. `"train-weaksup"`: the rest, to train on. `"test"`: the test
            images; of `imagenet2012`, the validation images.
        data_dir: Where TensorFlow Datasets keeps its data; `None` for its own default.
        files: Folder to unpack to; default: `files/` beside the records.
        boxes: Folder of XML files with the boxes of `imagenet2012`, which has none of
            its own; read as by `data.ilsvrc2012`.
        seed: Integer, draws `"train-fullsup"`.
        progress: Function of two integers, images unpacked and in all.
        verbose: `True` for a line on standard error that says how far it is, `False`
            for none, `"auto"` for one in a terminal or notebook. Not used if
            `progress` is given.

    Returns:
        The split, in the order of the records, with boxes if there are some. Those of
        `cars196` are moved to begin at 0, see `data.stanford_cars`.

    Raises:
        FileNotFoundError: The data set is not prepared.
        ValueError: `split` is unknown, or the builder lacks a feature.

    Example:
        # Once, which downloads: tensorflow_datasets.load("caltech_birds2011")
        train = data.tfds("caltech_birds2011", "train-weaksup")
    """
    if split not in SPLITS:
        raise ValueError(f"`split` must be one of {list(SPLITS)}. Received: {split!r}.")
    progress = progress or ProgressLine("Unpacking", verbose)
    part = _TEST.get(name, "test") if split == "test" else "train"
    builder = _builder(name, part, data_dir)
    folder = Path(files) if files is not None else Path(builder.data_dir) / "files"
    unpacked = unpack(builder, part, folder / part, progress)
    found = unpacked.boxes
    if found is not None and name == "cars196":
        found = found - np.array([1, 1, 0, 0], "float32")
    whole = ImageDataset(
        name=name,
        split=split,
        class_names=_class_names(builder.info.features["label"], unpacked.label_names),
        class_ids=unpacked.class_ids,
        paths=np.array([str(folder / part / path) for path in unpacked.names]),
        boxes=None if found is None else found[:, None],
        notes={"records": f"{name}:{builder.info.version}, {part}"},
    )
    if boxes is not None:
        whole = with_annotations(whole, Path(boxes))
    if split in ("train", "test"):
        return whole
    everything = np.ones(len(whole), bool)
    fullsup = images_a_class(whole.class_ids, everything, FULLSUP_A_CLASS, seed)
    how = {"train-fullsup": f"{FULLSUP_A_CLASS} images a class, drawn with seed {seed}"}
    some = whole.take(fullsup if split == "train-fullsup" else ~fullsup, split)
    return replace(some, notes={**whole.notes, **how})


def _builder(name: str, part: str, data_dir: str | Path | None) -> Any:
    import tensorflow_datasets

    builder = tensorflow_datasets.builder(name, data_dir=data_dir)
    if part not in builder.info.splits:
        raise FileNotFoundError(
            f"{name} must be prepared, with a split {part!r}, at {builder.data_dir}. "
            f"Found the splits: {sorted(builder.info.splits)}. Prepare it with "
            f"`tensorflow_datasets.builder({name!r}).download_and_prepare()`."
        )
    features = builder.info.features
    missing = [key for key in ("image", "label") if key not in features]
    if missing:
        raise ValueError(
            f"{name} must have the features `image` and `label`. Missing: {missing}. "
            f"Received: {sorted(features)}."
        )
    return builder


def _class_names(feature: Any, seen: dict[int, str]) -> tuple[str, ...]:
    """The names of the feature; where these are numbers, those in the records."""
    names = [
        seen.get(class_id, name) if name == str(class_id) else name
        for class_id, name in enumerate(feature.names)
    ]
    # CUB's have a number in front.
    return tuple(
        readable_name(name) if name.partition(".")[0].isdecimal() else name
        for name in names
    )
