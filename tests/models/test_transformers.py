"""Transformers as graphs of maps, without KerasHub; with it: `tests/extras`."""

import sys
import warnings

import keras
import numpy as np
import pytest

from keras_wsol.cam import DDT, ChannelMean, Foreground, GradCAM
from keras_wsol.layers import ADL
from keras_wsol.models import (
    BACKBONES,
    Localizer,
    build_classifier,
    fit_localizer,
    with_input_size,
)
from keras_wsol.models.map_layers import map_layers
from keras_wsol.models.transformers import gelu_tanh, transformer
from tests.models.small import draw_weights, dtype_policy, outputs, random_images
from tests.reference import transformer_numpy

SIZE = (16, 24)
SIZES = {"patch": (8, 8), "blocks": 3, "width": 6, "hidden": 7, "heads": 2}
KINDS = {
    "vit": {},
    "deit": {"learned": 2},
    "dinov2": {"learned": 3, "scaled": True},
    "siglip": {"learned": 0, "activation": gelu_tanh},
}
EVERY = pytest.mark.parametrize("kind", list(KINDS))
# As `EVERY`, for what takes seconds: one at once, the rest with the slow tests.
ONE = pytest.mark.parametrize(
    "kind",
    [
        "dinov2",
        *(pytest.param(x, marks=pytest.mark.slow) for x in KINDS if x[0] != "d"),
    ],
)
ROWS = ["vit_b16", "deit_s16", "dinov2_s14", "siglip_b16"]


def source(kind="dinov2", **arguments):
    model = transformer(kind, (*SIZE, 3), **SIZES, **KINDS[kind], **arguments)
    draw_weights(model)
    return model


def classifier(kind="dinov2", method="cam", **arguments):
    arguments = {"weights": "imagenet", **arguments}
    return build_classifier(source(kind), method, 3, **arguments)


def read(model, layer, images):
    return outputs(keras.Model(model.input, model.get_layer(layer).output), images)


@EVERY
def test_maps_and_class_tokens_are_those_of_the_formulae(kind):
    model = classifier(kind)
    weights = {x.name: x.get_weights() for x in model.layers if x.weights}
    images = random_images(2, SIZE) / 255
    learned = KINDS[kind].get("learned", 1)
    tanh = "activation" in KINDS[kind]
    activation = transformer_numpy.gelu_tanh if tanh else transformer_numpy.gelu
    for blocks in (1, 3):
        found = read(model, f"block{blocks}", images)
        for n, image in enumerate(images):
            tokens = transformer_numpy.tokens_of(
                image, weights, 8, learned, 2, blocks, activation
            )
            expected = tokens[learned:].reshape(2, 3, 6)
            np.testing.assert_allclose(found[n], expected, rtol=1e-4, atol=1e-4)
            if learned and blocks == 1:
                others = read(model, "block1_class", images)[n]
                np.testing.assert_allclose(others, tokens[:learned], rtol=1e-4)


def test_a_layer_is_inserted_between_blocks():
    model = classifier(method=ADL(drop_rate=0.0), drop_after=["block1", "block3"])
    inserted = [x for x in model.layers if isinstance(x, ADL)]
    assert [x.input.shape for x in inserted] == [(None, 2, 3, 6)] * 2
    plain = classifier()
    images = random_images(2, SIZE) / 255
    model.set_weights(plain.get_weights())
    np.testing.assert_array_equal(outputs(model, images), outputs(plain, images))
    assert not np.allclose(
        outputs(model, images, training=True), outputs(plain, images, training=True)
    )


def test_the_named_block_is_the_last():
    model = classifier(features="block2")
    assert "block2" in [x.name for x in model.layers]
    assert "block3_norm1" not in [x.name for x in model.layers]
    kernel, bias = model.get_layer("head_logits").get_weights()
    images = random_images(2, SIZE)
    mean = read(model, "block2", images).mean(axis=(1, 2))
    np.testing.assert_allclose(outputs(model, images), mean @ kernel + bias, rtol=1e-4)


SCORE_MAPS = {
    "cam": lambda model, images: "cam",
    "channel_mean": lambda model, images: ChannelMean("block2"),
    "grad_cam": lambda model, images: GradCAM("block2"),
    "ddt": lambda model, images: DDT.fit(model, [images], layer="block2"),
    "foreground": lambda model, images: Foreground.fit(model, [images], layer="block3"),
}


@ONE
@pytest.mark.parametrize(
    "score_map",
    [
        "ddt",
        *(pytest.param(x, marks=pytest.mark.slow) for x in SCORE_MAPS if x[0] != "d"),
    ],
)
def test_maps_of_a_localizer(kind, score_map, tmp_path):
    model = classifier(kind)
    images = random_images(6, SIZE)
    score_map = SCORE_MAPS[score_map](model, images)
    localizer = Localizer(model, score_map=score_map, cam_threshold=0.3)
    found = localizer.predict_on_batch(images)
    assert np.ptp(found["score_maps"]) > 0.5
    localizer.save(tmp_path / "localizer.keras")
    again = keras.saving.load_model(tmp_path / "localizer.keras")
    for name, value in again.predict_on_batch(images).items():
        np.testing.assert_array_equal(value, found[name], err_msg=name)


@ONE
def test_a_localizer_is_fitted_to_maps_of_blocks(kind):
    model = classifier(kind)
    # Not what goes around a block, nor images.
    assert map_layers(model) == ["block1", "block3"]
    images = random_images(24, SIZE)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The localizer may be wrong")
        localizer = fit_localizer(model, [(images, np.arange(24) % 3)], verbose=False)
    assert localizer.predict_on_batch(images)["boxes"].shape == (24, 1, 4)


@EVERY
def test_it_trains(kind):
    model = classifier(kind)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("sgd", loss, run_eagerly=True)
    before = model.get_weights()
    images = random_images(6, SIZE) / 255
    assert np.isfinite(model.train_on_batch(images, np.arange(6) % 3))
    pairs = zip(model.weights, before, model.get_weights(), strict=True)
    still = [x.path for x, a, b in pairs if np.array_equal(a, b)]
    # The bias of keys shifts all scores of a query alike.
    assert [x for x in still if "_key/bias" not in x] == []


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_in_mixed_precision(policy):
    images = random_images(2, SIZE) / 255
    expected = outputs(classifier(), images)
    with dtype_policy(policy):
        model = classifier()
    assert model.get_layer("block1_attended").compute_dtype == policy[6:]
    found = outputs(model, images)
    assert found.dtype == "float32"
    np.testing.assert_allclose(found, expected, rtol=0.1, atol=0.1 * expected.std())


def test_weights_are_drawn_by_the_seed_and_each_its_own():
    one, same, other = (
        classifier(weights=None, seed=seed).get_weights() for seed in (3, 3, 4)
    )
    for a, b in zip(one, same, strict=True):
        np.testing.assert_array_equal(a, b)
    drawn = [x for x in one if x.ndim > 1]
    assert all(np.ptp(x) > 0 for x in drawn)
    assert len({x.tobytes() for x in drawn}) == len(drawn)
    assert any(not np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def test_weights_carry_over_from_a_file(tmp_path):
    model = classifier(method="adl")
    model.save(tmp_path / "trained.keras")
    again = classifier(weights=tmp_path / "trained.keras")
    for one, two in zip(model.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(one, two)


def test_positions_are_for_one_size():
    with pytest.raises(ValueError, match=r"cannot take images of 32x32: its weights"):
        with_input_size(classifier(), (32, 32))
    message = r"must be multiples of 8 and 8, .* Received: input_shape=\(16, 20, 3\)"
    with pytest.raises(ValueError, match=message):
        transformer("own", (16, 20, 3), **SIZES)
    message = r"must be that of its positions, \(16, 24, 3\)"
    with pytest.raises(ValueError, match=message):
        build_classifier(source(), num_classes=3, input_shape=(32, 32, 3))


# Rows of the table


def test_the_rows_are_there_and_need_the_extra():
    needs = [name for name, row in BACKBONES.items() if row.extra == "keras-hub"]
    assert needs == ["resnet18", *ROWS]


@pytest.mark.slow
@pytest.mark.parametrize("backbone", ROWS)
def test_a_row_without_weights_needs_no_extra(backbone, monkeypatch):
    monkeypatch.setitem(sys.modules, "keras_hub", None)
    step = 14 if backbone == "dinov2_s14" else 16
    model = build_classifier(
        backbone, "adl", 3, weights=None, input_shape=(2 * step, 3 * step, 3)
    )
    assert model.name == f"{backbone}_adl"
    assert model.get_layer("block12").output.shape[1:3] == (2, 3)
    assert [x.name for x in model.layers if isinstance(x, ADL)] == [
        "adl_block9",
        "adl_block12",
    ]


@pytest.mark.slow
@pytest.mark.parametrize("backbone", ROWS)
def test_the_extra_is_named_where_keras_hub_is_missing(backbone, monkeypatch):
    monkeypatch.setitem(sys.modules, "keras_hub", None)
    message = r'need KerasHub: pip install "keras-wsol\[keras-hub\]"'
    with pytest.raises(ImportError, match=message):
        build_classifier(backbone)


@pytest.mark.parametrize(
    ("backbone", "shape", "message"),
    [
        ("deit_s16", (32, 32, 3), "takes images of 224x224 pixels"),
        ("dinov2_s14", (28, 42, 3), "takes images of squares"),
        ("deit_s16", (30, 32, 3), "must be multiples of 16 and 16"),
    ],
)
def test_sizes_that_pretrained_weights_do_not_have(backbone, shape, message):
    with pytest.raises(ValueError, match=message):
        build_classifier(backbone, input_shape=shape)


def test_a_top_is_refused():
    with pytest.raises(ValueError, match="is built without top"):
        BACKBONES["deit_s16"].build(include_top=True, input_shape=(32, 32, 3))
