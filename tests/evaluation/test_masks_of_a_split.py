"""PxAP in a report, against the metric fed by hand."""

import numpy as np
import pytest
from PIL import Image

from keras_wsol.data import Segmentation
from keras_wsol.evaluation import evaluate
from keras_wsol.metrics import PxAP
from tests.evaluation.painted_split import NAMES, in_view, split_of
from tests.models.painted import expected_maps, painted_classifier

SIZE = (24, 36)


@pytest.fixture(scope="module")
def model():
    return painted_classifier(class_names=NAMES)


@pytest.fixture(scope="module")
def split():
    return split_of("test", 19, seed=0)


def run(model, split, **arguments):
    return evaluate(model, split, num_thresholds=20, **arguments)


def masks_of(split, folder):
    masks = []
    for index in range(len(split)):
        pixels = np.zeros((31, 50), "uint8")
        pixels[4 + index % 5 : 20, 6 : 25 + index] = 255
        Image.fromarray(pixels).save(folder / f"{index}.png")
        masks.append(Segmentation((folder / f"{index}.png",)))
    return masks


def test_masks_give_px_ap(model, split, tmp_path):
    masks = masks_of(split, tmp_path)
    images, _ = in_view(split, "whole", SIZE)
    _, _, maps = expected_maps(model, images)
    metric = PxAP()
    # To the nearest pixel, the one at the upper left.
    rows, columns = np.arange(24) * 31 // 24, np.arange(36) * 50 // 36
    for n, segmentation in enumerate(masks):
        with Image.open(segmentation.mask_paths[0]) as image:
            mask = np.asarray(image)[rows[:, None], columns] > 0
        metric.update_state(mask[None], maps[n, split.class_ids[n]][None])
    report = run(model, split, masks=masks)
    assert report.px_ap == pytest.approx(metric.result(), abs=2e-3)
    assert report.to_row()["px_ap"] == round(report.px_ap, 4)
    by_name = {f"{n}": mask for n, mask in enumerate(masks)}
    assert run(model, split, masks=by_name).px_ap == report.px_ap
    assert run(model, split).px_ap is None


def test_masks_that_lack_an_image_or_show_another_view(model, split, tmp_path):
    masks = masks_of(split, tmp_path)
    with pytest.raises(ValueError, match="none for image 18, test/18"):
        run(model, split, masks=masks[:-1])
    with pytest.raises(ValueError, match="none for image 0, test/0"):
        run(model, split, masks={"1": masks[1]})
    with pytest.raises(ValueError, match="PxAP needs view='whole'"):
        run(model, split, view="center_crop", masks=masks)
