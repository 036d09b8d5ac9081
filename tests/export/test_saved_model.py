"""The signatures of a SavedModel against the Python model."""

import inspect
import json
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from keras_wsol.cam import GradCAM, Guided
from keras_wsol.export import export_saved_model
from keras_wsol.models import Localizer, SecondLook
from tests.contracts.saved_graph import operations, random_operations
from tests.export.conftest import LIMIT, METRICS, NAMES, SIZE
from tests.export.encoded import encode, lossless
from tests.models.painted import blob_images, painted_classifier
from tests.models.small import random_images

pytestmark = [
    pytest.mark.export,
    pytest.mark.skipif(
        keras.backend.backend() != "tensorflow", reason="a SavedModel is TensorFlow's"
    ),
]

OUTPUTS = {  # dtype, and shape behind the batch
    "boxes": ("float32", (2, 4)),
    "class_ids": ("int32", (2,)),
    "class_names": ("string", (2,)),
    "component_boxes": ("float32", (2, 3, 4)),
    "component_scores": ("float32", (2, 3)),
    "num_components": ("int32", (2,)),
    "score_maps": ("float32", (2, *SIZE)),
    "scores": ("float32", (2,)),
    "valid": ("bool", (2,)),
}
SIGNATURES = ("serve_bytes", "serve_uint8", "serving_default")
FLOATS = {
    "at the input size": random_images(3, SIZE),
    "larger": blob_images(2, (100, 130)).astype("float32"),
    "smaller and higher": blob_images(1, (50, 30)).astype("float32"),
}
PICTURE = blob_images(1, (75, 110), seed=5)[0]
LOSSLESS = lossless(PICTURE)
INPUTS = {  # signature to case to what it is given
    "serving_default": FLOATS,
    "serve_uint8": {case: value.astype("uint8") for case, value in FLOATS.items()},
    "serve_bytes": {"formats": [file for file, _ in LOSSLESS.values()]},
}


def check(found, expected, box_tolerance=2e-2):
    assert sorted(found) == sorted(expected)
    for name, value in found.items():
        if value.dtype.kind == "f":
            # Graph and eager kernels add up in different orders.
            tolerance = box_tolerance if "boxes" in name else 1e-4
            np.testing.assert_allclose(
                value, expected[name], atol=tolerance, rtol=1e-4, err_msg=name
            )
        else:
            np.testing.assert_array_equal(value, expected[name], err_msg=name)


@pytest.fixture(scope="module")
def fresh(exported, tmp_path_factory):
    """Everything that is asked of a process without our package, in one process."""
    folder = tmp_path_factory.mktemp("fresh")
    inputs = {
        f"{signature}/{case}": value
        for signature in ("serving_default", "serve_uint8")
        for case, value in INPUTS[signature].items()
    }
    for number, file in enumerate(INPUTS["serve_bytes"]["formats"]):
        inputs[f"serve_bytes/formats/{number:02}"] = np.frombuffer(file, "uint8")
    np.savez(folder / "in.npz", **inputs)
    script = Path(__file__).with_name("fresh_process.py")
    files = (exported.path, folder / "in.npz", folder / "out.npz")
    command = [sys.executable, "-P", script, *files]
    subprocess.run(command, check=True, cwd=folder, capture_output=True, timeout=300)
    found = {}
    with np.load(folder / "out.npz") as arrays:
        for key, value in arrays.items():
            call, name = key.rsplit("/", 1)
            of_call = found.setdefault(call, {})
            of_call[name] = value.astype(object) if name == "class_names" else value
    return found


@pytest.fixture(params=["here", pytest.param("fresh", marks=pytest.mark.slow)])
def served(request, exported):
    """Gives the outputs of a signature for a case, of this process or a fresh one."""
    if request.param == "fresh":
        found = request.getfixturevalue("fresh")
        return lambda signature, case: found[f"{signature}/{case}"]
    return lambda signature, case: exported.call(signature, INPUTS[signature][case])


@pytest.mark.parametrize("case", list(FLOATS))
def test_images(case, served, expected):
    assert sorted(expected(FLOATS[case])) == sorted(OUTPUTS)
    check(served("serving_default", case), expected(FLOATS[case]))
    check(served("serve_uint8", case), expected(INPUTS["serve_uint8"][case]))


def test_files_of_every_format_and_size_in_one_batch(served, expected):
    each = [expected(image[None]) for _, image in LOSSLESS.values()]
    assert len({image.shape for _, image in LOSSLESS.values()}) > 2
    expected = {name: np.concatenate([x[name] for x in each]) for name in OUTPUTS}
    assert expected["valid"][:, 0].all()
    check(served("serve_bytes", "formats"), expected)


def test_signatures_of_the_contract(exported):
    signatures = exported.loaded.signatures
    threshold = {"cam_threshold": ("float32", ())}
    images = ("float32", (None, None, None, 3))
    taken = {
        name: {
            key: (spec.dtype.name, tuple(spec.shape))
            for key, spec in signatures[name].structured_input_signature[1].items()
        }
        for name in signatures
    }
    assert taken == {
        "serving_default": {"images": images},
        "serve_uint8": {"images": ("uint8", images[1])},
        "serve_bytes": {"image_bytes": ("string", (None,))},
        "serve_maps": {"images": ("float32", (None, *SIZE, 3))},
        "localize": {"images": images, **threshold},
        "localize_bytes": {"image_bytes": ("string", (None,)), **threshold},
        "features": {"images": images},
    }
    card = json.loads((exported.path / "model_card.json").read_text())
    assert card["signatures"] == sorted(taken)
    for name in set(signatures) - {"features", "serve_maps"}:
        given = signatures[name].structured_outputs
        assert {k: v.dtype.name for k, v in given.items()} == {
            name: dtype for name, (dtype, _) in OUTPUTS.items()
        }
        for key, spec in given.items():
            assert spec.shape.rank == 1 + len(OUTPUTS[key][1])


def test_maps_alone(exported, expected):
    images = blob_images(3, SIZE).astype("float32")
    found, wanted = exported.call("serve_maps", images), expected(images)
    assert sorted(found) == ["class_ids", "score_maps", "scores"]
    for name, value in found.items():
        np.testing.assert_allclose(value, wanted[name], atol=1e-5, err_msg=name)


def test_threshold_of_a_call(exported, expected):
    images = blob_images(3, SIZE)
    for threshold in (0.1, 0.7):
        given = {"cam_threshold": np.float32(threshold)}
        wanted = expected(images, cam_threshold=threshold)
        check(exported.call("localize", images.astype("float32"), **given), wanted)
    png = [encode(image, "PNG") for image in images]
    check(exported.call("localize_bytes", png, **given), wanted)


def test_threshold_has_the_default_of_the_localizer(exported):
    from tensorflow.core.protobuf import saved_model_pb2

    message = saved_model_pb2.SavedModel()
    message.ParseFromString((exported.path / "saved_model.pb").read_bytes())
    definitions = message.meta_graphs[0].signature_def
    for name in ("localize", "localize_bytes"):
        default = definitions[name].defaults["cam_threshold"].float_val
        assert list(default) == pytest.approx([0.5])
    for name in SIGNATURES:
        assert len(definitions[name].inputs) == 1


def test_features_are_those_that_the_map_is_read_from(exported):
    images = blob_images(2, SIZE).astype("float32")
    found = exported.call("features", images)
    # The mean of each cell of 4 pixels.
    cells = images.reshape(2, 6, 4, 9, 4, 3).mean(axis=(2, 4))
    np.testing.assert_allclose(found["features"], cells, rtol=1e-5)
    logits = exported.localizer(images)["logits"]
    np.testing.assert_allclose(found["logits"], logits, rtol=1e-5)


@pytest.mark.parametrize("signature", SIGNATURES)
def test_an_empty_batch_gives_empty_outputs(signature, exported):
    empty = {
        "serve_bytes": [],
        "serve_uint8": np.zeros((0, 50, 70, 3), "uint8"),
        "serving_default": np.zeros((0, *SIZE, 3), "float32"),
    }[signature]
    found = exported.call(signature, empty)
    assert {k: v.shape for k, v in found.items()} == {
        k: (0, *shape) for k, (_, shape) in OUTPUTS.items()
    }


def test_the_batch_does_not_matter(exported):
    images = blob_images(5, (50, 70), seed=7)
    together = exported.call("serve_uint8", images)
    alone = exported.call("serve_uint8", images[3:4])
    check({k: v[3:4] for k, v in together.items()}, alone)


def test_nothing_calls_python_or_draws(exported):
    found = set(operations(exported.path))
    # Else the listing would have missed the functions that do the work.
    assert {"AvgPool", "DecodeImage", "ScaleAndTranslate"} <= found
    assert not {name for name in found if "PyFunc" in name}
    assert not random_operations(exported.path)


def test_it_holds_every_weight_once(exported):
    # `keras.export.ExportArchive` writes each twice; `tf.saved_model.save` does not.
    from tensorflow.train import list_variables

    variables = list_variables(str(exported.path / "variables" / "variables"))
    shapes = sorted(tuple(shape) for _, shape in variables if len(shape))
    weights = exported.localizer.model.weights
    assert [shape for shape in shapes if shape in ((3,), (3, 3))] == sorted(
        tuple(w.shape) for w in weights if tuple(w.shape) in ((3,), (3, 3))
    )


def test_card_lies_beside_the_graph(exported):
    card = json.loads((exported.path / "model_card.json").read_text("utf-8"))
    assert card["metrics"] == METRICS
    assert card["max_pixels"] == LIMIT
    assert card["cam_threshold"] == 0.5
    assert card["class_names"] == list(NAMES)
    assert [layer["name"] for layer in card["inserted_layers"]] == ["dgdm"]
    default = inspect.signature(export_saved_model).parameters["max_pixels"].default
    assert default == 50_000_000


@pytest.mark.slow
def test_a_second_look_by_filtered_gradients_without_names(tmp_path):
    """All that the other runtimes refuse, in one graph."""
    import tensorflow as tf

    score_map = Guided(GradCAM(relu=False), strength=np.float32(0.75), step=2)
    first = Localizer(painted_classifier(), 0.3, score_map=score_map)
    localizer = SecondLook(first, crop_threshold=0.7, margin=0.05)
    path = export_saved_model(localizer, tmp_path / "1")
    card = json.loads((path / "model_card.json").read_text())
    assert card["second_look"] == {"crop_threshold": 0.7, "margin": 0.05}
    assert card["score_map"]["type"] == "Guided"
    assert card["score_map"]["score_map"]["type"] == "GradCAM"
    assert card["score_map"]["score_map"]["relu"] is False
    model = tf.saved_model.load(path)
    served, images = model.signatures["serve_uint8"], blob_images(3, (30, 40))
    found, expected = served(images=tf.constant(images)), localizer(images)
    del expected["logits"]
    # Without names of classes there is none in the outputs, nor features unasked.
    assert sorted(found) == sorted(expected)
    assert not {"features", "serve_maps"} & set(model.signatures)
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, atol=1e-3, err_msg=name)
    empty = served(images=tf.zeros((0, 30, 40, 3), tf.uint8))
    assert empty["scores"].shape == (0, 1)
