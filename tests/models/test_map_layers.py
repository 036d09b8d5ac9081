"""The layers that fitted maps are read from, of models that one knows."""

import keras
import pytest
from keras import layers

from keras_wsol.models import BACKBONES
from keras_wsol.models.map_layers import _strides_removed, map_layers
from tests.models.small import small_classifier


@pytest.mark.parametrize(
    ("backbone", "expected"),
    [
        ("mobilenet", ["conv_pw_11_relu", "conv_pw_12_relu", "conv_pw_13_relu"]),
        (
            "mobilenet_v2",
            ["block_13_expand_relu", "block_16_expand_relu", "out_relu"],
        ),
        ("mobilenet_v3_small", ["activation_12", "activation_13", "activation_18"]),
        ("vgg16", ["block4_conv3", "block5_conv1", "head_conv1"]),
        # Sums are no activations: there is no map in front of the last stride.
        pytest.param("resnet50_v2", ["post_relu"], marks=pytest.mark.slow),
        pytest.param(
            "resnet50",
            ["conv4_block6_out", "conv5_block1_out", "conv5_block3_out"],
            marks=pytest.mark.slow,
        ),
        pytest.param(
            "efficientnet_v2_b0",
            ["block6a_expand_activation", "block6a_activation", "top_activation"],
            marks=pytest.mark.slow,
        ),
    ],
)
def test_layers_of_rows(backbone, expected):
    """In front of a stride that the row removes, too: there, channels are doubled."""
    assert map_layers(small_classifier(backbone)) == expected


def classifier(images, maps):
    pooled = layers.GlobalAveragePooling2D()(maps)
    return keras.Model(images, layers.Dense(3)(layers.Dropout(0.1)(pooled)))


def convolution(x, name, strides=1, activation="relu"):
    x = layers.Conv2D(4, 3, strides, "same", name=name)(x)
    return layers.Activation(activation, name=f"{name}_out")(x) if activation else x


def test_own_network():
    images = keras.Input((24, 40, 3))
    x = convolution(layers.Rescaling(1 / 255)(images), "first", strides=2)
    x = layers.MaxPooling2D(name="pool")(convolution(x, "second"))
    for name in ("third", "fourth", "fifth"):
        x = convolution(x, name)
    # Behind the last stride the pooled map is an activation, too.
    expected = ["second_out", "third_out", "fifth_out"]
    assert map_layers(classifier(images, x)) == expected


@pytest.mark.parametrize("activation", ["relu", None])
def test_a_model_without_strides(activation):
    images = x = keras.Input((8, 12, 3))
    for name in ("first", "second", "third", "fourth"):
        x = convolution(x, name, activation=activation)
    end = "_out" if activation else ""
    assert map_layers(classifier(images, x)) == [f"second{end}", f"fourth{end}"]


def residual(x, name, strides=1):
    """A block that adds: activations lie inside only, where something goes around."""
    inside = convolution(x, f"{name}_in", strides)
    inside = convolution(inside, f"{name}_project", activation=None)
    around = x if strides == 1 else layers.Conv2D(4, 1, strides, name=f"{name}_1")(x)
    return layers.Add(name=f"{name}_add")([inside, around])


def test_residual_blocks_without_activations():
    """Sums only, for want of activations; and none of what a block goes around."""
    images = keras.Input((16, 24, 3))
    x = convolution(images, "stem", activation=None)
    x = residual(residual(x, "one"), "two", strides=2)
    x = residual(residual(x, "three"), "four")
    x = x + convolution(x, "five", activation=None)  # no layer, so no lasting name
    assert map_layers(classifier(images, x)) == ["one_add", "two_add", "four_add"]


def test_an_activation_far_in_front_of_the_last_stride_is_none():
    images = keras.Input((32, 48, 3))
    x = residual(convolution(images, "stem"), "one", strides=2)
    x = convolution(residual(x, "two", strides=2), "last")
    assert map_layers(classifier(images, x)) == ["last_out"]


def backbone(size):
    """Strides, squeeze and excitation, and a sum that has no layer."""
    images = keras.Input((*size, 3))
    x = convolution(images, "early", strides=2)
    x = layers.ZeroPadding2D(name="pad")(x)
    x = convolution(x, "late", strides=2)
    scales = layers.GlobalAveragePooling2D(keepdims=True, name="squeeze")(x)
    scales = convolution(scales, "excite", activation="sigmoid")
    x = convolution(layers.Multiply(name="scaled")([x, scales]), "next")
    return keras.Model(images, convolution(x + 1.0, "last"), name="own")


@pytest.mark.parametrize("size", [(16, 24), (None, None)])
def test_a_backbone_inside_of_a_model(size):
    """As in transfer learning: augmentation, and a backbone of any input size."""
    images = keras.Input((16, 24, 3))
    augment = keras.Sequential([layers.RandomFlip(), layers.Rescaling(1 / 255)])
    model = classifier(images, backbone(size)(augment(images), training=False))
    assert map_layers(model) == ["early_out", "late_out", "last_out"]


def test_augmentation_inside_of_a_model_is_no_backbone():
    """Its layers keep the size of images; the network around it is meant."""
    images = keras.Input((16, 24, 3))
    flips = keras.Sequential([layers.RandomFlip(), layers.RandomRotation(0.1)])
    x = convolution(flips(images), "first", strides=2)
    x = convolution(convolution(x, "second", strides=2), "last")
    assert map_layers(classifier(images, x)) == ["first_out", "second_out", "last_out"]


def test_a_part_of_a_backbone_is_none():
    """As in ConvNeXt, where each stride lies in a model of its own."""
    x = images = keras.Input((16, 24, 3))
    for name in ("first", "second", "third"):
        x = keras.Sequential([layers.Conv2D(4, 2, strides=2)], name=name)(x)
        x = convolution(convolution(x, f"{name}_a"), f"{name}_b")
    assert map_layers(classifier(images, x)) == [
        f"{n}_out" for n in ("second_b", "third_a", "third_b")
    ]


def test_names_of_a_row_in_another_model_are_no_strides():
    images = keras.Input((16, 24, 3))
    x = convolution(images, "first", strides=2)
    x = convolution(convolution(x, "conv_dw_12"), "last")
    assert map_layers(classifier(images, x)) == ["first_out", "last_out"]


def test_strides_are_those_of_the_row_with_the_longest_name():
    images = keras.Input((8, 8, 3))
    model = keras.Model(images, images, name="resnet50_v2_cam")
    changes = BACKBONES["resnet50_v2"].map_sizes.values()
    strided = {x for each in changes for x, y in each.items() if "strides" in y}
    assert _strides_removed(model) == strided
