"""CutMix: a box of every image comes from another, and so does a share of its loss."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import keras
from keras import ops

from keras_wsol import masks
from keras_wsol.arguments import check_number
from keras_wsol.models.methods.method import Method, MethodModel, Trunk, Truth
from keras_wsol.models.splice import derive_seed


@keras.saving.register_keras_serializable(package="keras_wsol")
@dataclass(frozen=True)
class CutMix(Method):
    """Pastes a box of other images of the batch, and mixes the losses by its area.

    One box and one order of the images are drawn for a batch. The box leaves a share
    of each image that is drawn from Beta(`beta`, `beta`); its centre is uniform over
    the image, and what lies outside is cut off. The loss is that of the image's class
    and that of the pasted one's, weighed by their shares of the pixels.
    `keras.layers.CutMix` draws boxes inside the image, and one for each image. The
    weight of an image, as by `class_weight`, counts for both of its classes.

    Args:
        beta: Number >= 0.01. Default 1, every share alike [paper].
        probability: Number in [0, 1]: how often a batch is mixed. Default 1 [paper:
            ImageNet].

    Example:
    >>> from keras_wsol.models import build_classifier
    >>> model = build_classifier("mobilenet", CutMix(probability=0.5), 5, weights=None,
    ...                          input_shape=(64, 96, 3),
    ...                          backbone_options={"alpha": 0.25})
    >>> model.name
    'mobilenet_cutmix'

    Reference:
        - [Yun et al., 2019](https://arxiv.org/abs/1905.04899)
    """

    beta: float = 1.0
    probability: float = 1.0
    reads = ("order", "share")

    def __post_init__(self) -> None:
        check_number("beta", self.beta, 0.01, None)
        check_number("probability", self.probability)

    def images(self, trunk: Trunk, images: Any) -> Any:
        trunk.exact_places("no layer", 0)
        seed = derive_seed(trunk.seed, "cutmix")
        paste = PastedBox(self.beta, self.probability, seed, name="cutmix_box")
        mixed, order, share = paste(images)
        trunk.sides.update(order=order, share=share)
        return mixed

    def loss(self, model: MethodModel, sides: Mapping[str, Any], truth: Truth) -> Any:
        logits, pasted = sides["logits"], truth.shuffled(sides["order"])
        # The compiled loss is there: this turns a part of it into the other's.
        change = pasted.cross_entropy(logits) - truth.cross_entropy(logits)
        return (1 - sides["share"]) * change


@keras.saving.register_keras_serializable(package="keras_wsol")
class PastedBox(keras.layers.Layer):
    """Returns images, the order that pasted ones come in, and the share that is left.

    Order and share, `(B,)`, are the identity and 1 unless `training` is true.
    """

    def __init__(
        self, beta: float, probability: float, seed: int, **kwargs: Any
    ) -> None:
        super().__init__(**{**kwargs, "dtype": "float32"})
        self.beta, self.probability, self.seed = beta, probability, seed
        self.seed_generator = keras.random.SeedGenerator(seed)

    def call(self, images: Any, training: bool = False) -> Any:
        batch, height, width, _ = ops.shape(images)
        if not training:
            return images, ops.arange(batch, dtype="int32"), ops.ones((batch,))
        uniform = self._uniform(5)
        left = symmetric_beta(uniform[0], uniform[1], self.beta)
        side = ops.sqrt(ops.where(uniform[2] < self.probability, 1 - left, 0.0))
        rows = ops.cast(ops.floor(side * height), "int32")
        columns = ops.cast(ops.floor(side * width), "int32")
        mask = masks.random_box(uniform[None, 3:], height, width, rows, columns)
        order = ops.cast(ops.argsort(self._uniform(batch)), "int32")
        mixed = ops.where(mask > 0, images, ops.take(images, order, axis=0))
        return mixed, order, ops.broadcast_to(ops.mean(mask), (batch,))

    def _uniform(self, count: Any) -> Any:
        return keras.random.uniform((count,), dtype="float32", seed=self.seed_generator)

    def compute_output_spec(self, images: Any, training: bool = False) -> Any:
        count = images.shape[:1]
        return (
            keras.KerasTensor(images.shape, "float32"),
            keras.KerasTensor(count, "int32"),
            keras.KerasTensor(count, "float32"),
        )

    def get_config(self) -> dict[str, Any]:
        names = ("beta", "probability", "seed")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}


def symmetric_beta(radius: Any, angle: Any, beta: float) -> Any:
    """Turns two numbers from [0, 1) into one of Beta(beta, beta).

    By Student's t distribution of `2 beta` degrees of freedom [Bailey, 1994]. That of
    Keras is made of gamma numbers, which XLA does not have.
    """
    inner = ops.power(radius, 1 / beta)
    cosine = ops.cos(2 * math.pi * angle)
    square = (1 - inner) * ops.square(cosine)
    size = ops.sqrt(square / ops.maximum(inner + square, 1e-30))
    return ops.clip(0.5 + 0.5 * ops.sign(cosine) * size, 0.0, 1.0)
