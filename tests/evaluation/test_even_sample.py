import io

import numpy as np
import pytest
from PIL import Image

from keras_wsol.evaluation.tables import EvenSample

SHAPE = (6, 10)


def sampled(count, length):
    sample = EvenSample(count)
    for index in range(length):
        image = np.full((*SHAPE, 3), index % 256)
        sample(index, "", image, np.full(SHAPE, index % 256 / 255))
    return sample.images()


@pytest.mark.parametrize("count", [1, 2, 5])
@pytest.mark.parametrize("length", [0, 1, 12, 13, 77])
def test_images_are_spread_evenly(count, length):
    found = [image.index for image in sampled(count, length)]
    assert len(found) == len(set(found)) == min(count, length)
    if length <= count:
        assert found == list(range(length))
    elif count > 1:
        gaps = np.diff(found)
        assert found[0] == 0
        # The last one is of the end, too, and no gap is more than twice another.
        assert found[-1] >= length - 1 - max(gaps)
        assert max(gaps) <= 2 * min(gaps)


def test_few_images_are_held_on_the_way():
    sample = EvenSample(3)
    for index in range(500):
        sample(index, "", np.zeros((*SHAPE, 3)), np.zeros(SHAPE))
        assert len(sample._kept) <= 12


def test_none_are_kept_unless_asked_for():
    assert sampled(0, 50) == ()


def test_an_image_is_kept_as_jpeg_with_its_map():
    sample = EvenSample(1)
    image = np.full((*SHAPE, 3), [200.4, 90.0, 300.0])
    score_map = np.linspace(0, 1, 60).reshape(SHAPE)
    score_map[0, 3] = np.nan
    sample(0, "", image, score_map)
    (kept,) = sample.images()
    assert kept.index == 0
    with Image.open(io.BytesIO(kept.jpeg)) as found:
        assert (found.format, found.size) == ("JPEG", SHAPE[::-1])
        pixels = np.asarray(found).astype(int)
    assert np.abs(pixels - [200, 90, 255]).max() <= 3
    expected = np.rint(np.linspace(0, 255, 60)).reshape(SHAPE)
    expected[0, 3] = 0
    assert kept.score_map.dtype == "uint8"
    np.testing.assert_array_equal(kept.score_map, expected)


@pytest.mark.parametrize("count", [-1, 2.0, True, "3", None])
def test_the_number_is_checked(count):
    error = ValueError if count == -1 else TypeError
    with pytest.raises(error, match="`gallery` must be an integer >= 0"):
        EvenSample(count)
