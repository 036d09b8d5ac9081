"""BAS beside its loss written in NumPy, and what its gradients may reach."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_wsol.models import build_classifier
from keras_wsol.models.methods import BAS
from tests.models.methods.cases import added_loss, batch, compiled
from tests.models.small import draw_weights, outputs, tiny_classifier


def built_bas(**arguments):
    method = BAS(**{"convolutions": 0, "top_k": 2, **arguments})
    model = compiled(tiny_classifier(method=method, drop_after=["conv2_relu"]))
    draw_weights(model)
    head = model.get_layer("head_logits")  # hiding then takes from the score
    head.kernel.assign(ops.abs(head.kernel))
    return model


def cross_entropy(logits, class_ids):
    logits = logits - logits.max(axis=1, keepdims=True)
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return -np.log(shares[np.arange(len(class_ids)), class_ids])


@pytest.mark.parametrize(
    ("area", "weight", "pool"), [(1.2, 0.5, 1), (0.7, 0.0, 1), (2.0, 1.0, 2)]
)
def test_the_loss_is_that_of_the_paper(area, weight, pool):
    model = built_bas(area_weight=area, foreground_weight=weight, pool=pool)
    for layer in model.layers:  # so that the pass behind can be made by hand
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.trainable = False
    images, class_ids = batch()
    added, sides = added_loss(model, images, class_ids)
    rows = np.arange(len(images))
    foreground = sides["foreground"][rows, :, :, class_ids]
    hidden = sides["features"] * (1 - foreground)[..., None]
    behind = outputs(model.part("features", "logits"), hidden)[rows, class_ids]
    score = sides["logits"][rows, class_ids]
    share = np.where(behind >= score, 0, behind / (score + 1e-8))
    count, height, width = foreground.shape
    blocks = foreground.reshape(count, height // pool, pool, width // pool, pool)
    blocks = blocks.mean(axis=(2, 4))
    seen = (sides["class_maps"] * blocks[..., None]).mean(axis=(1, 2))
    expected = share + area * foreground.mean(axis=(1, 2))
    expected = expected + weight * cross_entropy(seen, class_ids)
    np.testing.assert_allclose(added, expected, rtol=1e-4)
    assert (share > 0).any()
    assert (share < 1).all()


@pytest.mark.slow
def test_the_foreground_of_a_resnet_is_finer_than_its_class_maps():
    arguments = {"weights": None, "input_shape": (64, 64, 3)}
    sides = build_classifier("resnet50", "bas", 3, **arguments)._inner.tensors
    assert sides["features"].shape[1:] == (8, 8, 1024)
    assert sides["class_maps"].shape[1:] == (4, 4, 3)
    coarse = build_classifier("resnet50", "cam", 3, **arguments)
    assert coarse.get_layer("conv5_block3_out").output.shape[1:3] == (4, 4)
    arguments["backbone_options"] = {"map_size": 14}
    found = build_classifier("resnet50", "bas", 3, **arguments)
    assert found._inner.tensors["features"].shape[1:3] == (4, 4)


@pytest.mark.slow
def test_an_odd_map_is_pooled_to_what_the_backbone_makes_of_it():
    model = build_classifier(
        "inception_v3", BAS(convolutions=0), 3, weights=None, input_shape=(88, 88, 3)
    )
    images = np.zeros((2, 88, 88, 3), "float32")
    added, sides = added_loss(compiled(model), images, np.array([0, 2]))
    assert sides["foreground"].shape[1] == 11
    assert sides["class_maps"].shape[1] == 6
    assert np.isfinite(added).all()
