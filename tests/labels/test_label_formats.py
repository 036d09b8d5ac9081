"""Each format's numbers, from the head."""

import csv
import json
import os
import tracemalloc
from collections import Counter
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest

from keras_wsol.label_formats import (
    LABEL_FORMATS,
    LabelledImage,
    check_classes,
    link_images,
    names_below,
    write_coco,
    write_csv,
    write_voc,
    write_yolo,
)

NAMES = ("owl", "blå, \"x\" & <y>: '#1'\\")
# The second box is less than a pixel.
IMAGES = [
    LabelledImage(
        path="a/1.jpg",
        width=200,
        height=50,
        class_id=1,
        boxes=[(10.0, 0.0, 60.4, 25.6), (199.7, 49.6, 200.0, 50.0)],
        scores=[0.75, 0.25],
    ),
    LabelledImage(
        path="1.v2.png",
        width=8,
        height=10,
        class_id=0,
        boxes=[(0.0, 0.0, 8.0, 10.0)],
        scores=[1.0],
    ),
]


def test_csv(tmp_path):
    write_csv(IMAGES, tmp_path / "x.csv", NAMES)
    with (tmp_path / "x.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows[0] == {
        "path": "a/1.jpg",
        "x0": "10.0",
        "y0": "0.0",
        "x1": "60.4",
        "y1": "25.6",
        "class": NAMES[1],
        "score": "0.75",
        "class_id": "1",
        "width": "200",
        "height": "50",
    }
    assert [row["score"] for row in rows] == ["0.75", "0.25", "1.0"]
    assert [row["path"] for row in rows] == ["a/1.jpg", "a/1.jpg", "1.v2.png"]
    assert [row["class"] for row in rows] == [NAMES[1], NAMES[1], NAMES[0]]


def test_coco_counts_every_id_from_1(tmp_path):
    write_coco(IMAGES, tmp_path / "x.json", NAMES)
    found = json.loads((tmp_path / "x.json").read_text("utf-8"))
    assert [(c["id"], c["name"]) for c in found["categories"]] == [
        (1, NAMES[0]),
        (2, NAMES[1]),
    ]
    assert found["images"] == [
        {"id": 1, "file_name": "a/1.jpg", "width": 200, "height": 50},
        {"id": 2, "file_name": "1.v2.png", "width": 8, "height": 10},
    ]
    of_box = ("id", "image_id", "category_id", "bbox", "area", "score")
    assert [tuple(a[k] for k in of_box) for a in found["annotations"]] == [
        (1, 1, 2, [10.0, 0.0, 50.4, 25.6], 1290.24, 0.75),
        (2, 1, 2, [199.7, 49.6, 0.3, 0.4], 0.12, 0.25),
        (3, 2, 1, [0.0, 0.0, 8.0, 10.0], 80.0, 1.0),
    ]
    # The corners of the box, as pycocotools itself writes them for a result.
    assert [a["segmentation"] for a in found["annotations"]] == [
        [[10.0, 0.0, 10.0, 25.6, 60.4, 25.6, 60.4, 0.0]],
        [[199.7, 49.6, 199.7, 50.0, 200.0, 50.0, 200.0, 49.6]],
        [[0.0, 0.0, 0.0, 10.0, 8.0, 10.0, 8.0, 0.0]],
    ]


def test_yolo_gives_centre_and_size_in_shares(tmp_path):
    write_yolo(IMAGES, tmp_path / "x", NAMES)
    assert (tmp_path / "x/labels/a/1.txt").read_text() == (
        "1 0.176000 0.256000 0.252000 0.512000\n1 0.999250 0.996000 0.001500 0.008000\n"
    )
    assert (tmp_path / "x/labels/1.v2.txt").read_text() == (
        "0 0.500000 0.500000 1.000000 1.000000\n"
    )
    assert splits(tmp_path / "x") == (["./images/a/1.jpg"], ["./images/1.v2.png"])


def splits(folder):
    """Lines of both lists."""
    names = ("train.txt", "val.txt")
    return tuple((folder / name).read_text("utf-8").splitlines() for name in names)


def sought_by_ultralytics(data_yaml, split):
    """Images and where their labels are looked for, in the words of its code.

    `check_det_dataset` in data/utils.py, `get_img_files` in data/base.py and
    `img2label_paths` in data/utils.py of Ultralytics 8.4.
    """
    lines = data_yaml.read_text("utf-8").splitlines()
    entries = dict(line.split(": ", 1) for line in lines if ": " in line)
    root = Path(entries.get("path") or data_yaml.parent)
    file = (root / entries[split]).resolve()
    listed = file.read_text("utf-8").strip().splitlines()
    images = [
        line.replace("./", f"{file.parent}{os.sep}") if line.startswith("./") else line
        for line in listed
    ]
    return {
        image: "/labels/".join(image.rsplit("/images/", 1)).rsplit(".", 1)[0] + ".txt"
        for image in images
    }


def test_ultralytics_finds_the_labels_from_anywhere(tmp_path, monkeypatch):
    folder = tmp_path / "some" / "images" / "x"
    folder.parent.mkdir(parents=True)
    write_yolo(IMAGES, folder, NAMES)
    monkeypatch.chdir(tmp_path)
    for split, name in (("train", "a/1.jpg"), ("val", "1.v2.png")):
        labels = f"{folder}/labels/{name.rpartition('.')[0]}.txt"
        sought = sought_by_ultralytics(folder / "data.yaml", split)
        assert sought == {f"{folder}/images/{name}": labels}
        assert Path(labels).is_file()


def test_a_fifth_of_each_class_is_for_validation_whatever_the_order(tmp_path):
    many = [
        replace(IMAGES[1], path=f"{class_id}/{n}.png", class_id=class_id)
        for class_id, count in ((0, 40), (1, 15), (2, 1))
        for n in range(count)
    ]
    train, val = write_and_split(many, tmp_path / "one")
    assert Counter(name[9] for name in val) == {"0": 8, "1": 3}
    assert len(train) + len(val) == len({*train, *val}) == len(many)
    again = write_and_split(many[::-1], tmp_path / "two")
    assert [sorted(names) for names in again] == [sorted(train), sorted(val)]
    # Not the first ones: photographs of one series have names in a row.
    numbers = sorted(int(name[11:-4]) for name in val if name[9] == "0")
    assert numbers[-1] - numbers[0] > 20
    write_voc(many, tmp_path / "voc", NAMES * 2)
    listed = splits(tmp_path / "voc/ImageSets/Main")
    assert listed == tuple([name[9:-4] for name in each] for each in (train, val))
    assert write_and_split(many[:1], tmp_path / "single") == (["./images/0/0.png"], [])


def write_and_split(images, folder):
    write_yolo(images, folder, NAMES * 2)
    return splits(folder)


def test_images_are_linked_or_else_copied(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for image in IMAGES:
        path = Path("photos") / image.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(image.path.encode())
    link_images(IMAGES, Path("photos"), tmp_path / "x" / "linked")

    def refuse(*_):
        raise OSError("no links here")

    monkeypatch.setattr(os, "symlink", refuse)
    link_images(IMAGES, Path("photos"), tmp_path / "x" / "copied")
    for image in IMAGES:
        link, copy = (Path("x", name, image.path) for name in ("linked", "copied"))
        assert link.readlink() == tmp_path / "photos" / image.path
        assert not copy.is_symlink()
        assert link.read_bytes() == copy.read_bytes() == image.path.encode()


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("images/1.jpg", False),
        ("a/images/b/1.jpg", False),
        ("a./1.jpg", False),
        ("1.jpg", True),
        ("images.jpg", True),
        ("Images/my images/.a/1.jpg", True),
    ],
)
def test_names_whose_labels_ultralytics_does_not_find_are_refused(
    name, found, tmp_path
):
    write_yolo([replace(IMAGES[0], path=name)], tmp_path / "x", NAMES)
    (sought,) = sought_by_ultralytics(tmp_path / "x" / "data.yaml", "train").values()
    assert Path(sought).is_file() is found
    if found:
        assert names_below([name], "", "yolo") == (Path(), [name])
        return
    with pytest.raises(ValueError, match=r"For YOLO.*Received: '.*1\.jpg'"):
        names_below([name], "", "yolo")
    names_below([name], "", "coco")


def test_voc_corners_are_whole_count_from_1_and_belong_to_the_box(tmp_path):
    write_voc(IMAGES, tmp_path / "x", NAMES)
    found = ElementTree.parse(tmp_path / "x/Annotations/a/1.xml").getroot()
    texts = [found.findtext(name) for name in ("folder", "filename", "path")]
    assert texts == ["a", "1.jpg", "a/1.jpg"]
    size = [found.findtext(f"size/{name}") for name in ("width", "height", "depth")]
    assert size == ["200", "50", "3"]
    corners = [
        [int(box.findtext(name)) for name in ("xmin", "ymin", "xmax", "ymax")]
        for box in found.iter("bndbox")
    ]
    # The second is less than a pixel, and keeps the last one.
    assert corners == [[11, 1, 60, 26], [200, 50, 200, 50]]
    assert [o.findtext("name") for o in found.iter("object")] == [NAMES[1], NAMES[1]]
    assert [o.findtext("score") for o in found.iter("object")] == ["0.75", "0.25"]
    whole = ElementTree.parse(tmp_path / "x/Annotations/1.v2.xml")
    assert [e.text for e in whole.find(".//bndbox")] == ["1", "1", "8", "10"]
    assert whole.findtext("folder") == "."
    assert splits(tmp_path / "x/ImageSets/Main") == (["a/1"], ["1.v2"])
    labelmap = (tmp_path / "x/labelmap.txt").read_text("utf-8").splitlines()
    # As `parse_label_map` of Datumaro reads it, in voc_format/format.py.
    names = [line.split(":")[0] for line in labelmap if not line.startswith("#")]
    assert names == [NAMES[0], NAMES[1].split(":")[0]]


@pytest.mark.parametrize("name", ["cat: wild", "#1", " owl", "owl "])
def test_classes_that_a_label_map_cannot_hold_are_refused(name):
    with pytest.raises(ValueError, match=f"For VOC, the name of a .*{name}'"):
        check_classes(["owl #1", name], "voc")
    check_classes([name], "yolo")


@pytest.mark.parametrize("name", LABEL_FORMATS)
def test_no_label_at_all(name, tmp_path):
    path = tmp_path / f"x{LABEL_FORMATS[name].suffix or ''}"
    LABEL_FORMATS[name].write([], path, NAMES)
    if name == "coco":
        found = json.loads(path.read_text("utf-8"))
        assert found["images"] == found["annotations"] == []
    if name == "yolo":
        names = ["classes.txt", "data.yaml", "labels.csv", "train.txt", "val.txt"]
        assert sorted(entry.name for entry in path.iterdir()) == names


@pytest.mark.parametrize("name", ["coco", "csv"])
def test_memory_does_not_grow_with_the_labels(name, tmp_path):
    class Many:
        def __iter__(self):
            for number in range(5_000):
                yield replace(IMAGES[1], path=f"{number}.png")

    path = tmp_path / f"x{LABEL_FORMATS[name].suffix}"
    tracemalloc.start()
    LABEL_FORMATS[name].write(Many(), path, NAMES)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 200_000 < path.stat().st_size


def test_a_link_that_is_there_is_not_written_through(tmp_path):
    root, folder = tmp_path / "root", tmp_path / "folder"
    for where, text in ((root, "new"), (tmp_path / "other", "kept")):
        where.mkdir()
        (where / "1.jpg").write_text(text)
    folder.mkdir()
    (folder / "1.jpg").symlink_to(tmp_path / "other" / "1.jpg")
    label = LabelledImage(
        path="1.jpg", width=4, height=4, class_id=0, boxes=[], scores=[]
    )
    with pytest.raises(FileExistsError):
        link_images([label], root, folder)
    assert (tmp_path / "other" / "1.jpg").read_text() == "kept"


def link(labels, path, _):
    link_images(labels, path.parent, path / "images")


@pytest.mark.parametrize("write", [write_yolo, write_voc, link])
@pytest.mark.parametrize("name", ["../x.jpg", "a/../../../x.jpg", "{}/x.jpg"])
def test_nothing_is_written_outside_of_the_output(write, name, tmp_path):
    label = replace(IMAGES[1], path=name.format(tmp_path / "away"))
    with pytest.raises(ValueError, match=r"x\.\w+' would be written outside"):
        write([label], tmp_path / "out", NAMES)
    assert [path for path in tmp_path.rglob("x.*") if path.name != "x.jpg"] == []
    assert not (tmp_path / "away").exists()


@pytest.mark.parametrize("write", [write_yolo, write_voc])
def test_no_label_is_written_over_another(write, tmp_path):
    labels = [replace(IMAGES[1], path=name) for name in ("a.jpg", "b/../a.png")]
    with pytest.raises(FileExistsError):
        write(labels, tmp_path / "x", NAMES)


def test_a_path_is_followed_as_the_system_does(tmp_path, monkeypatch):
    for folder in ("far/deep", "here"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "here" / "link").symlink_to(tmp_path / "far" / "deep")
    monkeypatch.chdir(tmp_path / "here")
    # Behind the link, `..` is the folder `far`.
    found = names_below(["link/../1.jpg", "2.jpg", "../3.jpg"], None, "voc")
    assert found == (tmp_path, ["far/1.jpg", "here/2.jpg", "3.jpg"])
    assert names_below(["../3.jpg"], "..", "voc") == (tmp_path, ["3.jpg"])
    with pytest.raises(ValueError, match=r"below one folder, `images_root`.*3\.jpg"):
        names_below(["../3.jpg"], "link", "voc")
    with pytest.raises(ValueError, match=r"Received: \['1\.jpg', '1\.jpg'\]"):
        names_below(["link/../1.jpg", str(tmp_path / "far/1.jpg")], None, "csv")
