import functools
import re

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from keras_wsol import data
from tests.data.matlab_layout import cell, structs

# Most images are not there.
stanford_cars = functools.partial(data.stanford_cars, verify=False)

NAMES = ("AM General Hummer SUV 2000", "Acura RL Sedan 2012", "Ram C/V Van 2012")
# x1, y1, x2, y2 counted from 1, both corners in the box; class from 1; file.
TRAIN = [
    (39, 11, 569, 375, 3, "00001.jpg"),
    (1, 1, 40, 24, 1, "00002.jpg"),
    (36, 16, 868, 287, 2, "00003.jpg"),
]
TEST = [(30, 2, 246, 147, 2, "00001.jpg"), (100, 19, 576, 203, 3, "00002.jpg")]
FIELDS = ("bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2", "class", "fname")


def write_cars(root, train=TRAIN, test=TEST, names=NAMES):
    devkit = root / "devkit"
    devkit.mkdir(parents=True)
    savemat(devkit / "cars_meta.mat", {"class_names": cell(names)})
    savemat(devkit / "cars_train_annos.mat", {"annotations": structs(train, FIELDS)})
    path = devkit / "cars_test_annos_withlabels.mat"
    savemat(path, {"annotations": structs(test, FIELDS)})
    for part in ("train", "test"):
        (root / f"cars_{part}").mkdir()
    return root


@pytest.fixture
def root(tmp_path):
    return write_cars(tmp_path / "cars")


def test_official_splits_in_the_order_of_the_lists(root):
    train, test = stanford_cars(root, "train"), stanford_cars(root, "test")
    assert train.class_ids.tolist() == [2, 0, 1]
    assert test.class_ids.tolist() == [1, 2]
    assert train.class_names == test.class_names == NAMES
    assert train.paths.tolist() == [
        str(root / "cars_train" / f"0000{n}.jpg") for n in (1, 2, 3)
    ]
    assert test.paths[1] == str(root / "cars_test" / "00002.jpg")
    assert (train.name, train.split, test.split) == ("stanford_cars", "train", "test")
    assert train.class_ids.dtype == "int32"


def test_corners_count_from_one_and_belong_to_the_box(root):
    train = stanford_cars(root, "train")
    assert train.boxes.dtype == "float32"
    # The second box is all of an image 40 wide and 24 high.
    expected = [[38, 10, 569, 375], [0, 0, 40, 24], [35, 15, 868, 287]]
    np.testing.assert_array_equal(train.boxes, np.array(expected)[:, None])


def test_one_image_alone(tmp_path):
    root = write_cars(tmp_path / "one", TEST[:1], TEST[:1], NAMES[:2])
    test = stanford_cars(root, "test")
    assert test.boxes.tolist() == [[[29, 1, 246, 147]]]
    assert test.class_names == NAMES[:2]


def test_images_are_read_where_the_list_says(root):
    image = np.full((24, 40, 3), 7, "uint8")
    Image.fromarray(image).save(root / "cars_train" / "00002.png")
    (root / "cars_train" / "00002.png").rename(root / "cars_train" / "00002.jpg")
    np.testing.assert_array_equal(stanford_cars(root, "train").image(1), image)


def test_images_one_folder_deeper_and_labels_beside_the_devkit(root):
    (root / "cars_test" / "cars_test").mkdir()
    name = "cars_test_annos_withlabels.mat"
    (root / "devkit" / name).rename(root / name)
    test = stanford_cars(root, "test")
    assert test.paths[0] == str(root / "cars_test" / "cars_test" / "00001.jpg")


@pytest.mark.slow
def test_five_a_class_for_fullsup_and_the_rest(tmp_path):
    counts = {1: 8, 2: 7, 3: 3}
    labels = [label for label, count in counts.items() for _ in range(count)]
    rows = [(1, 1, 9, 8, label, f"{n:05d}.jpg") for n, label in enumerate(labels)]
    root = write_cars(tmp_path / "cars", rows)

    def split(name, seed=0):
        return stanford_cars(root, name, seed)

    fullsup, weaksup = split("train-fullsup"), split("train-weaksup")
    # A class of three keeps one to train on.
    assert np.bincount(fullsup.class_ids).tolist() == [5, 5, 2]
    both = sorted([*fullsup.paths, *weaksup.paths])
    assert both == sorted(split("train").paths)
    assert fullsup.notes == {"train-fullsup": "5 images a class, drawn with seed 0"}
    assert stanford_cars(root).split == weaksup.split == "train-weaksup"
    draws = {tuple(split("train-fullsup", seed).paths) for seed in range(5)}
    assert len(draws) == 5


@pytest.mark.parametrize(
    ("file", "split"),
    [
        ("devkit/cars_meta.mat", "test"),
        ("devkit/cars_train_annos.mat", "train"),
        ("devkit/cars_test_annos_withlabels.mat", "test"),
    ],
)
def test_missing_list_is_named(root, file, split):
    (root / file).unlink()
    with pytest.raises(FileNotFoundError, match=re.escape(str(root / file))):
        stanford_cars(root, split)


def test_missing_images_are_named(root):
    (root / "cars_test").rmdir()
    with pytest.raises(FileNotFoundError, match=re.escape(str(root / "cars_test"))):
        stanford_cars(root, "test")


def test_test_list_without_classes(root):
    path = root / "devkit" / "cars_test_annos_withlabels.mat"
    rows = [(*row[:4], row[5]) for row in TEST]
    savemat(path, {"annotations": structs(rows, (*FIELDS[:4], "fname"))})
    message = re.escape(str(path)) + r" must hold .* Missing: \['class'\]"
    with pytest.raises(ValueError, match=message):
        stanford_cars(root, "test")


def test_class_without_a_name(root):
    savemat(root / "devkit" / "cars_meta.mat", {"class_names": cell(NAMES[:2])})
    message = r"`class_ids` must be in \[0, 2\), .* Received: \[2\]"
    with pytest.raises(ValueError, match=message):
        stanford_cars(root, "test")


@pytest.mark.parametrize("content", [b"", b"no MATLAB file" * 99])
def test_broken_list_is_named(root, content):
    path = root / "devkit" / "cars_train_annos.mat"
    path.write_bytes(content)
    message = re.escape(f"Cannot read the MATLAB file: {path} ")
    with pytest.raises(ValueError, match=message):
        stanford_cars(root)


def test_names_under_another_variable(root):
    path = root / "devkit" / "cars_meta.mat"
    savemat(path, {"names": cell(NAMES)})
    message = r"must hold the variable `class_names`. Received: \['names'\]"
    with pytest.raises(ValueError, match=message):
        stanford_cars(root)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ((1, 1, 2, 2, 1, "00001.jpg"), "'00001.jpg' must be there once. .* row 1 and"),
        ((1, 1, 2, 2, 0, "4.jpg"), r"`class_ids` must be in .* Received: \[-1\]"),
        ((1, 1, 2, 2, 1.5, "4.jpg"), "1.5 is no int"),
        ((1, 1, 2, 2, 1, 4), "4 is no str"),
        ((1, 1, 2, float("nan"), 1, "4.jpg"), "nan is no float"),
        ((1, 1, 2, 1e39, 1, "4.jpg"), r"1e\+39 is no float, or too large"),
    ],
)
def test_a_wrong_row_is_refused(root, row, message):
    path = root / "devkit" / "cars_train_annos.mat"
    savemat(path, {"annotations": structs([*TRAIN, row], FIELDS)})
    with pytest.raises(ValueError, match=f"{re.escape(str(path))} .*{message}"):
        stanford_cars(root, "train")


def test_unknown_split(root):
    with pytest.raises(ValueError, match=r"must be one of .* Received: split='val'"):
        stanford_cars(root, "val")
