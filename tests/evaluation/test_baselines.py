"""Boxes that look at no image, against sums done by hand and by loops."""

import numpy as np
import pytest

from keras_wsol.evaluation.evaluate import (
    baseline_figures,
    centre_gaussian,
    count_centre,
    random_boxes,
)
from tests.evaluation.drawn_report import image_table
from tests.reference import max_box_acc_numpy as reference
from tests.reference.evaluation_numpy import centre_map

SIZE = (24, 36)
THRESHOLDS = np.arange(12, dtype="float32") / 12


def some_true_boxes(count, seed=0):
    rng = np.random.default_rng(seed)
    near = rng.uniform(0, 0.4, (count, 3, 2)) * SIZE[::-1]
    far = near + rng.uniform(0.2, 0.6, near.shape) * SIZE[::-1]
    boxes = np.concatenate([near, far], -1).astype("float32")
    boxes[rng.random((count, 3)) < 0.4] = -1
    return boxes


def table_of(true_boxes):
    iou = np.zeros((len(true_boxes), len(THRESHOLDS)))
    return image_table(iou, np.zeros(len(iou)), true_boxes=true_boxes)


def measured(true_boxes):
    return baseline_figures(table_of(true_boxes), SIZE)


def test_the_gaussian_is_measured_as_any_map():
    true_boxes = some_true_boxes(40)
    found = count_centre(table_of(true_boxes), SIZE) / 40
    maps = np.array([centre_map(SIZE)] * 40)
    ious = reference.largest_box_ious(true_boxes, maps, THRESHOLDS)
    for curve, level in zip(found, (0.5, 0.3, 0.5, 0.7), strict=True):
        np.testing.assert_allclose(curve, reference.accuracy(ious, level))
    assert found[0].max() > 0.1


def test_the_whole_image():
    true_boxes = np.full((4, 2, 4), -1.0, "float32")
    true_boxes[0, 0] = [0, 0, 36, 24]  # IoU 1
    true_boxes[1, 1] = [0, 0, 36, 12]  # exactly 1/2
    true_boxes[2, 0] = [0, 0, 12, 24]  # 1/3
    found = measured(true_boxes)["whole image"]
    assert found["gt_known_loc"] == 0.5
    # 3, 2 and 1 of 4 at IoU 0.3, 0.5 and 0.7.
    assert found["max_box_acc_v2"] == pytest.approx(0.5)


def test_the_random_box_has_its_expected_value():
    # Against the whole view, its IoU is its share of the area. Each side, in shares,
    # is the distance of two uniform points, of density 2 (1 - x).
    true_boxes = np.tile(np.array([[0, 0, 36, 24]], "float32"), (300, 1, 1))
    found = measured(true_boxes)["random box"]
    x = (np.arange(2000) + 0.5) / 2000
    density = 4 * np.outer(1 - x, 1 - x) / 2000**2
    shares = [density[np.outer(x, x) >= level].sum() for level in (0.3, 0.5, 0.7)]
    sigma = np.sqrt(shares[1] / 300_000)
    assert found["gt_known_loc"] == pytest.approx(shares[1], abs=4 * sigma)
    sigma = np.sqrt(shares[0] / 300_000)
    assert found["max_box_acc_v2"] == pytest.approx(np.mean(shares), abs=4 * sigma)


def test_random_boxes_are_drawn_over_the_view():
    boxes = random_boxes(np.random.default_rng(0), SIZE, 20).reshape(-1, 4)
    np.testing.assert_allclose(boxes.mean(0), [12, 8, 24, 16], atol=0.2)
    assert boxes.min() >= 0
    assert (boxes.max(0) <= [36, 24, 36, 24]).all()
    # Near and far corner lie anywhere to each other but for their order.
    assert abs(np.corrcoef(boxes[:, 0], boxes[:, 1])[0, 1]) < 0.03


@pytest.mark.parametrize("size", [(24, 36), (7, 4), (1, 5)])
def test_centre_gaussian(size):
    found = centre_gaussian(size)
    assert found.dtype == "float32"
    np.testing.assert_allclose(found, centre_map(size), rtol=1e-5)
    assert found.max() == 1
    np.testing.assert_allclose(found, found[::-1, ::-1], rtol=1e-6)
