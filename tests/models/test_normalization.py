import keras
import numpy as np
import pytest
from keras import ops

from keras_wsol.models import BACKBONES
from keras_wsol.models.parts import MODES, ImageNetNormalization
from tests.models.small import dtype_policy, outputs, random_images, tiny_classifier

# The function that belongs to each backbone's weights.
OWN = {
    "mobilenet": keras.applications.mobilenet,
    "mobilenet_v2": keras.applications.mobilenet_v2,
    "vgg16": keras.applications.vgg16,
    "vgg19": keras.applications.vgg19,
    "resnet50_v2": keras.applications.resnet_v2,
    "densenet121": keras.applications.densenet,
    "xception": keras.applications.xception,
    "nasnet_mobile": keras.applications.nasnet,
    "resnet50": keras.applications.resnet50,
    "resnet50_se": keras.applications.resnet50,
    "resnet101": keras.applications.resnet,
    "inception_v3": keras.applications.inception_v3,
}


@pytest.mark.parametrize("backbone", list(OWN))
def test_each_backbone_gets_its_own_preprocessing(backbone):
    images = random_images(2, (3, 5))
    found = ImageNetNormalization(BACKBONES[backbone].normalization)(images)
    expected = OWN[backbone].preprocess_input(images.copy())
    np.testing.assert_array_equal(ops.convert_to_numpy(found), expected)


def test_those_with_preprocessing_inside_are_built_without():
    # That this is what is inside: `tests/models/test_backbones.py`.
    inside = {name for name, row in BACKBONES.items() if row.extra is None} - set(OWN)
    assert {name: BACKBONES[name].normalization for name in inside} == {
        "mobilenet_v3_small": "tf",
        **dict.fromkeys(("efficientnet_v2_b0", "efficientnet_b0"), "torch"),
        "convnext_tiny": "torch",
    }


def test_the_numbers_of_each_mode():
    # 255 in red alone; the means and deviations of ImageNet.
    red = np.array([255.0, 0.0, 0.0], "float32").reshape(1, 1, 1, 3)
    expected = {
        "tf": [1, -1, -1],
        "caffe": [-103.939, -116.779, 255 - 123.68],
        "torch": [(1 - 0.485) / 0.229, -0.456 / 0.224, -0.406 / 0.225],
    }
    assert set(expected) == set(MODES)
    for mode, values in expected.items():
        found = ops.convert_to_numpy(ImageNetNormalization(mode)(red))
        np.testing.assert_allclose(found.ravel(), values, rtol=1e-5)


@pytest.mark.parametrize("mode", MODES)
def test_bytes_give_the_same_as_floats(mode):
    images = random_images(2, (3, 5)).astype("uint8")
    layer = ImageNetNormalization(mode)
    found = ops.convert_to_numpy(layer(images))
    assert found.dtype == "float32"
    np.testing.assert_array_equal(found, outputs(layer, images.astype("float32")))


def test_config_round_trip():
    layer = ImageNetNormalization("caffe", name="mine")
    revived = ImageNetNormalization.from_config(layer.get_config())
    assert (revived.mode, revived.name) == ("caffe", "mine")


def test_unknown_mode():
    message = (
        r"`mode` must be one of \['tf', 'caffe', 'torch'\]. Received: mode='keras'"
    )
    with pytest.raises(ValueError, match=message):
        ImageNetNormalization("keras")


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_images_reach_it_in_float32_under_every_policy(policy):
    # Neither half precision tells 200.1 from 200.0.
    with dtype_policy(policy):
        model = tiny_classifier()
    layer = model.get_layer("normalization")
    normalized = keras.Model(model.input, layer.output)
    images = np.full((1, 16, 24, 3), 200.1, "float32")
    found = ops.convert_to_numpy(normalized(images))
    np.testing.assert_allclose(found, 200.1 / 127.5 - 1, rtol=1e-6)
