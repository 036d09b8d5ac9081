"""Data sets of TensorFlow Datasets, unpacked: TFRecord has no random access."""

import io
import json
from pathlib import Path, PurePosixPath
from typing import Any

import keras
import numpy as np

from keras_wsol import files as whole_files
from keras_wsol.arguments import check_choice, with_progress
from keras_wsol.data.dataset import ImageDataset, verified
from keras_wsol.data.fine_grained import WEAK_SPLITS, part_of, readable_name
from keras_wsol.data.ilsvrc2012 import with_annotations
from keras_wsol.data.numpy_pipeline import read_size

_LIST = "list.json"
_NAME_FEATURES = ("image/filename", "file_name", "id")  # by builder
_SUFFIXES = {b"\xff\xd8": ".jpg", b"\x89P": ".png", b"GI": ".gif", b"BM": ".bmp"}


def tfds(
    name: str,
    split: str = "train-weaksup",
    data_dir: str | Path | None = None,
    *,
    files: str | Path | None = None,
    boxes: str | Path | None = None,
    seed: int = 0,
    verify: bool | str | Path = True,
) -> ImageDataset:
    """Opens a split of a data set that TensorFlow Datasets has prepared on disk.

    Each image is written once to a file, byte by byte as the record has it, which takes
    the space of the images a second time.

    Args:
        name: String. `caltech_birds2011`, `cars196`, `imagenet2012`, or any builder
            with the features `image` and `label`, and `bbox` for boxes.
        split: String, as in `data.cub200`. `"train-fullsup"` are 5 images a class;
            `"test"` of `imagenet2012` is its validation split.
        data_dir: Path where TensorFlow Datasets keeps its data. Default: its own.
        files: Path of the folder to unpack to. Default: `files/` beside the records.
        boxes: Path of XML files for `imagenet2012`, as in `data.ilsvrc2012`.
        seed: Integer. Draws `"train-fullsup"`. Default 0.
        verify: As in `data.image_folder`.

    Returns:
        The split, in the order of the records, with boxes if there are some. Those of
        `cars196` are moved to begin at 0, as in `data.stanford_cars`.

    Raises:
        FileNotFoundError: The data set is not prepared.

    Example:
        # Once, which downloads: tensorflow_datasets.load("caltech_birds2011")
        train = data.tfds("caltech_birds2011", "train-weaksup")
    """
    check_choice("split", split, WEAK_SPLITS)
    part = "test" if split == "test" else "train"
    if (name, part) == ("imagenet2012", "test"):
        part = "validation"  # the test images have no public labels
    builder = _builder(name, part, data_dir)
    beside = Path(builder.data_dir) / "files" if files is None else Path(files)
    rows = _unpacked(builder, part, beside / part)
    corners = [row["box"] for row in rows]
    found = None if None in corners else np.array(corners, "float32").reshape(-1, 1, 4)
    if found is not None and name == "cars196":
        found = found - np.array([1, 1, 0, 0], "float32")
    names = {row["class_id"]: row["label"] for row in rows if row["label"]}
    whole = ImageDataset(
        name=name,
        split=split,
        class_names=_class_names(builder.info.features["label"], names),
        class_ids=np.array([row["class_id"] for row in rows], "int32"),
        paths=np.array([str(beside / part / row["name"]) for row in rows]),
        boxes=found,
        notes={"records": f"{name}:{builder.info.version}, {part}"},
    )
    some = verified(part_of(whole, split, seed), verify)
    return some if boxes is None else with_annotations(some, boxes)


def _builder(name: str, part: str, data_dir: str | Path | None) -> Any:
    import tensorflow_datasets

    builder = tensorflow_datasets.builder(name, data_dir=data_dir)
    if part not in builder.info.splits:
        raise FileNotFoundError(
            f"{name} must be prepared, with a split {part!r}, at {builder.data_dir}, "
            f"by `tensorflow_datasets.builder({name!r}).download_and_prepare()`. "
            f"Received the splits: {sorted(builder.info.splits)}."
        )
    features = list(builder.info.features)
    if not {"image", "label"} <= set(features):
        raise ValueError(
            f"{name} must have the features `image` and `label`. Received: {features}."
        )
    return builder


def _unpacked(builder: Any, part: str, folder: Path) -> list[dict[str, Any]]:
    """Writes the images of a split to files, unless they are there; lists them."""
    if not (folder / _LIST).is_file():
        try:
            with whole_files.replaced(folder, overwrite=False) as temporary:
                rows = _write(builder, part, temporary)
                (temporary / _LIST).write_text(json.dumps(rows), "utf-8")
        except FileExistsError as error:
            if not (folder / _LIST).is_file():  # else another process was faster
                raise FileExistsError(
                    f"{folder} holds no {_LIST}, so it is not of this function. "
                    "Choose other `files`, or move that away."
                ) from error
    way_out = f"delete the folder {folder}, which is then written anew"
    with whole_files.reading(folder / _LIST, way_out):
        rows = list(json.loads((folder / _LIST).read_text("utf-8")))
        for path in (Path(row["name"]) for row in rows):
            if path.is_absolute() or ".." in path.parts:
                raise ValueError(f"{path} is no file below it")
    return rows


def _write(builder: Any, part: str, folder: Path) -> list[dict[str, Any]]:
    import tensorflow_datasets

    wanted = ("image", "label", "label_name", "bbox", *_NAME_FEATURES)
    decoders = tensorflow_datasets.decode.PartialDecoding(
        {key: True for key in wanted if key in builder.info.features},
        decoders={"image": tensorflow_datasets.decode.SkipDecoding()},
    )
    records = builder.as_dataset(split=part, shuffle_files=False, decoders=decoders)
    total = builder.info.splits[part].num_examples
    shown = total > 5000 and keras.config.is_interactive_logging_enabled()
    records = with_progress(records.as_numpy_iterator(), total, "image", shown)
    folder.mkdir()
    return [_write_one(record, folder, n) for n, record in enumerate(records)]


def _write_one(record: dict[str, Any], folder: Path, number: int) -> dict[str, Any]:
    content = record["image"]
    path = folder / _file_name(record, content, number)
    if path.exists():
        path = path.with_name(f"{path.stem}-{number}{path.suffix}")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    box = None
    if "bbox" in record:
        height, width = read_size(io.BytesIO(content))
        y0, x0, y1, x1 = map(float, record["bbox"])
        box = [x0 * width, y0 * height, x1 * width, y1 * height]
    name = path.relative_to(folder).as_posix()
    # CUB's name of a class is in lower letters; that of its folder is not.
    label = PurePosixPath(name).parent.name
    if not _is_numbered(label):
        label = record.get("label_name", b"").decode()
    return {"name": name, "class_id": int(record["label"]), "label": label, "box": box}


def _file_name(record: dict[str, Any], content: bytes, number: int) -> str:
    given = next((record[key] for key in _NAME_FEATURES if key in record), b"")
    parts = PurePosixPath(given.decode().replace("\\", "/")).parts
    # A name is a place below the folder, whatever a record says.
    name = "/".join(part for part in parts if part not in ("/", "..", "."))
    if name in ("", _LIST):
        name = f"{number:08d}"
    known = PurePosixPath(name).suffix.lower() in (".jpg", ".jpeg", ".png")
    return name if known else name + _SUFFIXES.get(content[:2], "")


def _class_names(feature: Any, seen: dict[int, str]) -> tuple[str, ...]:
    """Names of the feature, or where these are numbers, those in the records."""
    names = [
        seen.get(class_id, name) if name == str(class_id) else name
        for class_id, name in enumerate(feature.names)
    ]
    return tuple(readable_name(name) if _is_numbered(name) else name for name in names)


def _is_numbered(name: str) -> bool:
    return name.partition(".")[0].isdecimal()  # as CUB's
