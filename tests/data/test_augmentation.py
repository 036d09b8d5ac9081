import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from keras_wsol.data.tf_pipeline import (
    crop_of_resized,
    random_crop_and_flip,
    resize,
)
from tests.data.small_datasets import gradient, noise

SIZE = (14, 21)  # cut out of (16, 24), 256/224 of it
# An image that is of that size already: each pixel is its own number, and three
# channels that differ.
CODE = np.arange(16 * 24).reshape(16, 24, 1) + np.array([0, 1000, 2000])


def resize_pillow(image, size):
    channels = [
        Image.fromarray(channel.astype("float32")).resize(
            size[::-1], Image.Resampling.BILINEAR
        )
        for channel in np.moveaxis(image, -1, 0)
    ]
    return np.stack([np.asarray(channel) for channel in channels], axis=-1)


@pytest.mark.parametrize("image", [gradient(61, 83), noise(1, 61, 83)[0]])
@pytest.mark.parametrize("size", [(24, 40), (97, 60), (61, 83)])
def test_resize_is_pillows_antialiased_bilinear(image, size):
    resized = resize(image, size)
    assert resized.dtype == tf.float32
    np.testing.assert_allclose(resized, resize_pillow(image, size), atol=2e-3)


def test_resize_by_hand():
    row = np.array([0.0, 100.0, 200.0, 60.0]).reshape(1, 4, 1).repeat(3, axis=2)
    # Halved, a tent of half-width 2 around x = 1 and x = 3: weights 3/4, 3/4, 1/4 over
    # 7/4. Without antialias it would be 50 and 130.
    smaller = [(75 + 50) / 1.75, (25 + 150 + 45) / 1.75]
    np.testing.assert_allclose(resize(row, (1, 2))[0, :, 1], smaller, rtol=1e-6)
    # Doubled, half-pixel centres: at -0.25, 0.25, 0.75, 1.25 of the two columns.
    larger = resize(row[:, :2], (1, 4))
    np.testing.assert_allclose(larger[0, :, 2], [0, 25, 75, 100], rtol=1e-6)


def draw(seeds, image=CODE, size=SIZE):
    """Augments `image` with each seed, inside `Dataset.map`."""
    dataset = tf.data.Dataset.from_tensor_slices(np.array(seeds, "int64"))
    mapped = dataset.map(lambda seed: random_crop_and_flip(image, size, seed))
    return np.stack(list(mapped.as_numpy_iterator()))


def where(result):
    """Top, left and flip of a result, read off its corners."""
    first, last = int(result[0, 0, 0]), int(result[0, -1, 0])
    top, left = divmod(min(first, last), 24)
    return top, left, first > last


def test_every_result_is_a_crop_of_the_resized_image_flipped_or_not():
    for result in draw([(0, i) for i in range(40)]):
        top, left, flipped = where(result)
        crop = CODE[top : top + 14, left : left + 21]
        np.testing.assert_array_equal(result, crop[:, ::-1] if flipped else crop)


def test_every_offset_is_as_likely_and_half_are_flipped():
    # 3 x 4 x 2 outcomes, 1200 draws: 50 each, 4 standard deviations are 28.
    found = [where(result) for result in draw([(3, i) for i in range(1200)])]
    outcomes, counts = np.unique(np.array(found, int), axis=0, return_counts=True)
    assert outcomes.tolist() == [
        [top, left, flip] for top in range(3) for left in range(4) for flip in (0, 1)
    ]
    assert counts.min() > 22
    assert counts.max() < 78


def test_image_is_resized_before_the_crop():
    image = noise(1, 40, 31)[0]
    resized = resize_pillow(image, (16, 24))
    result = draw([(5, 5)], image)[0]
    crops = [
        resized[top : top + 14, left : left + 21][:, ::step]
        for top in range(3)
        for left in range(4)
        for step in (1, -1)
    ]
    distances = [np.abs(crop - result).max() for crop in crops]
    assert min(distances) < 2e-3
    assert sorted(distances)[1] > 50


def test_result_is_a_function_of_the_seed_eagerly_and_in_a_map():
    seeds = [(0, 1), (0, 2), (7, 1), (-3, 1), (0, 1)]
    mapped = draw(seeds)
    eager = [
        random_crop_and_flip(CODE, SIZE, tf.constant(seed, tf.int64)) for seed in seeds
    ]
    np.testing.assert_array_equal(mapped, np.stack(eager))
    np.testing.assert_array_equal(mapped[0], mapped[4])
    assert len({where(result) for result in mapped}) > 1


def tents(before, after):
    """Weights `(after, before)` of an antialiased bilinear resize, in loops."""
    weights = np.zeros((after, before))
    step = before / after
    radius = max(step, 1.0)
    for new in range(after):
        centre = (new + 0.5) * step
        for old in range(before):
            weights[new, old] = max(0.0, 1 - abs(old + 0.5 - centre) / radius)
    return weights / weights.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("stored", [(61, 83), (9, 200)])
@pytest.mark.parametrize("corner", [(0, 0), (2, 3)])
def test_the_crop_of_a_resized_image_borders_included(stored, corner):
    image = noise(1, *stored)[0]
    rows, columns = tents(stored[0], 16), tents(stored[1], 24)
    whole = np.einsum("yh,hwc,xw->yxc", rows, image, columns)
    top, left = corner
    expected = whole[top : top + 14, left : left + 21]
    found = crop_of_resized(image, (16, 24), tf.constant(corner), SIZE)
    assert found.dtype == tf.float32
    np.testing.assert_allclose(found, expected, atol=5e-4)
    np.testing.assert_allclose(resize(image, (16, 24)), whole, atol=5e-4)
