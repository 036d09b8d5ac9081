"""The model card, the threshold and feature signatures, full precision, the check."""

import json

import keras
import numpy as np
import pytest

from keras_wsol.export import check_saved_model, export_saved_model, model_card
from keras_wsol.export.checking import (
    SIGNATURES,
    TOLERANCES,
    SavedModelCheck,
    _differences,
)
from keras_wsol.export.full_precision import in_float32
from keras_wsol.models import Localizer, build_classifier
from tests.contracts.saved_graph import operations
from tests.models.adapted import SIZE, adapted_model, normalized
from tests.models.painted import blob_images, painted_classifier
from tests.models.small import dtype_policy, random_images

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
    assert card["second_look"] is None
    assert card["guided_filter"] is None


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


# --- a second look


def test_a_second_look_is_exported(tmp_path):
    import tensorflow as tf

    look = {"cam_threshold": 0.7, "margin": 0.05}
    localizer = Localizer(
        painted_classifier(), second_look=True, second_look_options=look
    )
    path = export_saved_model(localizer, tmp_path / "1")
    assert json.loads((path / "model_card.json").read_text())["second_look"] == look
    served, images = signatures(path)["serve_uint8"], blob_images(3, (30, 40))
    found, expected = served(images=tf.constant(images)), localizer(images)
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, atol=1e-4, err_msg=name)
    empty = served(images=tf.zeros((0, 30, 40, 3), tf.uint8))
    assert empty["scores"].shape == (0, 1)


def test_a_guided_filter_is_exported(tmp_path):
    import tensorflow as tf

    options = {"strength": np.float32(0.75), "step": np.int64(2)}
    localizer = Localizer(
        painted_classifier(), guided_filter=True, guided_filter_options=options
    )
    path = export_saved_model(localizer, tmp_path / "1")
    card = json.loads((path / "model_card.json").read_text())
    assert card["guided_filter"] == localizer.guided_filter_options
    assert card["guided_filter"]["step"] == 2
    served, images = signatures(path)["serve_uint8"], blob_images(3, (30, 40))
    found, expected = served(images=tf.constant(images)), localizer(images)
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, atol=1e-4, err_msg=name)


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
    assert check_saved_model(path, images, localizer).ok
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


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_an_adapted_normalization_stays_adapted_in_float32(policy):
    with dtype_policy(policy):
        model = build_classifier(adapted_model(), num_classes=5)
    wide = in_float32(Localizer(model)).model
    images = random_images(2, SIZE)
    found = keras.Model(wide.input, wide.get_layer("scaled").output)(images)
    # To more digits than the narrow type has.
    np.testing.assert_allclose(found, normalized(images), rtol=1e-4, atol=1e-5)


def test_a_float32_model_is_not_copied():
    localizer = Localizer(painted_classifier())
    assert in_float32(localizer) is localizer


# --- the check


def test_check_tells_rounding_from_another_model(blobs):
    localizer, path = blobs
    images = [*blob_images(2, (24, 36)), *blob_images(1, (40, 30))]
    same = check_saved_model(path, images, localizer)
    assert same.ok
    assert same.num_images == 3
    assert tuple(same.by_signature) == SIGNATURES
    for differences in same.by_signature.values():
        assert set(differences) == set(TOLERANCES) == set(localizer(images[0][None]))
    other = check_saved_model(
        path, images[:1], Localizer(localizer.model, cam_threshold=0.9, max_boxes=2)
    )
    assert not other.ok
    assert other.largest_differences["boxes"] > 2
    assert other.largest_differences["scores"] < 1e-4


def test_check_fails_on_nan(blobs, tmp_path):
    # One weight of each class, as a training run that diverged would leave it.
    path = blobs[1]
    model = painted_classifier()
    kernel, bias = model.layers[-1].get_weights()
    kernel[1] = np.nan
    model.layers[-1].set_weights([kernel, bias])
    broken = Localizer(model, cam_threshold=0.4, max_boxes=2)
    images = blob_images(1, (24, 36))
    for saved in (path, export_saved_model(broken, tmp_path / "1")):
        checked = check_saved_model(saved, images, broken)
        for differences in checked.by_signature.values():
            assert np.isnan(differences["scores"])
        assert not checked.ok


def test_a_nan_is_not_lost_among_numbers():
    found = [{"scores": value} for value in (0.0, np.nan, 0.0)]
    checked = SavedModelCheck(1, dict(zip("abc", found, strict=True)), {"scores": 1.0})
    assert not checked.ok
    assert SavedModelCheck(1, {"a": {"scores": 0.5}}, {"scores": 1.0}).ok
    assert not SavedModelCheck(1, {"a": {"scores": 1.5}}, {"scores": 1.0}).ok


def test_check_takes_the_file_of_a_classifier(tmp_path):
    model = painted_classifier()
    model.save(tmp_path / "model.keras")
    path = export_saved_model(model, tmp_path / "1")
    assert check_saved_model(
        path, blob_images(1, (31, 50)), tmp_path / "model.keras"
    ).ok


def test_check_finds_a_fault_in_one_signature(tmp_path, monkeypatch):
    from keras_wsol.export import endpoints

    make = endpoints.bytes_endpoint

    def mirrored(*given):
        def serve(*inputs):
            outputs = make(*given)(*inputs)
            return {**outputs, "score_maps": outputs["score_maps"][..., ::-1]}

        return serve

    monkeypatch.setattr(endpoints, "bytes_endpoint", mirrored)
    localizer = Localizer(painted_classifier())
    path = export_saved_model(localizer, tmp_path / "1")
    checked = check_saved_model(path, blob_images(1, (31, 50)), localizer)
    assert not checked.ok
    wrong = {k for k, v in checked.by_signature.items() if v["score_maps"] > 0.1}
    assert wrong == {"serve_bytes"}


@pytest.mark.parametrize("name", ["boxes", "component_boxes"])
def test_boxes_are_compared_in_cells_of_the_input(name):
    # An image of 240 x 720 through a model of 24 x 36: a cell is 10 x 20 pixels.
    cell = np.array([10.0, 20.0])
    found = {name: np.array([[[320.0, 100.0, 560.0, 215.0]]])}
    expected = {name: np.array([[[300.0, 110.0, 620.0, 200.0]]])}
    differences = _differences(found, expected, cell)[name]
    assert differences.tolist() == [[[1, 1, 3, 1.5]]]
    assert 1 < TOLERANCES[name] < 1.5


def test_check_refuses_nothing_and_other_shapes(blobs):
    localizer, path = blobs
    with pytest.raises(ValueError, match=r"at least one image\. Received none"):
        check_saved_model(path, [], localizer)
    images = blob_images(1, (24, 36))
    with pytest.raises(ValueError, match=r"`\w+` has shape .* not the same model"):
        check_saved_model(
            path, images, Localizer(localizer.model, top_k=2, max_boxes=2)
        )
    with pytest.raises(ValueError, match=r"outputs are .*num_components.*not the same"):
        check_saved_model(path, images, Localizer(localizer.model))


def test_check_refuses_other_saved_models(tmp_path):
    import tensorflow as tf

    tf.saved_model.save(tf.Module(), str(tmp_path / "1"))
    with pytest.raises(ValueError, match=r"lacks the signatures \['serve_bytes', "):
        check_saved_model(
            tmp_path / "1", blob_images(1, (24, 36)), painted_classifier()
        )
