"""Pseudo-labels, read back by other people's readers."""

import numpy as np
import pytest
import supervision
from pycocotools.coco import COCO

from keras_wsol.label_formats import LABEL_FORMATS
from tests.labels.rectangles import CLASSES, IMAGES, score, write, write_images

BOXES = {name: box for name, _, _, box in IMAGES}
CLASS_OF = {name: class_id for name, class_id, _, _ in IMAGES}
SIZES = {name: size for name, _, size, _ in IMAGES}
# Files and folders, as images lie in them.
FOLDERS = {name.rpartition("/")[0] for name in BOXES}


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """The folder of images, and what was written of it, by format."""
    root = write_images(tmp_path_factory.mktemp("written") / "images")
    return root, {
        name: write(root, root.parent / name / f"x{form.suffix or ''}", format=name)
        for name, form in LABEL_FORMATS.items()
    }


def test_pycocotools_reads_the_boxes(written):
    done = written[1]["coco"]
    coco = COCO(str(done.path))
    assert {c["id"] - 1: c["name"] for c in coco.dataset["categories"]} == dict(
        enumerate(CLASSES)
    )
    found = {}
    for image in coco.loadImgs(coco.getImgIds()):
        (box,) = coco.loadAnns(coco.getAnnIds(imgIds=image["id"]))
        name = image["file_name"]
        assert (image["height"], image["width"]) == SIZES[name]
        assert box["category_id"] - 1 == CLASS_OF[name]
        assert box["score"] == pytest.approx(score(name), abs=1e-5)
        x, y, width, height = box["bbox"]
        assert box["area"] == width * height
        found[name] = (x, y, x + width, y + height)
    assert found == BOXES


def test_pycocotools_reads_them_as_results(written):
    coco = COCO(str(written[1]["coco"].path))
    again = coco.loadRes(coco.dataset["annotations"])
    assert sorted(again.getImgIds()) == sorted(coco.getImgIds())


@pytest.mark.parametrize("form", ["yolo", "voc", "coco"])
def test_supervision_reads_the_boxes(form, written):
    """One folder of images a call: supervision does not look into those below."""
    root, done = written[0], written[1][form]
    found = {}
    for folder in ["."] if form == "coco" else FOLDERS:
        if form == "coco":
            read = supervision.DetectionDataset.from_coco(str(root), str(done.path))
        elif form == "yolo":
            read = supervision.DetectionDataset.from_yolo(
                str(root / folder),
                str(done.path / "labels" / folder),
                str(done.path / "data.yaml"),
            )
        else:
            read = supervision.DetectionDataset.from_pascal_voc(
                str(root / folder), str(done.path / "Annotations" / folder)
            )
        if form != "voc":  # where names stand in the labels alone
            assert read.classes == list(CLASSES)
        for image, boxes in read.annotations.items():
            if len(boxes):
                name = str(root.joinpath(image).relative_to(root).as_posix())
                assert read.classes[boxes.class_id[0]] == CLASSES[CLASS_OF[name]]
                found[name] = boxes.xyxy.tolist()
    assert set(found) == set(BOXES)
    for name, box in BOXES.items():
        np.testing.assert_allclose(found[name], [box], atol=1e-4)
