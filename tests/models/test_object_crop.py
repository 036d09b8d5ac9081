import keras
import numpy as np
from keras import ops

from keras_wsol.models.second_look import (
    ObjectCrop,
    crop_to_boxes,
    mean_of_two_looks,
    with_margin,
)
from tests.models.crops import crop_pixel_by_pixel

SIZE = (24, 36)


def test_crops_equal_those_made_pixel_by_pixel():
    rng = np.random.default_rng(0)
    images = rng.uniform(0, 255, (5, 9, 14, 3)).astype("float32")
    near = rng.uniform(0, 4, (5, 2))
    boxes = np.concatenate([near, near + rng.uniform(1, 5, (5, 2))], axis=1)
    boxes[0] = [0, 0, 14, 9]  # the whole image
    found = ops.convert_to_numpy(crop_to_boxes(images, boxes.astype("float32")))
    expected = [
        crop_pixel_by_pixel(image, box)
        for image, box in zip(images, boxes, strict=True)
    ]
    np.testing.assert_allclose(found, expected, atol=1e-3)
    np.testing.assert_allclose(found[0], images[0], atol=1e-3)


def test_a_margin_ends_at_the_edge():
    boxes = np.array([[10, 2, 20, 4], [0, 1, 5, 9], [3, 3, 3, 3]], "float32")
    found = ops.convert_to_numpy(with_margin(boxes, (9, 24), 0.5))
    assert found.tolist() == [[5, 1, 24, 5], [0, 0, 7.5, 9], [0, 0, 24, 9]]


def test_the_crop_keeps_its_shape_in_a_symbolic_call():
    images, maps = keras.Input((*SIZE, 3)), keras.Input(SIZE)
    assert ObjectCrop()(images, maps).shape == (None, *SIZE, 3)


def test_large_logits_stay_finite():
    one, other = np.array([[1000.0, 0]], "float32"), np.array([[0, 1000.0]], "float32")
    found = ops.convert_to_numpy(mean_of_two_looks(one, other))
    np.testing.assert_allclose(found, np.log([[0.5, 0.5]]), atol=1e-6)
