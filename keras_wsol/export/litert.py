"""A localizer to LiteRT, for phones and small boards."""

import tempfile
from pathlib import Path
from typing import Any

import keras

from keras_wsol.export.full_precision import in_float32
from keras_wsol.export.static_graph import as_localizer, check_static, save_function
from keras_wsol.files import replaced
from keras_wsol.models import Localizer


def export_litert(localizer: keras.Model, path: str | Path) -> Path:
    """Writes a LiteRT model: one image in, class, score, score map and box out.

    The signature `serving_default` takes `images`, float32 `(1, h, w, 3)` in [0, 255]
    of the localizer's input size, and gives its outputs, boxes in pixels of that size.
    Nothing but LiteRT's built-in operations is used, connected components included.

    Args:
        localizer: A `Localizer`, or a classifier that one can be made of. Its score
            map must be `"cam"`, `"channel_mean"`, `"ddt"` or `"foreground"`.
        path: File to write, such as `birds.tflite`. A file that is there is replaced
            once the new one is complete.

    Returns:
        The path.

    Raises:
        ValueError: The score map is another one, or the localizer takes a second look.
        RuntimeError: Keras does not run on the TensorFlow backend.

    Example:
        export_litert(localizer, "birds.tflite")

        from ai_edge_litert.interpreter import Interpreter
        run = Interpreter("birds.tflite").get_signature_runner()
        out = run(images=image[None].astype("float32"))
    """
    check_static(localizer, "LiteRT")
    import tensorflow as tf

    localizer = in_float32(as_localizer(localizer))
    with tempfile.TemporaryDirectory() as folder:
        # From a SavedModel: given a function, the converter leaves out the weights.
        save_function(localizer, _outputs(localizer), folder, batch=1)
        converter = tf.lite.TFLiteConverter.from_saved_model(folder)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
        content = converter.convert()
    with replaced(Path(path)) as temporary:
        temporary.write_bytes(content)
    return Path(path)


def _outputs(localizer: Localizer) -> Any:
    return lambda images: localizer(images, training=False, static_shapes=True)
