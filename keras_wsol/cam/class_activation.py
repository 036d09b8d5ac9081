"""Class activation maps, and the scaling of any map to [0, 1]."""

from dataclasses import dataclass
from typing import Any

import keras
from keras import ops

from keras_wsol.arguments import check_bool, check_integer
from keras_wsol.cam.score_map import Evidence, ScoreMap, named, resized
from keras_wsol.cam.split import SplitModel
from keras_wsol.masks import spatial_attention


def score_maps(cams: Any, size: tuple[int, int]) -> Any:
    """Resizes maps to `size`, then scales each to [0, 1], in float32.

    Bilinear with half-pixel centres, not antialiased. The minimum of each map becomes 0
    and its maximum 1. A map that is constant, or holds NaN or infinity, becomes zeros.

    Args:
        cams: Float tensor `(B, K, h, w)`.
        size: Height and width of the result in pixels.

    Returns:
        float32 tensor `(B, K, height, width)`.

    Example:
    >>> import numpy as np
    >>> cams = np.array([[-1.0, 0.0], [1.0, 3.0]], "float32")[None, None]
    >>> ops.convert_to_numpy(score_maps(cams, (2, 2)))[0, 0].tolist()
    [[0.0, 0.25], [0.5, 1.0]]
    """
    cams = ops.cast(cams, "float32")
    if cams.shape[0] == 0:  # no image; eagerly, TensorFlow's `ops.max` refuses that
        return ops.zeros((0, cams.shape[1], *size), dtype="float32")
    _, count, height, width = ops.shape(cams)
    maps = ops.reshape(cams, (-1, height, width, 1))
    # Resizing may leave rounding behind, which would be scaled up to a map.
    *_, usable = _range(maps)
    maps = resized(ops.where(usable, maps, ops.zeros_like(maps)), size)
    low, span, usable = _range(maps)
    scaled = (maps - low) / ops.where(usable, span, ops.ones_like(span))
    scaled = ops.where(usable, scaled, ops.zeros_like(scaled))
    return ops.reshape(scaled, (-1, count, *size))


def _range(maps: Any) -> tuple[Any, Any, Any]:
    """Minimum and span of maps `(N, h, w, 1)`; which are finite and not constant."""
    axes = (1, 2, 3)
    low = ops.min(maps, axis=axes, keepdims=True)
    span = ops.max(maps, axis=axes, keepdims=True) - low
    # Not through `span` alone: XLA's maximum passes over NaN.
    finite = ops.all(ops.isfinite(maps), axis=axes, keepdims=True)
    varies = ops.logical_and(span > 0, ops.isfinite(span))
    return low, span, ops.logical_and(finite, varies)


def class_activation_maps(
    features: Any, kernel: Any, class_ids: Any, negative_weights: bool = True
) -> Any:
    """Weighs features by the class weights: `sum_k kernel[k, c] * features[..., k]`.

    Args:
        features: `(B, h, w, C)`, the map that the pooling of the head averages.
        kernel: `(C, num_classes)` of the head's `Dense` layer.
        class_ids: Integers `(B, K)`.
        negative_weights: As in `CAM`.

    Returns:
        float32 tensor `(B, K, h, w)`.

    Example:
    >>> import numpy as np
    >>> features = np.array([[[[1.0, 2.0]], [[3.0, 0.0]]]], "float32")
    >>> kernel = np.array([[1.0, 0.0], [-1.0, 10.0]], "float32")
    >>> cams = class_activation_maps(features, kernel, np.array([[1, 0]]))
    >>> ops.convert_to_numpy(cams).reshape(2, 2).tolist()
    [[20.0, 0.0], [-1.0, 3.0]]
    """
    weights = ops.take(ops.transpose(ops.cast(kernel, "float32")), class_ids, axis=0)
    weights = weights if negative_weights else ops.relu(weights)
    return ops.einsum("bhwc,bkc->bkhw", ops.cast(features, "float32"), weights)


@named("cam")
@dataclass(frozen=True, eq=False)
class CAM(ScoreMap):
    """Class activation map: the features, weighed by the head's class weights.

    The head must be global average pooling and one `Dense` layer, or the pooling of
    class maps, which are then the score maps; `GradCAM` does the same for any layer.

    Args:
        negative_weights: Boolean. Whether class weights below 0 count; without them the
            map covers more of the object ("negative weight clamping" [Bae et al.,
            2020]). Default True [Zhou et al., 2016].

    Reference:
        - [Zhou et al., 2016](https://arxiv.org/abs/1512.04150)
        - [Bae et al., 2020](https://www.ecva.net/papers/eccv_2020/papers_ECCV/papers/123600613.pdf)
    """

    negative_weights: bool = True
    default_threshold = 0.2  # [paper]

    def __post_init__(self) -> None:
        check_bool("negative_weights", self.negative_weights)

    def check(self, split: SplitModel) -> None:
        if split.dense is None and not self.negative_weights:
            raise ValueError(
                "`negative_weights` must be True where the model pools class maps, "
                "which have no weights. Received: negative_weights=False."
            )

    def maps(self, evidence: Evidence) -> Any:
        class_ids, dense = evidence.class_ids, evidence.split.dense
        if dense is None:
            return channels_of(evidence.features, class_ids)
        return class_activation_maps(
            evidence.features, dense.kernel, class_ids, self.negative_weights
        )


def channels_of(features: Any, class_ids: Any) -> Any:
    """The channels `(B, K, h, w)` of these classes."""
    maps = ops.transpose(ops.cast(features, "float32"), (0, 3, 1, 2))
    return ops.take_along_axis(maps, class_ids[:, :, None, None], axis=1)


@keras.saving.register_keras_serializable(package="keras_wsol")
@dataclass(frozen=True, eq=False)
class ClassMaps(ScoreMap):
    """Maps that a layer of the model makes itself, a channel for each class.

    Args:
        layer: String. Layer whose output has a channel for each class.
        top_k: Integer or None. The map is the mean of the channels of so many classes,
            those of the largest logits, whatever class is asked for; more than there
            are means all. Default None, the channel of the class.

    Reference:
        - [Wu et al., 2022](https://arxiv.org/abs/2112.00580) (BAS)
    """

    layer: str
    top_k: int | None = None
    default_threshold = 0.15  # [paper] of BAS

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.top_k is not None:
            check_integer("top_k", self.top_k)

    @property
    def needs_class(self) -> bool:
        return self.top_k is None

    def check(self, split: SplitModel) -> None:
        if split.features.shape[-1] != split.num_classes:
            raise ValueError(
                f"`layer` must have a channel for each of {split.num_classes} classes. "
                f"Received: {self.layer!r} with {split.features.shape[-1]} channels."
            )

    def maps(self, evidence: Evidence) -> Any:
        if self.top_k is None:
            return channels_of(evidence.features, evidence.class_ids)
        count = min(self.top_k, evidence.split.num_classes)
        best = ops.top_k(evidence.logits, count)[1]
        return ops.mean(channels_of(evidence.features, best), axis=1, keepdims=True)


@named("channel_mean")
@dataclass(frozen=True, eq=False)
class ChannelMean(ScoreMap):
    """Mean of the features over channels: where the network responds, to any class.

    SCDA's aggregation map, which SCDA cuts at its mean. One map an image, for every
    class alike.

    Args:
        layer: String or None. Layer whose features are read, after its activation.
            Default None, what the pooling of the head reads.

    Reference:
        - [Wei et al., 2017](https://arxiv.org/abs/1604.04994) (SCDA)
    """

    layer: str | None = None
    needs_class = False
    default_threshold = 0.2

    def maps(self, evidence: Evidence) -> Any:
        return ops.transpose(spatial_attention(evidence.features), (0, 3, 1, 2))
