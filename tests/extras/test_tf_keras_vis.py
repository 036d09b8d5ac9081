"""Our maps beside those of tf-keras-vis: one model, one layer.

Where the definitions are the same, the maps are. Where they are not, the formula of
tf-keras-vis, in NumPy, gives its map, and the paper's gives ours.
"""

import importlib

import numpy as np
import pytest
from keras import ops

from keras_wsol import cam
from tests.extras.peer_network import (
    CLASS_IDS,
    assert_same,
    classifier,
    enlarged,
    far_apart,
    features_and_gradients,
    grad_cam_pp,
    ours,
    pictures,
    score_cam,
    unit,
)

pytest.importorskip("tensorflow", reason="runs where TensorFlow is, in .ci/extras")
gradcam = importlib.import_module("tf_keras_vis.gradcam")
layercam = importlib.import_module("tf_keras_vis.layercam")
scorecam = importlib.import_module("tf_keras_vis.scorecam")
CategoricalScore = importlib.import_module("tf_keras_vis.utils.scores").CategoricalScore


def theirs(method, model, images, **options):
    """The map before it is resized and scaled."""
    score = CategoricalScore(CLASS_IDS.tolist())
    options = {"penultimate_layer": "second", "expand_cam": False, **options}
    return np.asarray(method(model)(score, images, normalize_cam=False, **options))


def test_grad_cam_and_layer_cam_are_equal():
    model, images = classifier(), pictures()
    for score_map, method in (
        (cam.GradCAM("second"), gradcam.Gradcam),
        (cam.LayerCAM("second"), layercam.Layercam),
    ):
        assert_same(ours(score_map, model, images), theirs(method, model, images))


def test_it_enlarges_maps_corner_on_corner():
    model, images = classifier(), pictures()
    raw = theirs(gradcam.Gradcam, model, images)
    large = theirs(gradcam.Gradcam, model, images, expand_cam=True)
    size = images.shape[1:3]
    assert_same(large, enlarged(raw[..., None], size, corners=True)[..., 0])
    maps = ours(cam.GradCAM("second"), model, images)
    found = ops.convert_to_numpy(cam.score_maps(maps[:, None], size))[:, 0]
    assert_same(found, unit(enlarged(maps[..., None], size)[..., 0]))
    assert far_apart(found, large) > 0.01


def test_grad_cam_pp_divides_the_alphas_of_a_channel_by_their_sum():
    score_map = cam.GradCAMPlusPlus("second")
    model, images = classifier(), pictures()
    features, gradients = features_and_gradients(score_map, model, images)
    raw = theirs(gradcam.GradcamPlusPlus, model, images)
    # The paper's factor, which ours leaves out: it is the same for a whole map.
    logits = ops.convert_to_numpy(model(images, training=False))
    factor = np.exp(logits[np.arange(len(images)), CLASS_IDS])[:, None, None]
    expected = np.maximum(grad_cam_pp(features, gradients, shares=True), 0)
    assert_same(raw, factor * expected, atol=1e-4)
    found = ours(score_map, model, images)
    assert_same(found, grad_cam_pp(features, gradients), atol=1e-4)
    assert far_apart(raw, found) > 0.01


def test_score_cam_weighs_by_the_probability_of_the_class():
    # Black is behind its masks, which are laid corner on corner.
    score_map = cam.ScoreCAM("second", baseline=0.0)
    model, images = classifier(gain=30.0), pictures()
    features, _ = features_and_gradients(score_map, model, images)
    masks = unit(enlarged(features, images.shape[1:3], corners=True))

    def predict(masked):
        return ops.convert_to_numpy(model(masked, training=False))

    raw = theirs(scorecam.Scorecam, model, images)
    assert_same(raw, score_cam(predict, images, masks, features, of_classes=True))
    found = ours(score_map, model, images)
    masks = unit(enlarged(features, images.shape[1:3]))
    assert_same(found, score_cam(predict, images, masks, features))
    assert far_apart(raw, found) > 0.01
