"""ACoL beside its erasing, loss and map in loops."""

import numpy as np
import pytest
from keras import ops

from keras_wsol.cam import ErasedMaps
from keras_wsol.cam.erased_maps import erase
from keras_wsol.cam.score_map import look
from keras_wsol.models import Localizer
from keras_wsol.models.methods import ACoL
from tests.models.methods.cases import CLASSES, added_loss, batch, compiled
from tests.models.small import draw_weights, outputs, tiny_classifier
from tests.reference import acol_numpy


def built_acol(**arguments):
    method = ACoL(**{"convolutions": 0, **arguments})
    model = compiled(tiny_classifier(method=method))
    draw_weights(model)
    return model


def heads(model):
    names = ("head_logits", "head_second_logits")
    return [model.get_layer(name).get_weights() for name in names]


@pytest.mark.parametrize("threshold", [0.3, 0.6, 0.9])
def test_the_loss_is_that_of_the_second_head(threshold):
    model = built_acol(erase_threshold=threshold)
    images, class_ids = batch()
    added, sides = added_loss(model, images, class_ids)
    expected = [
        acol_numpy.second_loss(features, class_id, *heads(model), threshold)
        for features, class_id in zip(sides["features"], class_ids, strict=True)
    ]
    np.testing.assert_allclose(added, expected, rtol=1e-4)


def test_each_map_erases_for_itself():
    maps = np.array([[[0.0, 5.0], [3.0, 2.9]], [[2.0, 2.0], [2.0, 2.0]]], "float32")
    features = np.arange(1, 9, dtype="float32").reshape(1, 2, 2, 2)
    found = ops.convert_to_numpy(
        erase(*map(ops.convert_to_tensor, (features, maps[None])), 0.6)
    )
    # 3 of 5 reaches 0.6; a map without a maximum erases nothing.
    expected = [[[1, 2], [0, 0]], [[0, 0], [7, 8]]]
    np.testing.assert_array_equal(found, [[expected, features[0]]])
    # Not even where 0 would reach the threshold.
    found = ops.convert_to_numpy(
        erase(*map(ops.convert_to_tensor, (features, maps[None])), 0.0)
    )
    np.testing.assert_array_equal(found[0, 1], features[0])


def test_the_second_head_reads_what_is_left_for_each_class():
    threshold = 0.5
    model = built_acol(erase_threshold=threshold)
    images, _ = batch(3)
    localizer = Localizer(model)
    evidence = look(localizer._split, images)
    class_ids = np.array([[0, 1, 2, 3, 4], [4, 3, 2, 1, 0], [1, 1, 4, 0, 2]], "int32")
    assert isinstance(localizer.score_map, ErasedMaps)
    found = localizer.find_maps(images, class_ids)["score_maps"]
    assert found.shape[:2] == class_ids.shape
    evidence = type(evidence)(**{**vars(evidence), "class_ids": class_ids})
    found = ops.convert_to_numpy(localizer.score_map.maps(evidence))
    features = ops.convert_to_numpy(evidence.features)
    first, second = heads(model)
    for b, k in np.ndindex(*class_ids.shape):
        expected = acol_numpy.localization_map(
            features[b], class_ids[b, k], first, second, threshold
        )
        np.testing.assert_allclose(found[b, k], expected, atol=1e-4)
    # The second head changes the map, and what is erased for a class differs.
    whole = acol_numpy.maps_of(features[0], second)
    assert np.abs(found[0] - scaled(acol_numpy.maps_of(features[0], first))).max() > 0.1
    assert np.abs(found[0] - scaled(whole)).max() > 0.1


def scaled(maps):
    return np.stack([acol_numpy.scale_to_unit(maps[..., c]) for c in range(CLASSES)])


def test_classes_and_logits_need_the_first_head_alone():
    model = built_acol(convolutions=1)
    localizer = Localizer(model)
    names = {layer.name for layer in localizer._split.network.layers}
    assert "head_conv1" in names
    assert not {name for name in names if "second" in name}
    assert {x.name for x in localizer._split.onward.layers} >= {
        "head_second_conv1",
        "head_second_logits",
    }
    images, _ = batch(2)
    # Another second head changes maps, not logits.
    before = localizer.predict_on_batch(images)
    layer = localizer.model.get_layer("head_second_logits")
    layer.kernel.assign(ops.flip(layer.kernel, axis=0))
    after = localizer.predict_on_batch(images)
    np.testing.assert_array_equal(before["logits"], after["logits"])
    assert np.abs(before["score_maps"] - after["score_maps"]).max() > 0.01


def test_heads_have_convolutions_of_their_own():
    model = built_acol(convolutions=2)
    shapes = [
        [model.get_layer(f"{head}_conv{n}").kernel.shape for n in (1, 2)]
        for head in ("head", "head_second")
    ]
    assert shapes == 2 * [[(3, 3, 8, 1024), (3, 3, 1024, 1024)]]
    kernels = [
        ops.convert_to_numpy(
            tiny_classifier(method=ACoL(convolutions=1))
            .get_layer(f"{head}_conv1")
            .kernel
        )
        for head in ("head", "head_second")
    ]
    assert np.abs(kernels[0] - kernels[1]).max() > 0.01
    assert outputs(model, batch(2)[0]).shape == (2, CLASSES)


def test_bad_arguments():
    message = r"`erase_threshold` must be a number in \[0, 1\]. Received: "
    with pytest.raises(ValueError, match=message):
        ACoL(erase_threshold=1.5)
    with pytest.raises(ValueError, match=message):
        ErasedMaps("a", "b", "c", 1.5)
    with pytest.raises(ValueError, match=r"`convolutions` must be an integer >= 0"):
        ACoL(convolutions=-1)
    message = r"This method takes no `drop_after`. .*conv2_relu"
    with pytest.raises(ValueError, match=message):
        tiny_classifier(method=ACoL(), drop_after=["conv2_relu"])
    model = built_acol().for_inference()
    message = r"`first` must have a channel for each of 5 .*'conv3_relu' with 8"
    score_map = ErasedMaps("head_features", "conv3_relu", "head_second_logits")
    with pytest.raises(ValueError, match=message):
        Localizer(model, score_map=score_map)
