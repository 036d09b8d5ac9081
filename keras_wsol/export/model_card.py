"""What an operator has to know of a model, as JSON beside its graph."""

import json
import platform
from collections.abc import Mapping
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import keras
import numpy as np

import keras_wsol
from keras_wsol.models import (
    BACKBONES,
    Localizer,
    SecondLook,
    class_names_of,
    inserted_layers,
)

# A fitted score map has a number a channel, which says nothing to a reader.
_LONGEST_LIST = 16


def model_card(
    localizer: Localizer, metrics: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Describes a localizer.

    Args:
        localizer: `Localizer`.
        metrics: Dictionary of what was measured, such as `Report.to_dict()`.

    Returns:
        Dictionary that JSON can hold. `backbone` and `method` are `None` if
        `build_classifier` did not make the model.
    """
    model, names = localizer.model, class_names_of(localizer.model)
    height, width = localizer.input_size
    layers = inserted_layers(model)
    backbone, method = _backbone_and_method(model.name)
    score_map = keras.saving.serialize_keras_object(localizer.score_map)
    look = None
    if isinstance(localizer, SecondLook):
        look = {name: getattr(localizer, name) for name in ("crop_threshold", "margin")}
    return {
        "name": model.name,
        "backbone": backbone,
        "method": method,
        "inserted_layers": [
            {"name": layer.name, "type": type(layer).__name__, "config": _own(layer)}
            for layer in layers
        ],
        "num_classes": localizer.num_classes,
        "class_names": None if names is None else list(names),
        "parameters": model.count_params(),
        "input_size": {"height": height, "width": width},
        "score_map": _settings(score_map),
        "cam_threshold": localizer.cam_threshold,
        "notes": dict(localizer.notes),
        "top_k": localizer.top_k,
        "max_boxes": localizer.max_boxes,
        "min_share": localizer.min_share,
        "second_look": look,
        "boxes": "x0, y0, x1, y1 in pixels of the given image, far edge exclusive",
        "metrics": None if metrics is None else dict(metrics),
        "versions": {
            "keras_wsol": keras_wsol.__version__,
            "keras": keras.__version__,
            "tensorflow": _version_of("tensorflow", "tensorflow-cpu", "tf-nightly"),
            "python": platform.python_version(),
        },
    }


def write_model_card(path: Path, card: Mapping[str, Any]) -> None:
    """Writes a card to a file; `TypeError` or `ValueError` for what JSON lacks."""
    text = json.dumps(card, indent=2, ensure_ascii=False, allow_nan=False)
    path.write_text(text + "\n", "utf-8")


def _backbone_and_method(name: str) -> tuple[str | None, str | None]:
    """Reads the name that `build_classifier` gives."""
    for backbone in sorted(BACKBONES, key=len, reverse=True):
        method = name.removeprefix(f"{backbone}_")
        if method != name:
            return backbone, method
    return None, None


def _settings(value: Any) -> Any:
    """The configuration of an object that Keras serialized, for a reader."""
    if isinstance(value, dict) and "class_name" in value:
        settings = {"type": value["class_name"], **_settings(value["config"])}
        if settings["type"] == "ByClass":  # what the maps of all classes share
            first, *others = settings["score_maps"]
            rest = [each.items() for each in others]
            same = {k: v for k, v in first.items() if all((k, v) in x for x in rest)}
            settings["score_maps"] = same
        return settings
    if isinstance(value, list):
        return [_settings(each) for each in value]
    if isinstance(value, dict):
        return {
            name: _settings(entry)
            for name, entry in value.items()
            if not _is_long(entry)
        }
    return value


def _is_long(value: Any) -> bool:
    """Whether a value is a long list of numbers."""
    numbers = isinstance(value, list) and not any(isinstance(x, dict) for x in value)
    return numbers and np.size(value) > _LONGEST_LIST


def _own(layer: keras.layers.Layer) -> dict[str, Any]:
    """Configuration of a layer without what every layer has."""
    general = keras.layers.Layer.get_config(layer).keys()
    return {k: v for k, v in layer.get_config().items() if k not in general}


def _version_of(*names: str) -> str | None:
    """Version of the first of these packages that is installed."""
    for name in names:
        with suppress(PackageNotFoundError):
            return version(name)
    return None
