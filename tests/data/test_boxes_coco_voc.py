"""COCO's JSON and VOC's XML files: by hand, and as our own export writes them."""

import json
import re

import numpy as np
import pytest
from PIL import Image

from keras_wsol import data
from keras_wsol.label_formats import LabelledImage, write_coco, write_voc

# Path, size, class, boxes of its class.
IMAGES = [
    ("cat/1.jpg", (24, 40), "cat", [(3, 4, 33, 20), (0, 0, 40, 24)]),
    ("cat/2.jpg", (30, 20), "cat", []),
    ("dog/1.jpg", (24, 40), "dog", [(5, 6, 17, 9)]),
]


SEEN = {"id": 9, "file_name": "cat/1.jpg"}


@pytest.fixture
def pets(tmp_path):
    for path, size, *_ in IMAGES:
        file = tmp_path / "pets" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.zeros((*size, 3), "uint8")).save(file)
    return data.image_folder(tmp_path / "pets")


def coco(tmp_path, **changes):
    """With a crowd, an object of another class, and an image without objects."""
    ids = {"cat": 17, "dog": 18}
    content = {
        "categories": [{"id": n, "name": name} for name, n in ids.items()],
        "images": [
            {"id": 9 - n, "file_name": path, "height": size[0], "width": size[1]}
            for n, (path, size, *_) in enumerate(IMAGES)
        ],
        "annotations": [
            {
                "image_id": 9 - n,
                "category_id": ids[name],
                "bbox": [x0, y0, x1 - x0, y1 - y0],
                "iscrowd": 0,
            }
            for n, (_, _, name, boxes) in enumerate(IMAGES)
            for x0, y0, x1, y1 in boxes
        ],
    }
    content["annotations"] += [
        {"image_id": 9, "category_id": 17, "iscrowd": 1},  # without a box
        {"image_id": 9, "category_id": 18, "bbox": [1, 1, 2, 2]},
    ]
    path = tmp_path / "instances.json"
    path.write_text(json.dumps({**content, **changes}))
    return path


def voc(tmp_path, **changes):
    """One file an image; `changes` replace the text of one, by its place."""
    for n, (path, size, name, boxes) in enumerate(IMAGES):
        # An object of another class in the first.
        objects = [(name, box) for box in boxes] + [("dog", (1, 1, 3, 3))] * (n == 0)
        text = "".join(
            f"<object><name>{name}</name><bndbox><xmin>{x0 + 1}</xmin>"
            f"<ymin>{y0 + 1}</ymin><xmax>{x1}</xmax><ymax>{y1}</ymax></bndbox></object>"
            for name, (x0, y0, x1, y1) in objects
        )
        size = f"<size><width>{size[1]}</width><height>{size[0]}</height></size>"
        file = tmp_path / "voc" / "Annotations" / path.replace(".jpg", ".xml")
        file.parent.mkdir(parents=True, exist_ok=True)
        text = f"<annotation>{size}{text}</annotation>"
        file.write_text(changes.get(f"file{n}", text))
    return tmp_path / "voc"


def from_coco(pets, tmp_path):
    return data.boxes_from_coco(pets, coco(tmp_path))


def from_voc(pets, tmp_path):
    return data.boxes_from_voc(pets, voc(tmp_path))


@pytest.mark.parametrize("read", [from_coco, from_voc])
def test_boxes_join_their_images(read, pets, tmp_path):
    some = read(pets, tmp_path)
    assert some.paths.tolist() == [pets.paths[0], pets.paths[2]]
    assert some.class_ids.tolist() == [0, 1]
    assert some.boxes.dtype == "float32"
    assert some.boxes.tolist() == [
        [[3, 4, 33, 20], [0, 0, 40, 24]],
        [[5, 6, 17, 9], [-1] * 4],
    ]
    assert some.split == f"{pets.split}-boxes"
    assert some.notes["boxes"].endswith(", without 1 boxes of other classes")


def test_the_folder_of_annotations_itself(pets, tmp_path):
    some = data.boxes_from_voc(pets, voc(tmp_path) / "Annotations")
    assert len(some) == 2


@pytest.mark.parametrize("form", ["coco", "voc"])
def test_what_our_export_writes_comes_back(form, pets, tmp_path):
    labels = [
        LabelledImage(
            path=path,
            width=size[1],
            height=size[0],
            class_id=["cat", "dog"].index(name),
            scores=[0.5] * len(boxes),
            boxes=boxes,
        )
        for path, size, name, boxes in IMAGES
    ]
    if form == "coco":
        write_coco(labels, tmp_path / "x.json", ("cat", "dog"))
        some = data.boxes_from_coco(pets, tmp_path / "x.json")
    else:
        write_voc(labels, tmp_path / "x", ("cat", "dog"))
        some = data.boxes_from_voc(pets, tmp_path / "x")
    assert some.boxes[0].tolist() == [[3, 4, 33, 20], [0, 0, 40, 24]]
    assert some.boxes[1, 0].tolist() == [5, 6, 17, 9]
    assert ", without" not in some.notes["boxes"]


@pytest.mark.parametrize("read", [from_coco, from_voc])
def test_a_turned_photograph_was_annotated_as_stored(read, pets, tmp_path):
    # Read upright, it is 24 wide and 40 high; the annotation is of the stored image.
    image = Image.fromarray(np.zeros((24, 40, 3), "uint8"))
    exif = Image.Exif()
    exif[0x0112] = 6
    image.save(pets.paths[0], exif=exif)
    message = r"height and width, \(24, 40\). Received: \(40, 24\), .*'exif'"
    for verify in (False, True):
        turned = data.image_folder(tmp_path / "pets", verify=verify)
        with pytest.raises(ValueError, match=message):
            read(turned, tmp_path)


def test_a_box_that_lies_outside_of_the_turned_image_names_the_cause(pets, tmp_path):
    image = Image.fromarray(np.zeros((24, 40, 3), "uint8"))
    exif = Image.Exif()
    exif[0x0112] = 6
    image.save(pets.paths[0], exif=exif)
    size = "<size><width>40</width><height>24</height></size>"
    corners = "<xmin>31</xmin><ymin>2</ymin><xmax>38</xmax><ymax>9</ymax>"
    box = f"<object><name>cat</name><bndbox>{corners}</bndbox></object>"
    voc(tmp_path, file0=f"<annotation>{size}{box}</annotation>")
    turned = data.image_folder(tmp_path / "pets")
    with pytest.raises(ValueError, match="must have the annotated height and width"):
        data.boxes_from_voc(turned, tmp_path / "voc")


def test_path_that_several_images_fit(pets, tmp_path):
    path = coco(tmp_path)
    path.write_text(path.read_text().replace('"cat/1.jpg"', '"1.jpg"'))
    with pytest.raises(ValueError, match=r"image '1.jpg': .* but 2 images fit '1.jpg'"):
        data.boxes_from_coco(pets, path)


def test_file_that_no_image_fits(pets, tmp_path):
    folder = voc(tmp_path) / "Annotations" / "cat"
    (folder / "1.xml").rename(folder / "7.xml")
    with pytest.raises(ValueError, match=r"7.xml: .* but no image fits 'cat/7.xml'"):
        data.boxes_from_voc(pets, tmp_path / "voc")


def test_images_that_differ_in_their_ending_alone(pets, tmp_path):
    Image.fromarray(np.zeros((24, 40, 3), "uint8")).save(
        pets.paths[0].replace(".jpg", ".png")
    )
    both = data.image_folder(tmp_path / "pets")
    with pytest.raises(ValueError, match=r"but 2 images fit 'cat/1\.xml'"):
        data.boxes_from_voc(both, voc(tmp_path))
    assert len(data.boxes_from_coco(both, coco(tmp_path))) == 2


def test_image_without_an_object_of_its_class(pets, tmp_path):
    path = coco(
        tmp_path, categories=[{"id": 17, "name": "dog"}, {"id": 18, "name": "x"}]
    )
    message = r"must be of the class of its image, 'cat'. Received: \['dog', 'x'\]"
    with pytest.raises(ValueError, match=message):
        data.boxes_from_coco(pets, path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"annotations": []}, "must have at least one box"),
        ({"categories": []}, "annotation number 0: no 17"),
        (
            {"categories": [{"id": 17, "name": x} for x in "ab"]},
            "17 must be there once. .*'name': 'b'",
        ),
        ({"images": [SEEN, SEEN]}, "9 must be there once. .*'cat/1.jpg'"),
        (
            {"images": [{**SEEN, "height": float("inf")}], "annotations": []},
            r"instances.json \(cannot convert float infinity to integer\)",
        ),
        (
            {"annotations": [{"id": 5, "image_id": 9, "category_id": 17}]},
            "annotation 5: no 'bbox'",
        ),
        (
            {"annotations": [{"image_id": 9, "category_id": 17, "bbox": [1, 2]}]},
            "annotation number 0: not enough values",
        ),
        ({"images": []}, r"images that are not listed: \[7, 9\]"),
        ({"annotations": [{"bbox": [1, 2]}]}, r"detection task: .*\(no 'image_id'\)"),
        ({"annotations": 7}, r"detection task: .*\('int' object is not"),
    ],
)
def test_wrong_json(changes, message, pets, tmp_path):
    with pytest.raises(ValueError, match=message):
        data.boxes_from_coco(pets, coco(tmp_path, **changes))


def test_an_image_that_is_annotated_twice(pets, tmp_path):
    root = voc(tmp_path)
    text = (root / "Annotations" / "dog" / "1.xml").read_text()
    (root / "Annotations" / "pets" / "dog").mkdir(parents=True)
    (root / "Annotations" / "pets" / "dog" / "1.xml").write_text(text)
    message = r"pets/dog/1.xml: its image has boxes already, by .*Annotations/dog/1.xml"
    with pytest.raises(ValueError, match=message):
        data.boxes_from_voc(pets, root)


def test_no_json(pets, tmp_path):
    (tmp_path / "x.json").write_text("{")
    message = re.escape(f"JSON of COCO's detection task: {tmp_path / 'x.json'} (")
    with pytest.raises(ValueError, match=message):
        data.boxes_from_coco(pets, tmp_path / "x.json")
    with pytest.raises(FileNotFoundError, match=r"y\.json"):
        data.boxes_from_coco(pets, tmp_path / "y.json")


@pytest.mark.parametrize("bbox", [[3, 4, 0, 5], [3, 4, -2, 5], [-9, 0, 8, 5]])
def test_box_that_is_none(bbox, pets, tmp_path):
    entry = {"image_id": 9, "category_id": 17, "bbox": bbox}
    path = coco(tmp_path, annotations=[entry])
    with pytest.raises(ValueError, match=r"image 'cat/1.jpg': a box must have x0 < x1"):
        data.boxes_from_coco(pets, path)


def test_hidden_xml_is_not_read(pets, tmp_path):
    root = voc(tmp_path)
    (root / "Annotations" / "cat" / "._1.xml").write_bytes(b"\0")
    (root / "Annotations" / "cat" / ".AppleDouble").mkdir()
    (root / "Annotations" / "cat" / ".AppleDouble" / "1.xml").write_bytes(b"\0")
    file = root / "Annotations" / "dog" / "1.xml"
    file.rename(file.with_suffix(".XML"))
    assert len(data.boxes_from_voc(pets, root)) == 2


def test_broken_xml_is_named(pets, tmp_path):
    message = r"Cannot read the annotation: .*cat/1.xml"
    with pytest.raises(ValueError, match=message):
        data.boxes_from_voc(pets, voc(tmp_path, file0="<annotation>"))
    with pytest.raises(FileNotFoundError, match="`root` must be a folder"):
        data.boxes_from_voc(pets, tmp_path / "no")
