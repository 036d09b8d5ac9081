"""A localizer to a SavedModel that needs TensorFlow alone."""

import shutil
from pathlib import Path
from typing import Any

import keras

from keras_wsol.models import Localizer


def export_saved_model(
    localizer: keras.Model, path: str | Path, *, overwrite: bool = False
) -> Path:
    """Writes a SavedModel that turns images, or encoded images, into boxes.

    The graph holds inference alone: the layers of ADL, DFM and DGDM leave no trace,
    and no Python is called. It has three signatures with the same outputs, those of
    `Localizer`:

    - `serving_default`: `images`, float32 `(B, H, W, 3)` in [0, 255], any size;
    - `serve_uint8`: the same in uint8;
    - `serve_bytes`: `image_bytes`, strings `(B,)`: JPEG, PNG, GIF (first frame), BMP
      or WebP files of any sizes. Boxes are in pixels of each file's image. A file that
      cannot be decoded gets `valid=False` and zeros, and leaves the others untouched.
      EXIF orientation is not applied: boxes are in pixels of the image as stored.

    If the classifier knows its class names, each signature also gives `class_names`,
    strings `(B, K)`. The folder is written under another name and renamed, so that a
    server never sees half of it.

    Args:
        localizer: A `Localizer`, or a classifier that one can be made of.
        path: Folder to write, such as `saved_models/birds/1`; TensorFlow Serving wants
            the last part to be a number.
        overwrite: Whether a folder that is there may be replaced.

    Returns:
        The path.

    Raises:
        FileExistsError: `path` exists and `overwrite` is false.
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
    path = Path(path)
    if path.exists() and not overwrite:
        raise FileExistsError(
            f"{path} exists. Export to a new version, or pass `overwrite=True`."
        )
    if not isinstance(localizer, Localizer):
        localizer = Localizer(localizer)
    temporary = path.with_name(f".{path.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.parent.mkdir(parents=True, exist_ok=True)
    _write(localizer, temporary)
    replaced = path.with_name(f".{path.name}.old")
    shutil.rmtree(replaced, ignore_errors=True)
    if path.exists():
        path.replace(replaced)
    temporary.replace(path)
    shutil.rmtree(replaced, ignore_errors=True)
    return path


def _write(localizer: Localizer, path: Path) -> None:
    import tensorflow as tf

    from keras_wsol.export.endpoints import Endpoint, bytes_endpoint, image_endpoint

    def signature(endpoint: Endpoint, name: str, shape: tuple, dtype: Any) -> Any:
        spec = tf.TensorSpec(shape, dtype, name=name)
        return tf.function(endpoint, input_signature=[spec])

    # `keras.export.ExportArchive` would write every weight twice.
    module = tf.Module()
    module.weights = [variable.value for variable in localizer.variables]
    images, size = image_endpoint(localizer), (None, None, None, 3)
    tf.saved_model.save(
        module,
        str(path),
        signatures={
            "serving_default": signature(images, "images", size, tf.float32),
            "serve_uint8": signature(images, "images", size, tf.uint8),
            "serve_bytes": signature(
                bytes_endpoint(localizer), "image_bytes", (None,), tf.string
            ),
        },
    )
