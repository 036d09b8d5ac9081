"""What is wrong with a data set, before training."""

import csv
import hashlib
import io
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple, dataclass, fields
from functools import partial

import numpy as np

from keras_wsol.data.dataset import ImageDataset, check_integer
from keras_wsol.data.numpy_pipeline import FORMATS, decode_image, exif_orientation
from keras_wsol.data.progress_line import ProgressLine


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that is wrong with one image.

    Attributes:
        problem: One of `keras_wsol.data.check.PROBLEMS`.
        dataset: Name and split of the data set, `cub200/test`.
        index: Index of the image in it.
        path: Path of the image.
        class_name: Its class; empty if its id has no name.
        detail: What exactly.
    """

    problem: str
    dataset: str
    index: int
    path: str
    class_name: str
    detail: str


@dataclass(frozen=True)
class CheckReport:
    """What `data.check` found.

    Attributes:
        num_images: Number of images by name and split of the data set.
        findings: What is wrong, in the order of the data sets and their images.

    Example:
    >>> found = Finding(problem="no box", dataset="pets/val", index=3,
    ...                 path="cat/3.jpg", class_name="cat", detail="")
    >>> CheckReport({"pets/val": 20}, (found,)).counts
    {'no box': 1}
    """

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

    def to_csv(self) -> str:
        """Returns all findings, a line each, below a header."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(_COLUMNS)
        writer.writerows(map(astuple, self.findings))
        return text.getvalue()

    def to_markdown(self, max_rows: int = 50) -> str:
        """Returns a line of counts and a table of the findings.

        Args:
            max_rows: How many findings to list at most.

        Returns:
            Markdown.
        """
        images = ", ".join(f"{name} {count}" for name, count in self.num_images.items())
        counts = ", ".join(f"{name} {count}" for name, count in self.counts.items())
        text = f"Images checked: {images}. Findings: {counts or 'none'}.\n"
        if self.ok:
            return text
        rows = [_COLUMNS, ("---",) * len(_COLUMNS)]
        rows += [_cells(found) for found in self.findings[:max_rows]]
        table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
        more = len(self.findings) - max_rows
        rest = f"\n{more} more are in `to_csv()`.\n" if more > 0 else ""
        return f"{text}\n{table}\n{rest}"


_COLUMNS = tuple(field.name for field in fields(Finding))


def _cells(found: Finding) -> tuple[str, ...]:
    # A bar or a new line in a path would end the cell.
    return tuple(
        " ".join(str(value).replace("|", "\\|").split()) for value in astuple(found)
    )


UNREADABLE = "unreadable"
MISLABELLED = "mislabelled"
DUPLICATE = "duplicate"
SHARED = "in two data sets"
NO_BOX = "no box"
INVERTED = "inverted box"
OUTSIDE = "box outside"
CROSSING = "box crosses border"
TURNED = "turned photograph"
PROBLEMS = (
    *(UNREADABLE, MISLABELLED, DUPLICATE, SHARED, NO_BOX),
    *(INVERTED, OUTSIDE, CROSSING, TURNED),
)

# Boxes drawn by hand cross the border by rounding.
_TOLERANCE = 1.0
_BLOCK = 512


def check(
    *datasets: ImageDataset,
    num_threads: int = 4,
    progress: Callable[[int, int], None] | None = None,
    verbose: bool | str = "auto",
) -> CheckReport:
    """Reads every image of data sets and lists what is wrong, in one table.

    - `unreadable`: the file is missing, broken, above the limit of pixels, or of a
      format that training does not decode.
    - `mislabelled`: the class id is none of the data set's, or an image of the same
      bytes has another class.
    - `duplicate`: an image before it, in the same data set, has the same bytes.
    - `in two data sets`: an image of one before it has, so that a model is tested or
      tuned on what it was trained on.
    - `no box`: the data set has boxes, and this image none.
    - `inverted box`: it has no area, a far edge before the near one, or a number that
      is not finite.
    - `box outside`: no part of it lies in the image.
    - `box crosses border`: by more than a pixel. Batches clip such boxes.
    - `turned photograph`: its EXIF tag asks to be turned, and the data set reads images
      as stored: viewers, and whoever drew boxes in one, saw it otherwise.

    Files are read once, in threads. Memory does not grow with the images, but for
    16 bytes of each and the findings.

    Args:
        *datasets: The data sets, such as the splits of one: `check(train, test)`.
        num_threads: Integer of at least 1; as many images are in memory at once.
        progress: Function of two integers, images done and images in all; called at
            the beginning and after some hundred images.
        verbose: Whether to say on standard error how far the work is and how long the
            rest will take; `"auto"`: in a terminal or notebook. Not used where
            `progress` is given.

    Returns:
        The report.

    Raises:
        ValueError: There is no data set, `num_threads` is out of range, or `verbose`
            is none of the three.

    Example:
        report = data.check(data.cub200(root), data.cub200(root, "test"))
        report.ok, report.counts
        Path("findings.csv").write_text(report.to_csv())
    """
    if not datasets:
        raise ValueError("`check` must be given a data set. Received: none.")
    check_integer("num_threads", num_threads)
    progress = progress or ProgressLine("Checking", verbose)
    digests, findings = _look_through(datasets, num_threads, progress)
    findings += _repeated(datasets, digests)
    findings.sort(key=lambda found: found[0])
    return CheckReport(
        {_name(dataset): len(dataset) for dataset in datasets},
        tuple(found for _, found in findings),
    )


def _look_through(
    datasets: Sequence[ImageDataset],
    num_threads: int,
    progress: Callable[[int, int], None],
) -> tuple[np.ndarray, list[tuple[int, Finding]]]:
    """Digest of each image `(total, 2)`, and findings with the place of their image."""
    total = sum(map(len, datasets))
    digests = np.zeros((total, 2), "uint64")
    findings: list[tuple[int, Finding]] = []
    done = 0
    with ThreadPoolExecutor(num_threads) as threads:
        # In blocks: a pool queues all that it is given at once.
        for dataset, block in _blocks(datasets):
            progress(done, total)
            for looked in threads.map(partial(_look, dataset), block):
                digests[done] = looked.digest
                findings += [(done, found) for found in looked.findings]
                done += 1
    progress(total, total)
    return digests, findings


def _blocks(
    datasets: Sequence[ImageDataset],
) -> Iterator[tuple[ImageDataset, range]]:
    for dataset in datasets:
        for start in range(0, len(dataset), _BLOCK):
            yield dataset, range(start, min(start + _BLOCK, len(dataset)))


@dataclass(frozen=True)
class _Looked:
    """What is known of one image; a digest of zeros where there are no bytes."""

    digest: tuple[int, int]
    findings: tuple[Finding, ...]


def _look(dataset: ImageDataset, index: int) -> _Looked:
    digest, size, problems = _read(dataset, index)
    problems += _class_problems(dataset, index)
    if dataset.boxes is not None:
        problems += _box_problems(dataset.boxes[index], size)
    return _Looked(digest, tuple(_finding(dataset, index, *p) for p in problems))


def _read(
    dataset: ImageDataset, index: int
) -> tuple[tuple[int, int], tuple[int, int] | None, list[tuple[str, str]]]:
    """Digest, height and width, and problems of the bytes."""
    if dataset.images is not None:
        image = np.ascontiguousarray(dataset.images[index])
        # Its shape, too: the same bytes may be of another.
        return _digest(str(image.shape).encode() + image.tobytes()), image.shape[:2], []
    try:
        content = dataset.encoded(index)
    except OSError as error:
        return (0, 0), None, [(UNREADABLE, error.strerror or str(error))]
    try:
        size = decode_image(io.BytesIO(content), dataset.orientation).shape[:2]
    except ValueError as error:
        words = str(error)
        if "cannot identify" in words:
            words = "no JPEG, PNG, GIF, BMP or WebP image"
        return _digest(content), None, [(UNREADABLE, words)]
    problems = []
    tag = _orientation(content)
    if tag > 1 and dataset.orientation == "stored":
        problems = [(TURNED, f"EXIF orientation {tag}, read as stored")]
    return _digest(content), size, problems


def _orientation(content: bytes) -> int:
    from PIL import Image

    with Image.open(io.BytesIO(content), formats=FORMATS) as image:
        return exif_orientation(image)


def _digest(content: bytes) -> tuple[int, int]:
    digest = hashlib.blake2b(content, digest_size=16).digest()
    return int.from_bytes(digest[:8], "big"), int.from_bytes(digest[8:], "big")


def _class_problems(dataset: ImageDataset, index: int) -> list[tuple[str, str]]:
    class_id = int(dataset.class_ids[index])
    if 0 <= class_id < dataset.num_classes:
        return []
    return [(MISLABELLED, f"class id {class_id} of {dataset.num_classes} classes")]


def _box_problems(
    boxes: np.ndarray, size: tuple[int, int] | None
) -> Iterator[tuple[str, str]]:
    given = boxes[~(boxes == -1).all(axis=-1)]
    if not len(given):
        yield NO_BOX, ""
    for box in given:
        x0, y0, x1, y1 = box.tolist()
        words = ", ".join(f"{edge:g}" for edge in (x0, y0, x1, y1))
        # Written so that a NaN fails as well.
        if not (np.isfinite(box).all() and x0 < x1 and y0 < y1):
            yield INVERTED, words
        elif size is not None:
            height, width = size
            words = f"{words} in an image {width} wide and {height} high"
            if x1 <= 0 or y1 <= 0 or x0 >= width or y0 >= height:
                yield OUTSIDE, words
            elif max(-x0, -y0, x1 - width, y1 - height) > _TOLERANCE:
                yield CROSSING, words


def _repeated(
    datasets: Sequence[ImageDataset], digests: np.ndarray
) -> Iterator[tuple[int, Finding]]:
    """Images with the bytes of one before them."""
    starts = np.cumsum([0, *map(len, datasets)])
    # Equal digests stand together, in the order of the images.
    order = np.lexsort((np.arange(len(digests)), digests[:, 1], digests[:, 0]))
    same = (digests[order[1:]] == digests[order[:-1]]).all(axis=1)
    same &= digests[order[1:]].any(axis=1)
    first = None
    for position in np.flatnonzero(same):
        if position == 0 or not same[position - 1]:
            first = _place(datasets, starts, order[position])
        place = order[position + 1]
        dataset, index = _place(datasets, starts, place)
        other, other_index = first
        problem = DUPLICATE if other is dataset else SHARED
        words = f"same bytes as {other.paths[other_index]} of {_name(other)}"
        yield int(place), _finding(dataset, index, problem, words)
        names = _class_name(dataset, index), _class_name(other, other_index)
        if names[0] != names[1]:
            words = f"{words}, whose class is {names[1]}"
            yield int(place), _finding(dataset, index, MISLABELLED, words)


def _place(
    datasets: Sequence[ImageDataset], starts: np.ndarray, place: int
) -> tuple[ImageDataset, int]:
    number = int(np.searchsorted(starts, place, side="right")) - 1
    return datasets[number], int(place - starts[number])


def _finding(dataset: ImageDataset, index: int, problem: str, detail: str) -> Finding:
    return Finding(
        problem=problem,
        dataset=_name(dataset),
        index=index,
        path=str(dataset.paths[index]),
        class_name=_class_name(dataset, index),
        detail=detail,
    )


def _name(dataset: ImageDataset) -> str:
    return f"{dataset.name}/{dataset.split}"


def _class_name(dataset: ImageDataset, index: int) -> str:
    class_id = int(dataset.class_ids[index])
    known = 0 <= class_id < dataset.num_classes
    return dataset.class_names[class_id] if known else ""
