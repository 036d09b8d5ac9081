"""DANet beside its losses and map in loops, and what it draws."""

import numpy as np
import pytest
from keras import ops

from keras_wsol.cam import LevelMaps
from keras_wsol.cam.score_map import look
from keras_wsol.models import Localizer
from keras_wsol.models.methods import DANet
from keras_wsol.models.methods.danet import DrawnMaps, likeness
from tests.models.methods.cases import CLASSES, added_loss, batch, compiled
from tests.models.small import draw_weights, outputs, tiny_classifier
from tests.reference import danet_numpy
from tests.reference.acol_numpy import cross_entropy

PARENTS, ROOTS = [0, 1, 1, 2, 3], [0, 1, 1, 2, 0]
PLACES = ["conv1_relu", "conv2_relu"]


def built_danet(**arguments):
    options = {"maps_per_class": 3, "convolutions": 0, **arguments}
    model = compiled(tiny_classifier(method=DANet(**options), drop_after=PLACES))
    draw_weights(model)
    return model


def levels_of(found, count, *names):
    """The maps of each level, `(B, h, w, m, classes)`."""
    maps = [np.asarray(found[name]) for name in names]
    return [x.reshape(*x.shape[:3], count, x.shape[3] // count) for x in maps]


@pytest.mark.parametrize("weight", [0.0, 0.02, 3.0])
def test_the_loss_with_a_hierarchy(weight):
    model = built_danet(parents=PARENTS, roots=ROOTS, cosine_weight=weight)
    images, class_ids = batch()
    added, sides = added_loss(model, images, class_ids)
    child, parent, root = levels_of(sides, 3, "child", "parent", "root")
    assert (parent.shape[-1], root.shape[-1]) == (4, 3)
    expected = []
    for b, class_id in enumerate(class_ids):
        ids = class_id, PARENTS[class_id], ROOTS[class_id]
        own = [
            maps[b][..., i] for maps, i in zip((child, parent, root), ids, strict=True)
        ]
        loss = cross_entropy(danet_numpy.logits(parent[b]), ids[1])
        loss += cross_entropy(danet_numpy.logits(root[b]), ids[2])
        cosine = danet_numpy.discrepancy(own, sides["drawn"][b])
        expected.append(loss + weight * cosine)
        logits = danet_numpy.logits(child[b])
        np.testing.assert_allclose(sides["logits"][b], logits, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(added, expected, rtol=1e-4)


def test_the_loss_without_a_hierarchy():
    model = built_danet(maps_per_class=5, cosine_weight=2.0)
    images, class_ids = batch()
    added, sides = added_loss(model, images, class_ids)
    assert set(sides) == {"logits", "child", "drawn"}
    (child,) = levels_of(sides, 5, "child")
    expected = [
        2 * danet_numpy.discrepancy([maps[..., class_id]], drawn)
        for maps, class_id, drawn in zip(child, class_ids, sides["drawn"], strict=True)
    ]
    np.testing.assert_allclose(added, expected, rtol=1e-4)


def test_one_level_of_two():
    model = built_danet(roots=ROOTS)
    sides = added_loss(model, *batch())[1]
    # After the first place, that of the roots.
    assert sides["root"].shape[1:] == (8, 12, 3 * 3)
    assert sides["drawn"].sum(axis=1).tolist() == 6 * [3]
    assert "parent" not in sides


def test_cosines_of_opposite_signs_cancel():
    one = np.random.default_rng(0).normal(size=(4, 3))
    other = np.random.default_rng(1).normal(size=(4, 3))
    other -= one * (one * other).sum() / np.square(one).sum()
    maps = np.stack([one, -2 * one, 3 * one, other], axis=-1)[None].astype("float32")

    def found(*drawn, maps=maps):
        given = maps, np.array([drawn], "float32")
        (value,) = ops.convert_to_numpy(likeness(*map(ops.convert_to_tensor, given)))
        return value

    # Cosines -1, 1 and -1.
    np.testing.assert_allclose(found(1, 1, 1, 0), 1 / 3, rtol=1e-5)
    np.testing.assert_allclose(found(1, 0, 1, 0), 1, rtol=1e-5)
    np.testing.assert_allclose(found(1, 1, 0, 0), 1, rtol=1e-5)
    np.testing.assert_allclose(found(1, 0, 0, 1), 0, atol=1e-5)
    np.testing.assert_allclose(found(1, 1, 0, 1), 1 / 3, rtol=1e-5)
    assert found(1, 1, 1, 1, maps=np.zeros_like(maps)) == 0


def test_half_of_the_maps_are_drawn_for_the_whole_batch():
    layer = DrawnMaps(6, seed=3, name="drawn")
    inputs = np.full((4, 2, 3, 6), np.nan, "float32")
    draws = [ops.convert_to_numpy(layer(inputs, training=True)) for _ in range(400)]
    for drawn in draws:
        assert drawn.shape == (4, 6)
        assert (drawn == drawn[0]).all()
        assert sorted(drawn[0]) == [0, 0, 0, 1, 1, 1]
    # Each map is in half of the draws, and all 20 choices come up.
    share = np.mean(draws, axis=(0, 1))
    assert np.abs(share - 0.5).max() < 4 * 0.5 / np.sqrt(400)
    assert len({tuple(drawn[0]) for drawn in draws}) == 20
    again = DrawnMaps(6, seed=3, name="drawn")
    np.testing.assert_array_equal(
        ops.convert_to_numpy(again(inputs, training=True)), draws[0]
    )
    assert (ops.convert_to_numpy(layer(inputs)) == 1).all()
    fewest = ops.convert_to_numpy(DrawnMaps(2, 0, "few")(inputs, training=True))
    assert (fewest == 1).all()  # a pair, at least


def maps_found(model, images, class_ids):
    localizer = Localizer(model)
    evidence = look(localizer._split, images)
    evidence = type(evidence)(**{**vars(evidence), "class_ids": class_ids})
    return localizer, ops.convert_to_numpy(localizer.score_map.maps(evidence))


@pytest.mark.parametrize("hierarchy", [{}, {"parents": PARENTS, "roots": ROOTS}])
def test_the_map_is_the_sum_over_levels(hierarchy):
    model = built_danet(**hierarchy)
    if hierarchy:  # so that the first class is not the predicted one
        model.get_layer("head_root").bias.assign(np.tile([0.0, 2.0, 1.0], 3))
    bias = model.get_layer("head_child").bias  # so that maps have both signs
    bias.assign(np.linspace(-1.0, 1.0, 15))
    images, _ = batch(4)
    class_ids = np.array([[0, 1], [2, 3], [4, 0], [1, 1]], "int32")
    localizer, found = maps_found(model, images, class_ids)
    assert isinstance(localizer.score_map, LevelMaps)
    names = ["head_child", *[f"head_{level}" for level in model.method.keeps]]
    assert list(localizer.score_map.layers) == names
    values = {
        name: outputs(model.part("images", name.removeprefix("head_")), images)
        for name in names
    }
    levels = levels_of(values, 3, *names)
    predicted = set()
    for b, k in np.ndindex(*class_ids.shape):
        own = [each[b] for each in levels]
        expected = danet_numpy.localization_map(own, class_ids[b, k])
        np.testing.assert_allclose(found[b, k], expected, rtol=1e-3, atol=1e-5)
        predicted.add(int(np.argmax(danet_numpy.logits(own[-1]))))
    assert levels[0].min() < -0.5
    assert 0 not in predicted


def test_without_being_asked_the_class_is_the_predicted_one():
    model = built_danet(parents=PARENTS, roots=ROOTS)
    images, _ = batch(4)
    best = outputs(model, images).argmax(axis=1).astype("int32")
    localizer, _ = maps_found(model, images, best[:, None])
    asked = localizer.find_maps(images, best)["score_maps"]
    found = localizer.find_maps(images)["score_maps"]
    np.testing.assert_array_equal(*map(ops.convert_to_numpy, (asked, found)))
    names = {layer.name for layer in localizer.model.layers}
    assert {"head_parent", "head_root"} <= names
    assert "head_drawn" not in names


def test_nothing_is_kept_of_a_hierarchy_that_is_not_there():
    names = {layer.name for layer in Localizer(built_danet()).model.layers}
    assert not {"head_parent", "head_root", "head_drawn"} & names
    assert outputs(built_danet(), batch(2)[0]).shape == (2, CLASSES)


def test_bad_arguments():
    for arguments, message in (
        ({"maps_per_class": 1}, r"`maps_per_class` must be an integer >= 2"),
        ({"parents": [0, -1]}, r"`parents` must be an integer >= 0"),
        ({"widths": (4,)}, r"`widths` must be two integers, for roots and for"),
        ({"widths": 5}, r"`widths` must be two integers, for roots and for"),
        ({"parents": []}, r"`parents` must be numbered from 0 on, without holes"),
        ({"roots": [0, 2, 2]}, r"without holes. Received: roots=\[0, 2, 2\]"),
        ({"cosine_weight": -0.1}, r"`cosine_weight` must be a number >= 0"),
    ):
        with pytest.raises(ValueError, match=message):
            DANet(**arguments)
    with pytest.raises(TypeError, match=r"`parents` must be a sequence of integers"):
        DANet(parents=5)
    message = r"`parents` must have an integer for each of 5 classes. Received: 2"
    with pytest.raises(ValueError, match=message):
        built_danet(parents=[0, 1])
    message = r"must name two layers, for roots and for parents,.*\['conv1_relu'\]"
    with pytest.raises(ValueError, match=message):
        tiny_classifier(method=DANet(roots=ROOTS), drop_after=["conv1_relu"])
    model = built_danet()
    message = r"`layers` must begin with one of 2 maps for each of 5.*15 channels"
    with pytest.raises(ValueError, match=message):
        Localizer(model, score_map=LevelMaps(("head_child",), 2))
