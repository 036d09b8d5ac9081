"""ABN beside its branches in NumPy, and where the copied stage comes from."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_wsol.cam import score_maps
from keras_wsol.cam.split import node_of
from keras_wsol.models import BACKBONES, Localizer, build_classifier
from keras_wsol.models.methods import ABN
from tests.models.methods.cases import added_loss, batch, compiled
from tests.models.methods.test_bas import cross_entropy
from tests.models.small import (
    SHAPES,
    TINY_SIZE,
    draw_weights,
    outputs,
    small_classifier,
    tiny_backbone,
    tiny_classifier,
    weights_by_layer,
)

NEW = [
    "head_attention_bn",
    "head_attention_classes",
    "head_attention_classes_bn",
    "head_attention_scores",
    "head_attention_conv",
    "head_attention_conv_bn",
]


def built_abn(backbone="tiny", place="conv2_relu", **arguments):
    return tiny_classifier(backbone, ABN(), drop_after=[place], **arguments)


def freeze_statistics(model):
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.trainable = False


def convolved(maps, kernel):
    """With stride 1, and zeros around."""
    size = kernel.shape[0]
    edge = size // 2
    padded = np.pad(maps, ((0, 0), (edge, edge), (edge, edge), (0, 0)))
    _, height, width, _ = maps.shape
    result = np.zeros((*maps.shape[:3], kernel.shape[-1]))
    for i in range(size):
        for j in range(size):
            result += padded[:, i : i + height, j : j + width] @ kernel[i, j]
    return result


def normalized(maps, scale, *offset_mean_variance):
    *offset, mean, variance = offset_mean_variance
    return scale * (maps - mean) / np.sqrt(variance + 1e-3) + (offset or [0])[0]


def stage(maps, weights, name):
    """The last stage of the tiny backbone."""
    maps = convolved(maps, *weights[name])
    return np.clip(normalized(maps, *weights[f"{name}_bn"]), 0, 6)


def test_branches_logits_and_loss_are_those_of_the_formulae():
    model = compiled(built_abn())
    draw_weights(model)
    freeze_statistics(model)
    images, class_ids = batch()
    weights = weights_by_layer(model)
    at = model.get_layer("conv2_relu").output
    features = outputs(keras.Model(model.input, at), images).astype("float64")
    # The attention branch.
    maps = stage(features, weights, "attention_conv3")
    maps = normalized(maps, *weights["head_attention_bn"])
    maps = convolved(maps, *weights["head_attention_classes"])
    maps = normalized(maps, *weights["head_attention_classes_bn"])
    maps = np.maximum(maps, 0)
    scores = convolved(maps, *weights["head_attention_scores"]).mean(axis=(1, 2))
    attention = convolved(maps, *weights["head_attention_conv"])
    attention = normalized(attention, *weights["head_attention_conv_bn"])
    attention = 1 / (1 + np.exp(-attention))
    assert attention.std() > 0.01
    # And the other.
    seen = stage((1 + attention) * features, weights, "conv3").mean(axis=(1, 2))
    kernel, bias = weights["head_logits"]
    logits = seen @ kernel + bias
    np.testing.assert_allclose(outputs(model, images), logits, rtol=1e-4, atol=1e-4)
    added, sides = added_loss(model, images, class_ids)
    np.testing.assert_allclose(sides["logits"], logits, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(sides["attention_logits"], scores, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(
        added, cross_entropy(scores, class_ids), rtol=1e-4, atol=1e-4
    )
    # The map is the attention, whatever the class.
    localizer = Localizer(model, cam_threshold=0.4)
    found = localizer.predict_on_batch(images)["score_maps"]
    expected = score_maps(attention.transpose(0, 3, 1, 2), TINY_SIZE)
    np.testing.assert_allclose(found, expected, atol=1e-4)
    assert not localizer.score_map.needs_class


def test_the_copy_starts_as_the_stage_that_it_copies(tmp_path):
    source = tiny_backbone(include_top=False, weights=None, input_shape=(16, 24, 3))
    draw_weights(source)
    source.save_weights(tmp_path / "tiny.weights.h5")
    model = built_abn(weights=tmp_path / "tiny.weights.h5")
    weights, expected = weights_by_layer(model), weights_by_layer(source)
    for name in ("conv3", "conv3_bn"):
        for copy in (name, f"attention_{name}"):
            for one, other in zip(weights[copy], expected[name], strict=True):
                np.testing.assert_array_equal(one, other)
    assert set(weights) - set(expected) == {
        "attention_conv3",
        "attention_conv3_bn",
        "head_logits",
        *NEW,
    }
    # They are two layers.
    model.get_layer("attention_conv3").kernel.assign_add(np.ones((3, 3, 8, 8)))
    assert np.array_equal(weights_by_layer(model)["conv3"][0], expected["conv3"][0])
    # A trained copy is not overwritten; with a plain classifier there is none.
    model.save(tmp_path / "abn.keras")
    again = weights_by_layer(built_abn(weights=tmp_path / "abn.keras"))
    np.testing.assert_array_equal(again["attention_conv3"][0], expected["conv3"][0] + 1)
    plain = tiny_classifier(weights=tmp_path / "tiny.weights.h5")
    plain.save(tmp_path / "plain.keras")
    again = weights_by_layer(built_abn(weights=tmp_path / "plain.keras"))
    np.testing.assert_array_equal(again["attention_conv3"][0], expected["conv3"][0])


def test_without_weights_the_copy_is_drawn_on_its_own():
    weights = weights_by_layer(built_abn())
    assert not np.array_equal(weights["conv3"][0], weights["attention_conv3"][0])
    again = weights_by_layer(built_abn())
    np.testing.assert_array_equal(
        weights["attention_conv3"][0], again["attention_conv3"][0]
    )
    for layers in weights_by_layer(tiny_classifier()).items():
        for one, other in zip(layers[1], weights[layers[0]], strict=True):
            np.testing.assert_array_equal(one, other)


def test_what_is_new_is_trained_before_a_frozen_backbone(tmp_path):
    source = tiny_backbone(include_top=False, weights=None, input_shape=(16, 24, 3))
    source.save_weights(tmp_path / "tiny.weights.h5")
    model = built_abn(weights=tmp_path / "tiny.weights.h5", freeze="backbone")
    trained = [layer.name for layer in model.layers if layer.trainable_weights]
    assert sorted(trained) == sorted([*NEW, "head_logits"])
    # With random weights everywhere its branch is random, too, but for the new layers.
    model = built_abn(freeze="backbone")
    trained = [layer.name for layer in model.layers if layer.trainable_weights]
    assert {x for x in trained if x.startswith("head_")} == {*trained}
    assert "head_attention_conv" in trained


def test_maps_that_do_not_fit_into_the_features_are_refused():
    message = r"Received: maps of \(3, 5\) in features of \(5, 9\): choose another"
    with pytest.raises(ValueError, match=message):
        tiny_classifier(
            method=ABN(), drop_after=["conv1_relu"], input_shape=(10, 18, 3)
        )


def test_inserted_blocks_are_copied_too(tmp_path):
    plain = tiny_classifier("tiny_se")
    draw_weights(plain)
    plain.save(tmp_path / "plain.keras")
    model = built_abn("tiny_se", "conv1_relu", weights=tmp_path / "plain.keras")
    weights = weights_by_layer(model)
    for name in ("conv2", "conv2_se", "conv3_bn"):
        for one, other in zip(weights[name], weights[f"attention_{name}"], strict=True):
            np.testing.assert_array_equal(one, other)
    for name in ("attention_conv2_se", "conv2_se"):
        assert model.get_layer(name).ratio == 2
    assert model.get_layer("attention_conv2_se").output.shape[1:3] == (4, 6)
    # Weights without blocks leave both of them new.
    source = tiny_backbone(include_top=False, weights=None, input_shape=(16, 24, 3))
    source.save_weights(tmp_path / "tiny.weights.h5")
    given = {"weights": tmp_path / "tiny.weights.h5", "freeze": "backbone"}
    model = built_abn("tiny_se", "conv1_relu", **given)
    trained = [layer.name for layer in model.layers if layer.trainable_weights]
    blocks = ["conv2_se", "attention_conv2_se"]
    assert sorted(trained) == sorted([*NEW, *blocks, "head_logits"])


def test_both_losses_reach_the_attention_and_only_one_the_head():
    model = compiled(built_abn())
    draw_weights(model)
    model.get_layer("head_attention_scores").trainable = False
    images, class_ids = batch()
    before = weights_by_layer(model)
    # The attention logits alone: no gradient comes to what follows the place.
    model.get_layer("head_logits").kernel.assign(np.zeros((8, 5)))
    model.train_on_batch(images, class_ids)
    after = weights_by_layer(model)
    for name, moves in [
        ("conv3", False),
        ("attention_conv3", True),
        ("head_attention_conv", False),  # only the head's loss sees the map
        ("conv2", True),
    ]:
        assert np.array_equal(before[name][0], after[name][0]) != moves, name
    before = after
    model.train_on_batch(images, class_ids)  # the head is no longer zero
    after = weights_by_layer(model)
    for name in ("conv3", "head_attention_conv"):
        assert not np.array_equal(before[name][0], after[name][0])


def test_a_map_that_is_smaller_than_the_features_is_enlarged():
    backbone = tiny_backbone(include_top=False, weights=None, input_shape=(16, 24, 3))
    model = build_classifier(
        backbone, ABN(), 5, drop_after=["conv1_relu"], input_shape=(16, 24, 3)
    )
    draw_weights(model)
    shapes = [
        model.get_layer(name).output.shape[1:]
        for name in ("conv1_relu", "head_attention", "head_attention_enlarged")
    ]
    assert shapes == [(8, 12, 4), (4, 6, 1), (8, 12, 1)]
    images, _ = batch()
    names = ("conv1_relu", "head_attention_enlarged", "head_attended")
    tensors = [model.get_layer(name).output for name in names]
    features, attention, attended = map(
        ops.convert_to_numpy, keras.Model(model.input, tensors)(images)
    )
    np.testing.assert_allclose(attended, features * (1 + attention), rtol=1e-5)
    found = Localizer(model, cam_threshold=0.4).predict_on_batch(images)
    assert found["score_maps"].shape == (6, 1, 16, 24)


def test_on_the_last_features_the_branch_is_the_new_layers_alone():
    model = built_abn(place="conv3_relu")
    assert not [x.name for x in model.layers if x.name.startswith("attention_")]
    assert model.get_layer("head_pool").input is model.get_layer("head_attended").output


@pytest.mark.parametrize("place", ["normalization", "branch"])
def test_places_that_do_not_cut_the_backbone(place):
    x = images = keras.Input((16, 24, 3))
    x = keras.layers.Conv2D(4, 3, padding="same", name="first")(x)
    branch = keras.layers.Conv2D(4, 3, padding="same", name="branch")(x)
    x = keras.layers.Add(name="sum")([x, branch])
    backbone = keras.Model(images, x, name="own")
    message = "`drop_after` must name a layer of `own` through which all that leads to "
    with pytest.raises(ValueError, match=f"^{message}'sum' passes.*'{place}'"):
        build_classifier(backbone, ABN(), 5, drop_after=[place])


ROWS = [name for name, spec in BACKBONES.items() if spec.extra is None]


@pytest.mark.parametrize("map_size", [14, 28, 7])
def test_attention_has_the_size_of_the_features_for_every_map_size(map_size):
    options = {"alpha": 0.25, "map_size": map_size}
    model = small_classifier("mobilenet", "abn", backbone_options=options)
    check_row(model, "mobilenet")
    last = model.get_layer("conv_pw_13_relu").output.shape[1:3]
    assert last == {14: (4, 6), 28: (8, 12), 7: (2, 3)}[map_size]


@pytest.mark.slow
def test_no_place_cuts_nasnet():
    model = small_classifier("nasnet_mobile", "abn")
    spec = BACKBONES["nasnet_mobile"]
    assert spec.places("abn") == (spec.features,)
    assert not [x for x in model.layers if x.name.startswith("attention_")]
    assert model(np.zeros((1, *SHAPES["nasnet_mobile"]), "float32")).shape == (1, 5)


@pytest.mark.slow
@pytest.mark.parametrize("backbone", [x for x in ROWS if x != "nasnet_mobile"])
def test_every_row_splits_before_its_last_stage(backbone):
    check_row(small_classifier(backbone, "abn"), backbone)
    keras.utils.clear_session()


def check_row(model, backbone):
    spec = BACKBONES[backbone]
    features, attention = model.get_layer("head_weighed").input
    assert (node_of(features).operation.name,) == spec.places("abn")
    assert node_of(attention).operation.name == "head_attention"
    assert attention.shape[1:] == (*features.shape[1:3], 1)
    layers = weights_by_layer(model)
    copies = [name for name in layers if name.startswith("attention_")]
    assert copies
    for name in copies:
        original = layers[name.removeprefix("attention_")]
        assert [x.shape for x in layers[name]] == [x.shape for x in original]
    # Each layer between the place and the features has its copy.
    names = list(layers)
    first = min(names.index(x.removeprefix("attention_")) for x in copies)
    until = [x.name for x in model.layers].index(spec.features)
    after = {x.name for x in model.layers[until + 1 :]}
    stage = [x for x in names[first:] if x not in {*after, *copies, *NEW}]
    assert sorted(f"attention_{x}" for x in stage) == sorted(copies)
    assert model(np.zeros((1, *SHAPES[backbone]), "float32")).shape == (1, 5)
