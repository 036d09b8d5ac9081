"""Score maps that ask the network again: for gradients, or about masked images."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
from keras import ops

from keras_wsol.arguments import check_integer, check_number
from keras_wsol.cam.class_activation import score_maps
from keras_wsol.cam.score_map import Evidence, ScoreMap, named

Function = Callable[[Any], Any]


def class_gradients(tail: Function, features: Any, class_ids: Any) -> Any:
    """Differentiates the logits of classes `(B, K)` by features: `(B, K, h, w, C)`.

    One pass forward through `tail`, from features to logits before any softmax, then
    one backward for each class: eagerly, inside `tf.function` and `jax.jit`, and where
    gradients are switched off, as in `predict` on PyTorch.
    """
    # Keras has no function for gradients; each backend has its own.
    backend = keras.backend.backend()
    if backend not in _BACKENDS:
        raise RuntimeError(
            "Gradients need the TensorFlow, JAX or PyTorch backend of Keras. The "
            f"backend is {backend!r}."
        )
    logits, backward = _BACKENDS[backend](tail, ops.convert_to_tensor(features))
    dtype = keras.backend.standardize_dtype(logits.dtype)
    picked = ops.one_hot(class_ids, logits.shape[-1], dtype=dtype)
    by_class = [backward(picked[:, k]) for k in range(class_ids.shape[1])]
    return ops.stack([ops.cast(each, "float32") for each in by_class], axis=1)


def _with_tensorflow(tail: Function, features: Any) -> tuple[Any, Function]:
    """The logits, and a function from weights of the logits to the gradient."""
    import tensorflow as tf

    with tf.GradientTape(persistent=True, watch_accessed_variables=False) as tape:
        tape.watch(features)
        logits = tail(features)

    def backward(picked: Any) -> Any:
        return tape.gradient(logits, features, picked, tf.UnconnectedGradients.ZERO)

    return logits, backward


def _with_jax(tail: Function, features: Any) -> tuple[Any, Function]:
    import jax

    logits, backward = jax.vjp(tail, features)
    return logits, lambda picked: backward(picked)[0]


def _with_torch(tail: Function, features: Any) -> tuple[Any, Function]:
    import torch

    with torch.enable_grad():
        features = features.detach().requires_grad_(True)
        logits = tail(features)

    def backward(picked: Any) -> Any:
        if not logits.requires_grad:  # the features do not matter
            return torch.zeros_like(features)
        options = {"retain_graph": True, "materialize_grads": True}
        return torch.autograd.grad(logits, features, picked, **options)[0]

    return logits, backward


_BACKENDS = {"tensorflow": _with_tensorflow, "jax": _with_jax, "torch": _with_torch}


@dataclass(frozen=True, eq=False)
class _GradientMap(ScoreMap):
    """A map from features `A` and the gradients `g` of a class logit by them."""

    layer: str | None = None
    relu: bool = True
    forward_only = False
    default_threshold = 0.2

    def maps(self, evidence: Evidence) -> Any:
        gradients = class_gradients(
            evidence.tail, evidence.features, evidence.class_ids
        )
        return self.combine(evidence.features, gradients)

    def combine(self, features: Any, gradients: Any) -> Any:
        """Returns maps `(B, K, h, w)` of `(B, h, w, C)` and `(B, K, h, w, C)`."""
        features = ops.cast(features, "float32")
        maps = self._sum(features, ops.cast(gradients, "float32"))
        return ops.relu(maps) if self.relu else maps


@named("grad_cam")
@dataclass(frozen=True, eq=False)
class GradCAM(_GradientMap):
    """Grad-CAM: weighs each channel by the mean of its gradient.

    `w_k = mean_ij g_ijk`, `map = ReLU(sum_k w_k A_k)`. After global average pooling and
    one `Dense` layer, and without the ReLU, this is the class activation map divided by
    the number of cells. The map is that of tf-keras-vis, which enlarges it corner on
    corner, of pytorch-grad-cam and of torch-cam.

    Args:
        layer: String or None. Layer whose features are read; the deeper the cheaper.
            Default None, what the pooling of the head reads.
        relu: Boolean. Whether negative values become 0. Default True [paper].

    Example:
    >>> import numpy as np
    >>> features = np.array([[[[1.0, 2.0], [3.0, 0.0]]]], "float32")
    >>> gradients = np.array([[[[[2.0, -1.0], [0.0, -3.0]]]]], "float32")
    >>> maps = GradCAM(relu=False).combine(features, gradients)  # weights 1 and -2
    >>> ops.convert_to_numpy(maps)[0, 0, 0].tolist()
    [-3.0, 3.0]

    Reference:
        - [Selvaraju et al., 2017](https://arxiv.org/abs/1610.02391)
    """

    def _sum(self, features: Any, gradients: Any) -> Any:
        return _weighted(features, ops.mean(gradients, axis=(2, 3)))


@named("grad_cam_pp")
@dataclass(frozen=True, eq=False)
class GradCAMPlusPlus(_GradientMap):
    """Grad-CAM++: weighs channels by positive gradients, each cell by its own share.

    `w_k = sum_ij alpha_ijk ReLU(g_ijk)` with `alpha = 1 / (2 + g sum_ab A_abk)`, the
    paper's divided by `g^2`, which vanishes in float32. A cell whose denominator is
    zero counts nothing. The paper's score is `exp(logit)`: its factor, the same for the
    whole map, is left out. Arguments as in `GradCAM`; the paper's layer ends in a ReLU.

    Other libraries differ: pytorch-grad-cam adds 1e-6 to the paper's denominator, which
    outweighs small gradients; tf-keras-vis divides the alphas of a channel by their
    sum; torch-cam 0.5 leaves the denominator out.

    Reference:
        - [Chattopadhay et al., 2018](https://arxiv.org/abs/1710.11063), eq. 19
    """

    def _sum(self, features: Any, gradients: Any) -> Any:
        total = ops.sum(features, axis=(1, 2), keepdims=True)[:, None]
        shares = _divide(ops.ones_like(gradients), 2.0 + gradients * total)
        return _weighted(features, ops.sum(shares * ops.relu(gradients), axis=(2, 3)))


@named("x_grad_cam")
@dataclass(frozen=True, eq=False)
class XGradCAM(_GradientMap):
    """XGrad-CAM: weighs channels by gradients, averaged by where the channel responds.

    `w_k = sum_ij (A_ijk / sum_ab A_abk) g_ijk`. A channel that sums to zero weighs
    nothing. The map is that of pytorch-grad-cam and torch-cam. Arguments as in
    `GradCAM`.

    Reference:
        - [Fu et al., 2020](https://arxiv.org/abs/2008.02312)
    """

    def _sum(self, features: Any, gradients: Any) -> Any:
        products = ops.einsum("bhwc,bkhwc->bkc", features, gradients)
        weights = _divide(products, ops.sum(features, axis=(1, 2))[:, None])
        return _weighted(features, weights)


@named("layer_cam")
@dataclass(frozen=True, eq=False)
class LayerCAM(_GradientMap):
    """LayerCAM: weighs each cell of each channel by its own positive gradient.

    `map_ij = ReLU(sum_k ReLU(g_ijk) A_ijk)`, made for shallow layers, where one weight
    for a whole channel says little. The map is that of tf-keras-vis, pytorch-grad-cam
    and torch-cam. Arguments as in `GradCAM`.

    Reference:
        - [Jiang et al., 2021](https://doi.org/10.1109/TIP.2021.3089943)
    """

    def _sum(self, features: Any, gradients: Any) -> Any:
        return ops.einsum("bhwc,bkhwc->bkhw", features, ops.relu(gradients))


@named("hires_cam")
@dataclass(frozen=True, eq=False)
class HiResCAM(_GradientMap):
    """HiResCAM: weighs each cell of each channel by its own gradient.

    `map_ij = sum_k g_ijk A_ijk`. After one `Dense` layer on flattened features its
    cells add up to the logit less the bias, but not with a ReLU: `relu` is False by
    default [paper]; True gives the map of pytorch-grad-cam. Arguments as in `GradCAM`.

    Reference:
        - [Draelos and Carin, 2020](https://arxiv.org/abs/2011.08891)
    """

    relu: bool = False

    def _sum(self, features: Any, gradients: Any) -> Any:
        return ops.einsum("bhwc,bkhwc->bkhw", features, gradients)


def _weighted(features: Any, weights: Any) -> Any:
    return ops.einsum("bhwc,bkc->bkhw", features, weights)


def _divide(values: Any, divisors: Any) -> Any:
    """Quotients, and 0 where the divisor is 0."""
    zero = ops.equal(divisors, 0.0)
    quotients = values / ops.where(zero, ops.ones_like(divisors), divisors)
    return ops.where(zero, ops.zeros_like(quotients), quotients)


# ImageNet's mean colour, which the preprocessing of most backbones maps to 0.
MEAN_COLOUR = (123.675, 116.28, 103.53)


@named("score_cam")
@dataclass(frozen=True, eq=False)
class ScoreCAM(ScoreMap):
    """Score-CAM: weighs each channel by the logit of the image seen through it.

    Channel `A_k`, resized to the image and scaled to [0, 1], masks the image;
    `w = softmax_k(logit_c(masked by A_k))`, `map = ReLU(sum_k w_k A_k)`. The paper's
    score is the logit less that of the baseline, which the softmax removes. `C` masked
    images go through the network for each image: 2,048 for a ResNet50.

    Other libraries multiply the input of the network by the mask, so that 0 is behind
    it. pytorch-grad-cam resizes masks corner on corner; torch-cam scales them before it
    resizes them; tf-keras-vis weighs by the probability of the class, without softmax
    over channels.

    Args:
        layer: As in `GradCAM`.
        relu: As in `GradCAM`. Default True [paper].
        batch_size: Integer. How many masked images go through at once. Default 32.
        baseline: Number, or three of them, in [0, 255]. Colour behind the mask.
            Default: ImageNet's mean colour.

    Reference:
        - [Wang et al., 2020](https://arxiv.org/abs/1910.01279)
    """

    layer: str | None = None
    relu: bool = True
    batch_size: int = 32
    baseline: Any = MEAN_COLOUR
    forward_only = False
    default_threshold = 0.2

    def __post_init__(self) -> None:
        super().__post_init__()
        check_integer("batch_size", self.batch_size)
        colour = self.baseline
        values = colour if isinstance(colour, tuple | list) else [colour]
        if len(values) not in (1, 3):
            raise ValueError(
                "`baseline` must be one number or three. Received: "
                f"baseline={colour!r}."
            )
        for each in values:
            check_number("baseline", each, low=0.0, high=255.0)

    def maps(self, evidence: Evidence) -> Any:
        channels = ops.cast(evidence.features, "float32")
        channels = ops.transpose(channels, (0, 3, 1, 2))
        if channels.shape[0] == 0:  # JAX traces the loop's step, which takes an image
            classes = evidence.class_ids.shape[1]
            return ops.zeros((0, classes, *channels.shape[2:]), "float32")
        weights = ops.softmax(self._scores(evidence, channels), axis=-1)
        maps = ops.einsum("bchw,bkc->bkhw", channels, weights)
        return ops.relu(maps) if self.relu else maps

    def _scores(self, evidence: Evidence, channels: Any) -> Any:
        """Logits `(B, K, C)` of the classes, the image masked by each channel."""
        images, classes = evidence.images, evidence.class_ids.shape[1]
        _, count, height, width = channels.shape
        group = min(self.batch_size, count)
        groups = -(-count // group)
        # Whole groups, so that each step of the loop does the same: the rest is blank.
        blank = groups * group - count
        channels = ops.pad(channels, [[0, 0], [0, blank], [0, 0], [0, 0]])
        channels = ops.reshape(channels, (-1, group, height, width))
        baseline = ops.convert_to_tensor(self.baseline, dtype="float32")
        steps = ops.shape(channels)[0]

        def step(index: Any, scores: Any) -> tuple[Any, Any]:
            image = ops.take(images, index // groups, axis=0)
            chosen = ops.take(evidence.class_ids, index // groups, axis=0)
            maps = ops.take(channels, index, axis=0)[None]
            masks = score_maps(maps, tuple(image.shape[:2]))[0][..., None]
            logits = evidence.logits_of(baseline + masks * (image - baseline))
            # Without this, PyTorch would keep every pass for a gradient.
            logits = ops.stop_gradient(ops.cast(logits, "float32"))
            found = ops.take(logits, chosen, axis=1)[None]
            # TensorFlow runs ten steps of a loop at once where it can. Counting on from
            # the logits (nothing is above infinity) makes each step wait for the last.
            late = ops.cast(ops.any(logits > float("inf")), "int32")
            place = ops.reshape(index, (1, 1))
            return index + 1 + late, ops.scatter_update(scores, place, found)

        start = (ops.zeros((), "int32"), ops.zeros((steps, group, classes)))
        _, scores = ops.while_loop(lambda index, _: index < steps, step, start)
        scores = ops.reshape(scores, (-1, groups * group, classes))[:, :count]
        return ops.transpose(scores, (0, 2, 1))
