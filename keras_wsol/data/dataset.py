"""A split of a data set: which images, which classes, which boxes."""

import io
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from numbers import Integral
from pathlib import Path
from typing import Any

import numpy as np

from keras_wsol.data.images import check_orientation, check_view
from keras_wsol.data.record_files import RecordFiles


class SkippedFiles:
    """A set of paths that a running pipeline adds to."""

    def __init__(self) -> None:
        self._paths: set[str] = set()
        self._table: Any = None

    def table(self) -> Any:
        """Returns the table that a graph inserts paths into. Needs TensorFlow."""
        if self._table is None:
            import tensorflow as tf

            self._table = tf.lookup.experimental.MutableHashTable(
                tf.string, tf.int64, default_value=0
            )
        return self._table

    def add(self, path: str) -> None:
        """Adds one path."""
        self._paths.add(str(path))

    @property
    def paths(self) -> tuple[str, ...]:
        """The paths gathered so far, sorted."""
        found = set(self._paths)
        if self._table is not None:
            found |= set(map(os.fsdecode, self._table.export()[0].numpy()))
        return tuple(sorted(found))

    def __len__(self) -> int:
        return len(self.paths)


def padded_boxes(boxes: Sequence[Sequence[Sequence[float]]]) -> np.ndarray:
    """Puts lists of boxes into one array."""
    most = max(map(len, boxes), default=0)
    padded = np.full((len(boxes), max(most, 1), 4), -1.0, "float32")
    for row, some in enumerate(boxes):
        if len(some):
            padded[row, : len(some)] = some
    return padded


# What each calls the class of a box.
CLASSES = {"keras": "labels", "keras_cv": "classes"}


def bounding_box_batch(batch: dict[str, Any], layout: str) -> dict[str, Any]:
    """Makes a batch that layers with a `bounding_box_format` take, in a graph."""
    import tensorflow as tf

    boxes = batch["boxes"]
    none = tf.convert_to_tensor(boxes[..., 2] < 0)
    class_ids = tf.cast(batch["class_ids"], tf.int32)[:, None]
    return {
        "images": batch["images"],
        "bounding_boxes": {
            "boxes": boxes,
            CLASSES[layout]: tf.where(none, -1, class_ids),
        },
    }


UNREADABLE = ("raise", "skip")
_MAX_THREADS = 16


def check_integer(name: str, value: Any, low: int | None = 1) -> None:
    """Raises unless `value` is an integer of at least `low`."""
    whole = isinstance(value, Integral) and not isinstance(value, bool)
    if not whole or (low is not None and value < low):
        least = "" if low is None else f" of at least {low}"
        raise ValueError(
            f"`{name}` must be an integer{least}. Received: {name}={value!r}."
        )


def check_view_of_batches(
    batch_size: Any, image_size: Any, view: Any, unreadable: Any
) -> None:
    """Raises unless batches can be made so."""
    check_integer("batch_size", batch_size)
    if np.shape(image_size) != (2,) or min(image_size) < 1:
        raise ValueError(
            "`image_size` must be (height, width), both at least 1. Received: "
            f"image_size={image_size!r}."
        )
    check_view(view)
    if unreadable not in UNREADABLE:
        raise ValueError(
            f"`unreadable` must be one of {list(UNREADABLE)}. Received: "
            f"unreadable={unreadable!r}."
        )


def check_boxes_of_batches(
    dataset: "ImageDataset", with_boxes: Any, training: bool
) -> None:
    """Raises if boxes are asked for that are not there or not given."""
    if with_boxes and dataset.boxes is None:
        raise ValueError(
            f"The split {dataset.split!r} of {dataset.name!r} has no boxes: use "
            "`with_boxes=False`."
        )
    if not isinstance(with_boxes, bool) and with_boxes not in CLASSES:
        raise ValueError(
            f"`with_boxes` must be a boolean or one of {list(CLASSES)}. Received: "
            f"with_boxes={with_boxes!r}."
        )
    if training and with_boxes:
        raise ValueError("Training sees no boxes: use `with_boxes=False`.")


def check_start(start_step: Any, steps: int, deterministic: bool) -> None:
    """Raises unless training can go on there."""
    check_integer("start_step", start_step, low=0)
    if not deterministic and start_step % max(1, steps):
        raise ValueError(
            "Without a fixed order, training goes on at the end of a pass only: "
            f"`start_step` must be a multiple of {steps}, or `deterministic` true. "
            f"Received: start_step={start_step}."
        )


def check_threads(threads: Any) -> None:
    """Raises unless so many images can be read at once."""
    if threads is not None:
        check_integer("threads", threads)


def default_threads() -> int:
    """Returns how many images are read at once where nobody says so."""
    return min(os.cpu_count() or 1, _MAX_THREADS)


@dataclass(frozen=True, eq=False, kw_only=True)
class ImageDataset:
    """One split of a data set, read when its batches are.

    Attributes:
        name: Name of the data set.
        split: Name of the split.
        class_names: Names by class id.
        class_ids: int32 `(N,)`.
        paths: Paths of the image files, `(N,)` strings; for images in memory, names
            for them.
        images: uint8 `(N, H, W, 3)` for images in memory, `None` for files.
        records: Where the encoded images lie if not in files of their own; then
            `paths` are names, too.
        boxes: float32 `(N, M, 4)`, x0, y0, x1, y1 in pixels of the image as read (see
            `orientation`), far edge exclusive, rows of -1 where an image has fewer
            than M; `None` where boxes are unknown.
        orientation: `"stored"` where boxes are in pixels of the image as stored;
            `"exif"` to turn JPEG files upright by their EXIF tag, as viewers and an
            exported `serve_bytes` do.
        notes: What a report on this split has to say about it.
        skipped: Files that could not be read so far, where asked to skip them.
    """

    name: str
    split: str
    class_names: tuple[str, ...]
    class_ids: np.ndarray
    paths: np.ndarray
    images: np.ndarray | None = None
    records: RecordFiles | None = None
    boxes: np.ndarray | None = None
    orientation: str = "stored"
    notes: Mapping[str, str] = field(default_factory=dict)
    skipped: SkippedFiles = field(default_factory=SkippedFiles, repr=False)

    def __post_init__(self) -> None:
        check_orientation(self.orientation)
        counts = {len(self.class_ids), len(self.paths)}
        counts |= {len(part) for part in (self.images, self.boxes) if part is not None}
        if len(counts) != 1:
            raise ValueError(
                "`class_ids`, `paths`, `images` and `boxes` must have one entry for "
                f"each image. Received lengths: {sorted(counts)}."
            )
        if self.boxes is not None and np.shape(self.boxes)[2:] != (4,):
            raise ValueError(
                "`boxes` must have shape (N, M, 4). Received: "
                f"boxes.shape={np.shape(self.boxes)}."
            )
        outside = np.setdiff1d(self.class_ids, np.arange(len(self.class_names)))
        if outside.size:
            raise ValueError(
                f"`class_ids` must be in [0, {len(self.class_names)}), the number of "
                f"`class_names`. Received: {outside[:8]}."
            )

    def __len__(self) -> int:
        return len(self.class_ids)

    def __repr__(self) -> str:
        return (
            f"ImageDataset({self.name!r}, split={self.split!r}, images={len(self)}, "
            f"classes={self.num_classes}, boxes={self.boxes is not None})"
        )

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return len(self.class_names)

    def take(self, indices: Sequence[int] | np.ndarray, split: str) -> "ImageDataset":
        """Returns a data set of some of the images, in the given order.

        Args:
            indices: Integers `(n,)` or booleans `(N,)`.
            split: Name of the result's split.

        Returns:
            A data set with the same classes.
        """
        indices = np.asarray(indices)
        return replace(
            self,
            split=split,
            class_ids=self.class_ids[indices],
            paths=self.paths[indices],
            images=None if self.images is None else self.images[indices],
            records=None if self.records is None else self.records.take(indices),
            boxes=None if self.boxes is None else self.boxes[indices],
            skipped=SkippedFiles(),
        )

    def class_weights(self) -> dict[int, float]:
        """Returns weights that give each class the same say, for `fit`.

        Returns:
            Class id to `N / (number of classes present * images of the class)`.
            Classes without an image have none.
        """
        ids, counts = np.unique(self.class_ids, return_counts=True)
        weights = len(self) / (len(ids) * counts)
        return dict(zip(ids.tolist(), weights.tolist(), strict=True))

    def steps_per_epoch(self, batch_size: int) -> int:
        """Returns the number of full batches in a pass over the images."""
        return len(self) // batch_size

    def batches(
        self,
        batch_size: int = 32,
        *,
        training: bool = False,
        seed: int = 0,
        start_step: int = 0,
        with_boxes: bool | str = False,
        image_size: tuple[int, int] = (224, 224),
        view: str = "whole",
        unreadable: str = "raise",
        deterministic: bool = True,
        threads: int | None = None,
    ) -> Any:
        """Makes a `tf.data.Dataset` of batches. Needs TensorFlow.

        For training, images are resized to 256/224 of `image_size`, cropped to it
        at random and flipped at random; every pass has an order of its own, and
        only full batches come. Order and augmentation are a pure function of
        `seed`, the pass and the step, whatever the machine does: a pass counts
        when its last batch has been taken, so that looking at a batch changes
        nothing (unless it is the only one), and `start_step` goes on exactly where
        another run was. In a `tf.distribute` strategy Keras reads a few batches ahead
        before training, so that passes of two or three steps begin with the second.
        Resizing is bilinear and antialiased, and ignores the aspect ratio, as in ADL's
        code and in wsolevaluation.

        Args:
            batch_size: Images in a batch.
            training: Whether to shuffle, crop and flip.
            seed: Integer, used by training.
            start_step: Integer >= 0, used by training: the number of batches that
                came before. Passes begun in the middle of an epoch go on into the
                next, so that each has the same number of steps.
            with_boxes: Whether to give dictionaries for evaluation; or `"keras"` or
                `"keras_cv"`, to give the bounding-box dictionaries of these, see
                `keras_boxes.py`.
            image_size: Height and width of the images given.
            view: `"whole"`, or `"center_crop"`: resized to 256/224, then the centre.
                Boxes follow. Not used in training.
            unreadable: What to do with a file that is missing or no image:
                `"raise"` an error that names it, or `"skip"` it: training takes
                the next image instead, evaluation gives a black image whose class
                is -1, and `self.skipped` lists it.
            deterministic: Used by training. `False` gives the batches of a pass in the
                order in which they are ready, so that a slow file holds up none but
                its own. Each is what it would be else, but which of them a run had
                seen when it stopped is not known: `start_step` has to be at the end
                of a pass.
            threads: How many images are read at once; `None` for one a core, at most
                16.

        Returns:
            A `tf.data.Dataset` of `(images, class_ids)`: float32
            `(B, height, width, 3)` in [0, 255] and int32 `(B,)`. With boxes: of
            dictionaries `"images"`, `"class_ids"`, `"boxes"` `(B, M, 4)` in pixels
            of these images, padded with -1, `"sizes"` `(B, 2)`, height and width of
            the image as read, and `"paths"`.

        Raises:
            ValueError: An argument is out of range, or there are no boxes.
            tf.errors.InvalidArgumentError: While batches are taken: a file cannot be
                read, named in the message; or, when skipping, a whole batch.
        """
        from keras_wsol.data import tf_pipeline  # needs TensorFlow

        check_view_of_batches(batch_size, image_size, view, unreadable)
        check_boxes_of_batches(self, with_boxes, training)
        check_threads(threads)
        if training:
            steps = self.steps_per_epoch(batch_size)
            check_start(start_step, steps, deterministic)
        options = {"unreadable": unreadable, "threads": threads}
        if training:
            return tf_pipeline.training_batches(
                self,
                batch_size,
                seed,
                start_step,
                tuple(image_size),
                deterministic=deterministic,
                **options,
            )
        batches = tf_pipeline.evaluation_batches(
            self, batch_size, bool(with_boxes), tuple(image_size), view, **options
        )
        if isinstance(with_boxes, str):
            return batches.map(lambda batch: bounding_box_batch(batch, with_boxes))
        return batches

    def numpy_batches(
        self,
        batch_size: int = 32,
        *,
        image_size: tuple[int, int] = (224, 224),
        view: str = "whole",
        unreadable: str = "raise",
    ) -> Iterator[dict[str, np.ndarray]]:
        """Reads evaluation batches with Pillow, where TensorFlow is not installed.

        Args:
            batch_size: Images in a batch.
            image_size: As in `batches`.
            view: As in `batches`.
            unreadable: As in `batches`.

        Yields:
            The dictionaries of `batches(with_boxes=True)`; without boxes, `"boxes"`
            has M = 0.

        Raises:
            ValueError: An argument is out of range, or a file is unreadable.
        """
        from keras_wsol.data import numpy_pipeline

        check_view_of_batches(batch_size, image_size, view, unreadable)
        return numpy_pipeline.evaluation_batches(
            self, batch_size, tuple(image_size), view, unreadable
        )

    def training_sequence(self, batch_size: int = 32, **options: Any) -> Any:
        """Reads training batches with NumPy and Pillow, without TensorFlow.

        Args:
            batch_size: Images in a batch.
            **options: As in `TrainingBatches`.

        Returns:
            The `TrainingBatches`, for `fit` on JAX and PyTorch.
        """
        from keras_wsol.data.numpy_pipeline import TrainingBatches

        return TrainingBatches(self, batch_size, **options)

    def image(self, index: int) -> np.ndarray:
        """Reads one image, turned upright if `orientation` says so.

        Args:
            index: Integer in [0, N).

        Returns:
            uint8 `(H, W, 3)`.

        Raises:
            ValueError: The file is no readable image; the message names it.
        """
        from keras_wsol.data import numpy_pipeline

        if self.images is not None:
            return self.images[index]
        if self.records is None:
            return numpy_pipeline.read_image(
                self.paths[index], orientation=self.orientation
            )
        try:
            content = io.BytesIO(self.encoded(index))
            return numpy_pipeline.decode_image(content, self.orientation)
        except (OSError, ValueError) as error:
            message = f"Cannot read the image: {self.paths[index]} ({error})."
            raise ValueError(message) from error

    def encoded(self, index: int) -> bytes:
        """Reads the bytes of one image, as its file has them.

        Args:
            index: Integer in [0, N).

        Returns:
            The content of the file; of an image in memory, of a PNG file.

        Raises:
            OSError: The file is missing.
        """
        if self.records is not None:
            return self.records.content(index)
        if self.images is None:
            return Path(self.paths[index]).read_bytes()
        from PIL import Image

        buffer = io.BytesIO()
        Image.fromarray(self.images[index]).save(buffer, "PNG")
        return buffer.getvalue()


def existing_folder(root: str | Path) -> Path:
    """Returns `root` as a path, or says that no folder is there."""
    root = Path(root)
    if not root.is_dir():
        raise FileNotFoundError(f"`root` must be a folder. Nothing is at: {root}.")
    return root


def images_a_class(
    class_ids: np.ndarray, allowed: np.ndarray, count: int, seed: int
) -> np.ndarray:
    """Draws the same number of images from each class."""
    random = np.random.default_rng(seed)
    drawn = np.zeros(len(class_ids), bool)
    for class_id in np.unique(class_ids):
        members = np.flatnonzero((class_ids == class_id) & allowed)
        take = max(0, min(count, len(members) - 1))
        drawn[random.permutation(members)[:take]] = True
    return drawn


def share_a_class(class_ids: np.ndarray, share: float, seed: int) -> np.ndarray:
    """Draws a share of the images of each class, rounded, never all of them."""
    random = np.random.default_rng(seed)
    drawn = np.zeros(len(class_ids), bool)
    for class_id in np.unique(class_ids):
        members = np.flatnonzero(class_ids == class_id)
        take = min(round(share * len(members)), len(members) - 1)
        drawn[random.permutation(members)[:take]] = True
    return drawn
