"""Our maps beside those of pytorch-grad-cam and torch-cam: one network, one layer.

Where the definitions are the same, the maps are. Where they are not, the formula of the
other library, in NumPy, gives its map, and the paper's gives ours.
"""

import importlib

import numpy as np
import pytest
from keras import ops

from keras_wsol import cam
from keras_wsol.cam.score_map import look
from tests.extras.peer_network import (
    CLASS_IDS,
    SIZES,
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
    weighted,
)

torch = pytest.importorskip("torch", reason="runs where PyTorch is, in .ci/backends")
pytorch_grad_cam = importlib.import_module("pytorch_grad_cam")
model_targets = importlib.import_module("pytorch_grad_cam.utils.model_targets")
torchcam_methods = importlib.import_module("torchcam.methods")
AsTorch = importlib.import_module("tests.benchmarks.as_torch").AsTorch


def same_network(model):
    return AsTorch(model, "second")


def as_input(images):
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(images, -1, 1)))


def targets():
    return [model_targets.ClassifierOutputTarget(each) for each in CLASS_IDS]


def of_grad_cam(name, model, images):
    """pytorch-grad-cam's map as it is made, and what its call returns."""
    network, inputs = same_network(model), as_input(images)
    layer = network.parts["second"]
    with getattr(pytorch_grad_cam, name)(network, [layer]) as method:
        called = method(inputs, targets())
        held = method.activations_and_grads
        # Those of Score-CAM's masked images follow.
        features = held.activations[0].numpy()
        gradients = held.gradients[0].numpy() if held.gradients else None
        raw = method.get_cam_image(inputs, layer, targets(), features, gradients, False)
    return raw, called


def of_torchcam(name, model, images):
    """torch-cam's map after its ReLU."""
    network, inputs = same_network(model), as_input(images)
    kind = getattr(torchcam_methods, name)
    with kind(network, network.parts["second"]) as method:
        scores = network(inputs)
        (maps,) = method(CLASS_IDS.tolist(), scores, normalized=False)
    return maps.detach().numpy()


def predict_with(model):
    return lambda images: ops.convert_to_numpy(model(images, training=False))


def test_both_networks_are_the_same():
    model, images = classifier(), pictures()
    logits = same_network(model)(as_input(images)).detach().numpy()
    assert_same(predict_with(model)(images), logits)


@pytest.mark.parametrize("name", ["GradCAM", "LayerCAM", "XGradCAM", "HiResCAM"])
def test_equal_to_pytorch_grad_cam(name):
    model, images = classifier(), pictures()
    raw, called = of_grad_cam(name, model, images)
    signed = ours(getattr(cam, name)("second", relu=False), model, images)
    assert_same(signed, raw)
    # Its call sets negative values to 0, HiResCAM's, too, then resizes and scales.
    cut = ours(getattr(cam, name)("second", relu=True), model, images)
    found = cam.score_maps(cut[:, None], SIZES[2])[:, 0]
    assert_same(ops.convert_to_numpy(found), called)


@pytest.mark.parametrize("name", ["GradCAM", "LayerCAM", "XGradCAM"])
def test_equal_to_torchcam(name):
    model, images = classifier(), pictures()
    expected = of_torchcam(name, model, images)
    assert_same(ours(getattr(cam, name)("second"), model, images), expected)


def test_hires_cam_of_pytorch_grad_cam_has_a_relu():
    model, images = classifier(), pictures()
    signed = ours(cam.HiResCAM("second"), model, images)
    assert (signed < 0).any()
    _, called = of_grad_cam("HiResCAM", model, images)
    found = ops.convert_to_numpy(cam.score_maps(signed[:, None], SIZES[2])[:, 0])
    assert np.abs(found - called).max() > 0.1


def test_grad_cam_pp_of_pytorch_grad_cam_adds_a_number_to_the_denominator():
    score_map = cam.GradCAMPlusPlus("second")
    model, images = classifier(), pictures()
    both = features_and_gradients(score_map, model, images)
    raw, _ = of_grad_cam("GradCAMPlusPlus", model, images)
    assert_same(raw, grad_cam_pp(*both, epsilon=1e-6), atol=1e-4)
    found = ours(score_map, model, images)
    assert_same(found, grad_cam_pp(*both), atol=1e-4)
    assert far_apart(raw, found) > 0.01
    # The number is nothing where gradients are large.
    model = classifier(gain=1000.0)
    raw, _ = of_grad_cam("GradCAMPlusPlus", model, images)
    assert_same(raw, ours(score_map, model, images))


def test_grad_cam_pp_of_torchcam_leaves_the_denominator_out():
    # It divides a copy of the squares, and goes on with the squares.
    score_map = cam.GradCAMPlusPlus("second")
    model, images = classifier(), pictures()
    features, gradients = features_and_gradients(score_map, model, images)
    raw = of_torchcam("GradCAMpp", model, images)
    cubes = np.maximum(gradients, 0) ** 3
    assert_same(raw, weighted(features, cubes.sum(axis=(1, 2))))
    assert far_apart(raw, ours(score_map, model, images)) > 0.01


def masks_of(score_map, model, images, corners=False):
    """Features, and them as masks: enlarged, then scaled to [0, 1]."""
    features, _ = features_and_gradients(score_map, model, images)
    return features, unit(enlarged(features, images.shape[1:3], corners))


def test_score_cam_of_pytorch_grad_cam_lays_masks_corner_on_corner():
    # Its masked images are 0 behind the mask, where the network takes them.
    score_map = cam.ScoreCAM("second", baseline=0.0)
    model, images = classifier(gain=30.0), pictures()
    predict = predict_with(model)
    raw, _ = of_grad_cam("ScoreCAM", model, images)
    features, masks = masks_of(score_map, model, images, corners=True)
    assert_same(raw, score_cam(predict, images, masks, features))
    found = ours(score_map, model, images)
    features, masks = masks_of(score_map, model, images)
    assert_same(found, score_cam(predict, images, masks, features))
    assert far_apart(raw, found) > 0.01


def test_score_cam_of_torchcam_scales_masks_before_it_enlarges_them():
    score_map = cam.ScoreCAM("second", baseline=0.0)
    model, images = classifier(gain=30.0), pictures()
    raw = of_torchcam("ScoreCAM", model, images)
    features, _ = masks_of(score_map, model, images)
    masks = enlarged(unit(features), images.shape[1:3])
    expected = score_cam(predict_with(model), images, masks, features)
    assert_same(raw, expected)
    assert far_apart(raw, ours(score_map, model, images)) > 0.01


def test_score_cam_of_torchcam_is_ours_where_pixels_lie_on_cells():
    # Three pixels a cell: the middle one holds the cell, the largest among them.
    model, images = classifier(stride=3, gain=30.0), pictures(stride=3)
    raw = of_torchcam("ScoreCAM", model, images)
    assert_same(raw, ours(cam.ScoreCAM("second", baseline=0.0), model, images))


def test_eigen_cam_of_pytorch_grad_cam_is_ddt_of_one_image_but_for_its_sign():
    model, images = classifier(), pictures()
    raw, _ = of_grad_cam("EigenCAM", model, images)
    for each, image in zip(raw, images, strict=True):
        ddt = cam.DDT.fit(model, [image[None]], "second", relu=False)
        split = ddt.split(model)
        found = ops.convert_to_numpy(ddt.maps(look(split, image[None])))[0]
        sign = np.sign(np.sum(found * each))
        assert_same(sign * found, each[None], atol=1e-4)


def test_several_layers_in_pytorch_grad_cam_are_the_mean_of_scaled_maps():
    # `Mean` takes their square roots, and no gradients. These are large ones, beside
    # which the 1e-7 that it adds to the largest value of a map is nothing.
    model, images = classifier(gain=30.0), pictures()
    network = same_network(model)
    layers = [network.parts["second"], network.parts["third"]]
    with pytorch_grad_cam.LayerCAM(network, layers) as method:
        called = method(as_input(images), targets())
    maps = [unit(ours(cam.LayerCAM(f), model, images)) for f in ("second", "third")]
    maps = [enlarged(each[..., None], SIZES[2])[..., 0] for each in maps]
    assert_same(called, unit(sum(maps) / 2))
    with pytest.raises(ValueError, match="one forward pass"):
        cam.Mean((cam.LayerCAM("second"), cam.LayerCAM("third")))


def test_smoothing_in_pytorch_grad_cam_is_the_mean_of_scaled_maps():
    # `Smoothed` scales the mean of the maps as they are.
    model, images = classifier(), pictures()
    network, score_map = same_network(model), cam.GradCAM("second")
    with pytorch_grad_cam.GradCAM(network, [network.parts["second"]]) as method:
        called = method(as_input(images), targets(), aug_smooth=True)
    maps = []
    for changed in (0.9 * images, images, 1.1 * images):
        maps.append(scaled(score_map, model, changed))
        maps.append(scaled(score_map, model, changed[:, :, ::-1])[:, :, ::-1])
    assert_same(called, np.mean(maps, axis=0))
    raw = [ours(score_map, model, each) for each in (images, images[:, :, ::-1])]
    smoothed = cam.Smoothed(score_map)
    assert_same(ours(smoothed, model, images), (raw[0] + raw[1][:, :, ::-1]) / 2)
    assert far_apart(scaled(smoothed, model, images), called) > 0.01


def scaled(score_map, model, images):
    """Our maps of the size of the images, scaled to [0, 1]."""
    maps = ours(score_map, model, images)
    return ops.convert_to_numpy(cam.score_maps(maps[:, None], images.shape[1:3]))[:, 0]
