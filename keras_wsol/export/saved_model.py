"""A localizer to a SavedModel for TensorFlow alone, and the card of any export."""

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
from keras_wsol.arguments import check_integer
from keras_wsol.data.images import MAX_PIXELS, MAX_SCANS
from keras_wsol.files import replaced, restore
from keras_wsol.models import (
    BACKBONES,
    Localizer,
    SecondLook,
    class_names_of,
    inserted_layers,
)
from keras_wsol.models.splice import set_layer_weights

# Policies that a configuration may name by a string.
_NARROW = ("float16", "bfloat16", "mixed_float16", "mixed_bfloat16")


def export_saved_model(
    localizer: keras.Model,
    path: str | Path,
    *,
    overwrite: bool = False,
    max_pixels: int = MAX_PIXELS,
    features: bool = False,
    metrics: Mapping[str, Any] | None = None,
) -> Path:
    """Writes a SavedModel that turns images, or encoded images, into boxes.

    The graph holds inference alone, in float32, and calls no Python. Its signatures
    give the outputs of `Localizer`, without the logits, and `class_names` if the
    classifier knows them:

    - `serving_default`: `images`, float32 `(B, H, W, 3)` in [0, 255], any size;
    - `serve_uint8`: the same in uint8;
    - `serve_bytes`: `image_bytes`, strings `(B,)`: JPEG, PNG, BMP or still WebP files,
      turned upright by their EXIF tag, with boxes in pixels of each. What cannot be
      decoded, is a GIF or an animated WebP, or exceeds a limit, gets `valid=False` and
      zeros, and leaves the others untouched. The limits are `max_pixels`, a JPEG's 100
      scans and 1000 segments before them, and a PNG's eight bytes a pixel and half a
      megabyte. A PNG may still take two seconds for each of its megabytes: have the
      server limit the bytes of a request. An image that could be read with more memory
      is an error, RESOURCE_EXHAUSTED;
    - `localize` and `localize_bytes`: the same with a scalar `cam_threshold`, whose
      default is the localizer's;
    - `serve_maps`: `images`, float32 `(B, h, w, 3)` of the input size, one at least, to
      `class_ids`, `scores` and `score_maps` alone, by operations that OpenVINO,
      TensorFlow.js and tf2onnx know, but for the GELU of transformers in tf2onnx. Maps
      of gradients or masked images and a second look have none.

    `model_card.json`, which lists them, lies beside the graph. The folder is written
    under another name and renamed, so that a server never sees half of it.

    Args:
        localizer: `Localizer`, or a classifier that one can be made of.
        path: String or path. Folder to write, such as `saved_models/birds/1`;
            TensorFlow Serving wants the last part to be a number.
        overwrite: Boolean. Whether a SavedModel that is there may be replaced.
        max_pixels: Integer. Height times width of the largest image that is decoded.
        features: Boolean. Whether to add a signature `features`, from float32 images to
            the features that the score map is read from, and the logits.
        metrics: Dictionary for the model card, such as `Report.to_dict()`.

    Returns:
        The path.

    Raises:
        FileExistsError: `path` exists and `overwrite` is false, also if another job
            writes it meanwhile; or it holds no SavedModel.
        RuntimeError: Keras does not run on the TensorFlow backend.

    Example:
        export_saved_model(Localizer(model), "saved_models/birds/1")

        # anywhere, with TensorFlow alone
        birds = tf.saved_model.load("saved_models/birds/1")
        out = birds.signatures["serve_bytes"](tf.constant([jpeg_bytes]))
    """
    check_backend("A SavedModel")
    max_pixels = check_integer("max_pixels", max_pixels)
    path = Path(path)
    restore(path)
    _check_path(path, overwrite)
    localizer = in_float32(as_localizer(localizer))
    limits = {"max_pixels": max_pixels, "max_scans": MAX_SCANS}
    card = {**model_card(localizer, metrics), **limits}
    with replaced(path, overwrite) as temporary:
        card["signatures"] = _write(localizer, temporary, max_pixels, features)
        write_model_card(temporary / "model_card.json", card)
        _check_path(path, overwrite=True)  # something may have come meanwhile
    return path


def as_localizer(model: keras.Model) -> Localizer:
    """Returns a localizer as it is, and the localizer of a classifier."""
    return model if isinstance(model, Localizer) else Localizer(model)


def is_of_one_pass(localizer: Localizer) -> bool:
    """Whether it needs neither gradients nor masked images nor a second look."""
    second = isinstance(localizer, SecondLook)
    return localizer.score_map.forward_only and not second


def check_backend(what: str) -> None:
    """Raises unless Keras runs on TensorFlow."""
    if keras.backend.backend() != "tensorflow":
        raise RuntimeError(
            f"{what} is written by the TensorFlow backend. Save the model as .keras, "
            f"and export it there. Received: KERAS_BACKEND={keras.backend.backend()}."
        )


def in_float32(localizer: Localizer) -> Localizer:
    """Returns the localizer, or a copy of it, with every layer computing in float32."""
    # The casts of a mixed policy gain nothing on a CPU; its weights are float32.
    config = keras.saving.serialize_keras_object(localizer)
    widened = _widened(config)
    if widened == config:
        return localizer
    copy = keras.saving.deserialize_keras_object(widened)
    narrow = [
        layer.name
        for layer in copy.model.layers
        # An input takes the global policy, and computes nothing.
        if not isinstance(layer, keras.layers.InputLayer)
        and layer.compute_dtype != "float32"
    ]
    if narrow:
        raise ValueError(
            "Layers with a dtype policy of their own, such as a quantized one, cannot "
            f"be made to compute in float32. Received: {narrow[:10]}."
        )
    weights = [weight.astype("float32") for weight in localizer.model.get_weights()]
    set_layer_weights(copy.model, weights)
    return copy


def _widened(entry: Any) -> Any:
    """A configuration with each dtype policy replaced by float32."""
    if isinstance(entry, dict):
        if entry.get("class_name") == "DTypePolicy":
            return {**entry, "config": {**entry["config"], "name": "float32"}}
        return {
            name: "float32" if name == "dtype" and value in _NARROW else _widened(value)
            for name, value in entry.items()
        }
    if isinstance(entry, list | tuple):
        return type(entry)(_widened(value) for value in entry)
    return entry


def _check_path(path: Path, overwrite: bool) -> None:
    if path.exists() and not overwrite:
        raise FileExistsError(
            f"{path} exists. Export to a new version, or pass `overwrite=True`."
        )
    if path.exists() and not (path / "saved_model.pb").is_file():
        raise FileExistsError(
            f"{path} is no SavedModel, so it is not replaced: it has no saved_model.pb."
        )


def _write(
    localizer: Localizer, path: Path, max_pixels: int, features: bool
) -> list[str]:
    """Writes the graph and its weights; returns the names of its signatures."""
    import tensorflow as tf

    from keras_wsol.export import endpoints

    images = tf.TensorSpec((None, None, None, 3), tf.float32, name="images")
    bytes_images = tf.TensorSpec((None, None, None, 3), tf.uint8, name="images")
    image_bytes = tf.TensorSpec((None,), tf.string, name="image_bytes")
    threshold = tf.TensorSpec((), tf.float32, name="cam_threshold")
    own = tf.constant(localizer.cam_threshold, tf.float32)

    def signature(function: Any, *inputs: Any) -> Any:
        return tf.function(function, input_signature=inputs, autograph=False)

    # Python and the REST API want every input of a signature, so that the threshold
    # has signatures of its own. The others call them: the graph is written once for
    # images and once for encoded images.
    def localize(images: Any, cam_threshold: Any = own) -> dict[str, Any]:
        return endpoints.localize(localizer, images, cam_threshold)

    def localize_bytes(image_bytes: Any, cam_threshold: Any = own) -> dict[str, Any]:
        return endpoints.localize_bytes(
            localizer, image_bytes, cam_threshold, max_pixels
        )

    of_images = signature(localize, images, threshold)
    of_bytes = signature(localize_bytes, image_bytes, threshold)
    signatures = {
        "serving_default": signature(lambda images: of_images(images, own), images),
        "serve_uint8": signature(
            lambda images: of_images(tf.cast(images, tf.float32), own), bytes_images
        ),
        "serve_bytes": signature(
            lambda image_bytes: of_bytes(image_bytes, own), image_bytes
        ),
        "localize": of_images,
        "localize_bytes": of_bytes,
    }
    if is_of_one_pass(localizer):
        fixed = tf.TensorSpec((None, *localizer.input_size, 3), tf.float32, "images")
        signatures["serve_maps"] = signature(
            lambda images: endpoints.localize_maps(localizer, images), fixed
        )
    if features:
        split = localizer.score_map.split(localizer.model)
        signatures["features"] = signature(
            lambda images: endpoints.look_at_features(split, images), images
        )
    # `keras.export.ExportArchive` would write every weight twice.
    module = tf.Module()
    module.weights = [variable.value for variable in localizer.variables]
    tf.saved_model.save(module, str(path), signatures=signatures)
    return sorted(signatures)


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
