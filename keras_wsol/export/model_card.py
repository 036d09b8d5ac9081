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
from keras_wsol.cam import Discriminant, PrincipalComponent
from keras_wsol.models import (
    BACKBONES,
    METHODS,
    Localizer,
    class_names_of,
    inserted_layers,
)

MODEL_CARD = "model_card.json"


def model_card(
    localizer: Localizer, metrics: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Describes a localizer.

    Args:
        localizer: The localizer.
        metrics: What was measured, such as `Report.to_dict()`; kept as it is.

    Returns:
        Dictionary that JSON can hold: name, backbone, method (`None` if the model was
        not made by `build_classifier`), inserted layers with their configurations,
        classes, input size, what the localizer reads, metrics, versions. What it
        reads is the score map, its layer (`None` for what the head's pooling reads)
        and its options; of a fitted component or discriminant, which has a number a
        channel, only its share.
    """
    backbone, method = _backbone_and_method(localizer.model.name)
    names = class_names_of(localizer.model)
    height, width = localizer.input_size
    return {
        "name": localizer.model.name,
        "backbone": backbone,
        "method": method,
        "inserted_layers": [
            {"name": layer.name, "type": type(layer).__name__, **_own_config(layer)}
            for layer in inserted_layers(localizer.model)
        ],
        "num_classes": localizer.head.num_classes,
        "class_names": None if names is None else list(names),
        "parameters": localizer.model.count_params(),
        "input_size": {"height": height, "width": width},
        "score_map": localizer.score_map,
        "layer": localizer.layer,
        "map_options": {
            name: _as_json(value) for name, value in localizer.map_options.items()
        },
        "cam_threshold": localizer.cam_threshold,
        "top_k": localizer.top_k,
        "max_boxes": localizer.max_boxes,
        "second_look": localizer.second_look_options if localizer.second_look else None,
        "guided_filter": (
            localizer.guided_filter_options if localizer.guided_filter else None
        ),
        "boxes": "x0, y0, x1, y1 in pixels of the given image, far edge exclusive",
        "metrics": None if metrics is None else dict(metrics),
        "versions": {
            "keras_wsol": keras_wsol.__version__,
            "keras": keras.__version__,
            "tensorflow": _version_of("tensorflow", "tensorflow-cpu", "tf-nightly"),
            "python": platform.python_version(),
        },
    }


def write_model_card(folder: str | Path, card: Mapping[str, Any]) -> Path:
    """Writes a card into a folder, as `model_card.json`."""
    path = Path(folder) / MODEL_CARD
    text = json.dumps(card, indent=2, ensure_ascii=False, allow_nan=False)
    path.write_text(text + "\n", "utf-8")
    return path


def _backbone_and_method(name: str) -> tuple[str | None, str | None]:
    """Reads the name that `build_classifier` gives."""
    for method in METHODS:
        backbone = name.removesuffix(f"_{method}")
        if backbone != name and backbone in BACKBONES:
            return backbone, method
    return None, None


def _as_json(option: Any) -> Any:
    """An option of a map as JSON can hold it, but for a fit's number a channel."""
    if isinstance(option, PrincipalComponent | Discriminant):
        return {"share": float(option.share)}
    if isinstance(option, tuple | list):  # a colour
        return [float(value) for value in option]
    return option.item() if isinstance(option, np.generic) else option


def _version_of(*names: str) -> str | None:
    """Version of the first of these packages that is installed."""
    for name in names:
        with suppress(PackageNotFoundError):
            return version(name)
    return None


def _own_config(layer: keras.layers.Layer) -> dict[str, Any]:
    kept = keras.layers.Layer.get_config(layer).keys()
    config = layer.get_config()
    return {"config": {k: v for k, v in config.items() if k not in kept}}
