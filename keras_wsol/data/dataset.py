"""A split of a data set: which images, which classes, which boxes."""

import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from keras_wsol.data.batch_arguments import (
    check_boxes_of_batches,
    check_start,
    check_threads,
    check_view_of_batches,
)
from keras_wsol.data.keras_boxes import bounding_box_batch
from keras_wsol.data.orientation import check_orientation
from keras_wsol.data.record_files import RecordFiles
from keras_wsol.data.skipped import SkippedFiles


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
        from keras_wsol.data import pipeline  # needs TensorFlow

        check_view_of_batches(batch_size, image_size, view, unreadable)
        check_boxes_of_batches(self, with_boxes, training)
        check_threads(threads)
        if training:
            steps = self.steps_per_epoch(batch_size)
            check_start(start_step, steps, deterministic)
        options = {"unreadable": unreadable, "threads": threads}
        if training:
            return pipeline.training_batches(
                self,
                batch_size,
                seed,
                start_step,
                tuple(image_size),
                deterministic=deterministic,
                **options,
            )
        batches = pipeline.evaluation_batches(
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
        from keras_wsol.data import reading

        check_view_of_batches(batch_size, image_size, view, unreadable)
        return reading.evaluation_batches(
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
        from keras_wsol.data.training_batches import TrainingBatches

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
        from keras_wsol.data import reading

        if self.images is not None:
            return self.images[index]
        if self.records is None:
            return reading.read_image(self.paths[index], orientation=self.orientation)
        try:
            content = io.BytesIO(self.encoded(index))
            return reading.decode_image(content, self.orientation)
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
    """Returns `root` as a path, or says that no folder is there.

    Args:
        root: Path of a folder.

    Returns:
        The path.

    Raises:
        FileNotFoundError: There is no such folder.
    """
    root = Path(root)
    if not root.is_dir():
        raise FileNotFoundError(f"`root` must be a folder. Nothing is at: {root}.")
    return root
