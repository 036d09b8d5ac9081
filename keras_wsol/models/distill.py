"""A localizer distilled to a network that gives classes and boxes at once."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_wsol.arguments import check_bool, check_integer, shows_progress
from keras_wsol.cam.by_class import class_names_of
from keras_wsol.cam.ddt import check_batches, images_and_classes
from keras_wsol.cam.score_map import resize_to_input
from keras_wsol.cam.split import SplitModel
from keras_wsol.data import ImageDataset
from keras_wsol.data.images import default_threads, resize_before_crop
from keras_wsol.data.numpy_pipeline import random_crop_and_flip
from keras_wsol.models.localizer import Localizer, probabilities
from keras_wsol.models.splice import copy_weights, derive_seed

_BATCH_SIZE = 32
_LOSS_WEIGHT = 50.0  # [paper]
_FILTERS, _UNITS = 64, 256  # of the box head [ours]
# Of Adam, for the head alone and for a network trained with it [ours].
_HEAD_RATE, _NETWORK_RATE = 1e-3, 3e-4


def distill(
    localizer: Localizer,
    images: Any,
    *,
    freeze: bool = True,
    epochs: int = 30,
    seed: int = 0,
    verbose: bool | str = "auto",
) -> keras.Model:
    """Trains a box head on the boxes that a localizer finds; no true box is needed.

    The localizer finds the box of the predicted class in each image, once. The head
    learns these boxes from the features that the localizer's score map reads: a
    convolution, means over rows and columns, and two `Dense` layers, the last of which
    gives x, y, width and height by a sigmoid. Its loss is 50 times the squared error
    [paper]. Images are cropped and flipped as in `ImageDataset.batches`, boxes with
    them. Images without a box are left out.

    The paper's head is on a network of its own, trained with it, and reads averaged
    features: these hardly say where something is if the network stays as it is.

    Args:
        localizer: A `Localizer`. It is not changed.
        images: An `ImageDataset`, which is read once an epoch, boxes and labels
            unseen; or batches as in `cam.DDT.fit`, of one size, kept as uint8.
        freeze: Boolean. Whether the head is on the classifier, which stays as it is:
            one pass gives class and box. False trains a copy of it for boxes alone
            [paper], which takes a second pass. Default True [ours].
        epochs: Integer. Default 30 [ours].
        seed: Integer. Of first weights, order, crops and flips. Default 0.
        verbose: Boolean. Whether to show the progress of the training. Default
            `"auto"`, in a terminal or notebook.

    Returns:
        A functional model of images `(B, H, W, 3)` in [0, 255] of any size. It gives,
        as a `Localizer` does for the best class, a dictionary `"class_ids"` `(B, 1)`,
        `"scores"` `(B, 1)`, `"boxes"` `(B, 1, 4)` in pixels of the given images, and
        `"logits"`. There is no map and no threshold. `keras_wsol.metrics` measure it.
        Save it as `.keras`, or call its `export` for a SavedModel.

    Raises:
        TypeError: `localizer` is none.
        ValueError: The localizer finds a box in no image.

    Example:
    >>> from keras_wsol.models import build_classifier
    >>> model = build_classifier("mobilenet", "cam", 5, weights=None,
    ...                          input_shape=(64, 96, 3),
    ...                          backbone_options={"alpha": 0.25})
    >>> images = np.random.default_rng(0).uniform(0, 255, (8, 64, 96, 3))
    >>> student = distill(Localizer(model), [images], epochs=1)
    >>> sorted(student(images))
    ['boxes', 'class_ids', 'logits', 'scores']
    >>> tuple(student(np.zeros((2, 40, 50, 3)))["boxes"].shape)
    (2, 1, 4)

    Reference:
        - [Zhang et al., 2020](https://arxiv.org/abs/2002.11359) (PSOL)
    """
    if not isinstance(localizer, Localizer):
        raise TypeError(
            "`localizer` must be a `Localizer`. Received an object of type "
            f"{type(localizer).__name__}."
        )
    check_bool("freeze", freeze)
    check_integer("epochs", epochs)
    check_integer("seed", seed, 0)
    dataset = _as_dataset(images)
    boxes = _boxes_found(localizer, dataset)
    examples = _Examples(dataset, boxes, localizer.input_size, seed)
    result, trained = _with_box_head(localizer, freeze, seed)
    rate = keras.optimizers.schedules.CosineDecay(
        _HEAD_RATE if freeze else _NETWORK_RATE, epochs * len(examples)
    )
    trained.compile(keras.optimizers.Adam(rate), box_loss)
    shown = 2 * shows_progress(verbose)
    trained.fit(examples, epochs=epochs, shuffle=False, verbose=shown)
    return result


def box_loss(true: Any, found: Any) -> Any:
    """50 times the mean squared error of boxes `(B, 4)`, a number for each."""
    return _LOSS_WEIGHT * ops.mean(ops.square(true - found), axis=-1)


def _as_dataset(images: Any) -> ImageDataset:
    """Images in memory, for what is no data set."""
    if isinstance(images, ImageDataset):
        return images
    check_batches(images)
    parts = []
    for batch in images:
        pixels, _ = images_and_classes(batch)
        pixels = np.clip(ops.convert_to_numpy(pixels), 0, 255)  # resizing may overshoot
        parts.append(np.rint(pixels).astype("uint8"))
    sizes = {each.shape[1:] for each in parts}
    if len(sizes) != 1:
        raise ValueError(
            "`images` must hold batches of images of one size. Received images of "
            f"shapes {sorted(sizes)}."
        )
    pixels = np.concatenate(parts)
    return ImageDataset(
        name="images",
        split="train",
        class_names=("object",),
        class_ids=np.zeros(len(pixels), "int32"),
        paths=np.arange(len(pixels)).astype(str),
        images=pixels,
    )


def _boxes_found(localizer: Localizer, dataset: ImageDataset) -> np.ndarray:
    """Boxes as shares of the images `(N, 4)`, x0, y0, x1, y1; NaN where is none."""
    height, width = localizer.input_size
    found = [np.zeros((0, 4))]
    for batch in dataset.evaluation_batches(_BATCH_SIZE, image_size=(height, width)):
        out = localizer.predict_on_batch({"images": batch["images"]})
        shares = out["boxes"][:, 0] / [width, height, width, height]
        found.append(np.where(out["valid"][:, :1], shares, np.nan))
    boxes = np.concatenate(found)
    if np.isnan(boxes).all():
        raise ValueError(
            "The localizer must find a box in some of the images. Received: "
            f"{len(boxes)} images without a box."
        )
    return boxes


class _Examples(keras.utils.PyDataset):
    """Batches of crops and their boxes, x, y, width and height as shares of them."""

    def __init__(
        self, dataset: ImageDataset, boxes: np.ndarray, size: Sequence[int], seed: int
    ) -> None:
        super().__init__(workers=default_threads())
        self.dataset, self.boxes, self.size, self.seed = dataset, boxes, size, seed
        self.usable = np.flatnonzero(~np.isnan(boxes[:, 0]))
        self.batch_size = min(_BATCH_SIZE, len(self.usable))
        self.epoch = 0

    def __len__(self) -> int:
        return len(self.usable) // self.batch_size

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        order = np.random.default_rng((self.seed, self.epoch)).permutation(self.usable)
        chosen = order[index * self.batch_size : (index + 1) * self.batch_size]
        random = np.random.default_rng((self.seed, self.epoch, index))
        pairs = [self._example(each, random.random(3)) for each in chosen]
        pixels, boxes = zip(*pairs, strict=True)
        return np.stack(pixels).astype("float32"), np.stack(boxes).astype("float32")

    def _example(self, index: int, draws: Any) -> tuple[np.ndarray, np.ndarray]:
        cut = random_crop_and_flip(self.dataset.image(index), self.size, draws)
        return cut, cropped_and_flipped(self.boxes[index], self.size, draws)

    def on_epoch_end(self) -> None:
        self.epoch += 1


def cropped_and_flipped(box: np.ndarray, size: Sequence[int], draws: Any) -> np.ndarray:
    """A box, as shares of the image, in the crop of `random_crop_and_flip`."""
    whole = np.array(resize_before_crop(size))
    corner = np.floor(draws[:2] * (whole - size + 1))
    # Height and width to x and y.
    ends = (box.reshape(2, 2) * whole[::-1] - corner[::-1]) / size[::-1]
    (x0, y0), (x1, y1) = np.clip(ends, 0, 1)
    left = 1 - x1 if draws[2] < 0.5 else x0
    return np.array([left, y0, x1 - x0, y1 - y0])


def _with_box_head(
    localizer: Localizer, freeze: bool, seed: int
) -> tuple[keras.Model, keras.Model]:
    """The model of classes and boxes, and the one from images to boxes that trains."""
    size = localizer.input_size
    split = _copied(localizer)
    # A cast, since a classifier may end in half precision.
    logits = keras.layers.Identity(dtype="float32")(split.logits)
    inputs = split.network.inputs[0]
    network = keras.Model(inputs, [split.features, logits], name="classifier")
    network.trainable = False
    head = _box_head(split.features.shape[1:], seed)

    given = keras.Input((None, None, 3), dtype="float32", name="images")
    resized = ResizeToInput(size, name="resized")(given)
    features, logits = network(resized)
    crops = keras.Input((*size, 3), dtype="float32", name="crops")
    features_of_crops = _AtInference(network)(crops)
    if not freeze:
        split = _copied(localizer)
        inputs = split.network.inputs[0]
        trunk = keras.Model(inputs, split.features, name="box_trunk")
        for each in (False, True):  # Keras hands down what changes alone
            trunk.trainable = each
        features, features_of_crops = trunk(resized), trunk(crops)
    names = class_names_of(localizer.model)
    found = ClassesAndBoxes(names, name="found")([given, logits, head(features)])
    result = keras.Model(given, found, name=f"{localizer.model.name}_boxes")
    return result, keras.Model(crops, head(features_of_crops))


def _copied(localizer: Localizer) -> SplitModel:
    """A copy of the classifier, split where the score map is read."""
    copy = keras.models.clone_model(localizer.model)
    copy_weights(localizer.model, copy)
    return localizer.score_map.split(copy)


def _box_head(shape: Sequence[int], seed: int) -> keras.Model:
    """From features to x, y, width and height as shares of the image, in float32."""

    def arguments(name: str) -> dict[str, Any]:
        initializer = keras.initializers.HeNormal(derive_seed(seed, name))
        return {"kernel_initializer": initializer, "dtype": "float32", "name": name}

    features = keras.Input(shape, dtype="float32")
    # Features of any scale.
    x = keras.layers.BatchNormalization(momentum=0.9, dtype="float32")(features)
    options = {"padding": "same", "activation": "relu"}
    x = keras.layers.Conv2D(_FILTERS, 3, **options, **arguments("box_conv"))(x)
    # Columns say where the box begins and ends in x, rows where in y.
    flatten = keras.layers.Flatten(dtype="float32")
    x = ops.concatenate([flatten(ops.mean(x, axis=axis)) for axis in (1, 2)], axis=1)
    dropout = derive_seed(seed, "box_dropout")
    x = keras.layers.Dropout(0.5, seed=dropout, dtype="float32")(x)
    x = keras.layers.Dense(_UNITS, "relu", **arguments("box_dense"))(x)
    # From zeros, so that no sigmoid begins where it is flat.
    last = {**arguments("box"), "kernel_initializer": "zeros"}
    x = keras.layers.Dense(4, "sigmoid", **last)(x)
    return keras.Model(features, x, name="box_head")


class _AtInference(keras.layers.Layer):
    """The features of a network that stays in inference mode while others train."""

    def __init__(self, network: keras.Model) -> None:
        super().__init__(dtype="float32")
        self.network = network

    def call(self, images: Any) -> Any:
        return self.network(images, training=False)[0]


@keras.saving.register_keras_serializable(package="keras_wsol")
class ResizeToInput(keras.layers.Layer):
    """Resizes images as a `Localizer` does."""

    # Not by Keras' own: its `training` is true unless told, also for layers behind it.
    def __init__(self, size: Sequence[int], **kwargs: Any) -> None:
        super().__init__(**{**kwargs, "dtype": "float32"})
        self.size = tuple(size)

    def call(self, images: Any) -> Any:
        return resize_to_input(images, self.size)

    def compute_output_spec(self, images: Any) -> Any:
        return keras.KerasTensor((images.shape[0], *self.size, 3), "float32")

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "size": list(self.size)}


@keras.saving.register_keras_serializable(package="keras_wsol")
class ClassesAndBoxes(keras.layers.Layer):
    """From images, logits and boxes as shares to what a distilled model gives."""

    def __init__(self, class_names: Sequence[str] | None = None, **kwargs: Any) -> None:
        super().__init__(**{**kwargs, "dtype": "float32"})
        self.class_names = None if class_names is None else tuple(class_names)

    def call(self, inputs: Any) -> dict[str, Any]:
        images, logits, shares = inputs
        _, height, width, _ = ops.shape(images)
        sides = ops.stack([ops.cast(each, "float32") for each in (width, height)])
        near, far = shares[:, :2], ops.minimum(shares[:, :2] + shares[:, 2:], 1.0)
        boxes = ops.concatenate([near * sides, far * sides], axis=1)
        class_ids = ops.cast(ops.argmax(logits, axis=1, keepdims=True), "int32")
        scores = ops.take_along_axis(probabilities(logits), class_ids, axis=1)
        return {
            "class_ids": class_ids,
            "scores": scores,
            "boxes": boxes[:, None],
            "logits": logits,
        }

    def compute_output_spec(self, inputs: Any) -> dict[str, Any]:
        _, logits, _ = inputs
        return {
            "class_ids": keras.KerasTensor((None, 1), "int32"),
            "scores": keras.KerasTensor((None, 1), "float32"),
            "boxes": keras.KerasTensor((None, 1, 4), "float32"),
            "logits": keras.KerasTensor(logits.shape, "float32"),
        }

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "class_names": self.class_names}
