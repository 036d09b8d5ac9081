"""Smoothed maps: the mean over changed images, and what is refused."""

import keras
import numpy as np
import pytest

from keras_wsol import cam
from keras_wsol.models import Localizer
from tests.cam.test_mean import SIZE, classifier, foreground, maps_of
from tests.models.small import random_images

CLASS_IDS = np.array([[4, 0], [1, 1], [2, 3]])
MAPS = ("cam", cam.GradCAM("second"), foreground(4, "first"), cam.Guided("cam"))


def mirrored(maps):
    return maps[:, :, :, ::-1]


@pytest.mark.parametrize("score_map", MAPS)
def test_it_is_the_mean_of_an_image_and_its_mirror_image(score_map):
    model, images = classifier(), random_images(3, SIZE)
    found = maps_of(cam.Smoothed(score_map), model, images, CLASS_IDS)
    inner = cam.Smoothed(score_map).score_map
    one = maps_of(inner, model, images, CLASS_IDS)
    other = mirrored(maps_of(inner, model, images[:, :, ::-1], CLASS_IDS))
    np.testing.assert_allclose(found, (one + other) / 2, atol=1e-5)
    assert np.abs(one - other).max() > 1e-2


@pytest.mark.parametrize("flip", [True, False])
def test_noise_is_added_to_the_pixels(flip):
    model, images = classifier(), random_images(3, SIZE)
    smoothed = cam.Smoothed("cam", flip=flip, noise=0.2, samples=3, seed=5)
    found = maps_of(smoothed, model, images, CLASS_IDS)
    noise = np.random.default_rng(5).normal(0, 0.2 * 255, (3, *SIZE, 3))
    expected = []
    for each in noise.astype("float32"):
        expected.append(maps_of(cam.CAM(), model, images + each, CLASS_IDS))
        if flip:
            changed = images[:, :, ::-1] + each
            expected.append(mirrored(maps_of(cam.CAM(), model, changed, CLASS_IDS)))
    np.testing.assert_allclose(found, np.mean(expected, axis=0), atol=1e-4)


def test_a_localizer_holds_it(tmp_path):
    localizer = Localizer(classifier(), score_map=cam.Smoothed("cam", noise=0.1))
    assert localizer.cam_threshold == 0.2
    images = random_images(2, SIZE)
    found = localizer.predict(images, verbose=0)
    np.testing.assert_allclose(
        found["logits"], localizer.model.predict(images, verbose=0), atol=1e-5
    )
    localizer.save(tmp_path / "localizer.keras")
    again = keras.saving.load_model(tmp_path / "localizer.keras")
    for name, values in again.predict(images, verbose=0).items():
        np.testing.assert_allclose(values, found[name], atol=1e-5)


def test_wrong_arguments():
    for arguments, message in (
        ({"noise": -0.1}, r"`noise` must be a number in \[0, 1\]"),
        ({"samples": 0, "noise": 0.1}, r"`samples` must be an integer >= 1"),
        ({"samples": 2}, r"Without `noise`, .* Received: flip=True, samples=2"),
        ({"flip": False}, r"Without `noise`, .* Received: flip=False, samples=1"),
    ):
        with pytest.raises(ValueError, match=message):
            cam.Smoothed("cam", **arguments)
    with pytest.raises(ValueError, match=r"maps that read one layer each"):
        cam.Mean(("cam", cam.Smoothed("cam")))
