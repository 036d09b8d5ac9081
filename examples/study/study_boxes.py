"""The upper bounds of study.py: what the true boxes can teach a backbone."""

from collections.abc import Iterator
from typing import Any

import keras
import numpy as np

from keras_wsol import boxes, cam, data

_FEWEST_KEPT = 0.5  # share of a box that a crop has to keep


class BoxHead(keras.layers.Layer):
    """Each cell guesses the box relative to itself; the guesses are averaged.

    A dense layer on the flattened map learns little more than the mean box from
    1,000 images (30.9 GT-known Loc).
    """

    def __init__(self) -> None:
        super().__init__(dtype="float32")
        self.guesses = keras.layers.Conv2D(4, 1)
        self.weights_of_cells = keras.layers.Conv2D(1, 1)

    def call(self, inputs: Any) -> Any:
        """Returns boxes in shares of the side, `(N, 4)`, of maps `(N, H, W, C)`."""
        height, width = inputs.shape[1:3]
        x = (keras.ops.arange(width, dtype="float32") + 0.5) / width
        y = (keras.ops.arange(height, dtype="float32") + 0.5) / height
        x, y = keras.ops.meshgrid(x, y)
        boxes = self.guesses(inputs) + keras.ops.stack([x, y, x, y], axis=-1)
        boxes = keras.ops.reshape(boxes, (-1, height * width, 4))
        weights = self.weights_of_cells(inputs)
        weights = keras.ops.reshape(weights, (-1, height * width, 1))
        return keras.ops.sum(boxes * keras.ops.softmax(weights, axis=1), axis=1)


def crop_with_boxes(
    images: np.ndarray, true: np.ndarray, random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Crops, shrinks and mirrors images at random, and their boxes with them.

    A window has 0.5 to 1.2 of the image's sides; where it is larger than the image,
    the edge's pixels are repeated. Where a window would lose more than half of the
    box, the image stays whole.

    Args:
        images: uint8 `(N, H, W, 3)`.
        true: A box of each in shares of the side, `(N, 4)`.
        random: Where the draws come from.

    Returns:
        uint8 images and float32 boxes of the same shapes; boxes end at the edge.
    """
    count, height, width, _ = images.shape
    side = random.uniform(0.5, 1.2, (count, 1))
    side = side * random.uniform(0.9, 1.1, (count, 2))
    origin = random.random((count, 2)) * (1 - side)
    corners = true.reshape(-1, 2, 2)
    inside = np.clip((corners - origin[:, None]) / side[:, None], 0, 1)
    kept = (inside[:, 1] - inside[:, 0]).prod(1) * side.prod(1)
    lost = kept < _FEWEST_KEPT * (corners[:, 1] - corners[:, 0]).prod(1)
    side[lost], origin[lost], inside[lost] = 1, 0, corners[lost]
    mirrored = random.random(count) < 0.5
    found = inside.reshape(-1, 4)
    found[mirrored, 0::2] = 1 - found[mirrored, 2::-2]
    # From pixel of the crop to pixel of the image; a pixel's middle is at its half.
    shift = origin * (width, height) + side / 2 - 0.5
    along = np.where(mirrored, -side[:, 0], side[:, 0])
    start = shift[:, 0] + np.where(mirrored, side[:, 0] * (width - 1), 0)
    none = np.zeros(count)
    transform = np.stack(
        [along, none, start, none, side[:, 1], shift[:, 1], none, none], axis=1
    )
    cropped = np.empty_like(images)
    for start in range(0, count, 100):  # all at once need gigabytes
        part = slice(start, start + 100)
        pixels = keras.ops.image.affine_transform(
            images[part].astype("float32"),
            transform[part].astype("float32"),
            fill_mode="nearest",
            data_format="channels_last",
        )
        cropped[part] = np.rint(keras.ops.convert_to_numpy(pixels))
    return cropped, found.astype("float32")


def learn_boxes(
    classifier: keras.Model,
    train: tuple[np.ndarray, np.ndarray],
    *,
    epochs: int,
    batch_size: int,
    seed: int,
) -> keras.Model:
    """Trains the network of a classifier to tell the true boxes, which no method sees.

    Args:
        classifier: As `models.build_classifier` makes it.
        train: Images and boxes as `crop_with_boxes` takes them.
        epochs: Passes over them.
        batch_size: Images of a step.
        seed: Of head, crops and order.

    Returns:
        Model from images to boxes in shares of the side.
    """
    keras.utils.set_random_seed(seed)
    features = classifier.get_layer("head_pool").input
    model = keras.Model(classifier.input, BoxHead()(features))
    steps = epochs * -(-len(train[0]) // batch_size)
    rate = keras.optimizers.schedules.CosineDecay(3e-4, steps)
    model.compile(optimizer=keras.optimizers.AdamW(rate), loss=keras.losses.Huber(0.05))
    random = np.random.default_rng(seed)
    for epoch in range(epochs):
        model.fit(
            *crop_with_boxes(*train, random),
            batch_size=batch_size,
            initial_epoch=epoch,
            epochs=epoch + 1,
            verbose=2,
        )
    return model


def overlaps(model: keras.Model, test: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """Returns the IoU, `(N,)`, of what a model of `learn_boxes` tells and the truth."""
    images, true = test
    found = model.predict(images, batch_size=50, verbose=0)
    return keras.ops.convert_to_numpy(boxes.iou(found[:, None], true[:, None]))[:, 0, 0]


def whole_images(
    dataset: data.ImageDataset, image_size: int
) -> Iterator[dict[str, np.ndarray]]:
    """Reads images as they are evaluated: whole, without augmentation."""
    return dataset.evaluation_batches(
        32, image_size=(image_size, image_size), view="whole"
    )


def fit_true_boxes(
    model: keras.Model, images: data.ImageDataset, layer: str
) -> cam.Foreground:
    """Fits the foreground map to true boxes, where `Foreground.fit` has to guess them.

    Args:
        model: A classifier.
        images: The images, of which each one's first box is taken.
        layer: Name of the layer whose features are read.

    Returns:
        The discriminant between the cells in the boxes and those outside.
    """
    network = keras.Model(model.inputs, model.get_layer(layer).output)
    side = model.input_shape[1]

    def pairs() -> Iterator[tuple[Any, np.ndarray]]:
        for batch in whole_images(images, side):
            features = network.predict_on_batch(batch["images"])
            size = (side, side)
            yield features, cells_in_boxes(batch["boxes"][:, 0], size, features.shape)

    return cam.Foreground.from_cells(pairs(), layer=layer, root=False)


def cells_in_boxes(
    true: np.ndarray, size: tuple[int, int], shape: tuple[int, ...]
) -> np.ndarray:
    """Tells which cells of a map have their middle in a box.

    Args:
        true: `(N, 4)`, in pixels.
        size: Height and width of the image.
        shape: `(N, h, w, C)`, of the features.

    Returns:
        Booleans `(N, h, w)`.
    """
    y = (np.arange(shape[1]) + 0.5) * size[0] / shape[1]
    x = (np.arange(shape[2]) + 0.5) * size[1] / shape[2]
    x0, y0, x1, y1 = true.T[..., None]
    rows, columns = (y0 <= y) & (y < y1), (x0 <= x) & (x < x1)
    return rows[:, :, None] & columns[:, None]
