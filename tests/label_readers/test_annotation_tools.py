"""Datumaro (which CVAT reads labels with) and Label Studio's converter."""

import json
import shutil
from urllib.parse import unquote

import numpy as np
import pytest
from datumaro.components.annotation import AnnotationType
from datumaro.components.dataset import Dataset
from label_studio_sdk.converter.imports.coco import convert_coco_to_ls
from label_studio_sdk.converter.imports.yolo import convert_yolo_to_ls
from PIL import Image

from tests.label_readers.photographs import PHOTOGRAPHS, TAGGED, is_upright
from tests.labels.rectangles import CLASSES, write

# As `flat` names them.
FLAT = {name.rpartition("/")[2]: value for name, value in PHOTOGRAPHS.items()}


@pytest.fixture(scope="module")
def flat(photographs):
    """YOLO and VOC without folders of classes, and with the images for links."""
    folders = {}
    for form in ("yolo", "voc"):
        linked = photographs.parent / f"{form} of links"
        write(photographs, linked, format=form, flat=True)
        # Datumaro refuses links that lead out of the folder.
        folders[form] = shutil.copytree(linked, linked.with_name(f"{form} flat ü"))
    return folders


def of_datumaro(path, form):
    """The data set, and class name, size and box by path of the image."""
    read, found = Dataset.import_from(str(path), form), {}
    names = [label.name for label in read.categories()[AnnotationType.label]]
    assert names == list(CLASSES)
    for item in read:
        (box,) = (a for a in item.annotations if a.type == AnnotationType.bbox)
        found[item.media.path] = (names[box.label], item.media.size, tuple(box.points))
    return read, found


def test_datumaro_reads_coco(photographs, written, tmp_path):
    (tmp_path / "annotations").mkdir()
    labels = tmp_path / "annotations" / "instances_train.json"
    shutil.copyfile(written["coco"].path, labels)
    shutil.copytree(photographs, tmp_path / "images" / "train")
    read, found = of_datumaro(tmp_path, "coco_instances")
    images = f"{tmp_path}/images/train/"
    assert {k.removeprefix(images): v for k, v in found.items()} == PHOTOGRAPHS
    # The sizes of the file hold, also where Datumaro shows the image as it is stored.
    upright = {
        item.media.path.removeprefix(images): np.atleast_3d(item.media.data)[..., :3]
        for item in read
    }
    assert {n for n, image in upright.items() if not is_upright(image, n)} == TAGGED


def test_datumaro_reads_yolo(flat):
    _, found = of_datumaro(flat["yolo"], "yolo")
    images = f"{flat['yolo']}/images/"
    assert {k.removeprefix(images): v for k, v in found.items()} == FLAT


def test_datumaro_reads_voc(flat):
    read, found = of_datumaro(flat["voc"], "voc_detection")
    assert sorted(read.subsets()) == ["train", "val"]
    images = f"{flat['voc']}/JPEGImages/"
    # It takes the corners, which are counted from 1, for edges.
    expected = {
        name: (class_name, size, (x0 + 1, y0 + 1, x1, y1))
        for name, (class_name, size, (x0, y0, x1, y1)) in FLAT.items()
    }
    assert {k.removeprefix(images): v for k, v in found.items()} == expected


def of_label_studio(tasks):
    """Class name, size, and box in percent of it, by path of the image."""
    found = {}
    for task in json.loads(tasks.read_text("utf-8")):
        (annotation,) = task["annotations"]
        # Of COCO, it makes a polygon of each box, too.
        (shown,) = (r for r in annotation["result"] if r["type"] == "rectanglelabels")
        (class_name,) = shown["value"]["rectanglelabels"]
        box = tuple(shown["value"][key] for key in ("x", "y", "width", "height"))
        size = shown["original_height"], shown["original_width"]
        name = unquote(task["data"]["image"]).removeprefix("/")
        found[name] = (class_name, size, pytest.approx(box, abs=1e-3))
    return found


def in_percent(photographs):
    expected = {}
    for name, (class_name, (height, width), (x0, y0, x1, y1)) in photographs.items():
        x, y, w, h = x0 / width, y0 / height, (x1 - x0) / width, (y1 - y0) / height
        box = (100 * x, 100 * y, 100 * w, 100 * h)
        expected[name] = (class_name, (height, width), box)
    return expected


def test_label_studio_converts_coco(written, tmp_path):
    tasks = tmp_path / "tasks.json"
    convert_coco_to_ls(str(written["coco"].path), str(tasks), image_root_url="/")
    assert of_label_studio(tasks) == in_percent(PHOTOGRAPHS)


def test_label_studio_converts_yolo(flat, tmp_path):
    tasks = tmp_path / "tasks.json"
    convert_yolo_to_ls(
        str(flat["yolo"]), str(tasks), image_root_url="/", image_ext=".jpg,.png,.webp"
    )
    found, expected = of_label_studio(tasks), in_percent(FLAT)
    for name, (class_name, _, box) in expected.items():
        # The size it reads itself, as stored; boxes are in shares all the same.
        with Image.open(flat["yolo"] / "images" / name) as image:
            size = image.size[::-1]
        expected[name] = (class_name, size, box)
    assert found == expected
