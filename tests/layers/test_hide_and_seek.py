from dataclasses import replace

import numpy as np
import pytest

from keras_wsol.layers import HideAndSeek
from keras_wsol.models import BACKBONES
from keras_wsol.models.parts import MODES, ImageNetNormalization
from tests.contracts.draws import ForcedDraws, drawing
from tests.layers.feature_maps import (
    SIZES,
    assert_equal,
    assert_frequency,
    batch,
    positive,
    train,
)
from tests.models.small import outputs, tiny_classifier
from tests.reference.hide_and_seek_numpy import hide_and_seek

PAPER = (0, 16, 32, 44, 56)


@pytest.mark.parametrize("image", [*SIZES, (3, 8, 7), (7, 1, 4)], ids=str)
@pytest.mark.parametrize("grid_size", [1, 2, 3, 40, [2, 3], (0, 4), [5, 0, 2]])
def test_equals_the_reference(image, grid_size):
    images = batch(*image)
    mean = np.arange(1.0, 1.0 + image[2]).tolist()
    for fill_value in (0.0, mean):
        layer = HideAndSeek(grid_size, rate=0.4, fill_value=fill_value)
        with drawing(ForcedDraws()) as uniform:
            output = train(layer, images)
        expected = hide_and_seek(images, *uniform.made, grid_size, 0.4, fill_value)
        assert_equal(output, expected)


def test_defaults_are_the_papers():
    images = positive(40, 150, 130, 2)
    with drawing(ForcedDraws()) as uniform:
        output = train(HideAndSeek(), images)
    expected = hide_and_seek(images, *uniform.made, PAPER, 0.5, 0.0)
    assert_equal(output, expected)
    hidden = (output == 0).any(axis=(1, 2, 3))
    assert 0 < hidden.mean() < 1


@pytest.mark.parametrize(("rate", "grid_size"), [(0.0, 2), (1.0, 0), (1.0, [0])])
def test_nothing_is_hidden(rate, grid_size):
    images = positive(3, 5, 4, 2)
    np.testing.assert_array_equal(train(HideAndSeek(grid_size, rate), images), images)


@pytest.mark.parametrize("rate", [0.2, 0.5])
def test_each_square_is_hidden_with_the_rate_on_its_own(rate):
    layer = HideAndSeek(grid_size=2, rate=rate, seed=4)
    hidden = train(layer, np.ones((1500, 4, 6, 2), "float32")) == 0
    cells = hidden.reshape(1500, 2, 2, 3, 2, 2)
    squares = cells[:, :, 0, :, 0, 0]
    np.testing.assert_array_equal(cells.all(axis=(2, 4, 5)), squares)
    np.testing.assert_array_equal(cells.any(axis=(2, 4, 5)), squares)
    for i, j in np.ndindex(2, 3):
        assert_frequency(squares[:, i, j], rate)
    assert_frequency(squares[:, 0, 0] & squares[:, 1, 2], rate**2)
    assert_frequency(squares[1:, 0, 0] & squares[:-1, 0, 0], rate**2)


def test_each_image_has_a_size_of_its_own():
    layer = HideAndSeek(grid_size=(0, 1, 4), rate=0.5, seed=5)
    hidden = train(layer, np.ones((3000, 4, 4, 1), "float32"))[..., 0] == 0
    share = hidden.mean(axis=(1, 2))
    # Of one square all is hidden or nothing; of sixteen, hardly ever.
    assert_frequency(share == 1, 1 / 3 * 0.5)
    assert_frequency(share == 0, 1 / 3 + 1 / 3 * 0.5)


def test_images_of_whole_numbers_stay_so_and_what_is_hidden_may_be_nan():
    images = np.full((3, 6, 5, 3), 9, "uint8")
    output = train(HideAndSeek(40, 1.0, (124.0, 117.0, 104.0)), images)
    assert output.dtype == np.uint8
    assert np.unique(output.reshape(-1, 3), axis=0).tolist() == [[124, 117, 104]]
    nan = np.full((2, 3, 5, 1), np.nan, "float32")
    assert not train(HideAndSeek(40, 1.0), nan).any()


@pytest.mark.parametrize("grid_size", [[], -1, (16, 0.5), "16", [True]])
def test_bad_sizes(grid_size):
    message = r"^`grid_size` must be an integer >= 0, or a sequence of them\. Received"
    with pytest.raises((TypeError, ValueError), match=message):
        HideAndSeek(grid_size)


# In a classifier, images are normalized before.


@pytest.mark.parametrize("mode", [None, *MODES])
def test_rows_hide_behind_the_mean_of_imagenet(mode):
    # Of `keras.applications`: "caffe" has its means in BGR, of slightly other digits.
    mean = 255 * np.array([0.485, 0.456, 0.406])
    if mode == "caffe":
        mean = np.array([123.68, 116.779, 103.939])
    images = np.broadcast_to(mean, (1, 2, 3, 3)).astype("float32")
    if mode is not None:
        images = outputs(ImageNetNormalization(mode), images)
    row = replace(BACKBONES["mobilenet"], normalization=mode)
    fill = row.preset("has", "normalization", (64, 96, 3))["fill_value"]
    fill = np.broadcast_to(fill, (3,))
    np.testing.assert_allclose(images[0, 0, 0], fill, rtol=1e-6, atol=1e-5)


def test_a_classifier_trains_with_the_mean_in_place_of_the_image():
    model = tiny_classifier(method="has")  # images in [-1, 1]
    layer = model.get_layer("has_normalization")
    assert layer.grid_size == list(PAPER)
    mean = 255 * np.array([0.485, 0.456, 0.406])
    images = np.broadcast_to(mean, (30, 16, 24, 3)).astype("float32")
    hidden = layer(model.get_layer("normalization")(images), training=True)
    np.testing.assert_allclose(hidden, images / 127.5 - 1, atol=1e-5)
