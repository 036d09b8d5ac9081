"""The signature `serve_maps` of a SavedModel, read by what cannot read the others."""

import json
import os
import subprocess
import sys
from pathlib import Path
from unittest import mock

import numpy as np
import onnxruntime
import openvino
import pytest
import tensorflow as tf

from keras_wsol.export import export_saved_model
from keras_wsol.models import Localizer
from tests.extras.painted_maps import MAPS_BESIDE_CAM
from tests.extras.saved_birds import SIZE, exported
from tests.models.painted import blob_images, painted_classifier

NAMES = ("class_ids", "scores", "score_maps")
SCRIPT = Path(__file__).with_name("run_graph_model.cjs")


@pytest.fixture(scope="module")
def birds(tmp_path_factory):
    """Path of a SavedModel, images, and what its localizer says of them."""
    localizer, path = exported(tmp_path_factory.mktemp("maps"), top_k=2)
    images = np.random.default_rng(0).uniform(0, 255, (2, *SIZE, 3)).astype("float32")
    return path, images, localizer(images)


def check(found, expected, atol=1e-4):
    for name in NAMES:
        np.testing.assert_allclose(found[name], expected[name], atol=atol, err_msg=name)


@pytest.mark.parametrize("score_map", ["cam", *MAPS_BESIDE_CAM], ids=str)
def test_openvino(score_map, tmp_path):
    localizer = Localizer(painted_classifier(), top_k=2, score_map=score_map)
    path = export_saved_model(localizer, tmp_path / "1")
    images = blob_images(2, localizer.input_size).astype("float32")
    loaded = tf.saved_model.load(path)
    model = openvino.convert_model(loaded.signatures["serve_maps"])
    precise = {"INFERENCE_PRECISION_HINT": "f32"}
    found = openvino.compile_model(model, "CPU", precise)({"images": images})
    check({name: found[name] for name in NAMES}, localizer(images))


def test_tf2onnx(birds, tmp_path):
    path, images, expected = birds
    model = tmp_path / "birds.onnx"
    command = [sys.executable, "-m", "tf2onnx.convert", "--saved-model", path]
    command += ["--signature_def", "serve_maps", "--tag", "serve", "--output", model]
    subprocess.run(command, check=True)
    session = onnxruntime.InferenceSession(model)
    check(
        dict(zip(NAMES, session.run(NAMES, {"images": images}), strict=True)), expected
    )


def test_tensorflow_js(birds, tmp_path, monkeypatch):
    path, images, expected = birds
    # The converter loads both, whether they are needed or not.
    for name in (
        "tensorflow_decision_forests",
        "tensorflowjs.converters.jax_conversion",
    ):
        monkeypatch.setitem(sys.modules, name, mock.MagicMock())
    from tensorflowjs.converters import convert_tf_saved_model

    options = {"signature_def": "serve_maps", "saved_model_tags": "serve"}
    convert_tf_saved_model(str(path), str(tmp_path), **options)
    result = subprocess.run(
        ["node", SCRIPT, tmp_path, *map(str, images.shape)],
        check=True,
        input=images.tobytes(),
        stdout=subprocess.PIPE,
        env={**os.environ, "NODE_PATH": f"{sys.prefix}/node_modules"},
    )
    found = json.loads(result.stdout.splitlines()[-1])
    check(found, expected, atol=1e-3)
