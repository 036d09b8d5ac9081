import re

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from keras_wsol import data
from tests.data.ilsvrc_layout import write_xml
from tests.data.matlab_layout import structs

TENCH, HEN, FAN, CRANE = "n01440764", "n01514859", "n03388043", "n02012849"
# The kit's numbers are not in the order of the WordNet ids; the last is an ancestor.
SYNSETS = [
    (1, CRANE, 0),
    (2, TENCH, 0),
    (3, FAN, 0),
    (4, HEN, 0),
    (1001, "n00001740", 9),
]
ORDER = (TENCH, HEN, CRANE, FAN)
VAL = {1: (2, (40, 60)), 2: (3, (30, 50)), 3: (2, (24, 36)), 4: (4, (40, 60))}


def name(number):
    return f"ILSVRC2012_val_{number:08d}"


def write_image(path, size, grey=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((*size, 3), grey, "uint8")).save(path, "JPEG")


@pytest.fixture
def root(tmp_path):
    root = tmp_path / "imagenet"
    for wnid, numbers in {
        FAN: (3, 12),
        TENCH: (10026,),
        HEN: (7,),
        CRANE: (1,),
    }.items():
        for number in numbers:
            write_image(root / "train" / wnid / f"{wnid}_{number}.JPEG", (8, 12))
    for number, (_, size) in VAL.items():
        write_image(root / "val" / f"{name(number)}.JPEG", size, 40 * number)
    kit = root / "ILSVRC2012_devkit_t12" / "data"
    kit.mkdir(parents=True)
    fields = ("ILSVRC2012_ID", "WNID", "num_children")
    # A column, as in the kit.
    savemat(kit / "meta.mat", {"synsets": structs(SYNSETS, fields).T})
    lines = "".join(f"{label}\n" for label, _ in VAL.values())
    (kit / "ILSVRC2012_validation_ground_truth.txt").write_text(lines)
    boxes = root / "bbox_val"
    # Two objects of the class and one of another.
    write_xml(
        boxes / f"{name(1)}.xml",
        (40, 60),
        (TENCH, (11, 8, 44, 19)),
        (HEN, (1, 1, 5, 5)),
        (TENCH, (0, 0, 59, 39)),
    )
    write_xml(boxes / f"{name(2)}.xml", (30, 50), (FAN, (20, 25, 3, 4)))  # swapped
    write_xml(boxes / f"{name(3)}.xml", (48, 72), (TENCH, (9, 7, 29, 27)))  # twice
    write_xml(boxes / f"{name(4)}.xml", (60, 40), (HEN, (1, 2, 3, 4)))  # upright
    return root


def test_training_images_in_the_class_order_of_keras_applications(root):
    train = data.ilsvrc2012(root)
    assert train.class_names == ORDER == tuple(sorted(ORDER))
    assert train.class_ids.tolist() == [0, 1, 2, 3, 3]
    assert [path.rsplit("/", 1)[-1] for path in train.paths] == [
        *(f"{TENCH}_10026.JPEG", f"{HEN}_7.JPEG", f"{CRANE}_1.JPEG"),
        *(f"{FAN}_12.JPEG", f"{FAN}_3.JPEG"),
    ]
    assert train.boxes is None
    assert (train.name, train.split) == ("ilsvrc2012", "train-weaksup")


def test_ground_truth_is_in_the_order_of_names_and_in_numbers_of_the_kit(root):
    test = data.ilsvrc2012(root, "test")
    assert test.class_ids.tolist() == [0, 3, 0, 1]
    assert test.class_names == ORDER
    assert test.image(2)[0, 0, 0] == 120
    assert test.split == "test"


def test_boxes_of_the_own_class_far_edge_exclusive(root):
    boxes = data.ilsvrc2012(root, "test").boxes
    none = [-1.0] * 4
    assert boxes.dtype == "float32"
    assert boxes[0].tolist() == [[11, 8, 45, 20], [0, 0, 60, 40]]
    assert boxes[1].tolist() == [[3, 4, 21, 26], none]  # swapped corners


def test_boxes_follow_an_image_that_was_scaled(root):
    # Drawn on 72 x 48, stored as 36 x 24.
    assert data.ilsvrc2012(root, "test").boxes[2, 0].tolist() == [4.5, 3.5, 15, 14]


def test_boxes_of_another_shape_are_left_out_and_counted(root):
    test = data.ilsvrc2012(root, "test")
    assert (test.boxes[3] == -1).all()
    assert test.notes["boxes"].startswith("1 images have none")
    assert name(4) in test.notes["boxes"]


@pytest.mark.parametrize("size", [(0, 0), (41, 61)])
def test_sizes_that_are_missing_or_a_pixel_off(root, size):
    write_xml(root / "bbox_val" / f"{name(4)}.xml", size, (HEN, (1, 2, 3, 4)))
    test = data.ilsvrc2012(root, "test")
    np.testing.assert_allclose(test.boxes[3, 0], [1, 2, 4, 5], rtol=0.03)
    assert not test.notes


def test_an_image_without_annotation_has_no_box(root):
    (root / "bbox_val" / f"{name(2)}.xml").unlink()
    assert (data.ilsvrc2012(root, "test").boxes[1] == -1).all()


def test_validation_images_in_folders_need_no_kit(root):
    for number, (label, _) in VAL.items():
        path = root / "val" / f"{name(number)}.JPEG"
        wnid = {row[0]: row[1] for row in SYNSETS}[label]
        (root / "val" / wnid).mkdir(exist_ok=True)
        path.rename(path.parent / wnid / path.name)
    whole = data.ilsvrc2012(root, "test")
    (root / "ILSVRC2012_devkit_t12").rename(root / "elsewhere")
    test = data.ilsvrc2012(root, "test")
    # Classes come from the training folders: the crane has no validation image.
    assert test.class_names == whole.class_names == ORDER
    assert test.class_ids.tolist() == [0, 0, 1, 3]
    assert [path[-6:-5] for path in test.paths] == ["1", "3", "4", "2"]
    np.testing.assert_array_equal(test.boxes, whole.boxes)


def test_blacklisted_images_are_left_out_by_number(root):
    (root / "black.txt").write_text("1\n4\n")
    test = data.ilsvrc2012(root, "test", blacklist=root / "black.txt")
    assert [path[-6:-5] for path in test.paths] == ["2", "3"]
    assert test.notes == {"left out": "2 images of black.txt"}
    assert test.boxes[:, 0].tolist() == [[3, 4, 21, 26], [4.5, 3.5, 15, 14]]


def test_layout_of_kaggle(root, tmp_path):
    kaggle = tmp_path / "ILSVRC"
    (kaggle / "Data").mkdir(parents=True)
    (kaggle / "Annotations" / "CLS-LOC").mkdir(parents=True)
    kit = root / "ILSVRC2012_devkit_t12"
    kit.rename(tmp_path / "kit")
    (root / "bbox_val").rename(kaggle / "Annotations" / "CLS-LOC" / "val")
    root.rename(kaggle / "Data" / "CLS-LOC")
    test = data.ilsvrc2012(kaggle, "test", devkit=tmp_path / "kit")
    assert test.class_ids.tolist() == [0, 3, 0, 1]
    assert test.boxes[0, 0].tolist() == [11, 8, 45, 20]
    assert len(data.ilsvrc2012(kaggle)) == 5


def test_an_image_that_cannot_be_read_is_left_out(root):
    path = root / "val" / f"{name(2)}.JPEG"
    path.write_bytes(b"no image")
    with pytest.warns(UserWarning, match="1 of 4 images cannot be read"):
        test = data.ilsvrc2012(root, "test")
    assert [left for left, _ in test.left_out] == [str(path)]
    assert test.class_ids.tolist() == [0, 0, 1]
    assert test.boxes[1, 0].tolist() == [4.5, 3.5, 15, 14]


def test_sizes_of_files_that_are_not_verified_come_from_their_headers(root):
    verified = data.ilsvrc2012(root, "test")
    test = data.ilsvrc2012(root, "test", verify=False)
    assert (test.sizes, len(verified.sizes)) == (None, 4)
    np.testing.assert_array_equal(test.boxes, verified.boxes)


def test_no_boxes_where_there_are_no_annotations(root):
    (root / "bbox_val").rename(root / "xml")
    assert data.ilsvrc2012(root, "test").boxes is None
    assert data.ilsvrc2012(root, "test", boxes=root / "xml").boxes is not None


def test_split_of_another_data_set(root):
    message = "`split` must be one of .* Received: split='train-fullsup'"
    with pytest.raises(ValueError, match=message):
        data.ilsvrc2012(root, "train-fullsup")


def test_kit_that_is_missing(root):
    (root / "ILSVRC2012_devkit_t12").rename(root / "elsewhere")
    message = "The classes of the validation images are missing: .*ground_truth.txt"
    with pytest.raises(FileNotFoundError, match=message):
        data.ilsvrc2012(root, "test")


def test_images_that_are_missing(root):
    (root / "val" / f"{name(2)}.JPEG").unlink()
    with pytest.raises(ValueError, match="Received: 4 lines for 3 images"):
        data.ilsvrc2012(root, "test")


def test_number_that_is_no_class(root):
    truth = "data/ILSVRC2012_validation_ground_truth.txt"
    (root / "ILSVRC2012_devkit_t12" / truth).write_text("2\n77\n2\n1001\n")
    with pytest.raises(ValueError, match=r"Received others: \['1001', '77'\]"):
        data.ilsvrc2012(root, "test")


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".jpeg"])
@pytest.mark.parametrize("split", ["train", "val"])
def test_images_of_other_endings_and_deeper_are_found(root, split, suffix):
    """All of them, and half of them, and as Tiny ImageNet has them."""
    name = "test" if split == "val" else "train-weaksup"
    whole = data.ilsvrc2012(root, name)
    files = sorted((root / split).rglob("*.JPEG"))
    for file in files[::2]:
        file.rename(file.with_suffix(suffix))
    half = data.ilsvrc2012(root, name)
    assert half.class_ids.tolist() == whole.class_ids.tolist()
    if split == "train":
        for file in sorted((root / split).rglob("n*.*")):
            (file.parent / "images").mkdir(exist_ok=True)
            file.rename(file.parent / "images" / file.name)
        deeper = data.ilsvrc2012(root, name)
        assert deeper.class_ids.tolist() == whole.class_ids.tolist()


@pytest.mark.parametrize("split", ["train", "val"])
def test_folder_without_images(root, split):
    for file in (root / split).rglob("*.JPEG"):
        file.rename(file.with_suffix(".tar"))
    message = re.escape(f"{root / split} must hold images (.jpg, ")
    with pytest.raises(ValueError, match=message):
        data.ilsvrc2012(root, "test" if split == "val" else "train-weaksup")


@pytest.mark.parametrize("kit", [True, False])
def test_folders_a_level_too_deep_or_beside_images(root, kit):
    if not kit:
        (root / "ILSVRC2012_devkit_t12").rename(root / "elsewhere")
    (root / "train" / "more").mkdir()
    (root / "train" / TENCH).rename(root / "train" / "more" / TENCH)
    write_image(root / "train" / "x.JPEG", (8, 12))
    message = re.escape(f"{root / 'train'} must have") + r".*: \['more', 'x.JPEG'\]"
    with pytest.raises(ValueError, match=message):
        data.ilsvrc2012(root)


@pytest.mark.parametrize("place", ["XML", "image", "number", "WordNet id"])
def test_a_name_twice(root, place):
    first = root / "bbox_val" / f"{name(1)}.xml"
    expected, row = f"'{name(1)}' must be there once", (4, CRANE, 0)
    if place == "XML":
        write_xml(root / "bbox_val" / "more" / first.name, (40, 60))
    elif place == "image":
        for wnid in (HEN, FAN):
            write_image(root / "val" / wnid / f"{name(1)}.JPEG", (40, 60))
        for path in (root / "val").glob("*.JPEG"):
            path.unlink()
    else:
        row = (4, "n00000001", 0) if place == "number" else (5, CRANE, 0)
        expected = "4 must be there once" if place == "number" else f"'{CRANE}' must"
        kit = root / "ILSVRC2012_devkit_t12" / "data" / "meta.mat"
        fields = ("ILSVRC2012_ID", "WNID", "num_children")
        savemat(kit, {"synsets": structs([*SYNSETS, row], fields)})
    with pytest.raises(ValueError, match=expected):
        data.ilsvrc2012(root, "test")


def test_folder_that_is_no_class(root):
    write_image(root / "train" / "n09999999" / "x.JPEG", (8, 12))
    with pytest.raises(ValueError, match=r"Received others: \['n09999999'\]"):
        data.ilsvrc2012(root)


@pytest.mark.parametrize(
    "text",
    [
        "<annotation><object>",
        "<annotation><object><name>n1</name></object></annotation>",
        "<annotation><object><bndbox><xmin>1</xmin></bndbox></object></annotation>",
    ],
)
def test_broken_annotation_is_named(root, text):
    path = root / "bbox_val" / f"{name(1)}.xml"
    path.write_text(text)
    message = re.escape(f"Cannot read the annotation: {path} ")
    with pytest.raises(ValueError, match=message):
        data.ilsvrc2012(root, "test")
