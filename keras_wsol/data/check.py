"""What is wrong with data sets, before training."""

import hashlib
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple, dataclass
from functools import partial
from pathlib import Path

import numpy as np

from keras_wsol.data.dataset import ImageDataset, readable
from keras_wsol.data.images import default_threads


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong with one image.

    `dataset` is `name/split`, with its place in brackets if that has come before.
    """

    problem: str
    dataset: str
    path: str
    class_name: str = ""
    detail: str = ""


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
        rows = [["problem", "dataset", "path", "class_name", "detail"], ["---"] * 5]
        for found in map(astuple, self.findings[:max_rows]):
            # A bar or a new line in a path would end the cell.
            rows.append([" ".join(x.replace("|", "\\|").split()) for x in found])
        table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
        more = len(self.findings) - max_rows
        return f"{text}\n{table}\n" + (f"\n{more} more.\n" if more > 0 else "")

    __repr__ = _repr_markdown_ = to_markdown  # in a terminal, in a notebook


def check(*datasets: ImageDataset, verify: bool | str | Path = True) -> CheckReport:
    """Lists what is wrong with data sets, in one table.

    - `unreadable`: missing, broken, too large or of another format; it is in no batch.
    - `no box`: the data set has boxes, and this image none.
    - `inverted box`: no area, a far edge before the near one, or a NaN.
    - `box outside`: no part of it lies in the image.
    - `box crosses border`: by more than a pixel. Batches clip such boxes.
    - `duplicate`: an image before it, in the same data set, has the same bytes.
    - `in two data sets`: an image of a data set before it has the same bytes.
    - `mislabelled`: an image of the same bytes has another class.

    Args:
        *datasets: Data sets, such as the splits of one: `check(train, test)`.
        verify: As in `image_folder`, for what was not verified. Default `True`.

    Returns:
        A report with `findings`, `counts`, `ok` and `to_markdown()`.

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
        new = given.sizes is None and verify is not False
        dataset = readable(given, verify) if new else given
        name = f"{dataset.name}/{dataset.split}"
        name += f" ({len(images) + 1})" if name in images else ""
        images[name] = len(dataset) + len(dataset.left_out)
        for path, reason in dataset.left_out:
            findings.append(Finding("unreadable", name, path, "", reason))
        for problem, index, detail in (*_boxes(dataset), *_files(dataset, seen)):
            path, class_name = str(dataset.paths[index]), _class_of(dataset, index)
            findings.append(Finding(problem, name, path, class_name, detail))
    return CheckReport(images, tuple(findings))


def _class_of(dataset: ImageDataset, index: int) -> str:
    return dataset.class_names[dataset.class_ids[index]]


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


def _files(dataset: ImageDataset, seen: dict) -> Iterator[tuple[str, int, str]]:
    """Problem, index and detail of bytes; `seen` holds the first of each digest."""
    with ThreadPoolExecutor(default_threads()) as threads:
        digests = threads.map(partial(_digest, dataset), range(len(dataset)))
        for index, digest in enumerate(digests):
            other, first = seen.setdefault(digest, (dataset, index))
            if other is dataset and first == index:
                continue
            detail = f"same bytes as {other.paths[first]} of {other.name}/{other.split}"
            yield "duplicate" if other is dataset else "in two data sets", index, detail
            class_name = _class_of(other, first)
            if class_name != _class_of(dataset, index):
                detail += f", whose class is {class_name}"
                yield "mislabelled", index, detail


def _digest(dataset: ImageDataset, index: int) -> bytes:
    if dataset.images is None:
        content = Path(dataset.paths[index]).read_bytes()
    else:
        image = dataset.images[index]
        # Its shape, too: the same bytes may be of another.
        content = str(image.shape).encode() + image.tobytes()
    return hashlib.blake2b(content, digest_size=16).digest()
