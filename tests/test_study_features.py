"""Stored features of the study: the same crops, and the same figures as of images."""

import argparse
import dataclasses

import keras
import numpy as np
import pytest
from study_features import (
    BATCH_SIZE,
    Crops,
    FromFeatures,
    crops_key,
    features_of,
    train_tail,
)
from study_runs import Run
from study_training import build, training_batches

from keras_wsol import cam, data, evaluation, models

SIZE = 64
CUT = "conv_pw_11_relu"


pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    drawn = data.synthetic(num_images=112, num_classes=2, image_size=SIZE, seed=3)
    part = np.arange(len(drawn)) // 40
    names = ("train-weaksup", "train-fullsup", "test")
    splits = {name: drawn.take(part == n, name) for n, name in enumerate(names)}
    run = Run(
        name="small",
        group="grid",
        backbone_options={"alpha": 0.25},
        image_size=SIZE,
        epochs=3,
        freeze=(CUT,),
        cut=CUT,
    )
    weights = argparse.Namespace(weights=None, weights_v2=None)
    model = build(run, splits["train-weaksup"], weights)
    with_living_features(model, splits["train-weaksup"].images)
    before = {layer.name: layer.get_weights() for layer in model.layers}
    folder = tmp_path_factory.mktemp("features")
    features = features_of(run, model, splits, folder)
    train_tail(model, run, splits["train-weaksup"], features)
    return run, splits, model, before, features, folder


def with_living_features(model, images):
    """Counts statistics: with random weights and none, all features are nearly 0."""
    norms = [x for x in model.layers if isinstance(x, keras.layers.BatchNormalization)]
    kept = [(layer.trainable, layer.momentum) for layer in norms]
    for layer in norms:
        layer.trainable, layer.momentum = True, 0.0
    model(images.astype("float32"), training=True)
    for layer, (trainable, momentum) in zip(norms, kept, strict=True):
        layer.trainable, layer.momentum = trainable, momentum


def test_stored_crops_are_those_of_the_training_batches(trained):
    run, splits, model, _, features, _ = trained
    batches = iter(training_batches(splits["train-weaksup"], run, 0))
    trunk = keras.Model(model.inputs[0], model.get_layer(CUT).output)
    for start in range(0, len(features.crops), BATCH_SIZE):
        images, class_ids = next(batches)
        found = features.crops[start : start + BATCH_SIZE]
        expected = trunk.predict_on_batch(images)
        np.testing.assert_allclose(found, expected, atol=2e-3 * expected.max())
        np.testing.assert_array_equal(
            features.class_ids[start : start + BATCH_SIZE], class_ids
        )


def test_each_pass_has_its_own_crops_in_an_order_by_seed(trained):
    features = trained[4]
    orders = [Crops(features, seed).order for seed in (0, 0, 1)]
    np.testing.assert_array_equal(orders[0], orders[1])
    assert (orders[0] != orders[2]).any()
    size = len(features.crops) // features.epochs
    for order in orders:
        passes = order.reshape(features.epochs, size)
        assert sorted(order) == list(range(len(features.crops)))
        assert all(len(set(each // size)) == 1 for each in passes)
        assert all((np.diff(each) != 1).any() for each in passes)


def test_frozen_layers_stay_and_the_others_learn(trained):
    _, _, model, before, _, _ = trained
    frozen = True
    for layer in model.layers:
        same = all(
            np.array_equal(x, y)
            for x, y in zip(before[layer.name], layer.get_weights(), strict=True)
        )
        if layer.get_weights():
            assert same == frozen, layer.name
        frozen = frozen and layer.name != CUT


@pytest.mark.parametrize(
    "score_map",
    [
        cam.CAM(),
        cam.Mean(
            (
                cam.ChannelMean("conv_pw_12_relu"),
                cam.ChannelMean(CUT),
                cam.ChannelMean("conv_pw_12_relu"),
            )
        ),
    ],
)
def test_figures_are_those_of_the_images(trained, score_map):
    run, splits, model, _, features, _ = trained
    localizer = models.Localizer(model, 0.2, score_map=score_map)
    stored = FromFeatures(localizer, run, features.images)
    expected, found = (
        evaluation.evaluate(each, splits["test"], splits["train-fullsup"])
        for each in (localizer, stored)
    )
    np.testing.assert_allclose(found.images.scores, expected.images.scores, atol=2e-3)
    # Where a cell is at a threshold, float16 moves it across, and the box with it.
    apart = np.abs(found.images.iou - expected.images.iou) > 0.01
    assert apart.mean() < 2e-3
    assert found.max_box_acc_v2 == pytest.approx(expected.max_box_acc_v2, abs=0.05)


def test_features_are_not_computed_twice(trained):
    run, splits, _, _, features, folder = trained
    again = features_of(run, trained[2], splits, folder)
    np.testing.assert_array_equal(again.crops, features.crops)
    assert again.images.keys() == features.images.keys()


def test_what_drops_in_frozen_layers_drops_in_stored_crops(trained, tmp_path):
    run, splits, plain, _, _, _ = trained
    train = splits["train-weaksup"]
    options = {"drop_rate": 1.0, "drop_threshold": 0.5}
    places = ("conv_pw_6_relu", "conv_pw_13_relu")
    run = dataclasses.replace(
        run, name="drops", method="adl", places=places, options=options
    )
    weights = argparse.Namespace(weights=None, weights_v2=None)
    model = build(run, train, weights)
    model.set_weights(plain.get_weights())
    stored = features_of(run, model, splits, tmp_path)

    inputs = model.inputs[0]
    before = keras.Model(inputs, model.get_layer("conv_pw_6_relu").output)
    dropping, _ = models.inserted_layers(model)
    after = keras.Model(dropping.output, model.get_layer(CUT).output)
    images, _ = next(iter(training_batches(train, run, 0)))
    features = before.predict_on_batch(images)
    attention = features.mean(axis=-1, keepdims=True)
    kept = attention < 0.5 * attention.max(axis=(1, 2), keepdims=True)
    expected = after.predict_on_batch(features * kept)
    found = stored.crops[:BATCH_SIZE]
    np.testing.assert_allclose(found, expected, atol=2e-3 * expected.max())
    assert crops_key(run, model) != crops_key(run, plain)
