"""The evaluator of ADL's code, beside its rule in OpenCV and Matplotlib."""

import cv2
import matplotlib as mpl
import numpy as np
import pytest

from keras_wsol.boxes import sweep_best_iou, sweep_largest_boxes
from keras_wsol.boxes.sweep import ADL_THRESHOLDS
from keras_wsol.metrics import MaxBoxAcc, MaxBoxAccV2, PxAP
from tests.boxes.hard_maps import hard_masks, noise_maps, smooth_maps


def box_of(score_map, threshold):
    colours = mpl.colormaps["cubehelix"](score_map.astype("float"))[..., :3]
    colours = (colours.astype("float32") * 255.0).astype("uint8")
    grey = cv2.cvtColor(colours, cv2.COLOR_RGB2GRAY)
    cut = int(np.max(grey) * threshold)
    _, above = cv2.threshold(grey, cut, 255, cv2.THRESH_TOZERO)
    contours = cv2.findContours(above, cv2.RETR_TREE, cv2.CHAIN_APPROX_SIMPLE)[-2]
    if not contours:
        return [0, 0, 1, 1]
    x, y, width, height = cv2.boundingRect(max(contours, key=cv2.contourArea))
    return [x, y, x + width, y + height]


def overlap(a, b):
    b = [int(each) for each in b]
    sides = [min(a[i + 2], b[i + 2]) - max(a[i], b[i]) + 1 for i in (0, 1)]
    both = max(0, sides[0]) * max(0, sides[1])
    areas = [(x[2] - x[0] + 1) * (x[3] - x[1] + 1) for x in (a, b)]
    return both / (sum(areas) - both)


def maps(height=19, width=23):
    rng = np.random.default_rng(0)
    masks = np.stack([*hard_masks(height, width).values()]).astype("float64")
    smooth = np.asarray(smooth_maps(rng, 20, height, width), "float64")
    noise = np.asarray(noise_maps(rng, 20, height, width), "float64")
    every = np.concatenate([masks, masks * 0.7, smooth, noise])
    return np.clip(every, 0, 1)


def test_boxes_are_those_of_opencv():
    score_maps = maps()
    found = sweep_largest_boxes(score_maps, ADL_THRESHOLDS, "adl")
    for n, score_map in enumerate(score_maps):
        expected = [box_of(score_map, each) for each in ADL_THRESHOLDS]
        np.testing.assert_array_equal(found[:, n], expected, err_msg=str(n))
    assert (found[..., 2] == score_maps.shape[2]).any()  # not cut at the last cell


def test_the_metric_is_that_of_the_code():
    rng = np.random.default_rng(1)
    score_maps = maps()[-40:]
    # Of whole images, so that some reach out of the crop.
    true_boxes = np.array([[box_of(each, 0.3)] for each in score_maps], "float64")
    true_boxes += rng.uniform(0, 8, true_boxes.shape) * [-1, -1, 1, 1]
    metric = MaxBoxAcc(convention="adl")
    metric.update_state(true_boxes, score_maps)
    right = [
        [
            overlap(box_of(m, t), b[0]) >= 0.5
            for m, b in zip(score_maps, true_boxes, strict=True)
        ]
        for t in ADL_THRESHOLDS
    ]
    np.testing.assert_allclose(metric.curve(), np.mean(right, axis=1))
    assert 0 < metric.result() < 1
    assert metric.result() == max(metric.curve())


def test_nothing_else_has_the_convention():
    for make in (MaxBoxAccV2, PxAP):
        with pytest.raises(ValueError, match="`convention` must be one of"):
            make(convention="adl")
    with pytest.raises(ValueError, match="`convention` must be one of"):
        sweep_best_iou(maps()[:1], [0.5], np.zeros((1, 1, 4)), "adl")
    with pytest.raises(ValueError, match=r"in \[0, 1\] and hold no NaN for adl"):
        sweep_largest_boxes(np.full((1, 3, 3), np.nan), [0.5], "adl")
