import dataclasses
import functools

import keras
import numpy as np
import pytest
from keras import ops

from keras_wsol.models import BACKBONES, METHODS, build_classifier
from keras_wsol.models.splice import stable_names
from tests.models.small import (
    OPTIONS,
    SHAPES,
    keras_backbone,
    outputs,
    random_images,
    small_classifier,
    weights_by_layer,
)

EVERY_BACKBONE = pytest.mark.parametrize("backbone", list(BACKBONES))
INSERTED = ["adl", "dfm", "dgdm", "cagd", "sagd"]
PUBLISHED = ["cam", *INSERTED]
# Built on the smallest backbone alone.
COMPARED = [name for name in METHODS if name not in PUBLISHED]

# Where Choe and Shim put ADL, and the shares they give (methods.md).
DROP_THRESHOLDS = {
    "mobilenet": 0.95,
    "mobilenet_v2": 0.95,
    "vgg16": 0.8,
    "resnet50": 0.9,
    "inception_v3": 0.8,
}
# The last place of each is the last map before pooling, or the backbone's end.
PLACES = {
    "mobilenet": ["conv_pw_12_relu", "conv_pw_13_relu"],
    "mobilenet_v2": ["block_13_depthwise_relu", "out_relu"],
    "vgg16": ["block3_pool", "block4_pool", "block5_conv3"],
    "resnet50": ["conv4_block1_out", "conv5_block1_out", "conv5_block3_out"],
    "inception_v3": ["mixed2", "mixed7", "head_conv2"],
}


@pytest.fixture(scope="module")
def cheap_sources():
    """Each backbone's own weights are drawn once: the copies draw theirs anyway."""
    with pytest.MonkeyPatch.context() as patch:
        for name, spec in BACKBONES.items():
            built = functools.cache(spec.build)

            def build(built=built, input_shape=None, **options):
                return built(input_shape=tuple(input_shape), **options)

            patch.setitem(BACKBONES, name, dataclasses.replace(spec, build=build))
        yield


@pytest.fixture(scope="module")
def built(cheap_sources):
    return functools.cache(small_classifier)


def inserted_layers(model, method):
    """The method's layers by the name of the layer whose output they take."""
    return {
        layer.input._keras_history.operation.name: layer
        for layer in model.layers
        if type(layer) is type(METHODS[method]())
    }


@EVERY_BACKBONE
@pytest.mark.parametrize("method", PUBLISHED)
def test_every_row_builds_with_every_method(backbone, method, built):
    model = built(backbone, method)
    assert model.name == f"{backbone}_{method}"
    assert model.input_shape == (None, *SHAPES[backbone])
    assert model.output_shape == (None, 5)
    if method == "cam":
        assert not any(type(x) in METHODS.values() for x in model.layers)
        return
    places = list(inserted_layers(model, method))
    if (backbone, method) == ("resnet50", "dfm"):
        # After conv4_1 and conv5_3 (Zhou et al.).
        assert places == ["conv4_block1_out", "conv5_block3_out"]
    else:
        assert places == PLACES[backbone]


def test_what_the_papers_compare_with_is_listed():
    # The table of methods.md, as far as it needs no further heads or losses.
    assert set(COMPARED) == {
        "se",
        "cbam",
        "spatial_dropout",
        "dropblock",
        "maxdrop",
        "targeted_dropout",
        "cutout",
    }


@pytest.mark.parametrize("method", COMPARED)
def test_what_the_papers_compare_with_is_built_and_draws(method, built):
    model = built("mobilenet", method)
    places = list(inserted_layers(model, method))
    assert places == (["normalization"] if method == "cutout" else PLACES["mobilenet"])
    images = random_images(4, SHAPES["mobilenet"][:2])
    plain = built("mobilenet", "cam")
    same = np.array_equal(outputs(model, images), outputs(plain, images))
    assert same == (method not in ("se", "cbam"))  # those two act at inference, too
    draws = [outputs(model, images, training=True) for _ in range(3)]
    drawn = not all(np.array_equal(draw, draws[0]) for draw in draws)
    assert drawn == same


@EVERY_BACKBONE
def test_a_method_changes_no_weight(backbone, built):
    plain = weights_by_layer(built(backbone, "cam"))
    for method in INSERTED:
        weights = weights_by_layer(built(backbone, method))
        assert list(weights) == list(plain)
        for name in plain:
            for one, other in zip(weights[name], plain[name], strict=True):
                np.testing.assert_array_equal(one, other, err_msg=name)


@EVERY_BACKBONE
def test_names_are_the_same_in_every_process(backbone, built):
    # Else weights from a `.keras` file would not find their layers.
    for method in PUBLISHED:
        model = built(backbone, method)
        for name, stable in stable_names(model).items():
            assert name == stable


@EVERY_BACKBONE
def test_presets_of_the_row_arrive_in_the_layers(backbone, built):
    for layer in inserted_layers(built(backbone, "adl"), "adl").values():
        assert layer.drop_threshold == DROP_THRESHOLDS[backbone]
    for method in ("sagd", "dgdm"):
        layers = inserted_layers(built(backbone, method), method)
        # In the middle layers 0.1 selects no cell; at the last map it does.
        found = [layer.low_threshold for layer in layers.values()]
        assert found == [0.2] * (len(layers) - 1) + [0.1]


@pytest.mark.parametrize("backbone", ["mobilenet", "mobilenet_v2", "vgg16", "resnet50"])
@pytest.mark.usefixtures("cheap_sources")
def test_the_map_is_14_by_14_at_224_and_28_wide_at_448(backbone):
    model = build_classifier(
        backbone,
        num_classes=3,
        weights=None,
        input_shape=(224, 448, 3),
        backbone_options=OPTIONS.get(backbone),
    )
    assert model.get_layer("head_pool").input.shape[1:3] == (14, 28)


def test_inception_is_cut_at_mixed7(built):
    # Keras' stem rounds down: 80 x 96 to 3 x 4, 224 to 12.
    model = built("inception_v3", "cam")
    assert model.get_layer("mixed7").output.shape == (None, 3, 4, 768)
    assert model.get_layer("head_pool").input.shape == (None, 3, 4, 1024)
    assert "mixed8" not in [layer.name for layer in model.layers]


@pytest.mark.parametrize(
    ("backbone", "channels"), [("vgg16", [1024]), ("inception_v3", [1024, 1024])]
)
def test_head_convolutions(backbone, channels, built):
    model = built(backbone, "cam")
    head = [layer for layer in model.layers if layer.name.startswith("head_conv")]
    assert [layer.filters for layer in head] == channels
    assert all(layer.kernel_size == (3, 3) for layer in head)
    assert all(layer.activation is keras.activations.relu for layer in head)
    assert model.get_layer("head_pool").input is head[-1].output
    assert head[0].input is model.get_layer(BACKBONES[backbone].features).output


@pytest.mark.usefixtures("cheap_sources")
def test_vgg16_with_two_head_convolutions_has_dgdms_parameter_count():
    # 29.08 M at 200 classes: Table 1 of DGDM.
    model = small_classifier(
        "vgg16", num_classes=200, backbone_options={"head_convolutions": 2}
    )
    assert round(model.count_params() / 1e6, 2) == 29.08


def strided_like_ours(backbone, source):
    """The backbone with our strides, made without this package: by its own names."""
    strides = {
        "mobilenet": ["conv_dw_12"],
        "resnet50": ["conv5_block1_0_conv", "conv5_block1_1_conv"],
    }.get(backbone, [])

    def copy(layer):
        config = layer.get_config()
        if layer.name in strides:
            config["strides"] = (1, 1)
        if layer.name == "conv_pad_12":
            config["padding"] = ((1, 1), (1, 1))
        return type(layer).from_config(config)

    model = keras.models.clone_model(source, clone_function=copy)
    model.set_weights(source.get_weights())
    return model


@pytest.mark.parametrize(
    ("backbone", "method"),
    [("mobilenet", "dgdm"), ("resnet50", "adl"), ("inception_v3", "dfm")],
)
def test_features_equal_the_backbones_to_the_bit(backbone, method, tmp_path):
    source = keras_backbone(backbone)
    source.save_weights(tmp_path / "backbone.weights.h5")
    model = small_classifier(backbone, method, weights=tmp_path / "backbone.weights.h5")
    reference = strided_like_ours(backbone, source)
    features = BACKBONES[backbone].features
    ours = keras.Model(model.input, model.get_layer(features).output)
    theirs = keras.Model(reference.input, reference.get_layer(features).output)

    images = random_images(2, SHAPES[backbone][:2])
    module = {
        "mobilenet": keras.applications.mobilenet,
        "resnet50": keras.applications.resnet50,
        "inception_v3": keras.applications.inception_v3,
    }[backbone]
    expected = ops.convert_to_numpy(theirs(module.preprocess_input(images.copy())))
    assert expected.std() > 0.01
    np.testing.assert_array_equal(ops.convert_to_numpy(ours(images)), expected)
    # And no layer of the method acts between them and the logits.
    pooled = ops.convert_to_numpy(
        keras.Model(model.input, model.get_layer("head_pool").output)(images)
    )
    if not BACKBONES[backbone].head_convolutions:
        np.testing.assert_allclose(pooled, expected.mean(axis=(1, 2)), rtol=1e-5)
