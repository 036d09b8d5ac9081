"""A split of a data set: which images, which classes, which boxes."""

import importlib.util
import io
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from keras_wsol.arguments import check_bool, check_choice, check_integer, check_number
from keras_wsol.data import numpy_pipeline
from keras_wsol.data.images import (
    check_image_size,
    check_orientation,
    check_view,
    read_image,
    verify,
)


@dataclass(frozen=True, eq=False, kw_only=True)
class ImageDataset:
    """One split of a data set, read when its batches are.

    Attributes:
        name: String. Name of the data set.
        split: String. Name of the split.
        class_names: Tuple of strings by class id.
        class_ids: int32 `(N,)`.
        paths: Strings `(N,)`. Image files; for images in memory, names for them.
        images: uint8 `(N, H, W, 3)` for images in memory, `None` for files.
        boxes: float32 `(N, M, 4)`, x0, y0, x1, y1 in pixels of the image as read (see
            `orientation`), far edge exclusive, rows of -1 where an image has fewer
            than M; `None` where boxes are unknown.
        sizes: int32 `(N, 2)`. Height and width of each image as read; `None` where
            files are not verified.
        orientation: `"stored"` where boxes are in pixels of the image as stored;
            `"exif"` to turn JPEG files upright by their EXIF tag, as viewers and an
            exported `serve_bytes` do.
        notes: Mapping of strings. What a report on this split has to say about it.
        left_out: Tuple of (path, reason) of files that cannot be read. They were found
            when the data set was opened, and are in none of the arrays.
    """

    name: str
    split: str
    class_names: tuple[str, ...]
    class_ids: np.ndarray
    paths: np.ndarray
    images: np.ndarray | None = None
    boxes: np.ndarray | None = None
    sizes: np.ndarray | None = None
    orientation: str = "stored"
    notes: Mapping[str, str] = field(default_factory=dict)
    left_out: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        check_orientation(self.orientation)
        parts = (self.images, self.boxes, self.sizes)
        counts = {len(self.class_ids), len(self.paths)}
        counts |= {len(part) for part in parts if part is not None}
        if len(counts) != 1:
            raise ValueError(
                "`class_ids`, `paths`, `images`, `boxes` and `sizes` must have one "
                f"entry for each image. Received lengths: {sorted(counts)}."
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
            split: String. Name of the result's split.

        Returns:
            An `ImageDataset` with the same classes.
        """
        arrays = ("class_ids", "paths", "images", "boxes", "sizes")
        parts = {name: getattr(self, name) for name in arrays}
        chosen = np.asarray(indices)
        some = {k: None if v is None else v[chosen] for k, v in parts.items()}
        return replace(self, split=split, **some)

    def hold_out(
        self, per_class: int = 5, seed: int = 0
    ) -> tuple["ImageDataset", "ImageDataset"]:
        """Parts some images of each class from the rest, such as to choose thresholds.

        Args:
            per_class: Integer. Images of each class that are held out; at least one of
                each class stays. Default 5.
            seed: Integer. Draws them. Default 0.

        Returns:
            The rest, to train on, and the images held out.
        """
        count = check_integer("per_class", per_class)
        chosen = images_a_class(self.class_ids, np.ones(len(self), bool), count, seed)
        return self.take(~chosen, self.split), self.take(chosen, "held out")

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
        with_boxes: bool = False,
        image_size: tuple[int, int] = (224, 224),
        view: str = "whole",
    ) -> Any:
        """Makes a `tf.data.Dataset` of batches. Needs TensorFlow.

        For training, images are resized to 256/224 of `image_size`, cropped to it
        at random and flipped at random; every pass has an order of its own, and
        only full batches come. Order and augmentation are a function of `seed`, pass
        and step alone. A pass counts when its last batch has been taken: looking at a
        batch changes nothing (unless it is the only one), and `start_step` goes on
        exactly where another run was. In a `tf.distribute` strategy Keras reads a few
        batches ahead, so that passes of two or three steps begin with the second.
        Resizing is bilinear and antialiased, and ignores the aspect ratio, as in ADL's
        code and in wsolevaluation.

        Args:
            batch_size: Integer. Images in a batch. Default 32.
            training: Boolean. Whether to shuffle, crop and flip. Default `False`.
            seed: Integer, used by training. Default 0.
            start_step: Integer >= 0, used by training. Number of batches that came
                before. Passes begun in the middle of an epoch go on into the next, so
                that each has the same number of steps. Default 0.
            with_boxes: Boolean. Whether to give dictionaries for evaluation. Default
                `False`.
            image_size: Height and width of the images given. Default (224, 224).
            view: `"whole"`, or `"center_crop"`: resized to 256/224, then the centre.
                Boxes follow. Not used in training. Default `"whole"`.

        Returns:
            A `tf.data.Dataset` of `(images, class_ids)`: float32
            `(B, height, width, 3)` in [0, 255] and int32 `(B,)`. With boxes: of
            dictionaries `"images"`, `"class_ids"`, `"boxes"` `(B, M, 4)` in pixels
            of these images, padded with -1, `"sizes"` `(B, 2)`, height and width of
            the image as read, and `"paths"`.

        Raises:
            TypeError: An argument is of another type.
            ValueError: An argument is out of range, or there are no boxes.
            tf.errors.InvalidArgumentError: While batches are taken: a file cannot be
                read, and the message names it.
        """
        from keras_wsol.data import tf_pipeline  # loads TensorFlow

        batch_size, size, view = _batch_arguments(batch_size, image_size, view)
        if check_bool("with_boxes", with_boxes) and self.boxes is None:
            raise ValueError(
                f"The split {self.split!r} of {self.name!r} has no boxes: use "
                "`with_boxes=False`."
            )
        if not training:
            boxes = self.boxes if with_boxes else None
            return tf_pipeline.evaluation_batches(self, boxes, batch_size, size, view)
        if with_boxes:
            raise ValueError("Training sees no boxes: use `with_boxes=False`.")
        return tf_pipeline.training_batches(
            self, batch_size, seed, check_integer("start_step", start_step, 0), size
        )

    def numpy_batches(
        self,
        batch_size: int = 32,
        *,
        image_size: tuple[int, int] = (224, 224),
        view: str = "whole",
    ) -> Iterator[dict[str, np.ndarray]]:
        """Reads evaluation batches with Pillow, where TensorFlow is not installed.

        The arguments are those of `batches`, and so are the dictionaries, `"paths"` as
        text; without boxes, `"boxes"` has M = 0. A file that cannot be read is a
        `ValueError` that names it.
        """
        arguments = _batch_arguments(batch_size, image_size, view)
        return numpy_pipeline.evaluation_batches(self, *arguments)

    def evaluation_batches(
        self,
        batch_size: int = 32,
        *,
        image_size: tuple[int, int] = (224, 224),
        view: str = "whole",
    ) -> Iterator[dict[str, np.ndarray]]:
        """Gives `numpy_batches`, read by tf.data where TensorFlow is installed."""
        arguments = _batch_arguments(batch_size, image_size, view)
        if importlib.util.find_spec("tensorflow") is None:
            yield from numpy_pipeline.evaluation_batches(self, *arguments)
            return
        from keras_wsol.data import tf_pipeline  # loads TensorFlow

        boxes = np.zeros((len(self), 0, 4)) if self.boxes is None else self.boxes
        for batch in tf_pipeline.evaluation_batches(self, boxes, *arguments):
            arrays = {key: value.numpy() for key, value in batch.items()}
            texts = list(map(os.fsdecode, arrays["paths"].tolist()))
            yield {**arrays, "paths": np.array(texts)}

    def training_sequence(
        self,
        batch_size: int = 32,
        *,
        seed: int = 0,
        start_step: int = 0,
        image_size: tuple[int, int] = (224, 224),
        shard: tuple[int, int] = (0, 1),
    ) -> Any:
        """Reads training batches with NumPy and Pillow, without TensorFlow.

        The arguments are those of `batches`, `batch_size` that of all processes.
        `shard` is (index, count) of this process, which gets its part of every batch.

        Returns:
            A `keras.utils.PyDataset` for `fit`, `steps_per_epoch` its attribute.
        """
        size = check_image_size(image_size)
        return numpy_pipeline.TrainingBatches(
            self, batch_size, seed=seed, start_step=start_step, size=size, shard=shard
        )

    def image(self, index: int) -> np.ndarray:
        """Reads image `index`, uint8 `(H, W, 3)`, upright if `orientation` says so.

        A file that is no readable image is a `ValueError` that names it.
        """
        if self.images is not None:
            return self.images[index]
        return read_image(self.paths[index], orientation=self.orientation)

    def encoded(self, index: int) -> bytes:
        """Reads the bytes of image `index`, as in its file or a PNG file."""
        if self.images is None:
            return Path(self.paths[index]).read_bytes()
        from PIL import Image

        buffer = io.BytesIO()
        Image.fromarray(self.images[index]).save(buffer, "PNG")
        return buffer.getvalue()


def _batch_arguments(
    batch_size: Any, image_size: Any, view: Any
) -> tuple[int, tuple[int, int], str]:
    size = check_image_size(image_size)
    return check_integer("batch_size", batch_size), size, check_view(view)


def verified(dataset: ImageDataset, verify: bool | str | Path) -> ImageDataset:
    """Opens every file once, and takes out those that cannot be read, with a warning.

    `verify` is that of an opening function: `False` to do nothing, or the path of a
    file to keep the verdicts in.
    """
    if verify is False:
        return dataset
    whole = readable(dataset, None if verify is True else verify)
    if whole.left_out:
        path, reason = whole.left_out[0]
        message = (
            f"{len(whole.left_out)} of {len(dataset)} images cannot be read and are "
            f"left out, such as {path} ({reason})."
        )
        if not len(whole):
            raise ValueError(f"There must be an image. {message}")
        warnings.warn(message, stacklevel=3)
    return whole


def readable(dataset: ImageDataset, cache: str | Path | None = None) -> ImageDataset:
    """Takes the files that cannot be read out of a data set, and notes the sizes."""
    if dataset.images is not None:
        size = np.array(dataset.images.shape[1:3], "int32")
        return replace(dataset, sizes=np.tile(size, (len(dataset), 1)))
    sizes, left_out = verify(dataset.paths, dataset.orientation, cache)
    whole = replace(dataset, sizes=sizes, left_out=dataset.left_out + left_out)
    return whole.take(sizes[:, 0] > 0, dataset.split)


def padded_boxes(boxes: Sequence[Sequence[Sequence[float]]]) -> np.ndarray:
    """Puts lists of boxes into one array."""
    most = max(map(len, boxes), default=0)
    padded = np.full((len(boxes), max(most, 1), 4), -1.0, "float32")
    for row, some in enumerate(boxes):
        if len(some):
            padded[row, : len(some)] = some
    return padded


_BOX_CLASSES = {"keras": "labels", "keras_cv": "classes"}


def to_keras_boxes(batch: Mapping[str, Any], library: str = "keras") -> dict[str, Any]:
    """Makes a batch that layers with a `bounding_box_format` (`"xyxy"`) take.

    Args:
        batch: Dictionary of `batches(with_boxes=True)` or `numpy_batches`. As a
            function of `tf.data.Dataset.map`, too.
        library: `"keras"`, or `"keras_cv"`, which calls labels classes. Default
            `"keras"`.

    Returns:
        Dictionary `"images"` and `"bounding_boxes"`: `"boxes"` `(B, M, 4)` and
        `"labels"` int32 `(B, M)`, the image's class id, -1 where there is no box.
    """
    key = _BOX_CLASSES[check_choice("library", library, list(_BOX_CLASSES))]
    boxes, class_ids = batch["boxes"], batch["class_ids"][:, None]
    missing = boxes[..., 2] < 0
    if isinstance(boxes, np.ndarray):
        labels = np.where(missing, -1, class_ids).astype("int32")
    else:
        import tensorflow as tf

        labels = tf.where(missing, -1, tf.cast(class_ids, tf.int32))
    return {
        "images": batch["images"],
        "bounding_boxes": {"boxes": boxes, key: labels},
    }


def existing_folder(root: str | Path) -> Path:
    """Returns `root` as a path, or says that no folder is there."""
    root = Path(root)
    if not root.is_dir():
        raise FileNotFoundError(f"`root` must be a folder. Nothing is at: {root}.")
    return root


def images_a_class(
    class_ids: np.ndarray, allowed: np.ndarray, count: int, seed: int
) -> np.ndarray:
    """Draws the same number of images from each class, never all of them."""
    ids = np.where(allowed, class_ids, -1)
    return _drawn(ids, lambda members: max(0, min(count, members - 1)), seed)


def share_a_class(class_ids: np.ndarray, share: float, seed: int) -> np.ndarray:
    """Draws a share of the images of each class, rounded, never all of them."""
    share = check_number("share", share)
    return _drawn(
        class_ids, lambda members: min(round(share * members), members - 1), seed
    )


def _drawn(class_ids: np.ndarray, number: Any, seed: int) -> np.ndarray:
    """Draws `number(members)` images of each class; -1 stands for none."""
    random = np.random.default_rng(seed)
    drawn = np.zeros(len(class_ids), bool)
    for class_id in np.unique(class_ids[class_ids >= 0]):
        members = np.flatnonzero(class_ids == class_id)
        drawn[random.permutation(members)[: number(len(members))]] = True
    return drawn
