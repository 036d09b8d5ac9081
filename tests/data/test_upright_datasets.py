"""Photos with an EXIF tag: upright in a folder, as stored where boxes are."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from keras_wsol.data import image_folder
from tests.data.small_datasets import gradient, in_memory

SIZE = (12, 10)


@pytest.fixture
def folder(tmp_path):
    tags = Image.Exif()
    tags[0x0112] = 6
    (tmp_path / "cat").mkdir()
    path = tmp_path / "cat" / "a.jpg"
    Image.fromarray(gradient(24, 40)).save(path, quality=95, exif=tags)
    return tmp_path


def batches(dataset):
    [pillow] = dataset.numpy_batches(1, image_size=SIZE)
    [(images, _)] = dataset.batches(1, image_size=SIZE)
    np.testing.assert_allclose(images, pillow["images"], atol=8)
    return pillow


def test_a_folder_is_read_upright(folder):
    dataset = image_folder(folder)
    assert dataset.image(0).shape == (40, 24, 3)
    assert batches(dataset)["sizes"].tolist() == [[40, 24]]


def test_boxes_stay_on_the_stored_image(folder):
    photo = image_folder(folder)
    boxes = np.array([[[4, 6, 20, 18]]], "float32")
    dataset = replace(
        in_memory(np.zeros((1, 2, 2, 3), "uint8"), boxes=boxes, paths=photo.paths),
        images=None,
    )
    assert dataset.image(0).shape == (24, 40, 3)
    found = batches(dataset)
    assert found["sizes"].tolist() == [[24, 40]]
    np.testing.assert_allclose(found["boxes"][0, 0], (1, 3, 5, 9))


def test_another_orientation_is_refused():
    with pytest.raises(ValueError, match="`orientation` must be one of"):
        in_memory(np.zeros((1, 2, 2, 3), "uint8"), orientation="up")
