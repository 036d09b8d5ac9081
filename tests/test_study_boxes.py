"""The upper bound of the study: boxes that follow their crops, and a head of boxes."""

import keras
import numpy as np
import pytest
import study_boxes
from numpy.testing import assert_allclose

from keras_wsol.boxes import iou
from keras_wsol.data import ImageDataset
from keras_wsol.models import Localizer
from tests.models.small import small_classifier


def rectangles(count, seed=0):
    """White rectangles on black, 64 px, and their boxes in shares of the side."""
    random = np.random.default_rng(seed)
    corner = random.integers(8, 24, (count, 2))
    far = corner + random.integers(12, 32, (count, 2))
    images = np.zeros((count, 64, 64, 3), "uint8")
    for image, (x0, y0), (x1, y1) in zip(images, corner, far, strict=True):
        image[y0:y1, x0:x1] = 255
    return images, (np.concatenate([corner, far], axis=1) / 64).astype("float32")


def test_boxes_follow_their_crops():
    images, true = rectangles(60)
    crops, boxes = study_boxes.crop_with_boxes(images, true, np.random.default_rng(1))
    assert (crops.dtype, boxes.dtype) == ("uint8", "float32")
    for crop, box in zip(crops, boxes, strict=True):
        y, x = np.nonzero(crop[..., 0] >= 128)
        seen = np.array([x.min(), y.min(), x.max() + 1, y.max() + 1])
        assert_allclose(box * 64, seen, atol=1)
    moved = np.abs(boxes - true).max(axis=1)
    assert (moved > 0.02).mean() > 0.8


def test_a_crop_keeps_half_of_the_box():
    # At the side and thin, so that many windows would lose it.
    true = np.tile(np.array([[0, 0, 0.1, 0.1]], "float32"), (200, 1))
    images = np.zeros((200, 16, 16, 3), "uint8")
    _, boxes = study_boxes.crop_with_boxes(images, true, np.random.default_rng(0))
    area = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    # A window of 1.2 and 1.1 times the image shrinks it most, and half may be lost.
    assert area.min() >= 0.5 * 0.01 / (1.2 * 1.1) ** 2
    whole = np.isclose(area, 0.01)
    assert 0.2 < whole.mean() < 0.95


def test_the_same_seed_makes_the_same_crops():
    images, true = rectangles(6)
    first, again, other = (
        study_boxes.crop_with_boxes(images, true, np.random.default_rng(seed))[0]
        for seed in (3, 3, 4)
    )
    assert (first == again).all()
    assert (first != other).any()


def test_the_head_averages_what_its_cells_guess():
    random = np.random.default_rng(0)
    features = random.normal(size=(2, 3, 5, 7)).astype("float32")
    head = study_boxes.BoxHead()
    found = keras.ops.convert_to_numpy(head(features))
    (kernel, bias), (weight, weight_bias) = (
        layer.get_weights() for layer in (head.guesses, head.weights_of_cells)
    )
    for image, box in zip(features, found, strict=True):
        scores = image @ weight[0, 0] + weight_bias
        shares = np.exp(scores) / np.exp(scores).sum()
        expected = np.zeros(4)
        for y in range(3):
            for x in range(5):
                middle = np.array([(x + 0.5) / 5, (y + 0.5) / 3] * 2)
                guess = middle + image[y, x] @ kernel[0, 0] + bias
                expected += shares[y, x, 0] * guess
        assert_allclose(box, expected, atol=1e-5)


def test_overlaps_of_known_boxes():
    images = np.zeros((3, 8, 8, 3), "uint8")
    true = np.array([[0, 0, 0.5, 1], [0, 0, 1, 1], [0.5, 0.5, 1, 1]], "float32")
    inputs = keras.Input((8, 8, 3))
    left = keras.layers.Lambda(
        lambda x: keras.ops.tile([[0.0, 0.0, 0.5, 1.0]], (keras.ops.shape(x)[0], 1)),
        output_shape=(4,),
    )
    overlap = study_boxes.overlaps(keras.Model(inputs, left(inputs)), (images, true))
    assert overlap.tolist() == pytest.approx([1, 0.5, 0])


def test_cells_of_which_the_middle_is_in_the_box():
    boxes = np.array([[0, 0, 8, 4], [5, 1, 11, 8]], "float32")
    found = study_boxes.cells_in_boxes(boxes, (8, 12), (2, 4, 3, 9))  # cells of 2 x 4
    for (x0, y0, x1, y1), cells in zip(boxes, found, strict=True):
        for row in range(4):
            for column in range(3):
                x, y = 4 * column + 2, 2 * row + 1
                assert cells[row, column] == (x0 <= x < x1 and y0 <= y < y1)
    assert found.sum(axis=(1, 2)).tolist() == [4, 8]


def test_true_boxes_part_what_is_in_them_from_what_is_not():
    images, true = rectangles(12)
    model = small_classifier(input_shape=(64, 64, 3))
    split = ImageDataset(
        name="rectangles",
        split="train",
        class_names=("rectangle",),
        class_ids=np.zeros(12, "int32"),
        paths=np.array([str(number) for number in range(12)]),
        images=images,
        boxes=64 * true[:, None],
    )
    found = study_boxes.fit_true_boxes(model, split, "conv_pw_1_relu")
    found_boxes = Localizer(model, score_map=found)(images)["boxes"]
    overlap = keras.ops.convert_to_numpy(iou(found_boxes, 64 * true[:, None]))
    assert overlap.mean() > 0.7
