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
    draw_weights,
    keras_backbone,
    outputs,
    random_images,
    small_classifier,
    weights_by_layer,
)

# Those that need an extra have tests of their own: `tests/extras`.
ROWS = [name for name, spec in BACKBONES.items() if spec.extra is None]
EVERY_BACKBONE = pytest.mark.parametrize("backbone", ROWS)
INSERTED = ["adl", "dfm", "dgdm", "cagd", "sagd"]
PUBLISHED = ["cam", *INSERTED]
# Built on the smallest backbone alone.
COMPARED = [name for name in METHODS if name not in PUBLISHED]

# Rows with hundreds of layers, and what differs from the other rows: built with two
# methods.
LARGE = ["resnet50_se", "resnet101", "efficientnet_v2_b0", "convnext_tiny"]
EVERY_METHOD = pytest.mark.parametrize(
    ("backbone", "method"),
    [
        (backbone, method)
        for backbone in ROWS
        for method in (["cam", "dgdm"] if backbone in LARGE else PUBLISHED)
    ],
)
# The function of `keras.applications` and its preprocessing, by another way than
# the table.
APPLICATIONS = {
    "mobilenet": keras.applications.mobilenet,
    "vgg16": keras.applications.vgg16,
    "resnet50": keras.applications.resnet50,
    "inception_v3": keras.applications.inception_v3,
}
# These have their preprocessing inside.
PREPROCESSED = {
    "efficientnet_v2_b0": keras.applications.EfficientNetV2B0,
    "convnext_tiny": keras.applications.ConvNeXtTiny,
}

# Where Choe and Shim put ADL, and the shares they give (methods.md).
DROP_THRESHOLDS = {
    "mobilenet": 0.95,
    "mobilenet_v2": 0.95,
    "vgg16": 0.8,
    "resnet50": 0.9,
    "resnet50_se": 0.9,
    "resnet101": 0.9,
    "inception_v3": 0.8,
    # Ours.
    "efficientnet_v2_b0": 0.9,
    "convnext_tiny": 0.9,
}
# The last place of each is the last map before pooling, or the backbone's end.
PLACES = {
    "mobilenet": ["conv_pw_12_relu", "conv_pw_13_relu"],
    "mobilenet_v2": ["block_13_depthwise_relu", "out_relu"],
    "vgg16": ["block3_pool", "block4_pool", "block5_conv3"],
    "resnet50": ["conv4_block1_out", "conv5_block1_out", "conv5_block3_out"],
    "inception_v3": ["mixed2", "mixed7", "head_conv2"],
    "efficientnet_v2_b0": ["block6a_activation", "top_activation"],
    "convnext_tiny": ["convnext_tiny_downsampling_conv_2", "add_18"],
}
PLACES |= dict.fromkeys(("resnet50_se", "resnet101"), PLACES["resnet50"])
OWN_PLACES = {
    # After conv4_1 and conv5_3 (Zhou et al.).
    ("resnet50", "dfm"): ["conv4_block1_out", "conv5_block3_out"],
    # Row dgdm-grow-last of examples/results/study-cub40.csv.
    ("mobilenet", "dgdm"): ["conv_pw_13_relu"],
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


@EVERY_METHOD
def test_every_row_builds_with_every_method(backbone, method, built):
    model = built(backbone, method)
    assert model.name == f"{backbone}_{method}"
    assert model.input_shape == (None, *SHAPES[backbone])
    assert model.output_shape == (None, 5)
    # A cell for 16 pixels, which is 14 for 224.
    height, width, _ = SHAPES[backbone]
    assert model.get_layer("head_pool").input.shape[1:3] == (height / 16, width / 16)
    if method == "cam":
        own = {METHODS["se"]} if backbone == "resnet50_se" else set()
        assert {type(x) for x in model.layers} & set(METHODS.values()) == own
        return
    places = list(inserted_layers(model, method))
    assert places == OWN_PLACES.get((backbone, method), PLACES[backbone])


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
    if method == "cutout":  # half of 64, the shorter side
        assert inserted_layers(model, method)["normalization"].size == 32
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
    for method in ["dgdm"] if backbone in LARGE else INSERTED:
        weights = weights_by_layer(built(backbone, method))
        assert list(weights) == list(plain)
        for name in plain:
            for one, other in zip(weights[name], plain[name], strict=True):
                np.testing.assert_array_equal(one, other, err_msg=name)


@EVERY_BACKBONE
def test_names_are_the_same_in_every_process(backbone, built):
    # Else weights from a `.keras` file would not find their layers.
    for method in ["dgdm"] if backbone in LARGE else PUBLISHED:
        model = built(backbone, method)
        for name, stable in stable_names(model).items():
            assert name == stable


@EVERY_BACKBONE
def test_presets_of_the_row_arrive_in_the_layers(backbone, built):
    assert BACKBONES[backbone].preset("adl", "any place") == {
        "drop_threshold": DROP_THRESHOLDS[backbone]
    }
    if backbone not in LARGE:
        for layer in inserted_layers(built(backbone, "adl"), "adl").values():
            assert layer.drop_threshold == DROP_THRESHOLDS[backbone]
    for method in ["dgdm"] if backbone in LARGE else ["sagd", "dgdm"]:
        layers = inserted_layers(built(backbone, method), method)
        # In the middle layers 0.1 selects no cell; at the last map it does.
        found = [layer.low_threshold for layer in layers.values()]
        assert found == [0.2] * (len(layers) - 1) + [0.1]


@pytest.mark.parametrize(
    "backbone", ["mobilenet", "mobilenet_v2", "vgg16", "resnet50", "inception_v3"]
)
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


def small_with_maps(backbone, size, method="cam", **arguments):
    options = {**OPTIONS.get(backbone, {}), "map_size": size}
    return small_classifier(backbone, method, backbone_options=options, **arguments)


@pytest.mark.parametrize(
    "backbone",
    [name for name in ROWS if name not in ("resnet50_se", "resnet101")],
)
def test_maps_of_twice_the_size_where_asked(backbone, built):
    plain = built(backbone, "cam")
    _, height, width, channels = plain.get_layer("head_pool").input.shape
    large = small_with_maps(backbone, 28)
    found = large.get_layer("head_pool").input.shape
    assert found == (None, 2 * height, 2 * width, channels)
    # No weight has another shape, and none is another.
    for one, other in zip(plain.weights, large.weights, strict=True):
        np.testing.assert_array_equal(
            ops.convert_to_numpy(one), ops.convert_to_numpy(other)
        )


def test_inceptions_maps_without_padding():
    # Keras' stem rounds down: 80 x 96 to 3 x 4, 224 to 12.
    model = small_with_maps("inception_v3", 12)
    assert model.get_layer("head_pool").input.shape == (None, 3, 4, 1024)


def test_map_sizes_that_a_row_does_not_have():
    message = (
        r"`map_size` of 'inception_v3', .* at 224 pixels, must be one of "
        r"\[14, 28, 12\]. Received: map_size=7"
    )
    with pytest.raises(ValueError, match=message):
        small_with_maps("inception_v3", 7)


def test_inception_is_cut_at_mixed7(built):
    model = built("inception_v3", "cam")
    assert model.get_layer("mixed7").output.shape == (None, 5, 6, 768)
    assert model.get_layer("head_pool").input.shape == (None, 5, 6, 1024)
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


def changed_like_ours(backbone, source, map_size):
    """The backbone with our strides, made without this package: by its own names."""
    strides = {
        ("mobilenet", 14): ["conv_dw_12"],
        ("resnet50", 14): ["conv5_block1_0_conv", "conv5_block1_1_conv"],
    }.get((backbone, map_size), [])
    # The layers that halve the map and whose sum is mixed3.
    mixed3 = []
    if backbone == "inception_v3":
        mixed3 = ancestors(source.get_layer("mixed3"), 3)

    def copy(layer):
        config = layer.get_config()
        if layer.name in strides:
            config["strides"] = (1, 1)
        if layer.name == "conv_pad_12":
            config["padding"] = ((1, 1), (1, 1))
        if backbone == "inception_v3" and config.get("padding") == "valid":
            config["padding"] = "same"
            if layer in mixed3 and map_size == 28:
                config["strides"] = (1, 1)
        return type(layer).from_config(config)

    model = keras.models.clone_model(source, clone_function=copy)
    model.set_weights(source.get_weights())
    return model


def ancestors(layer, count):
    """Layers that a layer is made of, `count` calls back."""
    found = set()
    if count:
        for tensor in layer._inbound_nodes[0].input_tensors:
            before = tensor._keras_history.operation
            found |= {before} | ancestors(before, count - 1)
    return found


@pytest.mark.parametrize(
    ("backbone", "method", "map_size"),
    [
        ("mobilenet", "dgdm", 14),
        ("resnet50", "adl", 14),
        ("inception_v3", "dfm", 14),
        ("inception_v3", "cam", 28),
    ],
)
def test_features_equal_the_backbones_to_the_bit(backbone, method, map_size, tmp_path):
    source = keras_backbone(backbone)
    source.save_weights(tmp_path / "backbone.weights.h5")
    model = small_with_maps(
        backbone, map_size, method, weights=tmp_path / "backbone.weights.h5"
    )
    reference = changed_like_ours(backbone, source, map_size)
    features = BACKBONES[backbone].features
    ours = keras.Model(model.input, model.get_layer(features).output)
    theirs = keras.Model(reference.input, reference.get_layer(features).output)

    images = random_images(2, SHAPES[backbone][:2])
    preprocess = APPLICATIONS[backbone].preprocess_input
    expected = ops.convert_to_numpy(theirs(preprocess(images.copy())))
    assert expected.std() > 0.01
    np.testing.assert_array_equal(ops.convert_to_numpy(ours(images)), expected)
    # And no layer of the method acts between them and the logits.
    pooled = ops.convert_to_numpy(
        keras.Model(model.input, model.get_layer("head_pool").output)(images)
    )
    if not BACKBONES[backbone].head_convolutions:
        np.testing.assert_allclose(pooled, expected.mean(axis=(1, 2)), rtol=1e-5)


@pytest.mark.parametrize("backbone", list(PREPROCESSED))
def test_weights_of_those_with_preprocessing_inside_carry_over(backbone, tmp_path):
    # As `keras.applications` gives them, and `keras_wsol` reads them: an `.h5` file of
    # one with its preprocessing.
    source = PREPROCESSED[backbone](
        include_top=False, weights=None, input_shape=SHAPES[backbone]
    )
    draw_weights(source)
    for layer in source.layers:
        if "layer_scale" in layer.name:  # as small as they are when trained
            layer.set_weights([0.1 * weight for weight in layer.get_weights()])
    source.save(tmp_path / "backbone.h5")
    model = small_with_maps(backbone, 7, weights=tmp_path / "backbone.h5")
    features = model.get_layer(BACKBONES[backbone].features).output
    images = random_images(2, SHAPES[backbone][:2])
    expected = outputs(source, images)
    assert expected.std() > 0.1
    np.testing.assert_allclose(
        outputs(keras.Model(model.input, features), images),
        expected,
        rtol=1e-3,
        atol=1e-3 * expected.std(),
    )


def test_the_new_blocks_of_resnet50_se_are_trained_beside_a_frozen_backbone(tmp_path):
    source = keras_backbone("resnet50")
    path = tmp_path / "backbone.weights.h5"
    source.save_weights(path)
    model = small_classifier("resnet50_se", weights=path, freeze="backbone")
    trained = [layer.name for layer in model.layers if layer.trainable_weights]
    blocks = [3, 4, 6, 3]  # of the four stages: He et al., 2016, Table 1
    assert trained == [
        f"conv{stage}_block{block}_se"
        for stage, count in enumerate(blocks, start=2)
        for block in range(1, count + 1)
    ] + ["head_logits"]
    found, expected = weights_by_layer(model), weights_by_layer(source)
    assert set(found) - set(expected) == set(trained)


def test_a_backbone_that_draws_draws_from_the_seed(built):
    # EfficientNetV2 drops whole residuals.
    images = random_images(2, SHAPES["efficientnet_v2_b0"][:2])

    def drawn(seed):
        model = small_classifier("efficientnet_v2_b0", seed=seed)
        return [x.seed for x in model.layers if isinstance(x, keras.layers.Dropout)]

    first = drawn(0)
    assert len(set(first)) == len(first) > 10
    assert drawn(0) == first != drawn(1)
    model = built("efficientnet_v2_b0", "cam")
    one, other = (outputs(model, images, training=True) for _ in range(2))
    assert not np.array_equal(one, other)


# ResNet50-SE


@pytest.fixture(scope="module")
def resnet50_se(tmp_path_factory):
    """ResNet50-SE with the weights of a ResNet50, and that."""
    path = tmp_path_factory.mktemp("se") / "backbone.weights.h5"
    keras_backbone("resnet50").save_weights(path)
    return small_classifier("resnet50_se", weights=path), small_classifier(
        "resnet50", weights=path
    )


def squeeze_excites(model):
    return [x for x in model.layers if type(x) is METHODS["se"]]


def test_every_residual_block_has_a_squeeze_and_excitation(resnet50_se):
    blocks = squeeze_excites(resnet50_se[0])
    assert len(blocks) == 3 + 4 + 6 + 3
    for block in blocks:
        (node,) = block._outbound_nodes
        name = block.name.removesuffix("_se")
        assert block.ratio == 16
        assert block.input._keras_history.operation.name == f"{name}_3_bn"
        assert node.operation.name == f"{name}_add"
        # And the other way around the block is as it was.
        assert block.output in node.input_tensors
        assert len(node.input_tensors) == 2


def test_the_block_weighs_what_is_added(resnet50_se):
    model, _ = resnet50_se
    names = ["conv3_block2_3_bn", "conv3_block1_out", "conv3_block2_add"]
    parts = [model.get_layer(name).output for name in names]
    images = random_images(2, SHAPES["resnet50_se"][:2])
    block = model.get_layer("conv3_block2_se")
    drawn = block.get_weights()
    block.set_weights([0.2 * weight for weight in drawn])  # gates between 0 and 1
    residual, shortcut, total = [
        ops.convert_to_numpy(x) for x in keras.Model(model.input, parts)(images)
    ]
    first, first_bias, second, second_bias = block.get_weights()
    assert first.shape == (512, 32)
    middle = np.maximum(residual.mean(axis=(1, 2)) @ first + first_bias, 0)
    gate = 1 / (1 + np.exp(-(middle @ second + second_bias)))
    assert gate.std() > 0.1
    expected = shortcut + residual * gate[:, None, None]
    np.testing.assert_allclose(total, expected, rtol=1e-4, atol=2e-3)
    block.set_weights(drawn)


def test_with_open_gates_it_is_resnet50(resnet50_se):
    model, plain = resnet50_se
    drawn = {block: block.get_weights() for block in squeeze_excites(model)}
    for block, (*others, bias) in drawn.items():
        block.set_weights([*others[:2], 0 * others[2], bias + 50])
    images = random_images(2, SHAPES["resnet50_se"][:2])
    np.testing.assert_array_equal(outputs(model, images), outputs(plain, images))
    for block, weights in drawn.items():
        block.set_weights(weights)


def test_the_blocks_weights_are_drawn_from_the_seed(resnet50_se, built):
    kernels = {x.name: x.get_weights()[0] for x in squeeze_excites(resnet50_se[0])}
    # Not what was carried over around them.
    for block in squeeze_excites(built("resnet50_se", "dgdm")):
        np.testing.assert_array_equal(kernels[block.name], block.get_weights()[0])
    one, other = kernels["conv3_block2_se"], kernels["conv3_block3_se"]
    assert one.shape == other.shape
    assert not np.array_equal(one, other)
