import cv2
import numpy as np
import pytest

from keras_wsol.metrics import MaxBoxAcc, MaxBoxAccV2
from tests.reference import max_box_acc_numpy as plain
from tests.reference import wsolevaluation_numpy as published

pytestmark = pytest.mark.data


@pytest.fixture(scope="module")
def grey_maps_and_boxes(cub40):
    """Grey values of 4 photographs as score maps: real, and hard.

    Blurred, or each would have thousands of components, which the loops of the
    reference would follow for minutes. True boxes are CUB's, scaled and cut to whole
    cells.
    """
    maps, boxes = [], []
    root = next(path.parent for path in cub40.rglob("bounding_boxes.txt"))
    lines = (root / "images.txt").read_text().split("\n")
    names = dict(line.split() for line in lines if line)
    lines = (root / "bounding_boxes.txt").read_text().split("\n")
    for line in [line for line in lines if line][::10][:4]:
        number, x, y, width, height = line.split()
        path = root / "images" / names[number]
        grey = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
        assert grey is not None, path
        small = cv2.resize(grey, (224, 224), interpolation=cv2.INTER_AREA)
        small = cv2.GaussianBlur(small.astype("float32"), (0, 0), 3)
        maps.append((small - small.min()) / (small.max() - small.min()))
        near, size = np.array([x, y], float), np.array([width, height], float)
        corners = np.concatenate([near, near + size])
        scale = 224 / np.array(grey.shape[::-1] * 2)
        boxes.append([np.floor(corners * scale).astype(int).tolist()])
    return np.stack(maps), boxes


@pytest.mark.parametrize("new", [MaxBoxAcc, MaxBoxAccV2])
@pytest.mark.parametrize("convention", ["default", "wsolevaluation"])
def test_real_maps(grey_maps_and_boxes, new, convention):
    maps, boxes = grey_maps_and_boxes
    # Overlaps low enough for some image to be right, which a photograph seldom is.
    levels = (0.1, 0.2, 0.3)
    thresholds = np.arange(0, 1, 0.01)
    metric = (
        MaxBoxAcc(levels[1], 100, convention)
        if new is MaxBoxAcc
        else MaxBoxAccV2(levels, 100, convention)
    )
    for part in (slice(0, 3), slice(3, 4)):
        metric.update_state(np.array(boxes[part], "float32"), maps[part])
    if convention == "default":
        best = plain.largest_box_ious if new is MaxBoxAcc else plain.best_component_ious
        ious = best(boxes, maps, metric.thresholds)
    else:
        ious = published.best_ious(boxes, maps, thresholds, new is MaxBoxAccV2)
    asked = levels[1:2] if new is MaxBoxAcc else levels
    curves = [np.mean(ious >= level, axis=1) for level in asked]
    assert 0 < np.mean(curves) < 1
    np.testing.assert_allclose(np.reshape(metric.curve(), (-1, 100)), curves)
    expected = np.mean([curve.max() for curve in curves])
    assert metric.result() == pytest.approx(expected)
