"""One localizer, exported once: every signature is read from it."""

from types import SimpleNamespace

import keras
import numpy as np
import pytest

from keras_wsol.export import export_saved_model
from keras_wsol.layers import DGDM
from keras_wsol.models import Localizer, insert_after
from tests.models.painted import painted_classifier

SIZE = (24, 36)
NAMES = ("wren", "Gjøk № 2", "kite")
LIMIT = 75 * 110
METRICS = {"gt_known_loc": 0.5, "split": "test"}


def bright_localizer():
    """Its first class is the brightness of the image, cut at half of the maximum.

    Behind the features there is DGDM, of which no trace may be left.
    """
    kernel = np.array([[1, -1, 1], [1, -1, 0], [1, -1, -1]])
    painted = painted_classifier(SIZE, 3, kernel=kernel, class_names=NAMES)
    model = insert_after(painted, {"features": lambda: DGDM(seed=1, name="dgdm")})
    return Localizer(model, cam_threshold=0.5, top_k=2, max_boxes=3)


@pytest.fixture(scope="session")
def exported(tmp_path_factory):
    """The localizer, the path of its SavedModel, and what TensorFlow loads of it."""
    if keras.backend.backend() != "tensorflow":
        pytest.skip("a SavedModel is TensorFlow's")
    import tensorflow as tf

    localizer = bright_localizer()
    path = tmp_path_factory.mktemp("exported") / "birds" / "1"
    options = {"features": True, "metrics": METRICS, "max_pixels": LIMIT}
    assert export_saved_model(localizer, str(path), **options) == path
    loaded = tf.saved_model.load(path)

    def call(signature, value, **inputs):
        """Outputs of a signature as arrays."""
        name = "image_bytes" if "bytes" in signature else "images"
        if name == "image_bytes":
            value = tf.constant(value, tf.string, (len(value),))
        inputs = {key: tf.constant(number) for key, number in inputs.items()}
        found = loaded.signatures[signature](**{name: tf.constant(value)}, **inputs)
        return {key: tensor.numpy() for key, tensor in found.items()}

    return SimpleNamespace(localizer=localizer, path=path, loaded=loaded, call=call)


@pytest.fixture(scope="session")
def expected(exported):
    """Outputs of the Python model for images, and the names of the classes."""

    def outputs(images, **options):
        found = exported.localizer(images, **options)
        found = {k: keras.ops.convert_to_numpy(v) for k, v in found.items()}
        del found["logits"]
        found["class_names"] = np.array([name.encode() for name in NAMES], object)[
            found["class_ids"]
        ]
        return found

    return outputs
