import numpy as np
import pytest

from keras_wsol.layers import Cutout
from tests.contracts.calls import held_draw
from tests.contracts.gradients import input_gradient
from tests.layers.feature_maps import (
    SIZES,
    assert_equal,
    assert_frequency,
    batch,
    positive,
    train,
)
from tests.layers.replayed_draws import replayed
from tests.reference.cutout_numpy import cutout

every_size = pytest.mark.parametrize("image", SIZES, ids=str)


@every_size
@pytest.mark.parametrize("size", [1, 2, 3, 4, 40])
def test_equals_the_reference(image, size):
    images = batch(*image)
    mean = np.arange(1.0, 1.0 + image[2]).tolist()
    uniforms = replayed(3, (5, 2), (5, 2))
    for fill_value in (0.0, -2.5, mean, tuple(mean)):
        layer = Cutout(size=size, fill_value=fill_value, seed=3)
        for uniform in uniforms:
            expected = cutout(images, uniform, size, fill_value)
            assert_equal(train(layer, images), expected)


def test_defaults():
    images = positive(3, 150, 130, 2)
    expected = cutout(images, replayed(4, (3, 2)), 112, 0.0)
    assert_equal(train(Cutout(seed=4), images), expected)


def test_images_of_whole_numbers_stay_whole_numbers():
    images = np.random.default_rng(1).integers(0, 256, (3, 6, 5, 3)).astype("uint8")
    output = train(Cutout(size=3, fill_value=(124.0, 117.0, 104.0), seed=5), images)
    expected = cutout(images, replayed(5, (3, 2)), 3, (124, 117, 104))
    assert output.dtype == np.uint8
    np.testing.assert_array_equal(output, expected)


def test_what_is_hidden_may_be_anything():
    images = np.full((2, 3, 5, 1), np.nan, "float32")
    assert not train(Cutout(size=99), images).any()


def test_centres_are_uniform_over_the_image():
    # Squares of one pixel: 2,000 images of 3 x 5 pixels.
    layer = Cutout(size=1, seed=6)
    hidden = train(layer, np.ones((2000, 3, 5, 2), "float32")) == 0.0
    np.testing.assert_array_equal(hidden[..., 0], hidden[..., 1])
    assert np.all(hidden[..., 0].sum((1, 2)) == 1)
    for i, j in np.ndindex(3, 5):
        assert_frequency(hidden[:, i, j, 0], 1 / 15)
    assert_frequency(hidden[1:, 0, 0, 0] & hidden[:-1, 0, 0, 0], 1 / 225)


@pytest.mark.parametrize("size", [2, 3, 4])
def test_pixels_near_the_border_are_hidden_less_often(size):
    layer = Cutout(size=size, seed=7)
    hidden = train(layer, np.ones((2000, 4, 7, 1), "float32"))[..., 0] == 0.0
    # Centres from which a square reaches a pixel, along either axis.
    down, across = (
        [
            sum(c - size // 2 <= i < c - size // 2 + size for c in range(n))
            for i in range(n)
        ]
        for n in (4, 7)
    )
    assert min(across) < max(across)
    for i, j in np.ndindex(4, 7):
        assert_frequency(hidden[:, i, j], down[i] * across[j] / 28)


def test_gradient_flows_through_kept_pixels_alone():
    images = positive(4, 5, 7, 3, seed=3)
    weights = np.random.default_rng(4).normal(size=images.shape).astype("float32")
    layer = Cutout(size=4, fill_value=9.0, seed=8)
    gradient = input_gradient(held_draw(layer, images.shape), images, weights)
    kept = cutout(np.ones(images.shape), replayed(8, (4, 2)), 4)
    assert 0 < kept.mean() < 1
    assert_equal(gradient, weights * kept)


def test_colour_of_another_number_of_channels():
    layer = Cutout(fill_value=(1.0, 2.0, 3.0))
    message = (
        r"`fill_value` must be a number, or one for each channel\. "
        r"Received: fill_value=\[1\.0, 2\.0, 3\.0\] for 4 channels\."
    )
    with pytest.raises(ValueError, match=message):
        layer(positive(2, 3, 5, 4))
