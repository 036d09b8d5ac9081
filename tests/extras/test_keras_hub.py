"""KerasHub's transformers as graphs of maps, and its convolutional backbones."""

import json
import zipfile

import keras
import numpy as np
import pytest

from keras_wsol.cam import DDT
from keras_wsol.layers import ADL
from keras_wsol.models import (
    BACKBONES,
    METHODS,
    Localizer,
    build_classifier,
    fit_localizer,
)
from keras_wsol.models.hub_transformers import of_preset
from tests.models.small import draw_weights, outputs, random_images

keras_hub = pytest.importorskip("keras_hub", reason="needs keras-wsol[keras-hub]")
models = keras_hub.models

SIDE = 64
SIZES = {"image_shape": (SIDE, SIDE, 3), "num_layers": 3, "num_heads": 2}
SIZES |= {"hidden_dim": 32, "patch_size": 16}
POSITIONS = {"position_embedding_shape": (96, 96, 3)}
SOURCES = {
    "vit": lambda **x: models.ViTBackbone(mlp_dim=48, **SIZES | x),
    "vit_bare": lambda **x: models.ViTBackbone(
        mlp_dim=48, use_class_token=False, use_mha_bias=False, **SIZES | x
    ),
    "deit": lambda **x: models.DeiTBackbone(intermediate_dim=48, **SIZES | x),
    "dinov2": lambda **x: models.DINOV2Backbone(
        intermediate_dim=48, **SIZES | POSITIONS | x
    ),
    "dinov2_registers": lambda **x: models.DINOV2Backbone(
        intermediate_dim=48, num_register_tokens=4, name="d", **SIZES | POSITIONS | x
    ),
    "siglip": lambda **x: models.SigLIPVisionEncoder(
        intermediate_dim=48, name="s", **SIZES | x
    ),
}
EVERY = pytest.mark.parametrize("kind", list(SOURCES))
# Name of the layer or attribute that the tokens of the last block go through next.
FINAL = {
    "vit": lambda x: x.get_layer("vit_encoder").layer_norm,
    "deit": lambda x: x.get_layer("deit_encoder").layer_norm,
    "dinov2": lambda x: x.layernorm,
}


def source(kind, **arguments):
    model = SOURCES[kind](**arguments)
    rng = np.random.default_rng(0)
    for weight in model.weights:
        if "float" in weight.dtype:
            mean = float(len(weight.shape) == 1)
            weight.assign(rng.normal(mean, 0.2, weight.shape))
    return model


def classifier(kind, method="cam", **arguments):
    arguments = {"weights": "imagenet", **arguments}
    return build_classifier(source(kind), method, 3, **arguments)


def read(model, layer, images):
    part = keras.Model(model.input, model.get_layer(layer).output)
    return keras.ops.convert_to_numpy(part(images))


def outputs_of(model, images):
    given = {"images": images} if isinstance(model.input, dict) else images
    return keras.ops.convert_to_numpy(model(given))


def close(found, expected, tolerance=1e-4):
    atol = tolerance * expected.std()
    assert atol > 0
    np.testing.assert_allclose(found, expected, rtol=tolerance, atol=atol)


@EVERY
def test_what_follows_the_last_map_is_the_backbones_own(kind):
    own = source(kind)
    images = random_images(3, (SIDE, SIDE)) / 255
    maps = read(classifier(kind), "block3", images)
    assert maps.shape == (3, 4, 4, 32)
    tokens = maps.reshape(3, 16, 32)
    expected = outputs_of(own, images)
    if kind == "siglip":
        found = own.head(own.post_layer_norm(tokens))
    else:
        found = FINAL[kind.split("_")[0]](own)(tokens)
        expected = expected[:, -16:]
    close(keras.ops.convert_to_numpy(found), expected)


@pytest.mark.parametrize("kind", ["dinov2", "dinov2_registers"])
@pytest.mark.parametrize("block", [1, 3])
def test_every_block_is_that_of_the_pyramid(kind, block):
    own = source(kind)
    pyramid = keras.Model(own.inputs, own.pyramid_outputs[f"stage{block}"])
    images = random_images(3, (SIDE, SIDE)) / 255
    expected = keras.ops.convert_to_numpy(pyramid({"images": images}))
    model = classifier(kind, features=f"block{block}")
    close(read(model, f"block{block}", images).reshape(3, 16, 32), expected[:, -16:])
    if block == 1:
        used = classifier(kind)
        close(read(used, "block1_class", images), expected[:, :-16])


def test_every_block_is_that_of_siglip():
    own = source("siglip")
    images = random_images(3, (SIDE, SIDE)) / 255
    for number, block in enumerate(own.encoder_layers, start=1):
        expected = outputs_of(keras.Model(own.inputs, block.output), images)
        found = read(classifier("siglip"), f"block{number}", images)
        # So near that it tells GELU from its approximation.
        close(found.reshape(3, 16, 32), expected, tolerance=1e-5)


@EVERY
@pytest.mark.parametrize("method", ["adl", "trilite"])
def test_it_trains_is_saved_and_needs_keras_hub_no_more(kind, method, tmp_path):
    model = classifier(kind, method, backbone_options={"normalization": "tf"})
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("sgd", loss, run_eagerly=True)
    images = random_images(4, (SIDE, SIDE))
    history = model.fit(images, np.array([0, 1, 2, 0]), verbose=0).history
    assert np.isfinite(history["loss"]).all()
    localizer = Localizer(model)
    path = tmp_path / "localizer.keras"
    localizer.save(path)
    with zipfile.ZipFile(path) as file:
        assert "keras_hub" not in json.dumps(file.read("config.json").decode())
    assert_says_the_same(keras.saving.load_model(path), localizer, images)


def assert_says_the_same(localizer, original, images):
    found, expected = (x.predict_on_batch(images) for x in (localizer, original))
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value, err_msg=name)


def test_a_saved_model_gives_the_same_boxes(tmp_path):
    tf = pytest.importorskip("tensorflow")
    from keras_wsol.export import export_saved_model

    model = classifier("dinov2_registers", backbone_options={"normalization": "torch"})
    images = random_images(4, (SIDE, SIDE))
    ddt = DDT.fit(model, [images], layer="block2")
    localizer = Localizer(model, score_map=ddt, cam_threshold=0.3)
    export_saved_model(localizer, tmp_path / "saved")
    served = tf.saved_model.load(str(tmp_path / "saved")).signatures["serving_default"]
    expected = localizer.predict_on_batch(images)
    found = served(images=tf.constant(images))
    np.testing.assert_allclose(found["boxes"], expected["boxes"], atol=1e-3)


def test_a_localizer_is_fitted_without_training():
    model = classifier("dinov2", backbone_options={"normalization": "torch"})
    images = random_images(24, (SIDE, SIDE))
    localizer = fit_localizer(model, [(images, np.arange(24) % 3)], verbose=False)
    assert localizer.predict_on_batch(images)["boxes"].shape == (24, 1, 4)


def test_siglips_encoder_of_images_is_taken_from_the_pair():
    encoder = source("siglip")
    text = models.SigLIPTextEncoder(
        vocabulary_size=9, embedding_dim=8, hidden_dim=8, num_layers=1, num_heads=2,
        intermediate_dim=8, max_sequence_length=4, name="t",
    )  # fmt: skip
    pair = models.SigLIPBackbone(encoder, text)
    images = random_images(2, (SIDE, SIDE))
    model = build_classifier(pair, num_classes=3, weights="imagenet")
    np.testing.assert_array_equal(
        read(model, "block3", images), read(classifier("siglip"), "block3", images)
    )


@pytest.mark.parametrize(
    ("kind", "arguments"),
    [
        ("vit", {"dropout_rate": 0.1}),
        ("deit", {"attention_dropout": 0.1}),
        ("dinov2", {"drop_path_rate": 0.1}),
        ("dinov2", {"use_swiglu_ffn": True}),
    ],
)
def test_what_is_not_taken_over_is_refused(kind, arguments):
    (name,) = arguments
    with pytest.raises(ValueError, match=f"are not taken over.* Received: .*{name}"):
        build_classifier(SOURCES[kind](**arguments), num_classes=3, weights=None)


# Rows of the table


@pytest.mark.parametrize("backbone", ["vit_b16", "deit_s16", "dinov2_s14"])
def test_a_row_has_the_sizes_of_its_preset(backbone):
    row = BACKBONES[backbone].build
    graph = row(include_top=False, weights=None, input_shape=(224, 224, 3))
    sizes = row.keywords
    # Besides ours: two vectors of the final norm; class tokens without a position.
    more = 2 + sizes.get("learned", 1)
    if backbone == "dinov2_s14":  # a mask, and positions for 518 pixels, twice
        more += 1 + 2 * (1 + 37**2) - (1 + 16**2)
    preset = getattr(models, sizes["kind"]).presets[sizes["preset"]]
    expected = preset["metadata"]["params"]
    assert graph.count_params() + more * sizes["width"] == expected


@pytest.mark.parametrize("kind", ["vit", "dinov2"])
def test_weights_of_a_preset(kind, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    own = source(kind, image_shape=(224, 224, 3), patch_size=56, num_layers=1)
    own.save_to_preset("preset")
    sizes = {"patch": (56, 56), "blocks": 1, "width": 32, "hidden": 48, "heads": 2}
    graph = of_preset(
        preset="preset",
        kind=type(own).__name__,
        include_top=False,
        weights="imagenet",
        input_shape=(224, 224, 3),
        **sizes,
    )
    images = random_images(2, (224, 224)) / 255
    # DINOv2 draws its positions of 224 pixels anew from those that it has saved.
    model = build_classifier(type(own).from_preset("preset"), num_classes=3)
    close(read(graph, "block1", images), read(model, "block1", images))


@pytest.mark.parametrize(
    ("row", "kind", "way_out"),
    [
        ("deit_s16", "DeiT", r"as `backbone` what KerasHub's `from_preset` makes of a"),
        ("resnet18", "ResNet", r"the path of a file as `weights` \(`--weights FILE`\)"),
    ],
)
def test_without_a_network_it_says_so(row, kind, way_out, monkeypatch):
    def offline(*arguments, **options):
        raise OSError("Failed to resolve 'api.kaggle.com'.")

    monkeypatch.setattr(getattr(models, f"{kind}Backbone"), "from_preset", offline)
    message = (
        rf"The ImageNet weights of '{row}' cannot be downloaded: Failed to resolve "
        rf"'api.kaggle.com'. Without a network, pass {way_out}"
    )
    with pytest.raises(OSError, match=message):
        build_classifier(row, num_classes=3)


def test_a_layer_is_inserted_after_blocks():
    model = classifier("deit", "adl", drop_after=["block1", "block3"])
    places = [x.input.shape for x in model.layers if isinstance(x, ADL)]
    assert places == [(None, 4, 4, 32)] * 2


# ResNet18

SIZE = (64, 96)


def resnet18(strides=(1, 2, 2, 2)):
    """KerasHub's, with strides as its own argument."""
    model = models.ResNetBackbone(
        input_conv_filters=[64],
        input_conv_kernel_sizes=[7],
        stackwise_num_filters=[64, 128, 256, 512],
        stackwise_num_blocks=[2, 2, 2, 2],
        stackwise_num_strides=list(strides),
        block_type="basic_block",
        image_shape=(*SIZE, 3),
    )
    draw_weights(model)
    for layer in model.layers:  # sums of many drawn residuals grow out of bounds
        if layer.name.endswith("_2_bn"):
            layer.gamma.assign(0.1 * layer.gamma)
    return model


def built18(method="cam", **arguments):
    arguments = {"weights": None, "input_shape": (*SIZE, 3), **arguments}
    return build_classifier("resnet18", method, 5, **arguments)


def normalized(images):
    """By hand: the mean and deviation of ImageNet, of images in [0, 1]."""
    mean, deviation = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
    return ((images / 255 - mean) / deviation).astype("float32")


def test_resnet18_has_the_size_of_its_preset():
    row = BACKBONES["resnet18"]
    graph = row.build(include_top=False, input_shape=(224, 448, 3))
    preset = models.ResNetBackbone.presets["resnet_18_imagenet"]
    assert graph.count_params() == preset["metadata"]["params"]
    # Of torchvision's less its classifier, 512 x 1000 and 1000.
    count = sum(int(np.prod(x.shape)) for x in graph.trainable_weights)
    assert count == 11_689_512 - 513_000
    model = built18(input_shape=(224, 448, 3))
    assert model.get_layer("head_pool").input.shape == (None, 14, 28, 512)


@pytest.mark.parametrize(
    ("map_size", "strides", "cells"),
    [
        (14, [1, 2, 2, 1], (4, 6)),
        (28, [1, 2, 1, 1], (8, 12)),
        (7, [1, 2, 2, 2], (2, 3)),
    ],
)
def test_features_of_resnet18_are_keras_hubs(map_size, strides, cells, tmp_path):
    own = resnet18(strides)
    own.save_weights(tmp_path / "own.weights.h5")
    options = {"map_size": map_size}
    path = tmp_path / "own.weights.h5"
    model = built18("dgdm", weights=path, backbone_options=options)
    assert model.get_layer("head_pool").input.shape[1:3] == cells
    images = random_images(2, SIZE)
    expected = outputs_of(own, normalized(images))
    close(read(model, "stack3_block1_out", images), expected)


def test_resnet18_takes_the_weights_of_imagenet(tmp_path, monkeypatch):
    own = resnet18()
    own.save_to_preset(str(tmp_path / "preset"))
    from_preset, asked = models.ResNetBackbone.from_preset, []

    def offline(name, **options):
        asked.append(name)
        return from_preset(str(tmp_path / "preset"), **options)

    monkeypatch.setattr(models.ResNetBackbone, "from_preset", offline)
    # Of another size than the preset has.
    shape = (96, 64, 3)
    model = built18(
        "adl", weights="imagenet", input_shape=shape, backbone_options={"map_size": 7}
    )
    assert asked == ["resnet_18_imagenet"]
    config = {**own.get_config(), "image_shape": shape}
    turned = models.ResNetBackbone.from_config(config)
    turned.set_weights(own.get_weights())
    images = random_images(2, shape[:2])
    expected = outputs_of(turned, normalized(images))
    close(read(model, "stack3_block1_out", images), expected)


def test_resnet18_trains_is_saved_and_needs_keras_hub_no_more(tmp_path):
    model = built18("dgdm", class_names=list("abcde"), freeze="batch_norm")
    before = [keras.ops.convert_to_numpy(x).copy() for x in model.trainable_variables]
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    images = random_images(4, SIZE)
    model.fit(images, np.array([0, 1, 2, 4]), batch_size=4, verbose=0)
    for old, new in zip(before, model.trainable_variables, strict=True):
        assert not np.array_equal(old, keras.ops.convert_to_numpy(new)), new.path
    localizer = Localizer(model)
    path = tmp_path / "localizer.keras"
    localizer.save(path)
    with zipfile.ZipFile(path) as file:
        assert "keras_hub" not in json.dumps(file.read("config.json").decode())
    assert_says_the_same(keras.saving.load_model(path), localizer, images)
    # And another method goes on from it.
    other = built18("adl", class_names=list("abcde"), weights=path)
    np.testing.assert_array_equal(outputs(other, images), outputs(model, images))


@pytest.mark.parametrize("method", METHODS)
def test_every_method_is_built_on_resnet18(method):
    model = built18(method)
    assert model.name == f"resnet18_{method}"
    assert outputs(model, random_images(2, SIZE)).shape == (2, 5)


# Backbones that are no transformers of this kind

OTHERS = {
    "HGNetV2Backbone": {
        "depths": [1, 1],
        "embedding_size": 8,
        "hidden_sizes": [8, 16],
        "stem_channels": [3, 8, 8],
        "hidden_act": "relu",
        "use_learnable_affine_block": False,
        "stackwise_stage_filters": [[8, 8, 16, 1, 3, 3], [16, 8, 32, 1, 3, 3]],
        "apply_downsample": [False, True],
        "use_lightweight_conv_block": [False, False],
    },
    "SwinTransformerBackbone": {
        "patch_size": 4,
        "embed_dim": 16,
        "depths": (1, 1),
        "num_heads": (2, 2),
        "window_size": 4,
    },
    "MiTBackbone": {
        "layerwise_depths": [1, 1],
        "num_layers": 2,
        "layerwise_num_heads": [1, 2],
        "layerwise_sr_ratios": [2, 1],
        "max_drop_path_rate": 0.0,
        "layerwise_patch_sizes": [7, 3],
        "layerwise_strides": [4, 2],
        "hidden_dims": [16, 32],
    },
    "MobileNetBackbone": {
        "stackwise_expansion": [[16]],
        "stackwise_num_blocks": [1],
        "stackwise_num_filters": [[16]],
        "stackwise_kernel_size": [[3]],
        "stackwise_num_strides": [[2]],
        "stackwise_se_ratio": [[None]],
        "stackwise_activation": [["relu"]],
        "stackwise_padding": [[1]],
        "output_num_filters": 32,
        "depthwise_filters": 8,
        "depthwise_stride": 2,
        "depthwise_residual": False,
        "last_layer_filter": 32,
        "squeeze_and_excite": None,
        "input_activation": "relu",
        "output_activation": "relu",
        "input_num_filters": 8,
    },
}
_RESNET = {
    "input_conv_filters": [8],
    "input_conv_kernel_sizes": [7],
    "stackwise_num_filters": [64, 16],
    "stackwise_num_blocks": [1, 2],
    "stackwise_num_strides": [1, 2],
    "block_type": "bottleneck_block",
}
CONVOLUTIONAL = {
    "DenseNetBackbone": {"stackwise_num_repeats": [2, 2], "growth_rate": 8},
    "VGGBackbone": {"stackwise_num_repeats": [1, 1], "stackwise_num_filters": [8, 16]},
    "ResNetBackbone": _RESNET,
    "ResNetBackbone V2": {**_RESNET, "use_pre_activation": True},
    "ResNetBackbone VD": {**_RESNET, "block_type": "bottleneck_block_vd"},
    "EfficientNetBackbone": {
        "stackwise_kernel_sizes": [3, 5],
        "stackwise_num_repeats": [1, 2],
        "stackwise_input_filters": [16, 16],
        "stackwise_output_filters": [16, 24],
        "stackwise_expansion_ratios": [1, 4],
        "stackwise_squeeze_and_excite_ratios": [0.0, 0.25],
        "stackwise_strides": [1, 2],
        "stackwise_block_types": ["fused", "unfused"],
        "width_coefficient": 1.0,
        "depth_coefficient": 1.0,
        "num_features": 32,
    },
    "XceptionBackbone": {
        "stackwise_conv_filters": [[8, 16], [16, 24], [24, 32]],
        "stackwise_pooling": [True, True, False],
    },
    "CSPNetBackbone": {
        "stem_filters": 8,
        "stem_kernel_size": 3,
        "stem_strides": 1,
        "stackwise_depth": [1, 2],
        "stackwise_strides": [2, 2],
        "stackwise_num_filters": [16, 32],
        "block_type": "dark_block",
        "stage_type": "csp",
        "expand_ratio": [2.0, 1.0],
        "bottle_ratio": [0.5, 1.0],
        "block_ratio": [1.0, 0.5],
    },
}


def other(name):
    """A small backbone of KerasHub's, with any variant behind its name."""
    kind = getattr(models, name.split()[0])
    shape = "input_shape" if kind is models.EfficientNetBackbone else "image_shape"
    arguments = {**OTHERS, **CONVOLUTIONAL}[name]
    return kind(**{shape: (SIDE, SIDE, 3)}, **arguments)


@pytest.mark.parametrize("name", list(CONVOLUTIONAL))
def test_convolutional_backbones_are_spliced(name):
    own = other(name)
    images = random_images(2, (SIDE, SIDE)) / 255
    model = build_classifier(own, "dgdm", 3)
    maps = outputs_of(own, images)
    assert maps.ndim == 4
    assert maps.std() > 0
    found = read(model, "head_pool", images)
    np.testing.assert_allclose(found, maps.mean(axis=(1, 2)), rtol=1e-3, atol=1e-6)


def test_of_a_pyramid_one_map_is_named():
    own = other("HGNetV2Backbone")
    message = r"must name a layer that gives one map: 'encoder' gives 3 tensors"
    for features in (None, "encoder"):
        with pytest.raises(ValueError, match=message):
            build_classifier(own, num_classes=3, features=features)
    named = keras.layers.Identity(name="map")(own.outputs[1])
    model = build_classifier(keras.Model(own.inputs[0], named), "adl", 3)
    images = random_images(2, (SIDE, SIDE)) / 255
    expected = keras.ops.convert_to_numpy(own(images)["stage2"])
    np.testing.assert_allclose(read(model, "map", images), expected, rtol=1e-3)


@pytest.mark.parametrize(
    ("name", "features", "message"),
    [
        ("SwinTransformerBackbone", None, "none leads to its output"),
        ("SwinTransformerBackbone", "map", "'patch_embedding', .* cannot be copied"),
        ("MiTBackbone", None, "'hierarchical_encoder_0_0', .* cannot be copied"),
        ("MobileNetBackbone", None, "'block_0_0', .* cannot be copied, .* names it"),
    ],
)
@pytest.mark.parametrize("weights", [None, "imagenet"])
def test_what_cannot_be_copied_is_said(name, features, message, weights):
    own = other(name)
    if features:
        maps = keras.layers.Reshape((8, 8, -1), name=features)(own.output)
        own = keras.Model(own.inputs[0], maps)
    with pytest.raises(ValueError, match=message):
        build_classifier(own, num_classes=3, weights=weights)
