"""Each row of the table against Keras' own graphs; the whole product only if slow."""

import functools
from unittest import mock

import keras
import numpy as np
import pytest
from keras import ops

from keras_wsol.cam.split import graph_of, node_of
from keras_wsol.layers import ADL, SAGD
from keras_wsol.models import BACKBONES, METHODS, build_classifier
from keras_wsol.models.methods import Method
from keras_wsol.models.splice import set_layer_weights, stable_names
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
# These take seconds to build. ResNet101 has the names of ResNet50.
SLOW = ("resnet101", "densenet121", "nasnet_mobile", "xception", "efficientnet_b0")
EVERY_ROW = pytest.mark.parametrize(
    "backbone",
    [pytest.param(x, marks=[pytest.mark.slow] * (x in SLOW)) for x in ROWS],
)
INSERTED = ["adl", "dfm", "dgdm", "cagd", "sagd"]
LAYER_METHODS = [
    name
    for name, kind in METHODS.items()
    if kind is None or not issubclass(kind, Method)
]
COMPARED = [name for name in LAYER_METHODS if name not in ("cam", *INSERTED)]

APPLICATIONS = {
    "mobilenet": keras.applications.mobilenet,
    "mobilenet_v3_small": keras.applications.mobilenet,  # its own is inside
    "vgg16": keras.applications.vgg16,
    "vgg19": keras.applications.vgg19,
    "resnet50": keras.applications.resnet50,
    "resnet50_v2": keras.applications.resnet_v2,
    "inception_v3": keras.applications.inception_v3,
    "densenet121": keras.applications.densenet,
    "xception": keras.applications.xception,
    "nasnet_mobile": keras.applications.nasnet,
}
# Rows without a figure.
UNTRIED = ["mobilenet_v3_small", "vgg19", "resnet50_v2", "densenet121", "xception"]
UNTRIED += ["nasnet_mobile"]
# These have their preprocessing inside.
PREPROCESSED = {
    "mobilenet_v3_small": keras.applications.MobileNetV3Small,
    "efficientnet_b0": keras.applications.EfficientNetB0,
    "efficientnet_v2_b0": keras.applications.EfficientNetV2B0,
    "convnext_tiny": keras.applications.ConvNeXtTiny,
}

# Whose background a study let grow.
STUDIED = ("mobilenet", "mobilenet_v2")
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
    "mobilenet_v3_small": 0.95,
    "vgg19": 0.8,
    **dict.fromkeys(("resnet50_v2", "efficientnet_v2_b0", "efficientnet_b0"), 0.9),
    **dict.fromkeys(("convnext_tiny", "densenet121", "xception", "nasnet_mobile"), 0.9),
}
# The last place of each is the last map before pooling, or the backbone's end.
PLACES = {
    "mobilenet": ["conv_pw_12_relu", "conv_pw_13_relu"],
    "mobilenet_v2": ["block_13_depthwise_relu", "out_relu"],
    "mobilenet_v3_small": ["activation_13", "activation_18"],
    "vgg16": ["block3_pool", "block4_pool", "block5_conv3"],
    "vgg19": ["block3_pool", "block4_pool", "block5_conv4"],
    "resnet50_v2": ["conv4_block1_out", "conv5_block1_out", "post_relu"],
    "resnet50": ["conv4_block1_out", "conv5_block1_out", "conv5_block3_out"],
    "inception_v3": ["mixed2", "mixed7", "head_conv2"],
    "efficientnet_v2_b0": ["block6a_activation", "top_activation"],
    "efficientnet_b0": ["block6a_activation", "top_activation"],
    "convnext_tiny": ["convnext_tiny_downsampling_conv_2", "add_18"],
    "densenet121": ["pool4_relu", "relu"],
    "xception": ["block14_sepconv1_act", "block14_sepconv2_act"],
    "nasnet_mobile": ["reduction_concat_reduce_8", "activation_188"],
}
PLACES |= dict.fromkeys(("resnet50_se", "resnet101"), PLACES["resnet50"])
OWN_PLACES = {
    # After conv4_1 and conv5_3 (Zhou et al.).
    ("resnet50", "dfm"): ["conv4_block1_out", "conv5_block3_out"],
    ("resnet50_v2", "dfm"): ["conv4_block1_out", "post_relu"],
    # Ours: the last map alone.
    ("mobilenet", "dgdm"): ["conv_pw_13_relu"],
}


@pytest.fixture(scope="module", autouse=True)
def fresh_session():
    yield
    bare.cache_clear()
    built.cache_clear()
    keras.utils.clear_session()


@functools.cache
def bare(backbone):
    """The graph as Keras gives it."""
    if backbone == "resnet50_se":
        return bare("resnet50")
    return BACKBONES[backbone].build(
        include_top=False,
        weights=None,
        input_shape=SHAPES[backbone],
        **OPTIONS.get(backbone, {}),
    )


built = functools.cache(small_classifier)


def inserted_layers(model, method):
    """The method's layers by the name of the layer whose output they take."""
    return {
        node_of(layer.input).operation.name: layer
        for layer in model.layers
        if type(layer) is METHODS[method]
    }


# Of each row: names, sizes and presets


@EVERY_ROW
def test_every_name_of_a_row_is_a_layer_of_its_graph(backbone):
    spec, names = BACKBONES[backbone], list(stable_names(bare(backbone)).values())
    # Nothing after the features is in the classifier.
    before = names[: names.index(spec.features) + 1]
    before += [f"head_conv{n + 1}" for n in range(spec.head_convolutions)]
    blocks = spec.inserted_blocks
    assert set(blocks.values()) <= set(before)
    for method in METHODS:
        places = spec.places(method)
        assert set(places) <= {*before, "normalization"}
        assert set(spec.place_presets.get(method, {})) <= {*before}
    for changes in spec.map_sizes.values():
        assert set(changes) <= set(before)
    assert spec.places("adl") == tuple(PLACES[backbone])
    for method in ("dfm", "dgdm"):
        row = backbone.removesuffix("_se").replace("101", "50")
        assert spec.places(method) == tuple(
            OWN_PLACES.get((row, method), PLACES[backbone])
        )
    for method in ("cutout", "has"):
        assert spec.places(method) == ("normalization",)


def made_by(layer, given, changes):
    """Shape that a layer or function makes of shapes, with changed configurations."""
    if isinstance(layer, keras.Sequential):
        for inner in layer.layers:
            given = [made_by(inner, given, changes)]
        return given[0]
    if type(layer).__name__ in ("Add", "Multiply") and len(given) == 1:
        return given[0]  # of a number
    if not isinstance(layer, keras.layers.Layer):
        tensors = [keras.KerasTensor(shape) for shape in given]
        return layer.compute_output_spec(*tensors).shape
    copy = type(layer).from_config({**layer.get_config(), **changes(layer)})
    if type(layer).__name__ == "LayerScale":  # of ConvNeXt; cannot say so
        return given[0]
    return copy.compute_output_shape(given if len(given) > 1 else given[0])


def shape_with(backbone, map_size, input_shape):
    """Shape of the features, from shapes alone: no weight is made."""
    spec, source = BACKBONES[backbone], bare(backbone)
    names, sizes = stable_names(source), spec.map_sizes[map_size]
    shapes = {}
    for tensor, layer, parents, _ in graph_of(source.outputs[0]):
        given = [shapes[id(each)] for each in parents]
        shapes[id(tensor)] = input_shape
        if given:
            of_layer = made_by(layer, given, lambda x: sizes.get(names[x.name], {}))
            shapes[id(tensor)] = of_layer
        if names.get(layer.name) == spec.features:
            return shapes[id(tensor)]
    raise AssertionError


@EVERY_ROW
def test_map_sizes_of_a_row_at_224_pixels(backbone):
    spec = BACKBONES[backbone]
    assert next(iter(spec.map_sizes)) == 14
    for map_size in spec.map_sizes:
        _, height, width, _ = shape_with(backbone, map_size, (1, 224, 448, 3))
        # Keras' InceptionV3 rounds down where it has no padding.
        assert (height, width) == (map_size, 26 if map_size == 12 else 2 * map_size)


@EVERY_ROW
def test_presets_of_a_row(backbone):
    spec, shape = BACKBONES[backbone], SHAPES[backbone]
    assert spec.preset("adl", "any place", shape) == {
        "drop_threshold": DROP_THRESHOLDS[backbone]
    }
    # In the middle layers 0.1 selects no cell; at the last map it does.
    *middle, last = spec.places("sagd")
    grown = {"grow_background": True} if backbone in STUDIED else {}
    for method in ("sagd", "dgdm"):
        assert spec.preset(method, last, shape) == grown
        for place in middle:
            assert spec.preset(method, place, shape) == {**grown, "low_threshold": 0.2}
    assert spec.preset("cutout", "normalization", (64, 96, 3)) == {"size": 32}


def test_maps_of_twice_the_size_where_asked():
    plain, large = built("mobilenet"), small_with_maps("mobilenet", 28)
    assert plain.get_layer("head_pool").input.shape == (None, 4, 6, 256)
    assert large.get_layer("head_pool").input.shape == (None, 8, 12, 256)
    # No weight has another shape, and none is another.
    for one, other in zip(plain.weights, large.weights, strict=True):
        np.testing.assert_array_equal(
            ops.convert_to_numpy(one), ops.convert_to_numpy(other)
        )


def test_inceptions_maps_without_padding():
    # Keras' stem rounds down: 80 x 96 to 3 x 4.
    assert shape_with("inception_v3", 12, (1, 80, 96, 3)) == (1, 3, 4, 768)


def small_with_maps(backbone, size, method="cam", **arguments):
    options = {**OPTIONS.get(backbone, {}), "map_size": size}
    return small_classifier(backbone, method, backbone_options=options, **arguments)


def test_map_sizes_that_a_row_does_not_have():
    message = r"`map_size` must be one of \[14, 28, 12\]. Received: map_size=7"
    with pytest.raises(ValueError, match=message):
        small_with_maps("inception_v3", 7)


# Methods, on the smallest backbone


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
        "has",
    }


@pytest.mark.parametrize("method", LAYER_METHODS)
def test_every_method_is_built_and_draws(method):
    shape = (32, 64, 3)
    model = built("mobilenet", method, input_shape=shape)
    assert model.name == f"mobilenet_{method}"
    assert (model.input_shape, model.output_shape) == ((None, *shape), (None, 5))
    for name, stable in stable_names(model).items():
        assert name == stable  # else weights of a file would not find their layers
    plain = built("mobilenet", "cam", input_shape=shape)
    weights, expected = weights_by_layer(model), weights_by_layer(plain)
    for name, arrays in expected.items():
        for one, other in zip(weights[name], arrays, strict=True):
            np.testing.assert_array_equal(one, other, err_msg=name)
    if method == "cam":
        return
    layers = inserted_layers(model, method)
    places = OWN_PLACES.get(("mobilenet", method), PLACES["mobilenet"])
    of_images = method in ("cutout", "has")
    assert list(layers) == (["normalization"] if of_images else places)
    if method == "cutout":  # half of the shorter side
        assert layers["normalization"].size == 16
    images = random_images(4, shape[:2])
    same = np.array_equal(outputs(model, images), outputs(plain, images))
    assert same == (method not in ("se", "cbam"))  # those two act at inference, too
    first = outputs(model, images, training=True)
    calls = 20 if same else 2  # ADL's mask is the one of three calls in four
    drawn = any(
        not np.array_equal(outputs(model, images, training=True), first)
        for _ in range(calls)
    )
    assert drawn == same


def test_presets_arrive_in_the_layers():
    shape = (32, 64, 3)
    found = inserted_layers(built("mobilenet", "adl", input_shape=shape), "adl")
    assert [layer.drop_threshold for layer in found.values()] == [0.95, 0.95]
    found = inserted_layers(built("mobilenet", "sagd", input_shape=shape), "sagd")
    assert [layer.low_threshold for layer in found.values()] == [0.2, 0.1]
    # A layer has none of them.
    for template, name in ((ADL(), "drop_threshold"), (SAGD(), "low_threshold")):
        model = built("mobilenet", template, input_shape=shape)
        layers = [x for x in model.layers if type(x) is type(template)]
        assert [getattr(x, name) for x in layers] == 2 * [getattr(template, name)]


# Every row with every method


def own_places(backbone, method):
    row = backbone.removesuffix("_se").replace("101", "50")
    return OWN_PLACES.get((row, method), PLACES[backbone])


@pytest.mark.parametrize("backbone", ROWS)
def test_places_of_every_method(backbone):
    row = BACKBONES[backbone]
    for method in INSERTED:
        assert list(row.places(method)) == own_places(backbone, method)


def assert_built(model, backbone, method):
    assert model.name == f"{backbone}_{method}"
    # A cell for 16 pixels, which is 14 for 224.
    height, width, _ = SHAPES[backbone]
    assert model.get_layer("head_pool").input.shape[1:3] == (height / 16, width / 16)
    for name, stable in stable_names(model).items():
        assert name == stable
    assert list(inserted_layers(model, method)) == own_places(backbone, method)


@pytest.mark.parametrize(
    "method",
    [
        pytest.param(name, marks=[pytest.mark.slow] * (name != "trilite"))
        for name in METHODS
        if name not in LAYER_METHODS
    ],
)
def test_what_a_method_adds_takes_no_name_of_a_copy(method):
    # Whose functions are named by counting, as in a new process: `add_1` to `add_9`.
    keras.utils.clear_session()
    model = small_classifier("mobilenet_v3_small", method)
    assert {"add_9", "multiply_9"} <= {x.name for x in model.operations}


@pytest.mark.slow
@pytest.mark.parametrize("backbone", [*UNTRIED, "efficientnet_b0"])
def test_untried_rows_train_with_bas(backbone):
    # Its presets, its place and what follows that, which its loss runs again.
    model = small_classifier(backbone, "bas")
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("sgd", loss, run_eagerly=True)
    images = random_images(2, SHAPES[backbone][:2])
    assert np.isfinite(model.train_on_batch(images, np.array([0, 2])))
    keras.utils.clear_session()


@pytest.mark.slow
def test_inception_is_cut_at_mixed7():
    model = built("inception_v3", "cam")
    assert model.get_layer("mixed7").output.shape == (None, 5, 6, 768)
    assert model.get_layer("head_pool").input.shape == (None, 5, 6, 1024)
    assert "mixed8" not in [layer.name for layer in model.layers]
    head = [layer for layer in model.layers if layer.name.startswith("head_conv")]
    assert [(x.filters, x.kernel_size) for x in head] == [(1024, (3, 3))] * 2
    assert all(layer.activation is keras.activations.relu for layer in head)
    assert model.get_layer("head_pool").input is head[-1].output
    assert head[0].input is model.get_layer("mixed7").output


def changed_like_ours(backbone, source, map_size):
    """The backbone with our strides, made without this package and its names."""
    changes = {}
    if map_size == 14:
        changes = without_last_stride(source)
    # The layers that halve the map and whose sum is mixed3.
    mixed3 = []
    if backbone == "inception_v3":
        changes, mixed3 = {}, ancestors(source.get_layer("mixed3"), 3)

    def copy(layer):
        config = {**layer.get_config(), **changes.get(layer.name, {})}
        if backbone == "inception_v3" and config.get("padding") == "valid":
            config["padding"] = "same"
            if layer in mixed3 and map_size == 28:
                config["strides"] = (1, 1)
        return type(layer).from_config(config)

    model = keras.models.clone_model(source, clone_function=copy)
    model.set_weights(source.get_weights())
    return model


def without_last_stride(source):
    """Layer to what keeps all that makes the last and smallest map from striding."""
    changes = {}
    for layer in source.layers:
        if max(getattr(layer, "strides", (1,))) == 1:
            continue
        if layer.output.shape[1:3] != source.output.shape[1:3]:
            continue
        changes[layer.name] = {"strides": (1, 1)}
        window = getattr(layer, "kernel_size", None) or layer.pool_size
        before = node_of(layer.input).operation
        if isinstance(before, keras.layers.ZeroPadding2D):
            changes[before.name] = {"padding": window[0] // 2}
        elif window == (2, 2):
            changes[layer.name]["pool_size"] = (1, 1)
    return changes


def ancestors(layer, count):
    """Layers that a layer is made of, `count` calls back."""
    found = set()
    if count:
        for tensor in node_of(layer.output).parents:
            before = node_of(tensor).operation
            found |= {before} | ancestors(before, count - 1)
    return found


@pytest.mark.parametrize(
    ("backbone", "method", "map_size"),
    [
        ("mobilenet", "dgdm", 14),
        *(
            pytest.param(*each, marks=pytest.mark.slow)
            for each in [
                ("resnet50", "adl", 14),
                *((x, "sagd", 14) for x in UNTRIED),
                *((x, "cam", 7) for x in UNTRIED if x != "vgg19"),
                ("inception_v3", "dfm", 14),
                ("inception_v3", "cam", 28),
            ]
        ),
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
    own_names = {stable: name for name, stable in stable_names(reference).items()}
    theirs = reference.get_layer(own_names[features]).output
    theirs = keras.Model(reference.input, theirs)

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


# Of ImageNet, of images in [0, 1].
MEAN, DEVIATION = np.array([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]])


@pytest.mark.slow
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
        if isinstance(layer, keras.layers.Normalization) and layer.weights:
            set_layer_weights(layer, [MEAN, np.square(DEVIATION), np.array(0)])
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


@pytest.mark.slow
def test_efficientnet_b0_with_the_weights_of_imagenet(tmp_path):
    # In a file with the deviations for variances, a second rescaling mends them: so
    # `keras.applications` says of its own, which is not at hand.
    source = keras.applications.EfficientNetB0(include_top=False, weights=None)
    draw_weights(source)
    set_layer_weights(source.get_layer(index=2), [MEAN, DEVIATION, np.array(0)])
    source.save_weights(tmp_path / "file.weights.h5")
    download = "keras.src.applications.efficientnet.file_utils.get_file"
    with mock.patch(download, return_value=str(tmp_path / "file.weights.h5")):
        source = keras.applications.EfficientNetB0(include_top=False)
        model = build_classifier(
            "efficientnet_b0", num_classes=3, backbone_options={"map_size": 7}
        )
    images = random_images(2, (224, 224))
    expected = outputs(source, images)
    features = keras.Model(model.input, model.get_layer("top_activation").output)
    atol = 1e-3 * expected.std()
    assert atol > 1e-5
    np.testing.assert_allclose(outputs(features, images), expected, 1e-3, atol)


@pytest.mark.slow
@pytest.mark.parametrize("backbone", ROWS)
def test_every_row_trains_and_is_saved(backbone, tmp_path):
    model = small_classifier(backbone, "dgdm")
    assert_built(model, backbone, "dgdm")
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("sgd", loss, run_eagerly=True)
    images = random_images(2, SHAPES[backbone][:2])
    assert np.isfinite(model.train_on_batch(images, np.array([0, 2])))
    model.save(tmp_path / "trained.keras")
    again = keras.saving.load_model(tmp_path / "trained.keras")
    np.testing.assert_array_equal(outputs(again, images), outputs(model, images))
    # And another method goes on from it.
    other = small_classifier(backbone, "adl", weights=tmp_path / "trained.keras")
    assert_built(other, backbone, "adl")
    np.testing.assert_array_equal(outputs(other, images), outputs(model, images))
    keras.utils.clear_session()


@pytest.mark.slow
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


@pytest.mark.slow
def test_a_backbone_that_draws_draws_from_the_seed():
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
    return list(inserted_layers(model, "se").values())


@pytest.mark.slow
def test_every_residual_block_has_a_squeeze_and_excitation(resnet50_se):
    blocks = squeeze_excites(resnet50_se[0])
    assert len(blocks) == 3 + 4 + 6 + 3
    for block in blocks:
        name = block.name.removesuffix("_se")
        assert block.ratio == 16
        assert node_of(block.input).operation.name == f"{name}_3_bn"
        # And the other way around the block is as it was.
        total = node_of(resnet50_se[0].get_layer(f"{name}_add").output)
        assert [each is block.output for each in total.parents].count(True) == 1
        assert len(total.parents) == 2


@pytest.mark.slow
def test_new_blocks_keep_the_scale_of_pretrained_branches(resnet50_se):
    model, plain = resnet50_se
    for block in squeeze_excites(model)[:4]:
        gates = block.maps(
            random_images(2, (6, 6))[..., :1] / 255
            + np.zeros(block.input.shape[-1], "float32")
        )["channel_gate"]
        assert ops.convert_to_numpy(gates).mean() > 0.9
    assert plain.name == "resnet50_cam"


@pytest.mark.slow
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


@pytest.mark.slow
def test_with_open_gates_it_is_resnet50(resnet50_se):
    model, plain = resnet50_se
    drawn = {block: block.get_weights() for block in squeeze_excites(model)}
    for block, (*others, bias) in drawn.items():
        block.set_weights([*others[:2], 0 * others[2], bias + 50])
    images = random_images(2, SHAPES["resnet50_se"][:2])
    np.testing.assert_array_equal(outputs(model, images), outputs(plain, images))
    for block, weights in drawn.items():
        block.set_weights(weights)


@pytest.mark.slow
def test_the_blocks_weights_are_drawn_from_the_seed(resnet50_se):
    kernels = {x.name: x.get_weights()[0] for x in squeeze_excites(resnet50_se[0])}
    # Not what was carried over around them.
    for block in squeeze_excites(built("resnet50_se", "dgdm")):
        np.testing.assert_array_equal(kernels[block.name], block.get_weights()[0])
    one, other = kernels["conv3_block2_se"], kernels["conv3_block3_se"]
    assert one.shape == other.shape
    assert not np.array_equal(one, other)
