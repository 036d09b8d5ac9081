"""ACoL, SPG and DANet in the backbones: their presets, their places, their sizes."""

import keras
import numpy as np
import pytest

from keras_wsol.models import BACKBONES, Localizer, build_classifier
from keras_wsol.models.methods import SPG, ACoL, DANet
from tests.models.small import SHAPES, outputs, random_images, small_classifier

# Those that need an extra have tests of their own: `tests/extras`.
ROWS = [name for name, spec in BACKBONES.items() if spec.extra is None]
NARROW = ("mobilenet", "mobilenet_v2", "mobilenet_v3_small")
NARROW += ("efficientnet_v2_b0", "efficientnet_b0", "nasnet_mobile")
HIERARCHY = {"parents": (0, 1, 1, 2, 0), "roots": (0, 1, 1, 1, 0)}


def rows(turn):
    """MobileNet, and every third row: what a method does there is slow to build."""
    others = [x for x in ROWS[turn::3] if x not in ("mobilenet", "resnet50")]
    slow = ["resnet50", *others]
    slow = [pytest.param(name, marks=pytest.mark.slow) for name in slow]
    return pytest.mark.parametrize("backbone", ["mobilenet", *slow])


def cells(backbone, stride):
    height, width, _ = SHAPES[backbone]
    return height // stride, width // stride


@rows(0)
def test_acol(backbone):
    model = small_classifier(backbone, "acol")
    count = 0 if backbone in NARROW else 2
    assert model.method == ACoL(convolutions=count)
    names = {layer.name for layer in model.layers}
    for head in ("head", "head_second"):
        convolutions = {f"{head}_conv{n}" for n in (1, 2, 3)}
        assert len(names & convolutions) == count
    assert_localizes(model, backbone)


@rows(1)
def test_spg(backbone):
    model = small_classifier(backbone, "spg")
    filters = 1024 if "resnet" in backbone else 256 if backbone in NARROW else 512
    assert model.method == SPG(filters=filters)
    # Both masks are as fine as the maps of the class, but of InceptionV3.
    sides = model._inner.tensors
    early = 8 if backbone == "inception_v3" else 16
    assert sides["early"].shape[1:] == (*cells(backbone, early), 1)
    for name in ("late", "last"):
        assert sides[name].shape[1:] == (*cells(backbone, 16), 1)
    assert_localizes(model, backbone)


@rows(2)
def test_danet(backbone):
    model = small_classifier(backbone, "danet")
    count = 4 if backbone == "inception_v3" else 8
    assert model.method.maps_per_class == count
    options = {**BACKBONES[backbone].presets.get("danet", {}), **HIERARCHY}
    model = small_classifier(backbone, DANet(**options))
    # Roots are read where maps are twice as fine.
    sides = model._inner.tensors
    assert sides["root"].shape[1:] == (*cells(backbone, 8), 2 * count)
    parent = 8 if backbone == "inception_v3" else 16
    assert sides["parent"].shape[1:] == (*cells(backbone, parent), 3 * count)
    assert sides["child"].shape[1:] == (*cells(backbone, 16), 5 * count)
    widths = {"root": 256, "parent": 384} if count == 4 else {"root": 512}
    if backbone not in NARROW:
        widths = {"parent": 1024, "child": 1024, **widths}
        names = {**{n: f"head_{n}_conv2" for n in widths}, "child": "head_conv2"}
        found = {n: model.get_layer(names[n]).filters for n in widths}
        assert found == widths
    assert_localizes(model, backbone)


def assert_localizes(model, backbone):
    images = random_images(2, SHAPES[backbone][:2])
    localizer = Localizer(model, top_k=2)
    found = localizer.predict_on_batch(images)
    assert found["score_maps"].shape == (2, 2, *SHAPES[backbone][:2])
    assert np.isfinite(found["score_maps"]).all()
    np.testing.assert_allclose(
        found["logits"], outputs(model, images), rtol=1e-4, atol=1e-5
    )
    keras.utils.clear_session()


def test_a_file_of_a_plain_classifier_starts_the_first_head(tmp_path):
    options = {"input_shape": (32, 64, 3), "backbone_options": {"alpha": 0.25}}
    plain = build_classifier("mobilenet", "cam", 5, weights=None, seed=1, **options)
    plain.save(tmp_path / "plain.keras")
    for method in ("acol", "spg"):
        path = tmp_path / "plain.keras"
        model = build_classifier("mobilenet", method, 5, weights=path, **options)
        for name in ("conv_pw_3", "head_logits"):
            one, other = (x.get_layer(name).get_weights()[0] for x in (model, plain))
            np.testing.assert_array_equal(one, other)
