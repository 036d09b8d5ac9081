"""Maps that are made of other maps: filtered, of changed images, or of several maps."""

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_wsol.arguments import check_bool, check_integer, check_number
from keras_wsol.cam.class_activation import score_maps
from keras_wsol.cam.score_map import Evidence, ScoreMap, look, resized, score_map_of
from keras_wsol.cam.split import SplitModel, split_at


class OfAnother(ScoreMap):
    """Base of the maps that are made of one other map, and read what it reads."""

    score_map: Any
    layer = property(attrgetter("score_map.layer"))
    needs_class = property(attrgetter("score_map.needs_class"))
    cam_threshold = property(attrgetter("score_map.cam_threshold"))
    forward_only = property(attrgetter("score_map.forward_only"))

    def __post_init__(self) -> None:
        # A frozen dataclass sets its fields like this.
        object.__setattr__(self, "score_map", score_map_of(self.score_map))

    def cut(self, model: keras.Model) -> SplitModel:
        return self.score_map.cut(model)

    def check(self, split: SplitModel) -> None:
        self.score_map.check(split)


@keras.saving.register_keras_serializable(package="keras_wsol")
@dataclass(frozen=True, eq=False)
class Guided(OfAnother):
    """Another score map, whose edges follow those of the image.

    Each map becomes its mean with its guided filter: in each window, a linear function
    of the image's colours, fitted to the map by least squares; a pixel takes the mean
    of the windows around it. Tune the localizer's `cam_threshold` anew with it.

    Args:
        score_map: Score map to filter, or its name.
        strength: Float in [0, 1]. Share of the filtered map. Default 0.5 [ours].
        radius: Float in (0, 1]. How far a window reaches on each side, as a share of
            the image's shorter side; at least one cell. Default 0.125 [ours].
        epsilon: Float in [1e-6, 1]. How much variance a window's colours, in [0, 1],
            must have to be an edge. Default 0.001 [ours].
        step: Integer. Pixels a side that share their coefficients; 1 is the filter
            of 2013. Default 4 ["fast"].

    Reference:
        - [He, Sun and Tang, 2013](https://doi.org/10.1109/TPAMI.2012.213), sec. 3.5
        - [He and Sun, 2015](https://arxiv.org/abs/1505.00996), "fast"
    """

    score_map: Any
    strength: float = 0.5
    radius: float = 0.125
    epsilon: float = 1e-3
    step: int = 4

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("strength", self.strength)
        above_0 = sys.float_info.min
        expected = "a number above 0 and at most 1"
        check_number("radius", self.radius, low=above_0, expected=expected)
        # Less would drown in the rounding of float32.
        check_number("epsilon", self.epsilon, low=1e-6)
        check_integer("step", self.step)

    def maps(self, evidence: Evidence) -> Any:
        size = tuple(evidence.images.shape[1:3])
        maps = score_maps(self.score_map.maps(evidence), size)
        options = (self.radius, self.epsilon, self.step)
        filtered = guided_filter(maps, evidence.images, *options)
        return ops.relu(maps + self.strength * (filtered - maps))


def guided_filter(
    maps: Any, images: Any, radius: float, epsilon: float, step: int
) -> Any:
    """Filters maps `(B, K, h, w)` by images `(B, H, W, 3)` in [0, 255], see `Guided`.

    The result `(B, K, H, W)` is linear in `maps`. Windows end at the edge of the image.
    """
    maps = ops.cast(maps, "float32")
    images = ops.cast(images, "float32") / 255.0
    size = tuple(images.shape[1:3])
    grid = tuple(-(-side // step) for side in size)
    mean = _box_mean(max(1, round(radius * min(size) / step)))
    maps = resized(ops.transpose(maps, (0, 2, 3, 1)), grid)
    slopes, offsets = _linear_models(maps, _shrunk(images, grid), mean, epsilon)
    # The colours behind one another, then the offsets: one enlargement for all.
    enlarged = resized(mean(ops.concatenate([*slopes, offsets], axis=-1)), size)
    *slopes, offsets = ops.split(enlarged, 4, axis=-1)
    filtered = _dot(slopes, ops.split(images, 3, axis=-1)) + offsets
    return ops.transpose(filtered, (0, 3, 1, 2))


def _linear_models(
    maps: Any, images: Any, mean: Callable[[Any], Any], epsilon: float
) -> tuple[list[Any], Any]:
    """A slope for each colour and an offset, `(B, h, w, K)`, fitted in each window."""
    colours = ops.split(images, 3, axis=-1)
    means = [mean(colour) for colour in colours]
    mean_map = mean(maps)
    with_map = [
        mean(colour * maps) - its_mean * mean_map
        for colour, its_mean in zip(colours, means, strict=True)
    ]

    def covariance(i: int, j: int) -> Any:
        together = mean(colours[i] * colours[j]) - means[i] * means[j]
        return together + epsilon if i == j else together

    upper = [[covariance(i, j) for j in range(i, 3)] for i in range(3)]
    slopes = _solve(upper, with_map)
    return slopes, mean_map - _dot(slopes, means)


def _solve(upper: list[list[Any]], right: list[Any]) -> list[Any]:
    """Solves symmetric systems, given by their upper triangle, by `L D L^T`."""
    # By cofactors the determinant of a grey image would drown in rounding; LiteRT has
    # no solver.
    (rr, rg, rb), (gg, gb), (bb,) = upper
    g_r, b_r = rg / rr, rb / rr
    pivot_g, rest = gg - g_r * rg, gb - g_r * rb
    b_g = rest / pivot_g
    pivot_b = bb - b_r * rb - b_g * rest
    red, green, blue = right
    green = green - g_r * red
    blue = blue - b_r * red - b_g * green
    blue = blue / pivot_b
    green = green / pivot_g - b_g * blue
    return [red / rr - g_r * green - b_r * blue, green, blue]


def _dot(first: list[Any], second: list[Any]) -> Any:
    return sum(a * b for a, b in zip(first, second, strict=True))


def _box_mean(reach: int) -> Callable[[Any], Any]:
    """Returns the mean over windows that end at the edge, for `(B, h, w, C)`."""
    # A matrix of windows would be rounded to ten bits on GPUs: too few for covariances,
    # small differences of means. "same" with stride 1 counts no cells beyond the edge.
    window = 2 * reach + 1

    def mean(values: Any) -> Any:
        for shape in ((window, 1), (1, window)):
            values = ops.average_pool(values, shape, 1, "same", "channels_last")
        return values

    return mean


def _shrunk(images: Any, grid: tuple[int, int]) -> Any:
    """Resizes images, bilinear and antialiased, which LiteRT has no operation for."""
    height, width = images.shape[1:3]
    if (height, width) == grid:
        return images
    # OpenVINO has no `einsum`.
    rows = ops.reshape(images, (-1, height, width * 3))
    rows = ops.matmul(ops.convert_to_tensor(_triangles(height, grid[0])), rows)
    rows = ops.reshape(rows, (-1, grid[0], width, 3))
    return ops.matmul(ops.convert_to_tensor(_triangles(width, grid[1])), rows)


def _triangles(old: int, new: int) -> np.ndarray:
    """What each of `new` cells takes of `old` pixels, `(new, old)`."""
    scale = old / new
    middles = (np.arange(new) + 0.5) * scale - 0.5
    weights = 1 - np.abs(middles[:, None] - np.arange(old)) / scale
    weights = np.maximum(weights, 0)
    return (weights / weights.sum(axis=1, keepdims=True)).astype("float32")


@keras.saving.register_keras_serializable(package="keras_wsol")
@dataclass(frozen=True, eq=False)
class Smoothed(OfAnother):
    """Mean of another score map over changed images: mirrored, and with noise.

    What depends on details of the image averages out. Classes are those of the image as
    it is. Each change takes a pass through the classifier. `aug_smooth` of
    pytorch-grad-cam scales each map to [0, 1] before the mean, and has no noise, but
    inputs times 0.9 and 1.1.

    Args:
        score_map: Score map to read, or its name.
        flip: Boolean. Whether to read mirrored images, too. Default True.
        noise: Float in [0, 1]. Standard deviation of noise that is added to the pixels,
            as a share of their range. Default 0, no noise; SmoothGrad has 0.1 to 0.2.
        samples: Integer. How many images with noise are read for each. Default 1.
        seed: Integer. Of the noise, which is the same for every image. Default 0.

    Example:
    >>> Smoothed("cam").cam_threshold
    0.2

    Reference:
        - [Smilkov et al., 2017](https://arxiv.org/abs/1706.03825) (SmoothGrad)
    """

    score_map: Any
    flip: bool = True
    noise: float = 0.0
    samples: int = 1
    seed: int = 0
    reads_several = True  # it reads images

    def __post_init__(self) -> None:
        super().__post_init__()
        check_bool("flip", self.flip)
        check_number("noise", self.noise)
        check_integer("samples", self.samples, low=1)
        check_integer("seed", self.seed, low=0)
        if self.noise == 0 and (self.samples > 1 or not self.flip):
            raise ValueError(
                "Without `noise`, `flip` must be True and `samples` 1. Received: "
                f"flip={self.flip}, samples={self.samples}."
            )

    def maps(self, evidence: Evidence) -> Any:
        shape = (self.samples, *evidence.images.shape[1:])
        noise = np.random.default_rng(self.seed).normal(0, 255 * self.noise, shape)
        found = []
        for image in noise.astype("float32"):
            found.append(self._of(evidence, evidence.images + image))
            if self.flip:
                mirrored = ops.flip(evidence.images, axis=2) + image
                found.append(ops.flip(self._of(evidence, mirrored), axis=3))
        return sum(found) / len(found)

    def _of(self, evidence: Evidence, images: Any) -> Any:
        changed = look(evidence.split, images)
        return self.score_map.maps(replace(changed, class_ids=evidence.class_ids))


@keras.saving.register_keras_serializable(package="keras_wsol")
@dataclass(frozen=True, eq=False)
class Mean(ScoreMap):
    """Mean of several score maps, of the square roots of each, scaled to [0, 1].

    Independent maps err in different places. The classifier runs once, whatever layers
    the maps read. A map for every class alike counts for each class [ours]. Of several
    layers, pytorch-grad-cam takes the mean without the roots, of gradient maps, too.

    Args:
        score_maps: Two or more score maps, or their names. Each must need one forward
            pass: `CAM`, `ChannelMean`, `DDT`, `Foreground`, `C2AM`, `ByClass`, or
            `Guided` of one of these.

    Example:
    >>> from keras_wsol.cam import CAM, Foreground
    >>> Mean((Foreground((1.0, 2.0), 0.0, "deep"), CAM(negative_weights=False))).layer
    'deep'
    """

    score_maps: tuple[ScoreMap, ...]
    reads_several = True
    default_threshold = 0.5

    def __post_init__(self) -> None:
        found = self.score_maps
        several = isinstance(found, tuple | list) and len(found) > 1
        maps = tuple(map(score_map_of, found)) if several else ()
        # A frozen dataclass sets its fields like this.
        object.__setattr__(self, "score_maps", maps)
        if not maps or not all(each.forward_only for each in maps):
            raise ValueError(
                "`score_maps` must be a tuple of two or more score maps that need one "
                "forward pass: no gradients, no ScoreCAM. Received: "
                f"score_maps={found!r}."
            )
        several = [each for each in map(_unguided, maps) if each.reads_several]
        if any(not isinstance(each, Mean) for each in several):
            raise ValueError(
                "`score_maps` must hold maps that read one layer each. Received: "
                f"score_maps={found!r}."
            )
        if several:
            raise ValueError(
                "`score_maps` must hold no Mean: list its maps instead. Received: "
                f"score_maps={found!r}."
            )

    @property
    def layer(self) -> str | None:
        return self.score_maps[0].layer

    @property
    def needs_class(self) -> bool:
        return any(each.needs_class for each in self.score_maps)

    def cut(self, model: keras.Model) -> SplitModel:
        return split_at(model, *(each.layer for each in self.score_maps))

    def check(self, split: SplitModel) -> None:
        for each, features in self._with_features(split):
            each.check(replace(split, features=features))

    def maps(self, evidence: Evidence) -> Any:
        size = tuple(evidence.images.shape[1:3])
        roots = [
            ops.sqrt(score_maps(each.maps(replace(evidence, features=features)), size))
            for each, features in self._with_features(evidence)
        ]
        return sum(roots) / len(roots)

    def _with_features(self, found: Any) -> Iterator[tuple[ScoreMap, Any]]:
        """Each map and the features that it reads."""
        return zip(self.score_maps, [found.features, *found.around], strict=True)


def _unguided(score_map: ScoreMap) -> ScoreMap:
    """The map that is filtered, if it is."""
    return (
        _unguided(score_map.score_map) if isinstance(score_map, Guided) else score_map
    )
