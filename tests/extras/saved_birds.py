"""A small localizer, exported, and image files for it."""

import io

import numpy as np
from PIL import Image

from keras_wsol.data import synthetic
from keras_wsol.export import export_saved_model
from keras_wsol.models import Localizer, build_classifier

SIZE = (64, 96)
CLASS_NAMES = ["ape", "bee", "cat"]


def small_localizer(**arguments):
    model = build_classifier(
        "mobilenet",
        "adl",
        3,
        weights=None,
        input_shape=(*SIZE, 3),
        backbone_options={"alpha": 0.25},
        class_names=CLASS_NAMES,
    )
    return Localizer(model, **arguments)


def exported(folder, **arguments):
    """The localizer and the path of its SavedModel."""
    localizer = small_localizer(**arguments)
    return localizer, export_saved_model(localizer, folder / "birds" / "1")


def encoded_images():
    """Files of three sizes, the third broken: name -> bytes."""
    drawn = synthetic("test", num_images=3, image_size=96).images.astype("uint8")
    files = {}
    for index, size in enumerate(((96, 96), (150, 70), (64, 128))):
        buffer = io.BytesIO()
        Image.fromarray(drawn[index]).resize(size).save(buffer, "JPEG", quality=95)
        files[f"bird {index}.jpg"] = buffer.getvalue()
    files["broken.jpg"] = files["bird 2.jpg"][:200]
    return files


def expected(path, files, signature="serve_bytes", **inputs):
    """Outputs of the SavedModel called from Python, as arrays."""
    import tensorflow as tf

    serve = tf.saved_model.load(str(path)).signatures[signature]
    outputs = serve(image_bytes=tf.constant(list(files.values())), **inputs)
    return {name: np.asarray(value) for name, value in outputs.items()}
