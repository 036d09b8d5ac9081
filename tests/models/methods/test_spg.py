"""SPG beside its labels and losses in loops."""

import numpy as np
import pytest
from keras import ops

from keras_wsol.cam import CAM
from keras_wsol.models import Localizer
from keras_wsol.models.methods import SPG
from keras_wsol.models.methods.spg import guided_cross_entropy, sure_pixels
from tests.models.methods.cases import added_loss, batch, compiled
from tests.models.small import TINY_SIZE, draw_weights, tiny_classifier
from tests.reference import spg_numpy

PLACES = ["conv1_relu", "conv2_relu"]


def built_spg(**arguments):
    method = SPG(**{"filters": 4, **arguments})
    model = compiled(tiny_classifier(method=method, drop_after=PLACES))
    draw_weights(model)
    return model


THRESHOLDS = [
    (SPG().high, SPG().low),
    ((0.8, 0.6, 0.65), (0.3, 0.45, 0.4)),
    ((0.2, 0.3, 0.4), (0.5, 0.6, 0.7)),  # crossing: background wins
]


@pytest.mark.parametrize(("high", "low"), THRESHOLDS)
def test_the_loss_is_that_of_the_three_masks(high, low):
    model = built_spg(high=high, low=low)
    images, class_ids = batch()
    added, sides = added_loss(model, images, class_ids)
    assert added.shape == (len(images),)
    of_class = sides["class_maps"][np.arange(len(images)), :, :, class_ids]
    masks = [sides[name][..., 0] for name in ("early", "late", "last")]
    assert [each.shape[1:] for each in masks] == [(8, 12), (4, 6), (4, 6)]
    expected = spg_numpy.loss(of_class, *masks, TINY_SIZE, high, low)
    np.testing.assert_allclose(added.mean(), expected, rtol=1e-4)
    assert added.std() > 0.01


def loss(logits, guide, high, low):
    """A number for each image."""
    logits, guide = map(ops.convert_to_tensor, (logits, guide))
    return ops.convert_to_numpy(guided_cross_entropy(logits, guide, high, low))


def labels(guide, high, low):
    found = sure_pixels(ops.convert_to_tensor(guide), high, low)
    is_object, is_sure = map(ops.convert_to_numpy, found)
    return np.where(is_sure, is_object, 255)


@pytest.mark.parametrize("count", [29, 30, 31])
def test_with_few_object_pixels_a_share_of_the_maximum_is_enough(count):
    # Two images: the rule of the first is not that of the second.
    guide = np.full((2, 8, 7), 0.3, "float32")
    guide[0].ravel()[:count] = 0.8
    guide[0].ravel()[50:] = 0.6  # above 0.7 x 0.8, not above 0.7
    guide[1].ravel()[:40] = 0.9
    guide[1].ravel()[50:] = 0.65
    found = labels(guide, 0.7, 0.05)
    expected = np.full((2, 8, 7), 255)
    expected[0].ravel()[:count] = 1
    if count < 30:
        expected[0].ravel()[50:] = 1
    expected[1].ravel()[:40] = 1
    np.testing.assert_array_equal(found, expected)
    for one, guide_of_one in zip(found, guide, strict=True):
        np.testing.assert_array_equal(one, spg_numpy.target(guide_of_one, 0.7, 0.05))


def test_what_is_neither_object_nor_background_is_ignored():
    guide = np.linspace(0, 1, 77, dtype="float32").reshape(1, 7, 11)
    found = labels(guide, 0.5, 0.25)
    assert [np.sum(found == value) for value in (0, 255, 1)] == [19, 20, 38]
    logits = np.random.default_rng(0).normal(size=(1, 7, 11)).astype("float32")
    before = loss(logits, guide, 0.5, 0.25)
    changed = np.where(found == 255, 9.0, logits).astype("float32")
    after = loss(changed, guide, 0.5, 0.25)
    np.testing.assert_allclose(before, after, rtol=1e-6)


def test_an_empty_map_is_background_and_no_pixel_is_no_loss():
    logits = np.full((2, 5, 8), 3.0, "float32")
    empty = np.zeros((2, 5, 8), "float32")
    assert (labels(empty, 0.7, 0.05) == 0).all()
    assert (labels(empty, 0.7, 0.0) == 255).all()
    np.testing.assert_array_equal(loss(logits, empty, 0.7, 0.0), [0, 0])


def test_a_pixel_counts_the_same_in_every_image():
    # The first image has 8 sure pixels, the second all 40.
    logits = np.zeros((2, 5, 8), "float32")
    logits[0], logits[1] = -2.0, 1.0
    guide = np.full((2, 5, 8), 0.5, "float32")
    guide[0, 0, 0], guide[1] = 0.0, 0.0
    guide[0, 1:] = 0.1
    labels_of = np.stack([spg_numpy.target(each, 0.95, 0.05) for each in guide])
    assert [(each != 255).sum() for each in labels_of] == [8, 40]
    found = loss(logits, guide, 0.95, 0.05)
    expected = spg_numpy.mask_loss(logits, labels_of)
    np.testing.assert_allclose(found.mean(), expected, rtol=1e-5)


def test_branches_are_for_training_alone():
    model = built_spg()
    localizer = Localizer(model)
    assert isinstance(localizer.score_map, CAM)
    names = [layer.name for layer in localizer.model.layers]
    branches = ("head_side_", "head_early", "head_late", "head_last")
    assert [name for name in names if name.startswith(branches)] == []
    assert len({x.name for x in model.layers if x.name.startswith(branches)}) == 6
    images, class_ids = batch()
    sides = added_loss(model, images, class_ids)[1]
    assert sides["class_maps"].shape[-1] == localizer.num_classes


def test_bad_arguments():
    with pytest.raises(ValueError, match=r"`high` must be a tuple of three numbers"):
        SPG(high=(0.7, 0.5))
    with pytest.raises(ValueError, match=r"`low` must be a number in \[0, 1\]"):
        SPG(low=(0.1, -0.1, 0.1))
    message = r"must name two layers, the earlier one first,.*\['conv2_relu'\]"
    with pytest.raises(ValueError, match=message):
        tiny_classifier(method=SPG(), drop_after=["conv2_relu"])
