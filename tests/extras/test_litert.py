"""The LiteRT model, run by ai-edge-litert, says what the localizer says."""

import json
from zipfile import ZipFile

import keras
import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter
from creatures import SIDE, of_creatures

from keras_wsol.data import synthetic
from keras_wsol.export import export_litert, export_saved_model
from keras_wsol.models import Localizer
from tests.extras.painted_maps import MAPS_BESIDE_CAM
from tests.extras.saved_birds import SIZE, small_localizer
from tests.models.painted import blob_images, painted_classifier
from tests.models.small import dtype_policy


def run(path, image):
    return Interpreter(str(path)).get_signature_runner()(images=image)


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"top_k": 2, "max_boxes": 3},
        *({"score_map": score_map} for score_map in MAPS_BESIDE_CAM),
    ],
    ids=str,
)
def test_outputs_are_those_of_the_localizer(arguments, tmp_path):
    localizer = Localizer(painted_classifier(), cam_threshold=0.4, **arguments)
    path = export_litert(localizer, tmp_path / "models" / "blobs.tflite")
    for image in blob_images(3, localizer.input_size).astype("float32"):
        found, expected = run(path, image[None]), localizer(image[None])
        del expected["logits"]
        assert set(found) == set(expected)
        assert np.asarray(expected["valid"]).all()
        for name, value in expected.items():
            np.testing.assert_allclose(
                found[name], keras.ops.convert_to_numpy(value), atol=1e-4, err_msg=name
            )
    card = json.loads((tmp_path / "models" / "blobs.tflite.json").read_text())
    assert json.loads(ZipFile(path).read("model_card.json")) == card
    assert card["cam_threshold"] == 0.4
    assert card["score_map"]["type"] == type(localizer.score_map).__name__


def test_a_call_takes_one_image(tmp_path):
    """As the docstring says, and with the words that it names."""
    localizer = Localizer(painted_classifier())
    path = export_litert(localizer, tmp_path / "blobs.tflite")
    images = blob_images(2, localizer.input_size).astype("float32")
    with pytest.raises(RuntimeError, match="failed to prepare"):
        run(path, images)


@pytest.mark.parametrize("score_map", ["cam", *MAPS_BESIDE_CAM], ids=str)
def test_without_boxes_it_is_convolutions_and_products(score_map, tmp_path):
    localizer = Localizer(painted_classifier(), top_k=2, score_map=score_map)
    path = export_litert(localizer, tmp_path / "blobs.tflite", boxes=False)
    whole = export_litert(localizer, tmp_path / "whole.tflite")
    assert path.stat().st_size < whole.stat().st_size
    assert not any("SEGMENT" in name for name in operations(path))
    assert any("SEGMENT" in name for name in operations(whole))
    image = blob_images(1, localizer.input_size).astype("float32")
    found, expected = run(path, image), localizer(image)
    assert set(found) == {"class_ids", "scores", "score_maps"}
    for name, value in found.items():
        np.testing.assert_allclose(value, expected[name], atol=1e-4, err_msg=name)


def operations(path):
    """Names of the operations of a LiteRT model."""
    details = Interpreter(str(path))._get_ops_details()
    return {each["op_name"] for each in details}


def test_a_backbone_with_its_module(tmp_path):
    localizer = small_localizer()
    path = export_litert(localizer, tmp_path / "birds.tflite")
    image = np.random.default_rng(0).uniform(0, 255, (1, *SIZE, 3)).astype("float32")
    found, expected = run(path, image), localizer(image)
    np.testing.assert_allclose(found["scores"], expected["scores"], atol=1e-5)
    np.testing.assert_allclose(found["score_maps"], expected["score_maps"], atol=1e-3)
    np.testing.assert_allclose(found["boxes"], expected["boxes"], atol=1.0)


def test_a_model_trained_in_mixed_precision(tmp_path):
    with dtype_policy("mixed_float16"):
        localizer = of_creatures(tmp_path, images=96, epochs=2)
    computes = {layer.compute_dtype for layer in localizer.model.layers}
    assert "float16" in computes
    path = export_saved_model(localizer, tmp_path / "creatures" / "1")
    serve = tf.saved_model.load(str(path)).signatures["serving_default"]
    path = export_litert(localizer, tmp_path / "creatures.tflite")
    drawn = synthetic("test", num_images=4, image_size=SIDE).images.astype("float32")
    for image in drawn[:, None]:
        found, served, own = run(path, image), serve(images=image), localizer(image)
        assert np.ptp(served["boxes"]) > 10
        # Both compute in float32, the localizer here in float16.
        for expected, near in ((served, 1e-3), (own, 0.02)):
            for name in ("scores", "score_maps"):
                np.testing.assert_allclose(found[name], expected[name], atol=near)
        np.testing.assert_allclose(found["boxes"], served["boxes"], atol=1e-3)
        np.testing.assert_allclose(found["boxes"], own["boxes"], atol=1.0)
