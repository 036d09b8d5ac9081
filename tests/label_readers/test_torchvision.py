"""torchvision reads COCO's JSON and VOC's XML. It does not turn images upright."""

from xml.etree import ElementTree

import numpy as np
from PIL import ImageOps
from torchvision.datasets import (
    CocoDetection,
    VOCDetection,
    wrap_dataset_for_transforms_v2,
)
from torchvision.transforms.v2 import PILToTensor

from tests.label_readers.photographs import PHOTOGRAPHS, TAGGED, is_upright
from tests.labels.rectangles import CLASSES


class UprightCoco(CocoDetection):
    """What a user has to add."""

    def _load_image(self, id):
        return ImageOps.exif_transpose(super()._load_image(id))


def by_name(dataset):
    for index in range(len(dataset)):
        (image,) = dataset.coco.loadImgs(dataset.ids[index])
        yield image["file_name"], *dataset[index]


def test_coco_detection_gives_upright_images_once_they_are_turned(photographs, written):
    dataset = UprightCoco(photographs, str(written["coco"].path))
    found = {}
    for name, image, (target,) in by_name(dataset):
        x, y, width, height = target["bbox"]
        box = (x, y, x + width, y + height)
        found[name] = (CLASSES[target["category_id"] - 1], image.size[::-1], box)
        assert is_upright(np.asarray(image), name)
    assert found == PHOTOGRAPHS


def test_coco_detection_by_itself_reads_them_as_stored(photographs, written):
    dataset = CocoDetection(photographs, str(written["coco"].path))
    images = {name: np.asarray(image) for name, image, _ in by_name(dataset)}
    assert {n for n, image in images.items() if not is_upright(image, n)} == TAGGED


def test_transforms_v2_know_the_boxes_and_their_canvas(photographs, written):
    dataset = UprightCoco(
        photographs, str(written["coco"].path), transforms=PILToTensor()
    )
    keys = ("boxes", "labels")
    wrapped = wrap_dataset_for_transforms_v2(dataset, target_keys=keys)
    for index, (image, target) in enumerate(wrapped):
        (entry,) = dataset.coco.loadImgs(dataset.ids[index])
        class_name, size, box = PHOTOGRAPHS[entry["file_name"]]
        assert tuple(image.shape) == (3, *size)
        assert target["boxes"].canvas_size == size
        assert target["boxes"].tolist() == [list(box)]
        assert target["labels"].tolist() == [CLASSES.index(class_name) + 1]
    assert index + 1 == len(PHOTOGRAPHS)


def test_voc_xml(written):
    folder, found = written["voc"].path / "Annotations", {}
    for file in folder.rglob("*.xml"):
        read = VOCDetection.parse_voc_xml(ElementTree.parse(file).getroot())
        (entry,) = read["annotation"]["object"]
        size, corners = read["annotation"]["size"], entry["bndbox"]
        x0, y0, x1, y1 = (int(corners[k]) for k in ("xmin", "ymin", "xmax", "ymax"))
        found[read["annotation"]["path"]] = (
            entry["name"],
            (int(size["height"]), int(size["width"])),
            (x0 - 1, y0 - 1, x1, y1),
        )
    assert found == PHOTOGRAPHS
