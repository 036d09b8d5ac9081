"""What a score map is read from, and the base of all score maps."""

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, ClassVar

import keras
import numpy as np
from keras import ops

from keras_wsol.arguments import check_bool, near_name, plain
from keras_wsol.cam.split import SplitModel, node_of, split_at

# Name of a map that needs no fit to its class, filled by `named`.
SCORE_MAPS: dict[str, type["ScoreMap"]] = {}


def named(name: str) -> Callable[[type], type]:
    """Registers a score map in `SCORE_MAPS` and with Keras."""

    def register(score_map: type) -> type:
        SCORE_MAPS[name] = score_map
        return keras.saving.register_keras_serializable(package="keras_wsol")(score_map)

    return register


def score_map_of(value: Any) -> "ScoreMap":
    """Returns a score map: the object given, or the default one of a name."""
    if isinstance(value, ScoreMap):
        return value
    if isinstance(value, str) and value in SCORE_MAPS:
        return SCORE_MAPS[value]()
    kind = ValueError if isinstance(value, str) else TypeError
    raise kind(
        f"`score_map` must be one of {list(SCORE_MAPS)} or a score map of "
        f"`keras_wsol.cam`. Received: score_map={value!r} (of type "
        f"{type(value).__name__}).{near_name(value, SCORE_MAPS)} Maps that are "
        "fitted have no name: pass `cam.DDT.fit(model, images, layer)`, likewise of "
        "`Foreground`, `C2AM` and `ByClass`; or `cam.Mean([...])` of several."
    )


def own_threshold(score_map: "ScoreMap") -> float:
    """Returns the threshold of a score map, or says that it must be given."""
    if score_map.cam_threshold is None:
        raise ValueError(
            "`cam_threshold` must be given with a score map that has none of its own: "
            "a map has one with its default `relu` alone. Pass a number, such as 0.5, "
            "and let `tune` choose it on a few images with boxes. Received: "
            f"cam_threshold=None, score_map={score_map!r}."
        )
    return score_map.cam_threshold


def resize_to_input(images: Any, size: tuple[int, int]) -> Any:
    """Resizes images, antialiased, to float32."""
    return resized(ops.cast(images, "float32"), size, antialias=True)


def resized(values: Any, size: tuple[int, int], antialias: bool = False) -> Any:
    """Resizes `(B, h, w, C)`, bilinear with half-pixel centres."""
    if tuple(values.shape[1:3]) == tuple(size):
        return values
    return ops.image.resize(
        values, size, "bilinear", antialias, data_format="channels_last"
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class Evidence:
    """One batch on its way through the classifier, for a map to read."""

    split: SplitModel
    images: Any  # float32 (B, H, W, 3) at the input size
    features: Any  # (B, h, w, C)
    logits: Any  # float32 (B, num_classes)
    around: list[Any]  # what else the tail takes
    class_ids: Any = None  # int32 (B, K), each within range

    def tail(self, features: Any) -> Any:
        """Logits of other features of these images."""
        return self.split.tail([features, *self.around], training=False)

    def logits_of(self, images: Any) -> Any:
        """Logits `(N, num_classes)` of other images of the input size."""
        return self.split.network(images, training=False)[1]


def look(split: SplitModel, images: Any) -> Evidence:
    """Runs images of any size through a classifier, resized to its input."""
    images = resize_to_input(ops.convert_to_tensor(images), split.input_size)
    features, logits, *around = split.network(images, training=False)
    logits = ops.cast(logits, "float32")
    return Evidence(
        split=split, images=images, features=features, logits=logits, around=around
    )


class ScoreMap:
    """Base of the score maps: how a map is made from what a classifier computes.

    A score map is a frozen dataclass that defines `maps`. Register your own with
    `keras.saving.register_keras_serializable`, and a saved `Localizer` holds it.
    Without a `default_threshold`, its `Localizer` must be given a `cam_threshold`.

    Example:
    >>> @dataclass(frozen=True, eq=False)
    ... class Brightness(ScoreMap):
    ...     layer: str | None = None
    ...     default_threshold = 0.2
    ...     def maps(self, evidence):
    ...         return ops.mean(evidence.images, axis=-1)[:, None]
    >>> Brightness().get_config()
    {'layer': None}
    """

    layer: str | None = None
    # Whether LiteRT and ONNX can hold the map: neither gradients nor loops.
    forward_only: ClassVar[bool] = True
    # Whether the map is one of a class, or the same for every class.
    needs_class: ClassVar[bool] = True
    # Whether the map reads more than the features of one layer.
    reads_several: ClassVar[bool] = False
    # Where the map is cut unless told, with its default `relu`.
    default_threshold: ClassVar[float | None] = None

    def __post_init__(self) -> None:
        if self.layer is not None and not isinstance(self.layer, str):
            raise TypeError(
                "`layer` must be the name of a layer, or None. Received: "
                f"layer={self.layer!r} (of type {type(self.layer).__name__})."
            )
        check_bool("relu", getattr(self, "relu", True))

    @property
    def cam_threshold(self) -> float | None:
        """Where `Localizer` cuts the map unless told; None where it must be told."""
        default = getattr(type(self), "relu", None)
        as_is = getattr(self, "relu", default) == default
        return self.default_threshold if as_is else None

    def maps(self, evidence: Evidence) -> Any:
        """Returns raw maps `(B, K, h, w)`, or `(B, 1, h, w)` for every class alike."""
        raise NotImplementedError

    def check(self, split: SplitModel) -> None:
        """Raises `ValueError` where the map cannot be read from a classifier."""

    def split(self, model: keras.Model) -> SplitModel:
        """Splits a classifier where the map is read, after checking that it can be."""
        split = self.cut(model)
        # The one logit of a head of `build_classifier` is no class and the rest.
        own = hasattr(node_of(split.logits).operation, "class_names")
        if split.num_classes == 1 and (self.needs_class or not own):
            raise ValueError(
                "The model needs one logit a class; for one class and the rest, train "
                f"with two outputs. Received: {model.name!r} with one logit."
            )
        self.check(split)
        return split

    def cut(self, model: keras.Model) -> SplitModel:
        """Splits a classifier at what the map reads."""
        return split_at(model, self.layer)

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments as JSON can hold them."""
        return {each.name: _as_json(getattr(self, each.name)) for each in fields(self)}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "ScoreMap":
        """Makes the score map of a configuration."""
        return cls(**{name: _from_json(value) for name, value in config.items()})


def _as_json(value: Any) -> Any:
    if isinstance(value, ScoreMap):
        return keras.saving.serialize_keras_object(value)
    if isinstance(value, tuple | list | np.ndarray):
        return [_as_json(each) for each in value]
    return plain(value)


def _from_json(value: Any) -> Any:
    if isinstance(value, dict):
        return keras.saving.deserialize_keras_object(value)
    return tuple(map(_from_json, value)) if isinstance(value, list) else value
