"""CutMix beside loops, and what its loss makes of the compiled one."""

import math

import keras
import numpy as np
import pytest
from keras import ops

from keras_wsol.models import Localizer
from keras_wsol.models.methods import CutMix
from keras_wsol.models.methods.cutmix import PastedBox, symmetric_beta
from tests.contracts.draws import ForcedDraws, drawing
from tests.models.methods.cases import CLASSES, added_loss, batch, compiled
from tests.models.small import draw_weights, outputs, tiny_classifier


def arrays(tensors):
    return [ops.convert_to_numpy(each) for each in tensors]


def mixed_by_hand(images, draws, order, beta=1.0, probability=1.0):
    """The batch and its share, in loops."""
    radius, angle, use, centre_row, centre_column = draws.astype("float64")
    _, height, width, _ = images.shape
    # Of t with 2 beta degrees of freedom (Bailey, 1994, section 1).
    t = math.sqrt(2 * beta * (radius ** (-1 / beta) - 1)) * math.cos(
        2 * math.pi * angle
    )
    left = 0.5 + 0.5 * t / math.sqrt(2 * beta + t * t)
    side = math.sqrt(1 - left) if use < probability else 0.0
    rows, columns = math.floor(height * side), math.floor(width * side)
    first_row = math.floor(centre_row * height) - rows // 2
    first_column = math.floor(centre_column * width) - columns // 2
    mixed, pasted = images.copy(), 0
    for i in range(max(first_row, 0), min(first_row + rows, height)):
        for j in range(max(first_column, 0), min(first_column + columns, width)):
            pasted += 1
            for b, other in enumerate(order):
                mixed[b, i, j] = images[other, i, j]
    return mixed, 1 - pasted / (height * width)


@pytest.mark.parametrize(
    ("beta", "probability"), [(1.0, 1.0), (0.3, 1.0), (4.0, 0.7), (1.0, 0.0)]
)
def test_a_batch_equals_the_loops(beta, probability):
    rng = np.random.default_rng(3)
    layer = PastedBox(beta, probability, seed=1)
    shares = []
    with drawing(ForcedDraws()) as uniform:
        for shape in [(5, 9, 14, 2), (4, 30, 7, 1), (1, 6, 5, 3)] * 6:
            images = rng.normal(size=shape).astype("float32")
            mixed, order, share = arrays(layer(images, training=True))
            draws, places = uniform.made[-2:]
            assert order.tolist() == sorted(range(len(images)), key=lambda b: places[b])
            expected, left = mixed_by_hand(images, draws, order, beta, probability)
            np.testing.assert_array_equal(mixed, expected)
            np.testing.assert_allclose(share, np.full(len(images), left), rtol=1e-6)
            shares.append(left)
    assert (len(set(shares)) > 5) == (probability > 0)


@pytest.mark.parametrize("beta", [0.2, 0.5, 1.0, 3.0])
def test_the_share_is_of_the_beta_distribution(beta):
    rng = np.random.default_rng(4)
    radius, angle = rng.random((2, 100_000)).astype("float32")
    found = ops.convert_to_numpy(symmetric_beta(radius, angle, beta))
    expected = rng.beta(beta, beta, 100_000)
    at = np.linspace(0.05, 0.95, 10)
    np.testing.assert_allclose(
        np.quantile(found, at), np.quantile(expected, at), atol=0.012
    )
    ends = symmetric_beta(np.float32([0, 0, 1]), np.float32([0, 0.5, 0.3]), beta)
    np.testing.assert_allclose(ops.convert_to_numpy(ends), [1, 0, 0.5], atol=1e-6)


def test_draws_are_anew_in_each_call_and_absent_at_inference():
    images = np.random.default_rng(5).normal(size=(4, 8, 9, 3)).astype("float32")
    layer = PastedBox(1.0, 1.0, seed=2)
    again = PastedBox.from_config(layer.get_config())
    first, second = (arrays(layer(images, training=True)) for _ in range(2))
    assert not np.array_equal(first[0], second[0])
    np.testing.assert_array_equal(arrays(again(images, training=True))[0], first[0])
    same, order, share = arrays(layer(images))
    np.testing.assert_array_equal(same, images)
    assert order.tolist() == [0, 1, 2, 3]
    assert share.tolist() == [1] * 4


def test_how_often_batches_are_mixed():
    layer = PastedBox(1.0, 0.25, seed=6)
    images = np.zeros((2, 30, 30, 1), "float32")
    shares = [arrays(layer(images, training=True))[2][0] for _ in range(300)]
    assert abs(np.mean(np.less(shares, 1)) - 0.25) < 4 * math.sqrt(0.25 * 0.75 / 300)


@pytest.mark.parametrize("label_smoothing", [0.0, 0.2])
def test_the_loss_is_that_of_soft_labels(label_smoothing):
    model = tiny_classifier(method=CutMix())
    draw_weights(model)
    loss = keras.losses.CategoricalCrossentropy(
        from_logits=True, label_smoothing=label_smoothing
    )
    model = compiled(model, loss=loss)
    images, class_ids = batch(7)
    labels = np.eye(CLASSES, dtype="float32")[class_ids]
    with drawing(ForcedDraws()):
        added, sides = added_loss(model, images, labels)
    share, order = sides["share"][:, None], sides["order"]
    assert 0 < share[0, 0] < 1
    assert (class_ids[order] != class_ids[np.argsort(order)]).any()
    soft = share * labels + (1 - share) * labels[order]
    np.testing.assert_allclose(soft.sum(axis=1), 1, rtol=1e-6)
    plain, expected = (
        ops.convert_to_numpy(loss.call(each, sides["logits"]))
        for each in (labels, soft)
    )
    np.testing.assert_allclose(plain + added, expected, rtol=1e-4, atol=1e-5)
    assert np.abs(added).max() > 0.01


def test_the_model_sees_the_mixed_images():
    model = tiny_classifier(method=CutMix())
    plain = tiny_classifier()
    for each in (model, plain):
        draw_weights(each)
        for layer in each.layers:  # statistics would be those of the batch
            if isinstance(layer, keras.layers.BatchNormalization):
                layer.trainable = False
    images, _ = batch()
    with drawing(ForcedDraws()) as uniform:
        sides = model(images, training=True)
    order = ops.convert_to_numpy(sides["order"])
    mixed, left = mixed_by_hand(images, uniform.made[0], order)
    assert 0 < left < 1
    found = ops.convert_to_numpy(sides["logits"])
    np.testing.assert_allclose(found, outputs(plain, mixed), rtol=1e-4, atol=1e-5)


def test_inference_and_map_are_the_plain_classifiers():
    model, plain = tiny_classifier(method="cutmix"), tiny_classifier()
    assert model.name == "tiny_cutmix"
    draw_weights(model)
    draw_weights(plain)
    images, _ = batch()
    np.testing.assert_array_equal(outputs(model, images), outputs(plain, images))
    found = Localizer(model, score_map=None, cam_threshold=0.3)
    expected = Localizer(plain, score_map="cam", cam_threshold=0.3)
    np.testing.assert_array_equal(
        found.predict_on_batch(images)["score_maps"],
        expected.predict_on_batch(images)["score_maps"],
    )


@pytest.mark.parametrize("arguments", [{"beta": 0}, {"probability": 1.5}])
def test_bad_arguments(arguments):
    with pytest.raises(ValueError, match=f"`{next(iter(arguments))}` must be a number"):
        CutMix(**arguments)


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="reads a graph")
def test_nothing_is_drawn_at_inference():
    import tensorflow as tf

    model = tiny_classifier(method=CutMix())
    given = tf.TensorSpec((None, 16, 24, 3))
    for training in (False, True):
        call = tf.function(lambda images, on=training: model(images, training=on))
        graph = call.get_concrete_function(given).graph
        draws = [each for each in graph.get_operations() if "Random" in each.type]
        assert bool(draws) == training
