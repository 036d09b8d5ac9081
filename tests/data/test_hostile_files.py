"""Files that are broken, or made to harm: every reader names them and ends."""

import os
import re

import pytest

from keras_wsol import data
from tests.data import test_boxes_coco_voc as coco_voc
from tests.data import test_stanford_cars as cars
from tests.data import test_wsolevaluation as lists
from tests.data.cub_layout import write_cub
from tests.data.test_boxes_coco_voc import pets
from tests.data.test_ilsvrc2012 import root as imagenet

__all__ = ["imagenet", "pets"]  # fixtures
KIT = "ILSVRC2012_devkit_t12/data"
TRUTH = f"{KIT}/ILSVRC2012_validation_ground_truth.txt"
ANNOTATION = "bbox_val/ILSVRC2012_val_00000002.xml"


def opened(reader, path, request):
    """The file of a reader, and the reader."""
    if reader == "csv":
        read, file = data.boxes_from_csv, path / "boxes.csv"
    elif reader == "coco":
        read, file = data.boxes_from_coco, coco_voc.coco(path)
    elif reader == "voc":
        root = coco_voc.voc(path)
        file = root / "Annotations" / "cat" / "1.xml"
        return file, lambda: data.boxes_from_voc(request.getfixturevalue("pets"), root)
    elif reader == "masks":
        file = path / "localization.txt"
        return file, lambda: data.openimages_segmentations(path, file)
    elif reader.startswith("cub/"):
        root = write_cub(path)
        (root / "train_fullsup.txt").write_text("20\n3\n")
        file = root / reader.removeprefix("cub/")
        return file, lambda: data.cub200(root, "train-fullsup", verify=False)
    elif reader.startswith("wsol/"):
        metadata, images = lists.write(path, "CUB", lists.CUB)
        file = metadata / "val" / reader.removeprefix("wsol/")
        arguments = metadata, images, "train-fullsup"
        return file, lambda: data.wsolevaluation(*arguments, verify=False)
    elif reader.startswith("cars/"):
        root = cars.write_cars(path / "cars")
        file = root / "devkit" / reader.removeprefix("cars/")
        return file, lambda: data.stanford_cars(root, "train", verify=False)
    else:
        root = request.getfixturevalue("imagenet")
        (root / "black.txt").write_text("1\n4\n")
        given = {"blacklist": root / "black.txt", "verify": False}
        return root / reader, lambda: data.ilsvrc2012(root, "test", **given)
    return file, lambda: read(request.getfixturevalue("pets"), file)


CUB = ("images", "classes", "image_class_labels", "train_test_split", "bounding_boxes")
CUB = [f"cub/{name}.txt" for name in (*CUB, "train_fullsup")]
WSOL = [f"wsol/{name}.txt" for name in ("image_ids", "class_labels", "localization")]
CARS = ["cars/cars_meta.mat", "cars/cars_train_annos.mat"]
TEXTS = ["csv", "coco", "masks", *CUB, *WSOL, TRUTH, "black.txt"]
XML = ["voc", ANNOTATION]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Windows has no such pipes.")
@pytest.mark.parametrize("reader", [*TEXTS, *XML, *CARS, f"{KIT}/meta.mat"])
def test_a_pipe_is_not_waited_for(reader, tmp_path, request):
    file, read = opened(reader, tmp_path, request)
    file.unlink(missing_ok=True)
    os.mkfifo(file)
    with pytest.raises((ValueError, FileNotFoundError), match=re.escape(file.name)):
        read()


def voc(corner="9", name="cat", head=""):
    box = f"<xmin>1</xmin><ymin>1</ymin><xmax>{corner}</xmax><ymax>9</ymax>"
    box = f"<name>{name}</name><bndbox>{box}</bndbox>"
    return f"{head}<annotation><object>{box}</object></annotation>"


def bomb():
    """Nine entities, each of ten of the one before it: 10^11 letters."""
    entities = f'<!ENTITY a "{"x" * 99}">'
    for old, new in zip("abcdefghi", "bcdefghij", strict=True):
        entities += f'<!ENTITY {new} "{f"&{old};" * 10}">'
    return voc(name="&j;", head=f"<!DOCTYPE x [{entities}]>")


def box(**changes):
    box = {"image_id": 9, "category_id": 17, "bbox": [3, 4, 30, 16], **changes}
    return {"annotations": [box]}


def seen(**changes):
    image = {"id": 9, "file_name": "cat/1.jpg", **changes}
    return {"images": [image], **box()}


TWICE = '{"categories": [], "images": [], "images": [], "annotations": []}'
LINE = "path,x0,y0,x1,y1\ncat/1.jpg,"
HOSTILE = [
    *((reader, b"\xff\xfe\xe9") for reader in [*TEXTS, *XML]),
    *((reader, b"") for reader in ["csv", "coco", *CUB, *WSOL[:2], TRUTH, "black.txt"]),
    ("csv", f"{LINE}1,2,1e39,4"),
    ("csv", f"{LINE}1,2,1e400,4"),
    ("csv", f"{LINE}16777216,2,16777217,4"),  # equal in float32
    ("csv", f"{LINE}{'1' * 200_000},2,3,4"),
    ("csv", "path,x0,y0,x1,y1,x1\ncat/1.jpg,1,2,3,4,5"),
    ("coco", "[" * 1_000_000),
    ("coco", '{"a":' * 1_000_000),
    ("coco", TWICE),
    ("coco", box(bbox=[1, 2, 1e39, 4])),
    ("coco", box(bbox=[1, 2, 10**400, 4])),
    ("coco", box(bbox="1234")),
    ("coco", {"categories": [{"id": 17, "name": 5}], **box()}),
    ("coco", seen(file_name=5)),
    ("coco", {"images": [{"id": n, "file_name": "cat/1.jpg"} for n in (9, 8)]}),
    *((reader, voc("1e39")) for reader in XML),
    *((reader, voc("1e400")) for reader in XML),
    *((reader, voc("1" * 5000)) for reader in XML),
    *((reader, voc(head='<?xml version="1.0" encoding="x"?>')) for reader in XML),
    *((reader, voc(head='<?xml version="1.0" encoding="gbk"?>')) for reader in XML),
    *((reader, bomb()) for reader in XML),
    ("cub/images.txt", "3 a.jpg\n5 b.jpg\n3 c.jpg"),
    ("cub/images.txt", f"3 {'a' * 5000}"),
    ("cub/classes.txt", "1 001.A\n2 002.B\n9 009.A"),
    ("cub/classes.txt", "1 001.A\n2 002.B\n9 009.C\n2 002.D"),
    ("cub/bounding_boxes.txt", "3 0 0 1e39 1"),
    ("cub/bounding_boxes.txt", "3 0 0 nan 1"),
    ("cub/image_class_labels.txt", "3 99999999999"),
    ("cub/train_fullsup.txt", "3\n20\n3"),
    ("wsol/image_ids.txt", "a.jpg\nb.jpg\na.jpg"),
    ("wsol/class_labels.txt", "a.jpg,0\nb.jpg,1\na.jpg,1"),
    ("wsol/class_labels.txt", "zo\u00eb.jpg,0\nb.jpg,1\nzoe\u0308.jpg,1"),
    (TRUTH, "2\n99999999999\n2\n3"),
    ("black.txt", "1\n4\n1"),
]


@pytest.mark.parametrize(("reader", "content"), HOSTILE)
def test_a_hostile_file_is_named(reader, content, tmp_path, request):
    file, read = opened(reader, tmp_path, request)
    if isinstance(content, dict):
        coco_voc.coco(tmp_path, **content)
    else:
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ValueError, match=re.escape(file.name)):
        read()


def test_both_lines_of_a_key_are_named(tmp_path):
    root = write_cub(tmp_path)
    (root / "images.txt").write_text("3 a.jpg\n5 b.jpg\n\n3 c.jpg\n")
    with pytest.raises(ValueError, match=r"images.txt has '3' twice: lines 1, 4\."):
        data.cub200(root)


# SciPy 1.17 dies of the first and the last, and takes 17 GB for the other.
@pytest.mark.parametrize(("place", "byte"), [(144, 5), (163, 127), (300, 6)])
def test_a_byte_of_a_matlab_file_ends_no_process(place, byte, tmp_path):
    root = cars.write_cars(tmp_path / "cars")
    file = root / "devkit" / "cars_train_annos.mat"
    content = bytearray(file.read_bytes())
    content[place] = byte
    file.write_bytes(content)
    with pytest.raises(ValueError, match=re.escape(str(file))):
        cars.stanford_cars(root, "train")
