"""The ONNX model, run by onnxruntime and OpenVINO, says what the localizer says."""

import json
import time

import keras
import numpy as np
import onnx
import onnxruntime
import openvino
import pytest
import tensorflow as tf

from keras_wsol.boxes import largest_boxes, top_boxes
from keras_wsol.export import export_onnx, model_card
from keras_wsol.export.litert_onnx import _to_onnx
from keras_wsol.models import Localizer, build_classifier
from tests.boxes.hard_maps import hard_masks, noise_maps, smooth_maps
from tests.extras.painted_maps import MAPS_BESIDE_CAM
from tests.extras.saved_birds import SIZE, small_localizer
from tests.models.painted import blob_images, painted_classifier

# As it comes, OpenVINO computes in bfloat16 where the processor can.
PRECISE = {"INFERENCE_PRECISION_HINT": "f32"}


def in_onnxruntime(path):
    """A function from inputs to outputs by name."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 2
    session = onnxruntime.InferenceSession(path, options)
    names = [output.name for output in session.get_outputs()]
    return lambda **inputs: dict(zip(names, session.run(names, inputs), strict=True))


def in_openvino(path):
    compiled = openvino.Core().compile_model(path, "CPU", PRECISE)
    names = [output.name for output in onnx.load(path).graph.output]
    return lambda **inputs: {name: compiled(inputs)[name] for name in names}


RUNTIMES = (in_onnxruntime, in_openvino)


def run(path, images):
    return in_onnxruntime(path)(images=images)


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"top_k": 2, "max_boxes": 3},
        *({"top_k": 2, "score_map": score_map} for score_map in MAPS_BESIDE_CAM),
    ],
    ids=str,
)
def test_outputs_are_those_of_the_localizer(arguments, tmp_path):
    localizer = Localizer(painted_classifier(), cam_threshold=0.4, **arguments)
    path = export_onnx(localizer, tmp_path / "models" / "blobs.onnx")
    for run in [runtime(path) for runtime in RUNTIMES]:
        for batch in (1, 3):
            images = blob_images(batch, localizer.input_size).astype("float32")
            found, expected = run(images=images), localizer(images)
            del expected["logits"]
            assert set(found) == set(expected)
            assert np.asarray(expected["valid"])[:, 0].all()
            for name, value in expected.items():
                value = keras.ops.convert_to_numpy(value)
                np.testing.assert_allclose(found[name], value, atol=1e-4, err_msg=name)


@pytest.mark.parametrize("score_map", ["cam", *MAPS_BESIDE_CAM], ids=str)
def test_without_boxes(score_map, tmp_path):
    localizer = Localizer(painted_classifier(), top_k=2, score_map=score_map)
    path = export_onnx(localizer, tmp_path / "blobs.onnx", boxes=False)
    assert not {"Loop", "ScatterElements"} & operations(path)
    images = blob_images(3, localizer.input_size).astype("float32")
    expected = localizer(images)
    for runtime in RUNTIMES:
        found = runtime(path)(images=images)
        assert set(found) == {"class_ids", "scores", "score_maps"}
        for name, value in found.items():
            np.testing.assert_allclose(value, expected[name], atol=1e-4)


def operations(path):
    return {node.op_type for node in onnx.load(path).graph.node}


def test_boxes_are_exact_and_soon_there(tmp_path):
    def everything(maps, static_shapes=False):
        options = {"min_share": 0.0, "static_shapes": static_shapes}
        largest = largest_boxes(maps, 0.4, static_shapes=static_shapes)
        found = {"largest": largest, **top_boxes(maps, 0.4, 3, **options)}
        del found["mean_scores"]  # which a localizer does not give
        return found

    size = (75, 124)
    spec = tf.TensorSpec((None, *size), tf.float32, name="maps")
    function = tf.function(lambda maps: everything(maps, True), input_signature=[spec])
    path = tmp_path / "boxes.onnx"
    onnx.save(_to_onnx(function), path)
    rng = np.random.default_rng(0)
    masks = np.stack(list(hard_masks(*size).values())).astype("float32")
    broken = noise_maps(rng, 4, *size)
    broken[1, 0, 0] = np.nan  # OpenVINO passes over it
    for runtime in RUNTIMES:
        run = runtime(path)
        noise = broken[2:] if runtime is in_openvino else broken
        for maps in (masks, smooth_maps(rng, 4, *size), noise):
            found, expected = run(maps=maps), everything(maps)
            for name, value in expected.items():
                np.testing.assert_array_equal(found[name], value, err_msg=name)
        seconds = []
        for single in masks[:, None]:
            start = time.perf_counter()
            run(maps=single)
            seconds.append(time.perf_counter() - start)
        # A few ms; a grid of cells against components would take a minute.
        assert np.median(seconds) < 0.1


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
