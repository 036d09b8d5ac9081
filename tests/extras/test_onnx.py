"""The ONNX model, run by onnxruntime, says what the localizer says."""

import json

import numpy as np
import onnxruntime
import openvino
import pytest

from keras_wsol.export import export_onnx, model_card
from keras_wsol.models import Localizer, build_classifier
from tests.extras.painted_maps import MAPS_BESIDE_CAM
from tests.extras.saved_birds import SIZE, small_localizer
from tests.models.painted import blob_images, painted_classifier

NAMES = ["class_ids", "scores", "score_maps"]


def run(path, images):
    session = onnxruntime.InferenceSession(str(path))
    assert {output.name for output in session.get_outputs()} == set(NAMES)
    return dict(zip(NAMES, session.run(NAMES, {"images": images}), strict=True))


@pytest.mark.parametrize("score_map", ["cam", *MAPS_BESIDE_CAM], ids=str)
@pytest.mark.parametrize("batch", [1, 3])
def test_outputs_are_those_of_the_localizer(batch, score_map, tmp_path):
    localizer = Localizer(painted_classifier(), top_k=2, score_map=score_map)
    path = export_onnx(localizer, tmp_path / "models" / "blobs.onnx")
    images = blob_images(batch, localizer.input_size).astype("float32")
    found, expected = run(path, images), localizer(images)
    for name in NAMES:
        np.testing.assert_allclose(found[name], expected[name], atol=1e-4)


def test_a_backbone_with_its_module(tmp_path):
    localizer = small_localizer(top_k=3)
    path = export_onnx(localizer, tmp_path / "birds.onnx")
    images = np.random.default_rng(0).uniform(0, 255, (2, *SIZE, 3)).astype("float32")
    found, expected = run(path, images), localizer(images)
    np.testing.assert_allclose(found["scores"], expected["scores"], atol=1e-4)
    np.testing.assert_allclose(found["score_maps"], expected["score_maps"], atol=1e-4)


def test_the_card_is_in_the_file(tmp_path):
    localizer = small_localizer(cam_threshold=0.37)
    path = export_onnx(localizer, tmp_path / "birds.onnx")
    found = onnxruntime.InferenceSession(path).get_modelmeta().custom_metadata_map
    read = {name: json.loads(value) for name, value in found.items()}
    assert read == json.loads(json.dumps(model_card(localizer)))
    assert read["cam_threshold"] == 0.37


@pytest.mark.parametrize("score_map", ["cam", *MAPS_BESIDE_CAM], ids=str)
def test_openvino_reads_it(score_map, tmp_path):
    localizer = Localizer(painted_classifier(), top_k=2, score_map=score_map)
    path = export_onnx(localizer, tmp_path / "blobs.onnx")
    # As it comes it computes in bfloat16 where the processor can.
    precise = {"INFERENCE_PRECISION_HINT": "f32"}
    compiled = openvino.Core().compile_model(str(path), "CPU", precise)
    images = blob_images(2, localizer.input_size).astype("float32")
    found, expected = compiled({"images": images}), localizer(images)
    for name in NAMES:
        np.testing.assert_allclose(found[name], expected[name], atol=1e-4)


@pytest.mark.parametrize("method", ["acol", "danet", "abn", "bas", "spg"])
def test_the_maps_of_methods(method, tmp_path):
    small = {"weights": None, "input_shape": (64, 64, 3)}
    model = build_classifier(
        "mobilenet", method, 3, backbone_options={"alpha": 0.25}, **small
    )
    localizer = Localizer(model, top_k=2)
    path = export_onnx(localizer, tmp_path / "birds.onnx")
    images = np.random.default_rng(0).uniform(0, 255, (2, 64, 64, 3)).astype("float32")
    found, expected = run(path, images), localizer(images)
    np.testing.assert_allclose(found["scores"], expected["scores"], atol=1e-4)
    np.testing.assert_allclose(found["score_maps"], expected["score_maps"], atol=1e-3)
