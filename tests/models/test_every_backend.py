"""A localizer's classes and boxes: the same on every backend, and called again."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from keras_wsol import cam
from keras_wsol.models import Localizer, SecondLook
from keras_wsol.models.parts import MODES, ImageNetNormalization
from tests.models.small import outputs

SIZE, CHANNELS = (32, 48), 12
MAPS = {
    "cam": "cam",
    "clamped": cam.CAM(negative_weights=False),
    "grad_cam": "grad_cam",
    "grad_cam_pp": "grad_cam_pp",
    "x_grad_cam": "x_grad_cam",
    "layer_cam": "layer_cam",
    "hires_cam": "hires_cam",
    "score_cam": "score_cam",
    "channel_mean": "channel_mean",
    "ddt": cam.DDT((0.2,) * CHANNELS, tuple(np.linspace(-1, 1, CHANNELS))),
    "mean": cam.Mean(["cam", "channel_mean"]),
    "guided": cam.Guided("cam"),
    "smoothed": cam.Smoothed("cam", noise=0.05),
    "second_look": "cam",
}


def classifier(mode="tf"):
    images = keras.Input((*SIZE, 3))
    x = ImageNetNormalization(mode)(images)
    for filters in (6, CHANNELS):
        x = layers.Conv2D(filters, 3, 2, padding="same", activation="relu")(x)
    logits = layers.Dense(4)(layers.GlobalAveragePooling2D()(x))
    model = keras.Model(images, logits)
    rng = np.random.default_rng(0)
    for variable in model.weights:
        variable.assign(rng.normal(0, 0.4, variable.shape))
    return model


def localizer_of(name, model):
    localizer = Localizer(model, score_map=MAPS[name], cam_threshold=0.75)
    return SecondLook(localizer) if name == "second_look" else localizer


def waves():
    """Two images of crossed waves, drawn by NumPy: no backend resizes them."""
    y, x = np.mgrid[: SIZE[0], : SIZE[1]][..., None] / 16
    phases = np.arange(6).reshape(2, 1, 1, 3)
    return (127 * (1 + np.sin(x + phases) * np.cos(y * 1.5 - phases))).astype("float32")


# Of the two images, as TensorFlow has them.
SCORES = {"second_look": (0.86997, 0.87397)}
BOXES = {
    "cam": [(0, 6, 16, 20), (0, 4, 19, 19)],
    "clamped": [(0, 6, 16, 20), (0, 5, 18, 18)],
    "grad_cam": [(0, 6, 16, 20), (0, 5, 18, 18)],
    "grad_cam_pp": [(24, 20, 48, 32), (26, 17, 48, 32)],
    "x_grad_cam": [(0, 6, 16, 20), (0, 5, 18, 18)],
    "layer_cam": [(0, 6, 16, 20), (0, 5, 18, 18)],
    "hires_cam": [(0, 6, 16, 20), (0, 4, 19, 19)],
    "score_cam": [(23, 22, 44, 32), (25, 20, 48, 32)],
    "channel_mean": [(23, 20, 44, 32), (25, 19, 48, 32)],
    "ddt": [(18, 12, 32, 20), (23, 10, 34, 17)],
    "mean": [(20, 16, 48, 32), (22, 14, 48, 32)],
    "guided": [(0, 6, 16, 20), (0, 4, 19, 19)],
    "smoothed": [(0, 6, 17, 21), (0, 5, 18, 19)],
    "second_look": [(0, 6, 16, 20), (0, 4, 19, 19)],
}


@pytest.mark.parametrize("name", list(MAPS))
def test_classes_scores_and_boxes_are_those_of_tensorflow(name):
    localizer = localizer_of(name, classifier())
    images = ops.convert_to_tensor(waves())
    for _ in range(2):  # what it is given stays as it is
        found = {k: ops.convert_to_numpy(v) for k, v in localizer(images).items()}
        assert found["class_ids"].tolist() == [[3], [3]]
        np.testing.assert_allclose(found["boxes"][:, 0], BOXES[name], atol=1)
        scores = SCORES.get(name, (0.80701, 0.81992))
        np.testing.assert_allclose(found["scores"][:, 0], scores, atol=1e-4)
        np.testing.assert_array_equal(ops.convert_to_numpy(images), waves())


@pytest.mark.parametrize("mode", MODES)
def test_a_model_does_not_write_into_its_images(mode):
    images = ops.convert_to_tensor(waves())
    model = classifier(mode)
    first = outputs(model, images)
    np.testing.assert_array_equal(ops.convert_to_numpy(images), waves())
    np.testing.assert_array_equal(outputs(model, images), first)
