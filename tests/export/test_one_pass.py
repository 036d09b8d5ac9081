"""Float32 throughout, and which localizers other runtimes than TensorFlow take."""

import json

import keras
import numpy as np
import pytest

from keras_wsol import cam
from keras_wsol.export import export_litert, export_onnx, saved_model
from keras_wsol.export.litert_onnx import _of_one_pass, _write
from keras_wsol.export.saved_model import in_float32
from keras_wsol.models import Localizer, SecondLook, build_classifier
from tests.models.adapted import SIZE, adapted_model, normalized
from tests.models.painted import blob_images, painted_classifier
from tests.models.small import dtype_policy, random_images

pytestmark = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="TensorFlow writes them"
)
TAKEN = ("cam", "channel_mean")


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_a_mixed_model_computes_in_float32(policy):
    with dtype_policy(policy):
        model = painted_classifier()
    localizer = Localizer(model, cam_threshold=0.4, score_map=cam.CAM(False))
    wide = in_float32(localizer)
    assert {layer.compute_dtype for layer in wide.model.layers} == {"float32"}
    assert {layer.compute_dtype for layer in model.layers} != {"float32"}
    for before, after in zip(model.weights, wide.model.weights, strict=True):
        np.testing.assert_array_equal(before, after)
    assert (wide.cam_threshold, wide.score_map.negative_weights) == (0.4, False)
    images = blob_images(2, (24, 36))
    for name, value in localizer(images).items():
        np.testing.assert_allclose(
            wide(images)[name], value, rtol=1e-2, atol=0.5, err_msg=name
        )


def test_an_adapted_normalization_stays_adapted_in_float32():
    with dtype_policy("mixed_bfloat16"):
        model = build_classifier(adapted_model(), num_classes=5)
    wide = in_float32(Localizer(model)).model
    images = random_images(2, SIZE)
    found = keras.Model(wide.input, wide.get_layer("scaled").output)(images)
    # To more digits than the narrow type has.
    np.testing.assert_allclose(found, normalized(images), rtol=1e-4, atol=1e-5)


def test_a_float32_model_is_not_copied():
    localizer = Localizer(painted_classifier())
    assert in_float32(localizer) is localizer


@pytest.mark.parametrize("write", [export_litert, export_onnx])
@pytest.mark.parametrize("name", [name for name in cam.SCORE_MAPS if name not in TAKEN])
def test_gradients_and_masked_images_are_refused(name, write, tmp_path):
    score_map = cam.SCORE_MAPS[name]()
    kind = type(score_map).__name__
    for received, given in ((kind, score_map), ("Guided", cam.Guided(score_map))):
        localizer = Localizer(painted_classifier(), score_map=given)
        with pytest.raises(ValueError, match=rf"Received: {received}\. Export a Saved"):
            write(localizer, tmp_path / "x")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", TAKEN)
def test_maps_of_one_forward_pass_are_taken(name):
    for given in (name, cam.Guided(cam.SCORE_MAPS[name]())):
        localizer = Localizer(painted_classifier(), score_map=given)
        assert _of_one_pass(localizer, "LiteRT") is localizer
    with pytest.raises(ValueError, match=r"Received: SecondLook\. Export a SavedModel"):
        _of_one_pass(SecondLook(localizer), "ONNX")


def test_another_backend_is_refused(monkeypatch):
    monkeypatch.setattr(keras.backend, "backend", lambda: "torch")
    with pytest.raises(RuntimeError, match="A model for ONNX is written by the Tensor"):
        _of_one_pass(painted_classifier(), "ONNX")


@pytest.mark.parametrize("write", [export_litert, export_onnx])
def test_a_folder_is_not_replaced_by_a_file(write, tmp_path):
    (tmp_path / "precious").write_text("mine")
    with pytest.raises(IsADirectoryError, match="must name a file"):
        write(Localizer(painted_classifier()), tmp_path)
    assert (tmp_path / "precious").read_text() == "mine"


@pytest.mark.parametrize("write", [export_litert, export_onnx])
def test_a_file_is_replaced_only_when_told(write, tmp_path):
    (tmp_path / "precious").write_text("mine")
    with pytest.raises(FileExistsError, match="or pass `overwrite=True`"):
        write(Localizer(painted_classifier()), tmp_path / "precious")
    assert (tmp_path / "precious").read_text() == "mine"
    # Nor is what stands where its card would.
    (tmp_path / "precious").rename(tmp_path / "new.json")
    with pytest.raises(FileExistsError, match=r"new\.json exists"):
        write(Localizer(painted_classifier()), tmp_path / "new")
    assert (tmp_path / "new.json").read_text() == "mine"


def test_a_model_and_its_card_come_at_once(tmp_path, monkeypatch):
    path, localizer = tmp_path / "a.tflite", Localizer(painted_classifier())

    def fails(*_):
        raise RuntimeError("stopped")

    def meanwhile(file):
        _write(path, Localizer(localizer.model, top_k=2), other)
        file.write_bytes(b"one")

    def other(file):
        file.write_bytes(b"two")

    with monkeypatch.context() as patch:
        patch.setattr(saved_model, "write_model_card", fails)
        with pytest.raises(RuntimeError, match="stopped"):
            _write(path, localizer, other)
    assert list(tmp_path.iterdir()) == []
    assert _write(path, localizer, meanwhile) == path
    card = json.loads((tmp_path / "a.tflite.json").read_text())
    assert (path.read_bytes(), card["top_k"]) == (b"one", 1)
    assert len(list(tmp_path.iterdir())) == 2
