"""The LiteRT model, run by ai-edge-litert, says what the localizer says."""

import json
from zipfile import ZipFile

import keras
import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

from keras_wsol.export import export_litert
from keras_wsol.models import Localizer
from tests.extras.painted_maps import MAPS_BESIDE_CAM
from tests.extras.saved_birds import SIZE, small_localizer
from tests.models.painted import blob_images, painted_classifier


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
