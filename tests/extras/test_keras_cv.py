"""ResNet34 by KerasCV, and any backbone of KerasCV's, spliced."""

import json
import zipfile

import keras
import keras_cv
import numpy as np
import pytest

from keras_wsol.cam.split import node_of
from keras_wsol.layers import ADL, DFM, DGDM
from keras_wsol.models import BACKBONES, Localizer, build_classifier, describe
from tests.models.small import draw_weights, outputs, random_images

SIZE = (64, 96)
LAYERS = {"adl": ADL, "dfm": DFM, "dgdm": DGDM}


def built(method="cam", **arguments):
    return build_classifier(
        "resnet34",
        method,
        5,
        **{"weights": None, "input_shape": (*SIZE, 3), **arguments},
    )


def keras_cvs(strides):
    """The generic constructor, with strides as its own argument."""
    model = keras_cv.models.ResNetBackbone(
        stackwise_filters=[64, 128, 256, 512],
        stackwise_blocks=[3, 4, 6, 3],
        stackwise_strides=strides,
        include_rescaling=False,
        block_type="basic_block",
        input_shape=(*SIZE, 3),
    )
    draw_weights(model)
    for layer in model.layers:  # sums of many drawn residuals grow out of bounds
        if layer.name.endswith("_2_bn"):
            layer.gamma.assign(0.1 * layer.gamma)
    return model


def normalized(images):
    """By hand: the mean and deviation of ImageNet, of images in [0, 1]."""
    mean, deviation = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
    return ((images / 255 - mean) / deviation).astype("float32")


def test_size_of_the_network():
    count = sum(int(np.prod(v.shape)) for v in built().trainable_variables)
    # Of torchvision's less its classifier, 512 x 1000 and 1000.
    assert count - (512 * 5 + 5) == 21_797_672 - 513_000


@pytest.mark.parametrize("method", list(LAYERS))
def test_places(method):
    model = built(method)
    # As ResNet50's conv4_block1, conv5_block1 and its last block.
    expected = ["v2_stack_2_block1_out", "v2_stack_3_block1_out"]
    expected = [*expected[: 1 if method == "dfm" else 2], "v2_stack_3_block3_out"]
    layers = [x for x in model.layers if isinstance(x, LAYERS[method])]
    places = [node_of(x.input).operation.name for x in layers]
    assert places == expected
    assert model.name == f"resnet34_{method}"
    if method == "adl":
        assert [x.drop_threshold for x in layers] == [0.9] * 3
    if method == "dgdm":
        assert [x.low_threshold for x in layers] == [0.2, 0.2, 0.1]


@pytest.mark.parametrize(
    ("map_size", "strides", "cells"),
    [
        (14, [1, 2, 2, 1], (4, 6)),
        (28, [1, 2, 1, 1], (8, 12)),
        (7, [1, 2, 2, 2], (2, 3)),
    ],
)
def test_features_are_keras_cvs_with_its_own_strides(
    map_size, strides, cells, tmp_path
):
    source = keras_cvs(strides)
    path = tmp_path / "backbone.weights.h5"
    source.save_weights(path)
    model = built("dgdm", weights=path, backbone_options={"map_size": map_size})
    layer = model.get_layer(BACKBONES["resnet34"].features)
    assert layer.output.shape == (None, *cells, 512)
    images = random_images(2, SIZE)
    expected = outputs(source, normalized(images))
    assert expected.std() > 0.1
    found = outputs(keras.Model(model.input, layer.output), images)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4 * expected.std())


def test_the_default_map_is_14_by_14_at_224():
    model = built(input_shape=(224, 448, 3))
    assert model.get_layer("head_pool").input.shape == (None, 14, 28, 512)


def test_it_trains_is_saved_and_needs_keras_cv_no_more(tmp_path):
    model = built("dgdm", class_names=list("abcde"), freeze="batch_norm")
    before = [w.numpy().copy() for w in model.trainable_variables]
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    images = random_images(4, SIZE)
    model.fit(images, np.array([0, 1, 2, 4]), batch_size=4, verbose=0)
    moved = [
        not np.array_equal(old, new.numpy())
        for old, new in zip(before, model.trainable_variables, strict=True)
    ]
    assert all(moved)
    localizer = Localizer(model)
    path = tmp_path / "localizer.keras"
    localizer.save(path)
    with zipfile.ZipFile(path) as file:
        assert "keras_cv" not in json.dumps(file.read("config.json").decode())
    found = keras.saving.load_model(path)(images)
    for name, value in localizer(images).items():
        np.testing.assert_array_equal(found[name], value, err_msg=name)
    # And another method goes on from it.
    other = built("adl", class_names=list("abcde"), weights=path)
    np.testing.assert_array_equal(outputs(other, images), outputs(model, images))


def test_the_same_seed_gives_the_same_weights():
    one, same, other = (built(seed=seed) for seed in (3, 3, 4))
    for a, b in zip(one.get_weights(), same.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    kernels = [
        m.get_layer("v2_stack_3_block1_1_conv").get_weights()[0] for m in (one, other)
    ]
    assert not np.array_equal(*kernels)


def test_it_is_described():
    assert "v2_stack_2_block1_out" in describe(built("dgdm"))


# Arguments of generic constructors, small.
OTHERS = {
    "MobileNetV3Backbone": {
        "stackwise_expansion": [1, 4],
        "stackwise_filters": [8, 16],
        "stackwise_kernel_size": [3, 5],
        "stackwise_stride": [2, 2],
        "stackwise_se_ratio": [0.25, None],
        "stackwise_activation": ["relu", "hard_swish"],
    },
    "DenseNetBackbone": {
        "stackwise_num_repeats": [2, 2],
        "compression_ratio": 0.5,
        "growth_rate": 8,
    },
    "EfficientNetV2Backbone": {
        "stackwise_kernel_sizes": [3, 3],
        "stackwise_num_repeats": [1, 2],
        "stackwise_input_filters": [8, 8],
        "stackwise_output_filters": [8, 16],
        "stackwise_expansion_ratios": [1, 4],
        "stackwise_squeeze_and_excite_ratios": [0.0, 0.25],
        "stackwise_strides": [2, 2],
        "stackwise_conv_types": ["fused", "unfused"],
        "width_coefficient": 1.0,
        "depth_coefficient": 1.0,
    },
    "ResNetV2Backbone": {
        "stackwise_filters": [64, 16],
        # A stack of one block has two layers of one name, and KerasCV 0.9 fails.
        "stackwise_blocks": [2, 2],
        "stackwise_strides": [1, 2],
        "block_type": "basic_block",
    },
    "VGG16Backbone": {"include_top": False, "pooling": None},
}


@pytest.mark.parametrize("name", list(OTHERS))
def test_any_backbone_is_spliced(name):
    constructor = getattr(keras_cv.models, name)
    source = constructor(include_rescaling=True, input_shape=(*SIZE, 3), **OTHERS[name])
    draw_weights(source)
    last = node_of(source.outputs[0]).operation.name
    model = build_classifier(source, "dgdm", 5, weights="imagenet", features=last)
    assert [type(x) for x in model.layers].count(DGDM) == 1
    images = random_images(2, SIZE)
    pooled = keras.Model(model.input, model.get_layer("head_pool").output)
    expected = outputs(source, images).mean(axis=(1, 2))
    assert expected.std() > 1e-3
    np.testing.assert_allclose(
        outputs(pooled, images), expected, rtol=1e-4, atol=1e-4 * expected.std()
    )
    assert np.isfinite(outputs(model, images, training=True)).all()


def test_a_backbone_with_functions_inside_says_so():
    # CSPDarkNet wraps its activations in `Lambda`, which Keras does not copy unasked.
    source = keras_cv.models.CSPDarkNetBackbone(
        stackwise_channels=[8, 16],
        stackwise_depth=[1, 1],
        include_rescaling=True,
        input_shape=(*SIZE, 3),
    )
    with pytest.raises(ValueError, match="`Lambda` layer whose `function` is a Python"):
        build_classifier(source, "dgdm", 5, weights=None)
