"""A localizer to a SavedModel that needs TensorFlow alone."""

from collections.abc import Mapping
from numbers import Integral
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_wsol.data.numpy_pipeline import MAX_PIXELS
from keras_wsol.export.full_precision import in_float32
from keras_wsol.export.model_card import model_card, write_model_card
from keras_wsol.export.warm_up import write_warm_up
from keras_wsol.files import replaced, restore
from keras_wsol.models import Localizer


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

    The graph holds inference alone: the layers of ADL, DFM and DGDM leave no trace,
    and no Python is called. It has three signatures with the same outputs, those of
    `Localizer`:

    - `serving_default`: `images`, float32 `(B, H, W, 3)` in [0, 255], any size;
    - `serve_uint8`: the same in uint8;
    - `serve_bytes`: `image_bytes`, strings `(B,)`: JPEG, PNG, GIF (first frame), BMP
      or WebP files of any sizes. A JPEG is turned upright by its EXIF orientation, and
      boxes are in pixels of each image as it is displayed. Alpha is left out, and of
      16 bits the upper eight are kept. A file that cannot be decoded, or that claims
      more than `max_pixels` (told from its header, before it is decoded), gets
      `valid=False` and zeros, and leaves the others untouched; so does a WebP of
      several frames, which TensorFlow cannot decode safely. A call decodes at most four
      files at once.

    Two more take a threshold, a scalar float32 `cam_threshold`, beside the images:
    `localize` (float32 images) and `localize_bytes`. Its default, the localizer's own,
    stands in the signature: TensorFlow Serving's gRPC fills it in, and C++ does by
    `saved_model::GetInputValues`. They are signatures of their own since Python and
    the REST API want every input that a signature has.

    If the classifier knows its class names, each signature also gives `class_names`,
    strings `(B, K)`. Models trained in mixed precision compute in float32 here.

    Beside the graph lie `model_card.json` (classes, method, backbone, threshold,
    metrics, versions) and the warm-up requests of TensorFlow Serving. The folder is
    written under another name and renamed, so that a server never sees half of it.

    Args:
        localizer: A `Localizer`, or a classifier that one can be made of.
        path: Folder to write, such as `saved_models/birds/1`; TensorFlow Serving wants
            the last part to be a number.
        overwrite: Whether a SavedModel that is there may be replaced.
        max_pixels: Integer of at least 1: height times width of the largest image that
            `serve_bytes` decodes.
        features: Whether to add a signature `features`, from float32 images to the
            features that the score map is read from, `(B, h, w, C)`, and the logits.
        metrics: What is known of the model's worth, such as `Report.to_dict()`, for
            the model card.

    Returns:
        The path.

    Raises:
        TypeError: `metrics` holds what JSON cannot.
        ValueError: `max_pixels` is no such integer.
        FileExistsError: `path` exists and `overwrite` is false, also if another job
            writes it meanwhile; or it holds no SavedModel.
        RuntimeError: Keras does not run on the TensorFlow backend.

    Example:
        export_saved_model(Localizer(model), "saved_models/birds/1")

        # anywhere, with TensorFlow alone
        birds = tf.saved_model.load("saved_models/birds/1")
        out = birds.signatures["serve_bytes"](tf.constant([jpeg_bytes]))
    """
    if keras.backend.backend() != "tensorflow":
        raise RuntimeError(
            "A SavedModel is written by the TensorFlow backend. Save the model as "
            ".keras, and export it where KERAS_BACKEND=tensorflow. The backend is "
            f"{keras.backend.backend()!r}."
        )
    if not isinstance(max_pixels, Integral) or max_pixels < 1:
        raise ValueError(
            "`max_pixels` must be an integer of at least 1. Received: "
            f"max_pixels={max_pixels!r}."
        )
    path = Path(path)
    restore(path)
    _check_path(path, overwrite)
    if not isinstance(localizer, Localizer):
        localizer = Localizer(localizer)
    localizer = in_float32(localizer)
    card = {**model_card(localizer, metrics), "max_pixels": int(max_pixels)}
    with replaced(path, overwrite) as temporary:
        _write(localizer, temporary, int(max_pixels), features)
        write_model_card(temporary, card)
        write_warm_up(temporary, _warm_up_requests(localizer))
    return path


def _check_path(path: Path, overwrite: bool) -> None:
    if path.exists() and not overwrite:
        raise FileExistsError(
            f"{path} exists. Export to a new version, or pass `overwrite=True`."
        )
    if path.exists() and not (path / "saved_model.pb").is_file():
        raise FileExistsError(
            f"{path} is no SavedModel, so it is not replaced: it has no saved_model.pb."
        )


def _write(localizer: Localizer, path: Path, max_pixels: int, features: bool) -> None:
    import tensorflow as tf

    from keras_wsol.export.endpoints import (
        bytes_endpoint,
        feature_endpoint,
        image_endpoint,
    )

    images = tf.TensorSpec((None, None, None, 3), tf.float32, name="images")
    bytes_images = tf.TensorSpec((None, None, None, 3), tf.uint8, name="images")
    image_bytes = tf.TensorSpec((None,), tf.string, name="image_bytes")
    threshold = tf.TensorSpec((), tf.float32, name="cam_threshold")
    own = tf.constant(localizer.cam_threshold, tf.float32)

    # The one-input signatures call the two with a threshold, so that the graph is
    # written once for images and once for encoded images.
    from_images, from_bytes = (
        image_endpoint(localizer),
        bytes_endpoint(localizer, max_pixels),
    )

    @tf.function(input_signature=[images, threshold])
    def localize(images: Any, cam_threshold: Any = own) -> dict[str, Any]:
        return from_images(images, cam_threshold)

    @tf.function(input_signature=[image_bytes, threshold])
    def localize_bytes(image_bytes: Any, cam_threshold: Any = own) -> dict[str, Any]:
        return from_bytes(image_bytes, cam_threshold)

    def signature(spec: Any, function: Any) -> Any:
        return tf.function(function, input_signature=[spec])

    signatures = {
        "serving_default": signature(images, lambda images: localize(images, own)),
        "serve_uint8": signature(
            bytes_images, lambda images: localize(tf.cast(images, tf.float32), own)
        ),
        "serve_bytes": signature(
            image_bytes, lambda image_bytes: localize_bytes(image_bytes, own)
        ),
        "localize": localize,
        "localize_bytes": localize_bytes,
    }
    if features:
        signatures["features"] = signature(images, feature_endpoint(localizer))
    # `keras.export.ExportArchive` would write every weight twice.
    module = tf.Module()
    module.weights = [variable.value for variable in localizer.variables]
    tf.saved_model.save(module, str(path), signatures=signatures)


def _warm_up_requests(localizer: Localizer) -> dict[str, dict[str, Any]]:
    """One black image of the input size for each way to send one."""
    import tensorflow as tf

    image = np.zeros((*localizer.input_size, 3), "uint8")
    encoded = tf.io.encode_jpeg(image).numpy()
    return {
        "serving_default": {"images": image[None].astype("float32")},
        "serve_uint8": {"images": image[None]},
        "serve_bytes": {"image_bytes": np.array([encoded], object)},
    }
