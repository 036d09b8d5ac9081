"""Localizers of every score map, on a classifier without a pooled head."""

import dataclasses

import keras
import numpy as np
import pytest
from keras import ops

from keras_wsol import cam
from keras_wsol.cam.gradient import MEAN_COLOUR
from keras_wsol.export import export_saved_model
from keras_wsol.models import Localizer
from tests.contracts.saved_graph import operations
from tests.models.painted import blob_images, painted_classifier
from tests.models.small import draw_weights, dtype_policy, tiny_classifier
from tests.reference import cam_numpy, score_map_numpy
from tests.reference.finite_differences import numerical_gradient

SIZE = (12, 18)
GRADIENT_MAPS = ("grad_cam", "grad_cam_pp", "x_grad_cam", "layer_cam", "hires_cam")
FEATURE_MAPS = ("channel_mean", "ddt", "foreground")
ANY_LAYER = (*GRADIENT_MAPS, "score_cam", *FEATURE_MAPS)
CLASS_IDS = np.array([[3, 0], [1, 1], [4, 2]])
TENSORFLOW = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="TensorFlow's own"
)


def flat_classifier():
    """Cells of 3 x 3 pixels, four channels of them, Flatten, Dense."""
    images = keras.Input((*SIZE, 3))
    x = keras.layers.AveragePooling2D(3, name="cells")(images)
    x = keras.layers.Rescaling(1 / 255)(x)
    x = keras.layers.Conv2D(4, 1, activation="sigmoid", name="hidden")(x)
    x = keras.layers.Dropout(0.5)(keras.layers.Flatten(name="flat")(x))
    model = keras.Model(images, keras.layers.Dense(5, activation="softmax")(x))
    draw_weights(model)
    return model


def tails(model):
    """For each layer, its channels (B, 4, 6, C) and the rest, in float64."""
    kernel, bias = model.layers[-1].get_weights()
    mix, shift = model.get_layer("hidden").get_weights()

    def hidden(cells):
        return 1 / (1 + np.exp(-(cells / 255 @ mix[0, 0].astype("float64") + shift)))

    def logits(x):
        return x.reshape(-1, 96) @ kernel.astype("float64") + bias

    return hidden, {"cells": lambda x: logits(hidden(x)), "hidden": logits}


def cells_of(images):
    cells = images.astype("float64").reshape(-1, 4, 3, 6, 3, 3)
    return cells.mean(axis=(2, 4))


def map_of(name, model, layer, images, **options):
    parts = [images[:2], images[2:]]
    if name == "foreground":
        return cam.Foreground.fit(model, parts, layer, **options)
    if name == "ddt":
        return cam.DDT.fit(model, parts, layer, **options)
    return cam.SCORE_MAPS[name](layer=layer, **options)


def expected_maps(score_map, layer, model, images, class_ids):
    """Score maps (B, K, 12, 18) in NumPy, gradients by finite differences."""
    hidden, rest = tails(model)
    features = cells_of(images)
    features = hidden(features) if layer == "hidden" else features
    if score_map in GRADIENT_MAPS:
        gradients = np.zeros((*class_ids.shape, *features.shape[1:]))
        for b, k in np.ndindex(class_ids.shape):
            gradients[b, k] = numerical_gradient(
                rest[layer], features[b], np.eye(5)[class_ids[b, k]], step=1e-4
            )
        raw = getattr(score_map_numpy, score_map)(features, gradients)
    elif score_map == "score_cam":
        raw = score_map_numpy.score_cam(
            lambda x: rest["cells"](cells_of(x)),
            images,
            features,
            class_ids,
            np.array(MEAN_COLOUR),
        )
    elif score_map == "ddt":
        mean, vector, _ = score_map_numpy.principal_component(features)
        raw = score_map_numpy.ddt(features, mean, vector)
    elif score_map == "foreground":
        roots = np.sqrt(features)
        weights, bias, _ = score_map_numpy.foreground(roots, 2, 0.1)
        raw = (roots @ weights + bias)[:, None]
    else:
        raw = features.mean(axis=-1)[:, None]
    if score_map not in ("hires_cam", "channel_mean"):
        raw = np.maximum(raw, 0)
    raw = np.broadcast_to(raw, (*class_ids.shape, *raw.shape[2:]))
    return np.array([[cam_numpy.score_map(x, SIZE) for x in each] for each in raw])


@pytest.mark.parametrize("score_map", ["cam", *ANY_LAYER])
def test_no_image_gives_no_box(score_map):
    # Eagerly, TensorFlow has no maximum of an empty tensor.
    model = painted_classifier()
    if score_map != "cam":
        score_map = map_of(score_map, model, None, blob_images(3, (24, 36)))
    localizer = Localizer(model, top_k=2, score_map=score_map)
    found = localizer(np.zeros((0, 40, 50, 3), "float32"))
    shapes = {name: tuple(value.shape) for name, value in found.items()}
    assert shapes == {
        "class_ids": (0, 2),
        "scores": (0, 2),
        "boxes": (0, 2, 4),
        "score_maps": (0, 2, 24, 36),
        "valid": (0, 2),
        "logits": (0, 7),
    }


def maps_of(localizer, images, class_ids=CLASS_IDS):
    return ops.convert_to_numpy(localizer.find_maps(images, class_ids)["score_maps"])


@pytest.fixture(scope="module")
def images():
    return blob_images(3, SIZE, seed=4)


@pytest.fixture(scope="module")
def model():
    return flat_classifier()


@pytest.mark.parametrize("layer", ["cells", "hidden"])
@pytest.mark.parametrize("score_map", ANY_LAYER)
def test_equals_numpy_at_any_layer(score_map, layer, model, images):
    localizer = Localizer(model, score_map=map_of(score_map, model, layer, images))
    expected = expected_maps(score_map, layer, model, images, CLASS_IDS)
    assert expected.max(axis=(2, 3)).any()
    np.testing.assert_allclose(maps_of(localizer, images), expected, atol=2e-3)


def test_every_row_of_the_table_is_tested():
    assert set(cam.SCORE_MAPS) == {"cam", *ANY_LAYER} - {"ddt", "foreground"}


def test_without_relu_three_maps_are_cam_on_a_pooled_head():
    model = tiny_classifier("tiny", "dgdm")
    draw_weights(model)
    images = blob_images(2, (20, 30))
    class_ids = np.array([[2, 0, 4], [1, 3, 0]])
    expected = maps_of(Localizer(model), images, class_ids)
    assert expected.max() == 1
    for score_map in ("grad_cam", "x_grad_cam", "hires_cam"):
        signed = Localizer(model, 0.2, score_map=cam.SCORE_MAPS[score_map](relu=False))
        found = maps_of(signed, images, class_ids)
        np.testing.assert_allclose(found, expected, atol=1e-3, err_msg=score_map)


# Where features are positive, the others have no negative cell to cut off.
@pytest.mark.parametrize("score_map", ["grad_cam", "x_grad_cam", "hires_cam"])
def test_relu_can_be_chosen(score_map, model, images):
    maps = [
        maps_of(
            Localizer(model, 0.2, score_map=cam.SCORE_MAPS[score_map]("cells", relu)),
            images,
        )
        for relu in (True, False)
    ]
    assert np.abs(maps[0] - maps[1]).max() > 0.01


def test_options_of_score_cam_reach_it(model, images):
    def found(**options):
        score_map = cam.ScoreCAM(layer="hidden", **options)
        return maps_of(Localizer(model, score_map=score_map), images)

    np.testing.assert_allclose(found(batch_size=np.int64(3)), found(), atol=1e-4)
    config = cam.ScoreCAM(batch_size=np.int64(3)).get_config()
    assert type(config["batch_size"]) is int
    assert np.abs(found(baseline=0) - found()).max() > 1e-3


@pytest.mark.parametrize("score_map", ["grad_cam", "score_cam"])
def test_predicted_classes_boxes_and_other_sizes(score_map, model):
    images = blob_images(3, (24, 27), seed=6)
    score_map = cam.SCORE_MAPS[score_map](layer="hidden")
    localizer = Localizer(model, 0.4, top_k=2, score_map=score_map)
    out = {k: ops.convert_to_numpy(v) for k, v in localizer(images).items()}
    resized = np.stack([cam_numpy.resize(x, SIZE, antialias=True) for x in images])
    logits = tails(model)[1]["cells"](cells_of(resized))
    assert (out["class_ids"] == np.argsort(-logits, axis=1)[:, :2]).all()
    given = maps_of(localizer, images, out["class_ids"])
    np.testing.assert_allclose(out["score_maps"], given, atol=1e-5)
    assert out["boxes"].shape == (3, 2, 4)
    assert out["valid"].any()


@pytest.mark.parametrize(
    "score_map", ["grad_cam_pp", "score_cam", "channel_mean", "ddt"]
)
def test_a_class_that_does_not_exist_and_an_image_with_nan(score_map, model, images):
    score_map = map_of(score_map, model, "hidden", images)
    localizer = Localizer(model, score_map=score_map)
    expected = maps_of(localizer, images).copy()
    pixels = images.astype("float32")
    pixels[2, 3, 4, 1] = np.nan
    expected[2] = 0
    class_ids = CLASS_IDS.copy()
    class_ids[0, 1], class_ids[1, 0] = -1, 5
    expected[0, 1] = expected[1, 0] = 0
    found = localizer(pixels, class_ids=class_ids)
    valid = ops.convert_to_numpy(found["valid"])
    found = ops.convert_to_numpy(found["score_maps"])
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert valid.tolist() == expected.any(axis=(2, 3)).tolist()


@pytest.mark.parametrize("score_map", ["grad_cam", "score_cam", "foreground"])
def test_predict_and_a_saved_localizer_are_equal(score_map, model, images, tmp_path):
    options = {"relu": False}
    if score_map == "score_cam":
        options |= {"batch_size": 3, "baseline": [100.0, 90.0, 80.0]}
    score_map = map_of(score_map, model, "hidden", images, **options)
    localizer = Localizer(model, 0.2, top_k=2, score_map=score_map)
    expected = {k: ops.convert_to_numpy(v) for k, v in localizer(images).items()}
    localizer.save(tmp_path / "localizer.keras")
    revived = keras.saving.load_model(tmp_path / "localizer.keras")
    assert revived.score_map.get_config() == score_map.get_config()
    # The sums of a fitted map need no compiler to show anything.
    revived.compile(run_eagerly=isinstance(score_map, cam.Foreground))
    predicted = revived.predict(images, batch_size=3, verbose=0)
    for name, value in revived(images).items():
        np.testing.assert_array_equal(ops.convert_to_numpy(value), expected[name])
        np.testing.assert_allclose(
            predicted[name], expected[name], atol=1e-4, err_msg=name
        )


@pytest.mark.parametrize("score_map", cam.SCORE_MAPS)
def test_a_name_gives_the_default_object(score_map, model):
    made = cam.SCORE_MAPS[score_map]()
    by_name = Localizer(painted_classifier(), score_map=score_map).score_map
    assert repr(by_name) == repr(made)
    config = keras.saving.serialize_keras_object(made)
    assert config["registered_name"] == f"keras_wsol>{type(made).__name__}"
    assert repr(keras.saving.deserialize_keras_object(config)) == repr(made)
    with pytest.raises(dataclasses.FrozenInstanceError):
        made.relu = False


@keras.saving.register_keras_serializable(package="tests")
@dataclasses.dataclass(frozen=True, eq=False)
class Redness(cam.ScoreMap):
    layer: str | None = None
    power: int = 1

    def maps(self, evidence):
        return ops.transpose(evidence.images[..., :1] ** self.power, (0, 3, 1, 2))


def test_a_score_map_of_the_user(images, tmp_path):
    model = painted_classifier(SIZE)
    with pytest.raises(ValueError, match=r"must be given with.*Redness\(layer=None"):
        Localizer(model, score_map=Redness())
    localizer = Localizer(model, 0.3, score_map=Redness(power=2))
    localizer.save(tmp_path / "localizer.keras")
    found = maps_of(keras.saving.load_model(tmp_path / "localizer.keras"), images)
    expected = [
        cam_numpy.scale_to_unit(x[..., 0].astype("float64") ** 2) for x in images
    ]
    np.testing.assert_allclose(found[:, 1], expected, atol=1e-5)


def test_float16_features_have_gradients_of_float32_maps():
    images = blob_images(2, (16, 24))
    maps, class_ids = {}, np.array([[0, 1], [2, 3]])
    for policy in ("float32", "mixed_float16"):
        with dtype_policy(policy):
            model = tiny_classifier("tiny", "cam")
            draw_weights(model)
            localizer = Localizer(model, score_map="layer_cam")
            maps[policy] = maps_of(localizer, images, class_ids)
    found, expected = maps["mixed_float16"], maps["float32"]
    assert found.dtype == "float32"
    assert np.abs(found - expected).mean() < 0.02


@TENSORFLOW
@pytest.mark.export
@pytest.mark.slow
@pytest.mark.parametrize("score_map", ["grad_cam", "score_cam"])
def test_exported_it_gives_the_same_and_calls_no_python(
    score_map, model, images, tmp_path
):
    import tensorflow as tf

    options = {"batch_size": 3} if score_map == "score_cam" else {}
    score_map = cam.SCORE_MAPS[score_map](layer="hidden", **options)
    localizer = Localizer(model, top_k=2, score_map=score_map)
    path = export_saved_model(localizer, tmp_path / "1")
    serve = tf.saved_model.load(path).signatures["serve_uint8"]
    found = serve(images=tf.constant(images))
    expected = localizer(images)
    del expected["logits"]
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, atol=1e-4, err_msg=name)
    assert not {name for name in operations(path) if "PyFunc" in name}
    assert serve(images=tf.zeros((0, *SIZE, 3), tf.uint8))["boxes"].shape == (0, 2, 4)


@pytest.mark.parametrize(
    ("build", "error", "message"),
    [
        (lambda: cam.GradCAM("third"), ValueError, "Cannot read maps from .*'third'"),
        (lambda: cam.GradCAM("flat"), ValueError, "shape .batch, height.*layer='flat'"),
        (cam.GradCAM, ValueError, "Without a `layer`, score maps are read from"),
        (cam.CAM, ValueError, "ends in GlobalAveragePooling2D and one Dense"),
        (lambda: cam.GradCAM(layer=3), TypeError, "`layer` must be the name of"),
        (lambda: cam.GradCAM(relu=1), TypeError, "`relu` must be a boolean"),
        (
            lambda: cam.CAM(negative_weights=0),
            TypeError,
            "`negative_weights` must be a boolean",
        ),
        (
            lambda: cam.Foreground((0.5,) * 4, 0.0, "cells"),
            ValueError,
            "the 3 channels of the features.*fitted to 4",
        ),
        (
            lambda: cam.DDT((0.0,) * 4, (0.5,) * 4, "cells"),
            ValueError,
            "the 3 channels of the features.*fitted to 4",
        ),
        (
            lambda: cam.ScoreCAM(batch_size=0),
            ValueError,
            "`batch_size` must be an integer >= 1",
        ),
        (
            lambda: cam.ScoreCAM(baseline=(1, 2)),
            ValueError,
            r"`baseline` must be one number or three. .*\(1, 2\)",
        ),
        (
            lambda: cam.ScoreCAM(baseline=300),
            ValueError,
            r"`baseline` must be a number in \[0, 255\]",
        ),
    ],
)
def test_bad_arguments(build, error, message, model):
    with pytest.raises(error, match=message):
        Localizer(model, score_map=build())
