"""C2AM: a map that parts what images have in common from what is around it."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_wsol.arguments import check_integer, check_number
from keras_wsol.cam.ddt import ChannelMap, Features
from keras_wsol.cam.split import split_at

_BATCH_SIZE = 16  # [paper]; the losses compare the images of a batch
# Of the convolution alone, on features that stay [ours].
_LEARNING_RATE = 1e-3
_LEAST_COSINE, _MOST_COSINE = 0.0005, 0.9995  # [paper], so that logarithms are finite


@keras.saving.register_keras_serializable(package="keras_wsol")
@dataclass(frozen=True, eq=False)
class C2AM(ChannelMap):
    """C2AM's map: a 3x3 convolution of the features to one channel, and a sigmoid.

    `C2AM.fit` trains the convolution without labels, so that the features that the map
    picks are alike in all images, those that it leaves are alike, too, and the two
    differ. One map an image, for every class alike.

    The paper trains the network with it; here it stays as it is. The paper reads two
    layers together; here one is read.

    Args:
        weights: Numbers `(3, 3, C)`. Kernel, batch normalization folded in. Of 1024
            channels they take some 140 KB of the configuration that is saved.
        bias: Number.
        layer: String or None. Layer whose features are read. Default None, what the
            pooling of the head reads.

    Example:
    >>> weights = np.zeros((3, 3, 2))
    >>> weights[1, 1] = 1.0, -1.0
    >>> features = np.array([[[[2.0, 2.0], [9.0, 0.0]]]], "float32")
    >>> maps = C2AM(weights, bias=0.0).project(features)
    >>> np.round(ops.convert_to_numpy(maps)[0, 0, 0], 3).tolist()
    [0.5, 1.0]

    Reference:
        - [Xie et al., 2022](https://arxiv.org/abs/2203.13505)
    """

    weights: Any = field(repr=False)
    bias: float = field(repr=False)
    layer: str | None = None
    default_threshold = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        weights = np.asarray(self.weights, "float32")
        if weights.ndim != 3 or weights.shape[:2] != (3, 3):
            raise ValueError(
                "`weights` must have shape (3, 3, C). Received: weights.shape="
                f"{weights.shape}."
            )
        # A frozen dataclass sets its fields like this.
        object.__setattr__(self, "weights", weights)

    def project(self, features: Any) -> Any:
        """Returns the maps `(B, 1, h, w)` in [0, 1] of features `(B, h, w, C)`."""
        self._check_channels(features.shape[-1])
        features = ops.cast(features, "float32")
        kernel = ops.convert_to_tensor(self.weights[..., None])
        maps = ops.conv(features, kernel, padding="same", data_format="channels_last")
        return ops.transpose(ops.sigmoid(maps + self.bias), (0, 3, 1, 2))

    def get_config(self) -> dict[str, Any]:
        # The shortest decimals that are these float32: half the size.
        decimals = self.weights.astype(str).astype("float64")
        return {**super().get_config(), "weights": decimals.tolist()}

    @classmethod
    def fit(
        cls,
        model: keras.Model,
        images: Any,
        layer: str | None = None,
        *,
        alpha: float = 0.05,
        steps: int = 1000,
        seed: int = 0,
        verbose: bool | str = "auto",
    ) -> "C2AM":
        """Trains the convolution on images, without labels.

        The images are read once. Their features are kept in float16: for `N` images
        `2 * N * h * w * C` bytes, such as 400 MB for a thousand of 14 x 14 x 1024.

        Which of the two parts is the object, the border says: it is the part that has
        the smaller share of the outermost cells in most of the images.

        Args:
            model: A classifier, as in `Localizer`.
            images: As in `DDT.fit`, at least two.
            layer: As in the class.
            alpha: Number >= 0. How fast the weight of a pair of images falls with the
                rank of their likeness; 0 weighs all alike. Default 0.05 [paper], for
                networks trained with labels; the paper has 0.75 for others.
            steps: Integer. Batches of 16 images that it trains on. Default 1000 [ours].
            seed: Integer. Of the first weights and the order of the images. Default 0.
            verbose: As in `DDT.fit`.

        Returns:
            The map, for `Localizer(model, score_map=...)`.

        Raises:
            ValueError: There are fewer than two images, or the features are the same
                in every cell, or not finite.
        """
        check_number("alpha", alpha, high=None)
        check_integer("steps", steps)
        check_integer("seed", seed, 0)
        kept = _kept(Features(split_at(model, layer), images, verbose))
        trained = _parting(kept[0].shape, seed)
        trained.compile(
            keras.optimizers.Adam(_LEARNING_RATE),
            lambda features, maps: parting_loss(features, maps, alpha),
            auto_scale_loss=False,
        )
        trained.fit(_Shuffled(kept, steps, seed), shuffle=False, verbose=0)
        weights, bias = _folded(trained, kept)
        return cls(weights, bias, layer)


def _kept(batches: Iterable[Any]) -> list[np.ndarray]:
    """The features `(h, w, C)` of each image in float16."""
    kept = []
    for batch in batches:
        kept.extend(np.asarray(ops.convert_to_numpy(batch), "float16"))
    finite = all(np.isfinite(each).all() for each in kept)
    if len(kept) < 2 or not finite or all((x == x[:1, :1]).all() for x in kept):
        raise ValueError(
            "There must be at least two images, with features that differ from cell to "
            f"cell and are finite in float16. Received: {len(kept)} images."
        )
    return kept


class _Shuffled(keras.utils.PyDataset):
    """Batches of features, from pass after pass over the images in random order."""

    def __init__(self, kept: list[np.ndarray], steps: int, seed: int) -> None:
        super().__init__()
        self.kept, random = kept, np.random.default_rng(seed)
        size = min(_BATCH_SIZE, len(kept))  # full ones: a new shape would be traced
        full = len(kept) // size
        orders = [random.permutation(len(kept)) for _ in range(-(-steps // full))]
        chosen = [order[: full * size].reshape(full, size) for order in orders]
        self.chosen = np.concatenate(chosen)[:steps]

    def __len__(self) -> int:
        return len(self.chosen)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        features = np.stack([self.kept[each] for each in self.chosen[index]])
        return features, features  # the losses read them, too


def _parting(shape: tuple[int, int, int], seed: int) -> keras.Model:
    """From features `(h, w, C)` to maps, not trained."""
    features = keras.Input(shape, dtype="float32")
    maps = keras.layers.Conv2D(
        1,
        3,
        padding="same",
        use_bias=False,
        data_format="channels_last",
        kernel_initializer=keras.initializers.GlorotUniform(seed),
        dtype="float32",
        name="convolution",
    )(features)
    normalization = keras.layers.BatchNormalization
    maps = normalization(dtype="float32", name="normalization")(maps)
    return keras.Model(features, ops.sigmoid(maps), name="c2am")


def parting_loss(features: Any, maps: Any, alpha: float) -> Any:
    """The three losses of features `(B, h, w, C)` and maps `(B, h, w, 1)`, summed."""
    features = ops.cast(features, "float32")
    inside = _direction(ops.mean(features * maps, axis=(1, 2)))
    outside = _direction(ops.mean(features * (1.0 - maps), axis=(1, 2)))
    apart = -ops.mean(ops.log(1.0 - _cosines(outside, inside)[1]))
    return _alike(inside, alpha) + apart + _alike(outside, alpha)


def _alike(vectors: Any, alpha: float) -> Any:
    """How little vectors are alike; pairs that are most alike weigh most."""
    cosines, limited = _cosines(vectors, vectors)
    weights = ops.stop_gradient(ops.exp(-alpha * (ranks(cosines) - 1.0)))
    return -ops.mean(weights * ops.log(limited))


def ranks(values: Any) -> Any:
    """For each value `(n, m)`, how many of its row are larger."""
    larger = values[:, None, :] > values[:, :, None]
    return ops.sum(ops.cast(larger, "float32"), axis=-1)


def _direction(vectors: Any) -> Any:
    square = ops.sum(ops.square(vectors), axis=-1, keepdims=True)
    return vectors * ops.rsqrt(ops.maximum(square, 1e-12))


def _cosines(some: Any, others: Any) -> tuple[Any, Any]:
    """Cosines of every pair, as they are and where logarithms are finite."""
    cosines = ops.matmul(some, ops.transpose(others))
    return cosines, ops.clip(cosines, _LEAST_COSINE, _MOST_COSINE)


def _folded(trained: keras.Model, kept: list[np.ndarray]) -> tuple[np.ndarray, float]:
    """Kernel and bias of the maps of the object, by the statistics of all images."""
    convolution, norm = map(trained.get_layer, ("convolution", "normalization"))
    maps = []
    for start in range(0, len(kept), _BATCH_SIZE):
        features = np.stack(kept[start : start + _BATCH_SIZE]).astype("float32")
        maps.append(ops.convert_to_numpy(convolution(features))[..., 0])
    maps = np.concatenate(maps).astype("float64")
    kernel = ops.convert_to_numpy(convolution.kernel)[..., 0]
    gamma, beta = (float(ops.convert_to_numpy(x)[0]) for x in (norm.gamma, norm.beta))
    scale = gamma / np.sqrt(maps.var() + norm.epsilon)
    bias = beta - scale * maps.mean()
    sign = -1.0 if border_votes(scale * maps + bias) else 1.0
    return np.float32(sign * scale * kernel), float(np.float32(sign * bias))


def border_votes(maps: np.ndarray) -> bool:
    """Whether in most images the sigmoid of maps averages above 0.5 at the border."""
    border = np.ones(maps.shape[1:], bool)
    border[1:-1, 1:-1] = False
    shares = 1 / (1 + np.exp(-maps[:, border]))
    return bool(np.median(shares.mean(axis=1)) > 0.5)
