"""All public layers in a SavedModel: same outputs, nothing random in the graph."""

import keras
import numpy as np
import pytest

from tests.contracts.cases import BY_NAME, CASES
from tests.contracts.saved_graph import operations, random_operations

pytestmark = [
    pytest.mark.export,
    pytest.mark.skipif(
        keras.backend.backend() != "tensorflow", reason="a SavedModel is TensorFlow's"
    ),
]


def classifier():
    """A model with every layer, and DFM once more with its mean map."""
    keras.utils.set_random_seed(1)
    inputs = keras.Input((None, None, 3), name="images")
    x = keras.layers.Conv2D(8, 3, padding="same", activation="relu")(inputs)
    for case in CASES:
        x = case.layer(**case.usual)(x)
    x = BY_NAME["DFM"].layer(inference="expected")(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, keras.layers.Dense(2)(x))


@pytest.fixture(scope="module")
def model():
    return classifier()


def test_saved_model_equals_the_model_and_draws_nothing(model, tmp_path):
    import tensorflow as tf

    model.export(tmp_path / "saved", format="tf_saved_model", verbose=False)
    saved = tf.saved_model.load(tmp_path / "saved")
    for shape in ((1, 5, 7, 3), (4, 9, 6, 3)):
        images = np.random.default_rng(2).normal(size=shape).astype("float32")
        np.testing.assert_allclose(
            saved.serve(images), model(images, training=False), rtol=1e-5, atol=1e-6
        )
    assert "Conv2D" in operations(tmp_path / "saved")
    assert random_operations(tmp_path / "saved") == []


@pytest.mark.slow
def test_a_random_operation_would_be_found(model, tmp_path):
    # The same listing on the same model, exported as it trains.
    import tensorflow as tf

    archive = keras.export.ExportArchive()
    archive.track(model)
    archive.add_endpoint(
        "serve",
        lambda images: model(images, training=True),
        input_signature=[tf.TensorSpec((None, None, None, 3), "float32")],
    )
    archive.write_out(tmp_path / "saved", verbose=False)
    drawing = [case for case in CASES if case.random is not None]
    assert len(random_operations(tmp_path / "saved")) > len(drawing)
