"""What every method promises: plain `compile` and `fit`, and nothing at inference."""

import warnings
from dataclasses import replace

import keras
import numpy as np
import pytest
from keras import ops

from keras_wsol.data import synthetic
from keras_wsol.evaluation import LocalizationEvaluation, evaluate
from keras_wsol.layers import ADL
from keras_wsol.models import (
    Localizer,
    build_classifier,
    class_names_of,
    describe,
    fit_localizer,
    with_input_size,
)
from keras_wsol.models.methods import BAS, Method
from tests.models.methods.cases import (
    CLASSES,
    DRAWING,
    METHODS,
    added_loss,
    batch,
    built,
    compiled,
    same_draws,
)
from tests.models.small import (
    TINY_SIZE,
    dtype_policy,
    outputs,
    tiny_classifier,
    weights_by_layer,
)

EVERY = pytest.mark.parametrize("name", list(METHODS))
# As `EVERY`; two of them at once, the rest, which take long, with the slow tests.
SOME = pytest.mark.parametrize(
    "name",
    [
        name
        if name in ("spg", "cutmix")
        else pytest.param(name, marks=pytest.mark.slow)
        for name in METHODS
    ],
)
# JAX takes seconds to compile the steps of each.
STEPS = SOME if keras.backend.backend() == "jax" else EVERY


@SOME
def test_it_trains_by_compile_and_fit(name):
    model = compiled(built(name))
    images, class_ids = batch()
    before = model.get_weights()
    history = model.fit(images, class_ids, batch_size=3, epochs=2, verbose=0).history
    assert np.isfinite(history["loss"]).all()
    assert set(history) == {"loss", "accuracy"}
    moved = [
        np.abs(a - b).max() > 0
        for a, b in zip(before, model.get_weights(), strict=True)
    ]
    names = [each.path for each in model.weights]
    trained = {each.path for each in model.trainable_weights}
    assert [
        n for n, m in zip(names, moved, strict=True) if n in trained and not m
    ] == []


@STEPS
def test_the_loss_is_the_compiled_one_and_what_the_method_adds(name):
    model = compiled(built(name), rate=0.0)
    images, class_ids = batch()
    with same_draws():
        added, sides = added_loss(model, images, class_ids)
        found = model.train_on_batch(images, class_ids)[0]
    assert added.shape == (len(images),)
    plain = model.loss(class_ids, sides["logits"])
    expected = float(ops.convert_to_numpy(plain)) + added.mean()
    np.testing.assert_allclose(found, expected, rtol=1e-4)


@EVERY
def test_labels_may_be_one_hot(name):
    images, class_ids = batch()
    model = compiled(built(name))
    by_id = added_loss(model, images, class_ids)[0]
    loss = keras.losses.CategoricalCrossentropy(from_logits=True)
    model = compiled(built(name), loss=loss)
    one_hot = added_loss(model, images, np.eye(CLASSES, dtype="float32")[class_ids])[0]
    np.testing.assert_allclose(one_hot, by_id, rtol=1e-4, atol=1e-5)


@SOME
@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_it_trains_in_mixed_precision(name, policy):
    with dtype_policy(policy):
        model = compiled(built(name))
        images, class_ids = batch()
        history = model.fit(images, class_ids, batch_size=3, verbose=0).history
    assert np.isfinite(history["loss"]).all()
    assert outputs(model, images).dtype == "float32"


@SOME
@pytest.mark.skipif(keras.backend.backend() == "torch", reason="torch.compile is slow")
def test_it_trains_compiled(name):
    images, class_ids = batch()
    losses = []
    for jit in (False, True):
        model = compiled(built(name), jit_compile=jit)
        with same_draws():
            history = model.fit(
                images, class_ids, batch_size=6, verbose=0, shuffle=False
            )
        losses.append(history.history["loss"])
    rtol = 0.02 if name in DRAWING else 1e-3
    np.testing.assert_allclose(losses[0], losses[1], rtol=rtol)


@SOME
def test_saved_and_loaded_it_goes_on(name, tmp_path):
    model = compiled(built(name))
    images, class_ids = batch()
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.method.get_config() == model.method.get_config()
    np.testing.assert_array_equal(outputs(loaded, images), outputs(model, images))
    first = [each.train_on_batch(images, class_ids)[0] for each in (model, loaded)]
    np.testing.assert_allclose(first[0], first[1], rtol=1e-5)


@STEPS
def test_at_inference_only_what_the_map_reads_is_left(name, tmp_path):
    model = built(name)
    images, _ = batch()
    localizer = Localizer(model, cam_threshold=0.3)
    assert type(localizer.model) is type(keras.Model(model.input, model.output))
    assert len(localizer.model.weights) <= len(model.weights)
    np.testing.assert_allclose(
        outputs(localizer.model, images), outputs(model, images), rtol=1e-6
    )
    found = localizer.predict_on_batch(images)
    assert found["score_maps"].shape == (len(images), 1, *TINY_SIZE)
    localizer.save(tmp_path / "localizer.keras")
    again = keras.saving.load_model(tmp_path / "localizer.keras")
    np.testing.assert_array_equal(
        again.predict_on_batch(images)["boxes"], found["boxes"]
    )


@EVERY
def test_a_copy_keeps_the_method(name):
    model = built(name)
    copy = keras.models.clone_model(model)
    assert type(copy) is type(model)
    assert copy.method.get_config() == model.method.get_config()


class Own(Method):
    """Wants the mean of the features to be 1."""

    reads = ("features",)

    def head(self, trunk, features):
        trunk.sides["features"] = features
        return super().head(trunk, features)

    def loss(self, model, sides, truth):
        return ops.square(ops.mean(sides["features"], axis=(1, 2, 3)) - 1)

    def get_config(self):
        return {}


def test_a_method_of_ones_own():
    model = compiled(tiny_classifier(method=Own()))
    assert model.name == "tiny_own"
    images, class_ids = batch()
    added, sides = added_loss(model, images, class_ids)
    expected = (sides["features"].mean(axis=(1, 2, 3)) - 1) ** 2
    np.testing.assert_allclose(added, expected, rtol=1e-5)
    # Its localizer reads the plain head.
    assert Localizer(model).score_map.get_config() == {"negative_weights": True}


def test_a_row_has_its_presets():
    model = build_classifier(
        "mobilenet",
        "bas",
        5,
        weights=None,
        input_shape=(64, 96, 3),
        backbone_options={"alpha": 0.25},
    )
    assert model.name == "mobilenet_bas"


@SOME
def test_a_localizer_is_fitted_to_it(name):
    model = built(name)
    images, class_ids = batch(24)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The localizer may be wrong")
        localizer = fit_localizer(model, [(images, class_ids)], verbose=False)
    found = localizer.predict_on_batch(images)
    assert found["boxes"].shape == (24, 1, 4)
    own = {"acol": "ErasedMaps", "danet": "LevelMaps"}
    own |= dict.fromkeys(("abn", "trilite"), "ChannelMean")
    said = localizer.notes.get("map of the method", "")
    assert said.split(",")[0] == own.get(name.removesuffix("_levels"), "")


@pytest.mark.parametrize(
    ("name", "places", "message"),
    [
        ("bas", ["conv9_relu"], r"`drop_after` must name layers of .*\['conv9_relu'\]"),
        ("spg", ["conv1_relu", "tip"], r"`drop_after` must name layers of .*\['tip'\]"),
        ("bas", ["conv1_relu", "conv2_relu"], "must name one layer for this method"),
        ("cutmix", ["conv1_relu"], "This method takes no `drop_after`"),
        ("acol", ["conv1_relu"], "This method takes no `drop_after`"),
    ],
)
def test_places_that_a_method_cannot_act_at(name, places, message):
    with pytest.raises(ValueError, match=message):
        tiny_classifier(method=METHODS[name][0], drop_after=places)


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [("area_weight", -1.0, ValueError), ("top_k", 0, ValueError)],
)
def test_arguments_of_bas(name, value, error):
    with pytest.raises(error, match=f"`{name}` must be"):
        BAS(**{name: value})


@pytest.mark.parametrize(
    "layers",
    [
        {"conv2_relu": ADL(drop_threshold=0.5)},
        {"conv1_relu": ADL(0.1), "conv3_relu": ADL(0.9)},
    ],
)
def test_a_layer_for_each_place(layers):
    model = tiny_classifier(method="adl", drop_after=layers)
    found = {x.name: x.get_config() for x in model.layers if isinstance(x, ADL)}
    assert set(found) == {f"adl_{place}" for place in layers}
    for place, layer in layers.items():
        config = found[f"adl_{place}"]
        assert config["drop_rate"] == layer.drop_rate
        assert config["drop_threshold"] == layer.drop_threshold
    for method in ("dfm", ADL()):
        with pytest.raises(TypeError, match="With a dictionary as `drop_after`"):
            tiny_classifier(method=method, drop_after=layers)


@SOME
def test_at_another_size_it_is_still_the_method(name):
    model = built(name)
    images, class_ids = batch()
    larger = with_input_size(model, (32, 32))
    assert type(larger) is type(model)
    assert larger.method.get_config() == model.method.get_config()
    for one, other in zip(larger.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    images = np.resize(images, (6, 32, 32, 3))
    assert np.isfinite(compiled(larger).train_on_batch(images, class_ids)[0])


@EVERY
def test_class_names_are_checked_and_carried(name):
    names = tuple("abcde")
    model = built(name, class_names=names)
    assert class_names_of(model) == names
    assert class_names_of(Localizer(model, cam_threshold=0.3).model) == names
    with pytest.raises(ValueError, match=r"must be 5 different names\. Received 2"):
        built(name, class_names=("a", "b"))


@EVERY
def test_a_head_of_other_classes_starts_anew(name, tmp_path):
    path = tmp_path / "model.keras"
    built(name, class_names=tuple("abcde")).save(path)
    method, places = METHODS[name]
    for names in ("abcde", "edcba"):
        model = tiny_classifier(
            method=method, drop_after=places, class_names=tuple(names), weights=path
        )
        saved = weights_by_layer(keras.saving.load_model(path))
        for layer, weights in weights_by_layer(model).items():
            carried = all(map(np.array_equal, weights, saved[layer]))
            of_classes = layer.startswith("head_") and layer != "head_conv1"
            assert carried == (names == "abcde" or not of_classes), layer


class Halved(Method):
    """Counts half of the compiled loss, and keeps nothing beside the logits."""

    def loss(self, model, sides, truth):
        return -0.5 * truth.cross_entropy(sides["logits"])

    def get_config(self):
        return {}


@pytest.mark.parametrize("reduction", ["sum", "sum_over_batch_size"])
@pytest.mark.parametrize("form", [lambda x: x, lambda x: [x]])
def test_the_added_loss_is_reduced_as_the_compiled_one(form, reduction):
    images, class_ids = batch()
    make = keras.losses.SparseCategoricalCrossentropy
    loss = make(from_logits=True, reduction=reduction)
    model = compiled(tiny_classifier(method=Halved()), rate=0.0, loss=form(loss))
    logits = model(images, training=True)["logits"]
    found = model.train_on_batch(images, class_ids)[0]
    expected = float(ops.convert_to_numpy(loss(class_ids, logits))) / 2
    np.testing.assert_allclose(found, expected, rtol=1e-4)


@pytest.mark.parametrize("name", [each for each in METHODS if each != "danet_levels"])
def test_one_logit_is_refused(name):
    with pytest.raises(ValueError, match=r"one logit a class"):
        built(name, num_classes=1)


class Forgetful(Halved):
    reads = ("features",)


def test_a_side_that_no_hook_gave_is_named():
    message = r"hooks of Forgetful must put .* Received: \[\], without \['features'\]"
    with pytest.raises(ValueError, match=message):
        tiny_classifier(method=Forgetful())


def test_the_description_names_the_method():
    lines = describe(built("spg")).splitlines()
    assert lines[1] == f"trained by {METHODS['spg'][0]}"


@STEPS
def test_while_it_trains_its_own_map_is_watched(name):
    model = compiled(built(name))
    drawn = synthetic(num_images=6, num_classes=CLASSES, image_size=(32, 48))
    held_out = replace(drawn, split="train-fullsup")
    watch = LocalizationEvaluation(held_out, num_thresholds=10)
    watch.set_model(model)
    watched = watch.figures()
    found = evaluate(Localizer(model), held_out, num_thresholds=10, verbose=False)
    assert watched["val_gt_known_loc"] == found.oracle.gt_known_loc
    assert watched["val_max_box_acc_v2"] == found.max_box_acc_v2
