"""The mean of several maps: its sum, its one pass, what holds it, what is refused."""

from dataclasses import replace

import keras
import numpy as np
import pytest
from keras import ops

from keras_wsol import cam
from keras_wsol.cam.score_map import look
from keras_wsol.models import Localizer
from tests.models.painted import blob_images, painted_classifier
from tests.models.small import draw_weights, random_images
from tests.reference import cam_numpy

SIZE = (12, 18)


def conv(channels, name, **arguments):
    arguments = {"padding": "same", "activation": "relu", **arguments}
    return keras.layers.Conv2D(channels, 3, name=name, **arguments)


def classifier(nested=False):
    """Two convolutions, in a model that is a layer or not, pooling and `Dense`."""
    images = keras.Input((*SIZE, 3))
    first = conv(4, "first")(keras.layers.Rescaling(1 / 255)(images))
    x = conv(6, "second", strides=2)(first)
    if nested:
        inner, images = keras.Model(images, x, name="inner"), keras.Input((*SIZE, 3))
        x = inner(images)
    x = keras.layers.GlobalAveragePooling2D()(x)
    model = keras.Model(images, keras.layers.Dense(5, name="logits")(x))
    draw_weights(model)
    return model


def foreground(channels, layer, seed=0, **options):
    weights = np.random.default_rng(seed).normal(size=channels).tolist()
    return cam.Foreground(tuple(weights), 0.1, layer, relu=False, **options)


def three_maps():
    return (
        foreground(4, "first"),
        cam.CAM(negative_weights=False),
        foreground(6, "second", seed=1, root=False),
    )


def maps_of(score_map, model, images, class_ids):
    split = score_map.split(model)
    evidence = replace(look(split, images), class_ids=ops.convert_to_tensor(class_ids))
    return ops.convert_to_numpy(score_map.maps(evidence))


def test_equals_the_loops():
    model, images = classifier(), random_images(3, SIZE)
    class_ids = np.array([[4, 0], [1, 1], [2, 3]])
    found = maps_of(cam.Mean(three_maps()), model, images, class_ids)
    layers = [model.get_layer(name).output for name in ("first", "second")]
    first, second = keras.Model(model.inputs, layers).predict_on_batch(images)
    kernel = np.maximum(model.get_layer("logits").get_weights()[0], 0)
    one, _, other = three_maps()
    raw = {
        "early": np.sqrt(first) @ np.array(one.weights) + one.bias,
        "late": second @ np.array(other.weights) + other.bias,
    }
    assert found.shape == (3, 2, *SIZE)
    for b, k in np.ndindex(3, 2):
        of_class = second[b] @ kernel[:, class_ids[b, k]]
        three = [raw["early"][b], of_class, raw["late"][b]]
        scaled = [cam_numpy.score_map(each, SIZE) for each in three]
        expected = sum(np.sqrt(np.clip(each, 0, 1)) for each in scaled) / 3
        # The root of a rounding near 0 is a larger one.
        np.testing.assert_allclose(found[b, k] ** 2, expected**2, atol=1e-4)


@pytest.mark.parametrize("nested", [False, True])
def test_the_network_runs_once(nested, monkeypatch):
    model, images = classifier(nested), random_images(2, SIZE)
    mean = cam.Mean((*three_maps(), foreground(4, "first", seed=2)))
    localizer = Localizer(model, score_map=mean)
    called, call = [], keras.layers.Conv2D.call
    monkeypatch.setattr(
        keras.layers.Conv2D,
        "call",
        lambda own, x: called.append(own.name) or call(own, x),
    )
    found = localizer(images, training=False)
    assert called == ["first", "second"]
    monkeypatch.undo()
    flat = Localizer(classifier(), score_map=mean)(images)
    for name, value in flat.items():
        values = map(ops.convert_to_numpy, (found[name], value))
        np.testing.assert_allclose(*values, rtol=1e-4, atol=1e-4, err_msg=name)


def test_maps_for_every_class_alike_make_one():
    model = painted_classifier(num_classes=1)
    mean = cam.Mean(("channel_mean", foreground(3, "features")))
    found = maps_of(mean, model, blob_images(2, (24, 36)), np.zeros((2, 1), int))
    assert found.shape == (2, 1, 24, 36)
    assert not mean.needs_class
    with pytest.raises(ValueError, match="needs one logit a class"):
        Localizer(model, score_map=cam.Mean(("cam", "channel_mean")))


def test_one_that_filters_and_one_that_is_filtered():
    model, images = classifier(), random_images(2, SIZE)
    mean = cam.Mean((foreground(4, "first"), cam.Guided("cam", strength=0.0)))
    plain = cam.Mean((foreground(4, "first"), "cam"))
    outside = cam.Guided(mean, strength=0.0)
    expected = ops.convert_to_numpy(Localizer(model, score_map=plain)(images)["boxes"])
    for each in (mean, outside):
        found = Localizer(model, score_map=each)
        assert (found.score_map.layer, found.cam_threshold) == ("first", 0.5)
        boxes = ops.convert_to_numpy(found(images)["boxes"])
        np.testing.assert_allclose(boxes, expected, atol=1e-4)


def test_it_survives_saving(tmp_path):
    model, images = classifier(), random_images(2, SIZE)
    by_class = cam.ByClass([foreground(4, "first", seed) for seed in range(5)])
    localizer = Localizer(model, top_k=2, score_map=cam.Mean(["cam", by_class]))
    localizer.save(tmp_path / "localizer.keras")
    again = keras.saving.load_model(tmp_path / "localizer.keras")
    assert repr(again.score_map) == repr(localizer.score_map)
    expected = localizer.predict_on_batch(images)
    for name, value in again.predict_on_batch(images).items():
        np.testing.assert_allclose(value, expected[name], rtol=1e-5, err_msg=name)


@pytest.mark.slow
@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="a SavedModel")
def test_a_saved_model_says_the_same(tmp_path):
    import tensorflow as tf

    from keras_wsol.export import export_saved_model

    images = random_images(2, SIZE).astype("float32")
    localizer = Localizer(classifier(), score_map=cam.Mean(three_maps()))
    export_saved_model(localizer, tmp_path / "1", features=True)
    served = tf.saved_model.load(tmp_path / "1").signatures
    found, expected = (
        served["serving_default"](images=tf.constant(images)),
        localizer(images),
    )
    np.testing.assert_allclose(found["boxes"], expected["boxes"], atol=1e-3)
    assert served["features"](images=tf.constant(images))["features"].shape[-1] == 4


@pytest.mark.parametrize(
    ("score_maps", "message"),
    [
        ((), "two or more score maps"),
        ("cam", r"a tuple of two or more.*Received: score_maps='cam'"),
        (("cam",), "two or more score maps"),
        (("cam", "grad_cam"), "one forward pass: no gradients"),
        (("cam", cam.Guided("grad_cam")), "no gradients, no ScoreCAM"),
        (("score_cam", "cam"), "one forward pass"),
        (("cam", cam.Mean(("cam", "channel_mean"))), "no Mean: list its maps"),
        (("cam", cam.Guided(cam.Mean(("cam", "cam")))), "no Mean: list its maps"),
        ((cam.ErasedMaps("a", "b", "c"), "cam"), "maps that read one layer each"),
        (("cam", cam.Guided(cam.LevelMaps(("a", "b")))), "read one layer each"),
        (("cam", "camel"), "`score_map` must be one of"),
    ],
)
def test_what_is_refused(score_maps, message):
    with pytest.raises(ValueError, match=message):
        cam.Mean(score_maps)


def test_a_map_that_does_not_fit_its_layer():
    maps = (foreground(4, "first"), foreground(4, "second"))
    with pytest.raises(ValueError, match=r"the 6 channels.*fitted to 4"):
        Localizer(classifier(), score_map=cam.Mean(maps))
    with pytest.raises(ValueError, match=r"does not have.*'third'"):
        Localizer(classifier(), score_map=cam.Mean((foreground(4, "third"), "cam")))
