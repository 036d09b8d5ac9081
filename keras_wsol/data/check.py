"""What is wrong with data sets, before training."""

import hashlib
import io
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple, dataclass, fields
from functools import partial
from pathlib import Path

import numpy as np

from keras_wsol.data.dataset import ImageDataset, readable
from keras_wsol.data.images import PILLOW_FORMATS, default_threads, exif_orientation


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong with one image; `dataset` is `name/split`."""

    problem: str
    dataset: str
    path: str
    class_name: str = ""
    detail: str = ""


_COLUMNS = tuple(column.name for column in fields(Finding))


@dataclass(frozen=True)
class CheckReport:
    """What `check` found: findings, and the number of images by data set."""

    num_images: dict[str, int]
    findings: tuple[Finding, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing was found."""
        return not self.findings

    @property
    def counts(self) -> dict[str, int]:
        """Problem to number of findings, the most frequent first."""
        return dict(Counter(found.problem for found in self.findings).most_common())

    def to_markdown(self, max_rows: int = 50) -> str:
        """Returns a line of counts and a table of at most `max_rows` findings."""
        images = ", ".join(f"{name} {count}" for name, count in self.num_images.items())
        counts = ", ".join(f"{name} {count}" for name, count in self.counts.items())
        text = f"Images checked: {images}. Findings: {counts or 'none'}.\n"
        if self.ok:
            return text
        rows = [_COLUMNS, ("---",) * len(_COLUMNS)]
        for found in self.findings[:max_rows]:
            # A bar or a new line in a path would end the cell.
            cells = (
                " ".join(cell.replace("|", "\\|").split()) for cell in astuple(found)
            )
            rows.append(tuple(cells))
        table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
        more = len(self.findings) - max_rows
        return f"{text}\n{table}\n" + (f"\n{more} more.\n" if more > 0 else "")


def check(*datasets: ImageDataset, verify: bool | str | Path = True) -> CheckReport:
    """Lists what is wrong with data sets, in one table.

    - `unreadable`: the file is missing, broken, above the limit of pixels, or of a
      format that training does not decode. It is in no batch.
    - `no box`: the data set has boxes, and this image none.
    - `inverted box`: no area, a far edge before the near one, or a NaN.
    - `box outside`: no part of it lies in the image.
    - `box crosses border`: by more than a pixel. Batches clip such boxes.
    - `duplicate`: an image before it, in the same data set, has the same bytes.
    - `in two data sets`: an image of a data set before has the same bytes, so that a
      model is tested or tuned on what it was trained on.
    - `mislabelled`: an image of the same bytes has another class.
    - `turned photograph`: its EXIF tag asks to be turned, and the data set reads
      images as stored: whoever drew boxes in a viewer saw it otherwise.

    Args:
        *datasets: Data sets, such as the splits of one: `check(train, test)`.
        verify: Boolean or path. How to read a data set that was opened with
            `verify=False`: as in `image_folder`. Default `True`.

    Returns:
        A report with `findings`, `counts`, `ok` and `to_markdown()`.

    Raises:
        ValueError: There is no data set.

    Example:
        report = data.check(data.cub200(root), data.cub200(root, "test"))
        print(report.to_markdown())
    """
    if not datasets:
        raise ValueError("`check` must be given a data set. Received: none.")
    findings: list[Finding] = []
    images: dict[str, int] = {}
    seen: dict[bytes, tuple[ImageDataset, int]] = {}
    for given in datasets:
        dataset = given
        if given.sizes is None and verify is not False:
            dataset = readable(given, None if verify is True else verify)
        name = f"{dataset.name}/{dataset.split}"
        images[name] = len(dataset) + len(dataset.left_out)
        for path, reason in dataset.left_out:
            findings.append(Finding("unreadable", name, path, "", reason))
        about = [
            partial(Finding, dataset=name, path=str(path), class_name=class_name)
            for path, class_name in zip(dataset.paths, _names(dataset), strict=True)
        ]
        for problem, index, detail in (*_boxes(dataset), *_files(dataset, seen)):
            findings.append(about[index](problem, detail=detail))
    return CheckReport(images, tuple(findings))


def _names(dataset: ImageDataset) -> list[str]:
    return [dataset.class_names[class_id] for class_id in dataset.class_ids]


def _boxes(dataset: ImageDataset) -> Iterator[tuple[str, int, str]]:
    """Problem, index and detail of boxes."""
    if dataset.boxes is None:
        return
    boxes = dataset.boxes
    given = ~(boxes == -1).all(axis=-1)
    for index in np.flatnonzero(~given.any(axis=1)):
        yield "no box", index, ""
    # Written so that a NaN fails as well.
    good = np.isfinite(boxes).all(-1) & (boxes[..., :2] < boxes[..., 2:]).all(-1)
    kinds = [("inverted box", given & ~good)]
    if dataset.sizes is not None:
        sides = dataset.sizes[:, None, ::-1]
        inside = ((boxes[..., 2:] > 0) & (boxes[..., :2] < sides)).all(-1)
        over = np.maximum(-boxes[..., :2], boxes[..., 2:] - sides).max(-1)
        kinds.append(("box outside", given & good & ~inside))
        # Boxes drawn by hand cross the border by rounding.
        kinds.append(("box crosses border", given & good & inside & (over > 1)))
    for problem, wrong in kinds:
        for index, place in np.argwhere(wrong):
            detail = ", ".join(f"{edge:g}" for edge in boxes[index, place])
            if problem != "inverted box":
                height, width = dataset.sizes[index]
                detail += f" in an image {width} wide and {height} high"
            yield problem, index, detail


def _files(
    dataset: ImageDataset, seen: dict[bytes, tuple[ImageDataset, int]]
) -> Iterator[tuple[str, int, str]]:
    """Problem, index and detail of bytes; `seen` holds the first of each digest."""
    names = _names(dataset)
    with ThreadPoolExecutor(default_threads()) as threads:
        looked = threads.map(partial(_look, dataset), range(len(dataset)))
        for index, (digest, tag) in enumerate(looked):
            if tag > 1:
                detail = f"EXIF orientation {tag}, read as stored"
                yield "turned photograph", index, detail
            other, first = seen.setdefault(digest, (dataset, index))
            if other is dataset and first == index:
                continue
            path = other.paths[first]
            detail = f"same bytes as {path} of {other.name}/{other.split}"
            yield "duplicate" if other is dataset else "in two data sets", index, detail
            class_name = other.class_names[other.class_ids[first]]
            if class_name != names[index]:
                detail += f", whose class is {class_name}"
                yield "mislabelled", index, detail


def _look(dataset: ImageDataset, index: int) -> tuple[bytes, int]:
    """Digest and EXIF tag of an image; a tag of 1 where it does not matter."""
    if dataset.images is not None:
        image = np.ascontiguousarray(dataset.images[index])
        # Its shape, too: the same bytes may be of another.
        content = str(image.shape).encode() + image.tobytes()
        return hashlib.blake2b(content, digest_size=16).digest(), 1
    content = dataset.encoded(index)
    digest = hashlib.blake2b(content, digest_size=16).digest()
    if dataset.orientation == "exif" or b"Exif\0\0" not in content:
        return digest, 1
    from PIL import Image

    with Image.open(io.BytesIO(content), formats=PILLOW_FORMATS) as image:
        return digest, exif_orientation(image)
