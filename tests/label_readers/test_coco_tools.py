"""pycocotools and supervision read what was written."""

import numpy as np
import pytest
import supervision
from pycocotools.coco import COCO

from keras_wsol.label_formats import LABEL_FORMATS
from tests.label_readers.photographs import PHOTOGRAPHS, is_upright
from tests.labels.rectangles import CLASSES

# Folders of files, as images lie in them.
FOLDERS = {name.rpartition("/")[0] for name in PHOTOGRAPHS}


def test_pycocotools_reads_classes_sizes_and_boxes(written):
    coco = COCO(str(written["coco"].path))
    names = {c["id"]: c["name"] for c in coco.dataset["categories"]}
    assert names == dict(enumerate(CLASSES, start=1))
    found = {}
    for image in coco.loadImgs(coco.getImgIds()):
        (box,) = coco.loadAnns(coco.getAnnIds(imgIds=image["id"]))
        x, y, width, height = box["bbox"]
        assert box["area"] == width * height
        assert coco.annToMask(box).sum() == width * height
        found[image["file_name"]] = (
            names[box["category_id"]],
            (image["height"], image["width"]),
            (x, y, x + width, y + height),
        )
    assert found == PHOTOGRAPHS


def test_pycocotools_reads_them_as_results(written):
    coco = COCO(str(written["coco"].path))
    again = coco.loadRes(coco.dataset["annotations"])
    assert sorted(again.getImgIds()) == sorted(coco.getImgIds())


@pytest.mark.parametrize("form", ["yolo", "voc", "coco"])
def test_supervision_reads_the_boxes_and_upright_images(form, photographs, written):
    """One folder of images a call: supervision does not look into those below."""
    path, found = written[form].path, {}
    images = path / (LABEL_FORMATS[form].links or photographs)
    for folder in ["."] if form == "coco" else FOLDERS:
        if form == "coco":
            read = supervision.DetectionDataset.from_coco(str(images), str(path))
        elif form == "yolo":
            read = supervision.DetectionDataset.from_yolo(
                str(images / folder),
                str(path / "labels" / folder),
                str(path / "data.yaml"),
            )
        else:
            read = supervision.DetectionDataset.from_pascal_voc(
                str(images / folder), str(path / "Annotations" / folder)
            )
        if form != "voc":  # where names stand in the labels alone
            assert read.classes == list(CLASSES)
        for image, pixels, boxes in read:
            name = images.joinpath(image).relative_to(images).as_posix()
            assert is_upright(pixels, name)
            assert read.classes[boxes.class_id[0]] == PHOTOGRAPHS[name][0]
            found[name] = boxes.xyxy
    assert found.keys() == PHOTOGRAPHS.keys()
    for name, boxes in found.items():
        np.testing.assert_allclose(boxes, [PHOTOGRAPHS[name][2]], atol=1e-4)
