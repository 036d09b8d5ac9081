"""A split of a data set: which images, which classes, which boxes."""

import csv
import importlib.util
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from keras_wsol import arguments
from keras_wsol.arguments import check_bool, check_choice, check_integer
from keras_wsol.data import numpy_pipeline
from keras_wsol.data.images import BROKEN, check_image_size, check_view, judge_files
from keras_wsol.data.numpy_pipeline import decode_image, read_image


@dataclass(frozen=True, eq=False, kw_only=True)
class ImageDataset:
    """One split of a data set, read when its batches are.

    Attributes:
        name: String. Name of the data set.
        split: String. Name of the split.
        class_names: Tuple of strings by class id, all different, letters composed.
        class_ids: int32 `(N,)`.
        paths: Strings `(N,)`. Image files; for images in memory, names for them.
        images: uint8 `(N, H, W, 3)` for images in memory, `None` for files.
        boxes: float32 `(N, M, 4)`, x0, y0, x1, y1 in pixels of the image as read, far
            edge exclusive, padded with -1; `None` where boxes are unknown.
        sizes: int32 `(N, 2)`. Height and width as read; `None` if not verified.
        orientation: `"stored"`: images are read as stored; `"exif"`: JPEG files are
            turned upright by their EXIF tag, as by viewers and `serve_bytes`.
        notes: Mapping of strings. What a report on this split has to say about it.
        left_out: Tuple of (path, reason) of files that cannot be read: in no array.
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
        check_choice("orientation", self.orientation, ("exif", "stored"))
        parts = (self.images, self.boxes, self.sizes)
        counts = {len(self.class_ids), len(self.paths)}
        counts |= {len(part) for part in parts if part is not None}
        if len(counts) != 1:
            raise ValueError(
                "`class_ids`, `paths`, `images`, `boxes` and `sizes` must have one "
                f"entry for each image. Received lengths: {sorted(counts)}."
            )
        images = self.images
        if images is not None and (images.dtype != "uint8" or images.shape[3:] != (3,)):
            raise ValueError(
                "`images` must be uint8 (N, H, W, 3) in [0, 255]. Received: "
                f"{images.dtype} {images.shape}."
            )
        if self.boxes is not None and np.shape(self.boxes)[2:] != (4,):
            raise ValueError(
                "`boxes` must have shape (N, M, 4). Received: "
                f"boxes.shape={np.shape(self.boxes)}."
            )
        names = tuple(map(arguments.composed, self.class_names))
        arguments.once((name, f"class {n}") for n, name in enumerate(names))
        object.__setattr__(self, "class_names", names)
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

    def _repr_html_(self) -> str:
        names = ", ".join(self.class_names[:8]) + ", ..." * (self.num_classes > 8)
        counts = np.bincount(self.class_ids, minlength=max(self.num_classes, 1))
        rows = {
            "data set": f"{self.name}, {self.split}",
            "images": f"{len(self):,}, {counts.min():,} to {counts.max():,} a class",
            "classes": f"{self.num_classes}: {names}",
            "boxes": "unknown" if self.boxes is None else "known",
            "left out": f"{len(self.left_out):,} that cannot be read",
        }
        cells = (f"<tr><th>{x}</th><td>{escape(y)}</td></tr>" for x, y in rows.items())
        return f"<table>{''.join(cells)}</table>"

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return len(self.class_names)

    def take(self, indices: Sequence[int] | np.ndarray, split: str) -> "ImageDataset":
        """Returns the images at `indices`, integers or booleans, as another split."""
        arrays = ("class_ids", "paths", "images", "boxes", "sizes")
        parts = {name: getattr(self, name) for name in arrays}
        # An empty list is of floats, which are no indices.
        chosen = np.asarray(indices, None if len(indices) else int)
        some = {k: None if v is None else v[chosen] for k, v in parts.items()}
        return replace(self, split=split, **some)

    def hold_out(
        self, per_class: int = 5, seed: int = 0
    ) -> tuple["ImageDataset", "ImageDataset"]:
        """Parts some images of each class from the rest, such as to choose thresholds.

        Args:
            per_class: Integer. Images held out of each class, never all. Default 5.
            seed: Integer. Draws them. Default 0.

        Returns:
            The rest, to train on, and the images held out.
        """
        count = check_integer("per_class", per_class)
        chosen = images_a_class(self.class_ids, np.ones(len(self), bool), count, seed)
        held_out = replace(self.take(chosen, "held out"), left_out=())
        return self.take(~chosen, self.split), held_out

    def class_weights(self) -> dict[int, float]:
        """Returns weights by class id that give each class the same say in `fit`.

        The weight is `N / (number of classes present * images of the class)`.
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

        Resizing is bilinear and antialiased, and ignores the aspect ratio, as in ADL's
        code. In training, images are resized to 256/224 of `image_size`, cropped and
        flipped at random, and come in full batches only. Order and augmentation are a
        function of `seed`, pass and step. A pass counts when its last batch is taken;
        in a `tf.distribute` strategy Keras reads ahead, so that passes of two or three
        steps begin with the second.

        Args:
            batch_size: Integer. Images in a batch. Default 32.
            training: Boolean. Whether to shuffle, crop and flip. Default `False`.
            seed: Integer. Of order and augmentation in training. Default 0.
            start_step: Integer >= 0. Training batches that came before. A pass begun
                in the middle of an epoch goes on into the next. Default 0.
            with_boxes: Boolean. Give dictionaries for evaluation. Default `False`.
            image_size: Height and width of the images given. Default (224, 224).
            view: `"whole"`, or `"center_crop"`: resized to 256/224, then the centre.
                Not used in training. Default `"whole"`.

        Returns:
            A `tf.data.Dataset` of images, float32 `(B, height, width, 3)` in
            [0, 255], and class ids, int32 `(B,)`. With boxes: of dictionaries
            `"images"`, `"class_ids"`, `"boxes"` `(B, M, 4)` in pixels of these images,
            `"sizes"` `(B, 2)` of the images as read, and `"paths"`.

        Raises:
            ValueError: An argument is out of range, or there are no boxes.
            tf.errors.InvalidArgumentError: A file, which it names, cannot be read.
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
        self._check_training(batch_size, seed, start_step)
        return tf_pipeline.training_batches(self, batch_size, seed, start_step, size)

    def numpy_batches(
        self,
        batch_size: int = 32,
        *,
        image_size: tuple[int, int] = (224, 224),
        view: str = "whole",
    ) -> Iterator[dict[str, np.ndarray]]:
        """Reads evaluation batches with Pillow, where TensorFlow is not installed.

        Arguments and dictionaries are those of `batches`, `"paths"` as text. Without
        boxes, `"boxes"` has M = 0.
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
        self._check_training(batch_size, seed, start_step)
        return numpy_pipeline.TrainingBatches(
            self, batch_size, seed, start_step, size, shard
        )

    def _check_training(self, batch_size: Any, seed: Any, start_step: Any) -> None:
        check_integer("seed", seed, -(2**63), 2**63 - 1)
        check_integer("start_step", start_step, 0)
        if not self.steps_per_epoch(check_integer("batch_size", batch_size)):
            raise ValueError(
                f"A batch of {batch_size} needs as many images. The split "
                f"{self.split!r} of {self.name!r} has {len(self)}."
            )

    def image(self, index: int) -> np.ndarray:
        """Reads image `index`, uint8 `(H, W, 3)`, upright if `orientation` says so."""
        if self.images is not None:
            return self.images[index]
        return read_image(self.paths[index], orientation=self.orientation)


def _batch_arguments(batch_size: Any, image_size: Any, view: Any) -> tuple:
    size = check_image_size(image_size)
    return check_integer("batch_size", batch_size), size, check_view(view)


def verified(dataset: ImageDataset, verify: bool | str | Path) -> ImageDataset:
    """Opens every file once, and takes out those that cannot be read, with a warning.

    `verify` may be `False` to do nothing, or a path to keep the verdicts at.
    """
    if verify is False:
        return dataset
    whole = readable(dataset, verify)
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


def readable(dataset: ImageDataset, cache: bool | str | Path) -> ImageDataset:
    """Takes the files that cannot be read out of a data set, and notes the sizes."""
    if dataset.images is not None:
        sides = dataset.images.shape[1:3]
        return replace(dataset, sizes=np.full((len(dataset), 2), sides, "int32"))
    cache = None if cache is True else cache
    sizes, left_out = verify(dataset.paths, dataset.orientation, cache)
    whole = replace(dataset, sizes=sizes, left_out=dataset.left_out + left_out)
    return whole.take(sizes[:, 0] > 0, dataset.split)


def verify(
    paths: Sequence[str], orientation: str = "stored", cache: str | Path | None = None
) -> tuple[np.ndarray, tuple[tuple[str, str], ...]]:
    """Decodes every file once, as `judge_files`, by the decoder that batches use."""
    decoder = "pillow alone", lambda path: decode_image(path, orientation).shape[:2]
    if importlib.util.find_spec("tensorflow") is not None:
        from keras_wsol.data import tf_pipeline  # loads TensorFlow

        decoder = "tensorflow and pillow", tf_pipeline.size_reader(orientation)
    return judge_files(paths, orientation, decoder, cache)


def padded_boxes(
    boxes: Sequence[Sequence[Sequence[float]]], least: int = 1
) -> np.ndarray:
    """Puts lists of boxes into one array `(N, M, 4)`, padded with -1 to `least` M."""
    most = max(map(len, boxes), default=0)
    padded = np.full((len(boxes), max(most, least), 4), -1.0, "float32")
    for row, some in enumerate(boxes):
        padded[row, : len(some)] = np.reshape(some, (-1, 4))
    return padded


def to_keras_boxes(batch: Mapping[str, Any], library: str = "keras") -> dict[str, Any]:
    """Makes a batch that layers with a `bounding_box_format` (`"xyxy"`) take.

    Args:
        batch: Dictionary of `batches(with_boxes=True)`, also in its `map`, or of
            `numpy_batches`.
        library: `"keras"`, or `"keras_cv"`: labels are `"classes"`. Default `"keras"`.

    Returns:
        Dictionary `"images"` and `"bounding_boxes"`: `"boxes"` `(B, M, 4)` and
        `"labels"` int32 `(B, M)`, the image's class id, -1 where no box has an area.
    """
    check_choice("library", library, ["keras", "keras_cv"])
    key = "labels" if library == "keras" else "classes"
    boxes, class_ids = batch["boxes"], batch["class_ids"][:, None]
    missing = (boxes[..., 2] <= boxes[..., 0]) | (boxes[..., 3] <= boxes[..., 1])
    if isinstance(boxes, np.ndarray):
        labels = np.where(missing, -1, class_ids).astype("int32")
    else:
        import tensorflow as tf

        labels = tf.where(missing, -1, tf.cast(class_ids, tf.int32))
    return {"images": batch["images"], "bounding_boxes": {"boxes": boxes, key: labels}}


def existing_folder(root: str | Path) -> Path:
    """Returns `root` as a path, or says that no folder is there."""
    root = Path(root)
    if not root.is_dir():
        raise FileNotFoundError(f"`root` must be a folder. Nothing is at: {root}.")
    return root


@contextmanager
def reading(what: str, path: str | Path) -> Iterator[None]:
    """Names the file or folder in the `ValueError` where it cannot be read."""
    try:
        path = Path(path)
        if path.exists() and not (path.is_file() or path.is_dir()):
            raise ValueError("it is no regular file")  # a pipe would be waited for
        yield
    except (*BROKEN, TypeError, RecursionError, csv.Error) as error:
        named = isinstance(error, ValueError) and str(path) in str(error)
        if named or isinstance(error, FileNotFoundError):
            raise
        said = f"no {error}" if isinstance(error, KeyError) else error
        raise ValueError(f"Cannot read {what}: {path} ({said}).") from error


def images_a_class(
    class_ids: np.ndarray, allowed: np.ndarray, count: int, seed: int
) -> np.ndarray:
    """Draws the same number of images from each class, never all of them."""
    random = np.random.default_rng(seed)
    drawn = np.zeros(len(class_ids), bool)
    for class_id in np.unique(class_ids[allowed]):
        members = np.flatnonzero(allowed & (class_ids == class_id))
        drawn[random.permutation(members)[: min(count, len(members) - 1)]] = True
    return drawn
