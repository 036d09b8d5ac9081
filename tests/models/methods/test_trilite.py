"""TriLite beside its head and losses in NumPy; which token its class comes from."""

import keras
import numpy as np
import pytest

from keras_wsol.models import Localizer, build_classifier
from keras_wsol.models.methods import TriLite
from keras_wsol.models.transformers import transformer
from tests.models.methods.cases import CLASSES, added_loss, batch, compiled
from tests.models.small import (
    TINY_SIZE,
    draw_weights,
    outputs,
    random_images,
    tiny_classifier,
    weights_by_layer,
)
from tests.reference.trilite_numpy import loss_of, regions_of, weighed_mean


def on_tokens(learned, **arguments):
    sizes = {"patch": (8, 8), "blocks": 1, "width": 6, "hidden": 7, "heads": 2}
    source = transformer("own", (*TINY_SIZE, 3), learned=learned, **sizes)
    model = build_classifier(
        source, TriLite(dropout=0.0, **arguments), CLASSES, weights=None
    )
    draw_weights(model)
    conv = model.get_layer("head_regions_conv")
    conv.kernel.assign(0.1 * conv.kernel)  # so that no share is 0
    return model


def read(model, layer, images):
    part = keras.Model(model.input, model.get_layer(layer).output)
    return outputs(part, images)


@pytest.mark.parametrize("weight", [100.0, 3.0])
def test_map_logits_and_loss_are_those_of_the_formulae(weight):
    model = compiled(on_tokens(2, background_weight=weight))
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.trainable = False
    images, class_ids = batch()
    images /= 255
    added, sides = added_loss(model, images, class_ids)
    features = read(model, "block1", images)
    weights = weights_by_layer(model)
    dense, bias = weights["head_regions_logits"]
    maps = Localizer(model, cam_threshold=0.3).model
    found = read(maps, "head_foreground", images)
    for n, map_ in enumerate(features):
        shares = regions_of(
            map_, *weights["head_regions_conv"], *weights["head_regions_bn"]
        )
        np.testing.assert_allclose(found[n, ..., 0], shares[..., 0], rtol=1e-4)
        seen, behind = (
            weighed_mean(map_, shares[..., part]) @ dense + bias for part in (0, 1)
        )
        np.testing.assert_allclose(sides["foreground_logits"][n], seen, rtol=1e-4)
        np.testing.assert_allclose(sides["background_logits"][n], behind, rtol=1e-4)
        expected = loss_of(seen, behind, class_ids[n], weight)
        np.testing.assert_allclose(added[n], expected, rtol=1e-3)


@pytest.mark.parametrize("learned", [0, 1, 3])
def test_the_class_comes_from_the_class_token_or_the_mean(learned):
    model = on_tokens(learned)
    images = random_images(2, TINY_SIZE)
    kernel, bias = model.get_layer("head_logits").get_weights()
    token = read(model, "block1", images).mean(axis=(1, 2))
    if learned:  # registers, and DeiT's token of distillation, follow it
        tokens = read(model, "block1_class", images)
        assert tokens.shape == (2, learned, 6)
        token = tokens[:, 0]
    np.testing.assert_allclose(outputs(model, images), token @ kernel + bias, rtol=1e-4)


def test_what_is_dropped_while_it_trains():
    model = tiny_classifier(method=TriLite(dropout=0.25), drop_after=None)
    found = [x for x in model.layers if isinstance(x, keras.layers.Dropout)]
    assert [x.rate for x in found] == [0.25] * 3
    assert len({x.seed for x in found}) == 3


def test_with_a_frozen_backbone_the_head_alone_is_trained():
    source = transformer(
        "own", (16, 24, 3), patch=(8, 8), blocks=1, width=6, hidden=7, heads=2
    )
    model = build_classifier(source, "trilite", 3, weights=None, freeze="backbone")
    trained = {x.name for x in model.layers if x.trainable_weights}
    assert trained == {
        *("head_regions_conv", "head_regions_bn", "head_regions_logits"),
        "head_logits",
    }


@pytest.mark.parametrize("dropout", [-0.1, 1.0])
def test_arguments(dropout):
    with pytest.raises(ValueError, match=r"`dropout` must be a number in \[0, 1\)"):
        TriLite(dropout=dropout)
    with pytest.raises(ValueError, match="`background_weight` must be a number >= 0"):
        TriLite(background_weight=-1.0)
