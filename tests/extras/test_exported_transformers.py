"""A localizer on a transformer in LiteRT, ONNX Runtime and OpenVINO."""

import numpy as np
import onnxruntime
import openvino
import pytest
from ai_edge_litert.interpreter import Interpreter

from keras_wsol.cam import ChannelMean
from keras_wsol.export import export_litert, export_onnx
from keras_wsol.models import Localizer
from tests.models.small import random_images
from tests.models.test_transformers import EVERY, SIZE, classifier

EACH_MAP = pytest.mark.parametrize("score_map", ["cam", ChannelMean("block2")], ids=str)


def localizer_of(kind, score_map):
    model = classifier(kind, backbone_options={"normalization": "tf"})
    return Localizer(model, top_k=2, score_map=score_map)


def assert_same(found, expected):
    assert np.ptp(expected["score_maps"]) > 0.5
    for name in found:
        np.testing.assert_allclose(found[name], expected[name], atol=1e-3, err_msg=name)


@EVERY
@EACH_MAP
def test_by_litert(kind, score_map, tmp_path):
    localizer = localizer_of(kind, score_map)
    path = export_litert(localizer, tmp_path / "tokens.tflite")
    run = Interpreter(str(path)).get_signature_runner()
    for image in random_images(3, SIZE):
        found = run(images=image[None])
        assert len(found) == 5
        assert_same(found, localizer(image[None]))


@EVERY
@EACH_MAP
def test_by_onnxruntime_and_openvino(kind, score_map, tmp_path):
    localizer = localizer_of(kind, score_map)
    path = export_onnx(localizer, tmp_path / "tokens.onnx")
    images = {"images": random_images(3, SIZE)}
    names = ["class_ids", "scores", "score_maps"]
    session = onnxruntime.InferenceSession(str(path))
    expected = localizer(images["images"])
    found = session.run([*names, "boxes"], images)
    assert_same(dict(zip([*names, "boxes"], found, strict=True)), expected)
    # As it comes it computes in bfloat16 where the processor can.
    precise = {"INFERENCE_PRECISION_HINT": "f32"}
    if kind != "siglip":  # behind class tokens it loses the size of the batch
        with pytest.raises(RuntimeError, match="Loop"):
            openvino.Core().compile_model(str(path), "CPU", precise)
        path = export_onnx(localizer, tmp_path / "maps.onnx", boxes=False)
    compiled = openvino.Core().compile_model(str(path), "CPU", precise)(images)
    assert_same({name: compiled[name] for name in names}, expected)
