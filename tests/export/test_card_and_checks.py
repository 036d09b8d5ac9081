"""The model card, the threshold and feature signatures, full precision, the check."""

import json

import keras
import numpy as np
import pytest

from keras_wsol.export import check_saved_model, export_saved_model, model_card
from keras_wsol.export.full_precision import in_float32
from keras_wsol.export.replacing import replacing
from keras_wsol.models import Localizer, build_classifier
from tests.contracts.saved_graph import operations
from tests.models.painted import blob_images, painted_classifier
from tests.models.small import dtype_policy

pytestmark = [
    pytest.mark.export,
    pytest.mark.skipif(
        keras.backend.backend() != "tensorflow", reason="a SavedModel is TensorFlow's"
    ),
]


@pytest.fixture(scope="module")
def blobs(tmp_path_factory):
    """A localizer with two components a map, and its SavedModel."""
    localizer = Localizer(painted_classifier(), cam_threshold=0.4, max_boxes=2)
    path = tmp_path_factory.mktemp("blobs") / "1"
    metrics = {"gt_known_loc": 0.5, "split": "test"}
    return localizer, export_saved_model(
        localizer, path, features=True, metrics=metrics, max_pixels=1000
    )


def signatures(path):
    import tensorflow as tf

    return tf.saved_model.load(str(path)).signatures


# --- model card


def test_card_of_a_built_classifier():
    model = build_classifier(
        "mobilenet",
        "adl",
        3,
        weights=None,
        input_shape=(64, 96, 3),
        method_options={"drop_rate": 0.5},
        drop_after=["conv_pw_13_relu"],
        backbone_options={"alpha": 0.25},
        class_names=["ape", "bee", "cat"],
    )
    card = model_card(Localizer(model, cam_threshold=0.3, top_k=2))
    assert (card["backbone"], card["method"]) == ("mobilenet", "adl")
    assert card["class_names"] == ["ape", "bee", "cat"]
    assert card["num_classes"] == 3
    assert card["input_size"] == {"height": 64, "width": 96}
    assert (card["cam_threshold"], card["top_k"], card["max_boxes"]) == (0.3, 2, 1)
    assert card["parameters"] == model.count_params()
    [layer] = card["inserted_layers"]
    assert (layer["name"], layer["type"]) == ("adl_conv_pw_13_relu", "ADL")
    assert layer["config"]["drop_rate"] == 0.5
    assert card["metrics"] is None
    assert card["versions"]["keras"] == keras.__version__


def test_card_lies_beside_the_graph(blobs):
    card = json.loads((blobs[1] / "model_card.json").read_text())
    assert (card["backbone"], card["method"]) == (None, None)
    assert card["metrics"] == {"gt_known_loc": 0.5, "split": "test"}
    assert card["max_pixels"] == 1000
    assert card["cam_threshold"] == 0.4


def test_metrics_that_json_cannot_hold_leave_no_folder(tmp_path):
    with pytest.raises(TypeError, match="JSON"):
        export_saved_model(
            painted_classifier(), tmp_path / "1", metrics={"map": np.zeros(3)}
        )
    assert list(tmp_path.iterdir()) == []


# --- signatures


def test_threshold_of_a_call(blobs):
    import tensorflow as tf

    localizer, path = blobs
    images = blob_images(3, (24, 36)).astype("float32")
    served = signatures(path)
    for threshold in (0.1, 0.7):
        found = served["localize"](
            images=tf.constant(images), cam_threshold=tf.constant(threshold)
        )
        expected = localizer(images, cam_threshold=threshold)
        assert set(found) == set(expected)
        for name, value in expected.items():
            np.testing.assert_allclose(found[name], value, atol=1e-4, err_msg=name)
    png = [tf.io.encode_png(image).numpy() for image in images.astype("uint8")]
    found = served["localize_bytes"](
        image_bytes=tf.constant(png), cam_threshold=tf.constant(0.7)
    )
    np.testing.assert_allclose(found["boxes"], expected["boxes"], atol=1e-3)


def test_threshold_has_the_default_of_the_localizer(blobs):
    from tensorflow.core.protobuf import saved_model_pb2

    message = saved_model_pb2.SavedModel()
    message.ParseFromString((blobs[1] / "saved_model.pb").read_bytes())
    definitions = message.meta_graphs[0].signature_def
    for name in ("localize", "localize_bytes"):
        default = definitions[name].defaults["cam_threshold"].float_val
        assert list(default) == pytest.approx([0.4])
    for name in ("serving_default", "serve_uint8", "serve_bytes"):
        assert len(definitions[name].inputs) == 1


def test_features_are_those_that_the_map_is_read_from(blobs):
    import tensorflow as tf

    localizer, path = blobs
    images = blob_images(2, (31, 50)).astype("float32")
    found = signatures(path)["features"](images=tf.constant(images))
    features, logits = localizer.features(images)
    np.testing.assert_allclose(found["features"], features, atol=1e-4)
    np.testing.assert_allclose(found["logits"], logits, atol=1e-4)
    # They are what the pooling of the head averages.
    pooled = np.asarray(found["features"]).mean((1, 2))
    dense = localizer.model.layers[-1]
    np.testing.assert_allclose(dense(pooled), logits, atol=1e-3)


def test_features_are_left_out_unless_asked_for(tmp_path):
    path = export_saved_model(painted_classifier(), tmp_path / "1")
    assert set(signatures(path)) == {
        "serving_default",
        "serve_uint8",
        "serve_bytes",
        "localize",
        "localize_bytes",
    }


# --- full precision


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_a_mixed_model_computes_in_float32(policy, tmp_path):
    with dtype_policy(policy):
        model = painted_classifier()
    localizer = Localizer(model)
    wide = in_float32(localizer)
    assert {layer.compute_dtype for layer in wide.model.layers} == {"float32"}
    assert {layer.compute_dtype for layer in model.layers} != {"float32"}
    for before, after in zip(model.weights, wide.model.weights, strict=True):
        np.testing.assert_array_equal(before, after)
    path = export_saved_model(localizer, tmp_path / "1")
    images = blob_images(2, (24, 36)).astype("float32")
    assert check_saved_model(path, images, wide).ok
    from tensorflow.core.protobuf import saved_model_pb2

    message = saved_model_pb2.SavedModel()
    message.ParseFromString((path / "saved_model.pb").read_bytes())
    types = {
        attribute.type
        for function in message.meta_graphs[0].graph_def.library.function
        for node in function.node_def
        if node.op in ("AvgPool", "MatMul")
        for attribute in [node.attr["T"]]
    }
    assert types == {1}  # DT_FLOAT
    assert "AvgPool" in operations(path)


def test_a_float32_model_is_not_copied():
    localizer = Localizer(painted_classifier())
    assert in_float32(localizer) is localizer


# --- the check


def test_check_tells_rounding_from_another_model(blobs, tmp_path):
    localizer, path = blobs
    images = [*blob_images(2, (24, 36)), *blob_images(1, (40, 30))]
    same = check_saved_model(path, images, localizer)
    assert same.ok
    assert same.num_images == 3
    localizer.save(tmp_path / "blobs.keras")
    assert check_saved_model(path, images, tmp_path / "blobs.keras").ok
    other = check_saved_model(
        path, images, Localizer(localizer.model, cam_threshold=0.9)
    )
    assert not other.ok
    assert other.largest_differences["boxes"] > 0.5
    assert other.largest_differences["scores"] < 1e-4


def test_check_refuses_nothing_and_other_shapes(blobs):
    localizer, path = blobs
    with pytest.raises(ValueError, match=r"at least one image\. Received none"):
        check_saved_model(path, [], localizer)
    with pytest.raises(ValueError, match="`class_ids` has shape"):
        check_saved_model(
            path, blob_images(1, (24, 36)), Localizer(localizer.model, top_k=2)
        )


# --- whole or not at all


def test_a_folder_lost_between_two_renames_comes_back(tmp_path):
    # As a kill between the renames leaves it: the old folder under its other name.
    (tmp_path / ".model.old").mkdir()
    (tmp_path / ".model.old" / "kept").write_text("precious")

    def fail():
        with replacing(tmp_path / "model") as temporary:
            temporary.mkdir()
            raise KeyError("broken")

    with pytest.raises(KeyError):
        fail()
    assert (tmp_path / "model" / "kept").read_text() == "precious"
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
