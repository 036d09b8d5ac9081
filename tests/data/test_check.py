import dataclasses
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from keras_wsol import data
from keras_wsol.data.dataset import verified
from tests.data.handmade import encode
from tests.data.small_datasets import as_files, gradient, in_memory, noise

GOOD = [4, 6, 20, 18]


def boxes(count, **changes):
    """A good box for each 24 x 40 image; changes by index."""
    found = np.tile(np.array(GOOD, "float32"), (count, 1, 1))
    for index, box in changes.items():
        found[int(index[1:])] = box
    return found


def found(report):
    return [(finding.problem, place(finding.path)) for finding in report.findings]


def place(path):
    """Number of an image, from its path."""
    return int("".join(filter(str.isdigit, Path(path).name)))


def test_nothing_is_wrong_with_good_images(tmp_path):
    dataset = as_files(tmp_path, noise(5), boxes=boxes(5))
    report = data.check(dataset)
    assert report.ok
    assert report.counts == {}
    assert report.num_images == {"tiny/train": 5}
    assert report.to_markdown() == "Images checked: tiny/train 5. Findings: none.\n"


def test_files_that_training_cannot_read(tmp_path):
    dataset = as_files(tmp_path, noise(4), boxes=boxes(4))
    Path(dataset.paths[1]).write_bytes(b"no image")
    Path(dataset.paths[2]).unlink()
    report = data.check(dataset)
    assert found(report) == [("unreadable", 1), ("unreadable", 2)]
    assert report.findings[0].detail.startswith("no JPEG, PNG, GIF, BMP or still WebP")
    assert report.findings[1].detail == "No such file or directory"
    assert report.findings[0].path == dataset.paths[1]
    assert report.num_images == {"tiny/train": 4}
    # Where they were found before, the list of then is told.
    with pytest.warns(UserWarning, match="2 of 4"):
        whole = verified(dataset, True)
    assert data.check(whole).findings == report.findings


@pytest.mark.parametrize("files", [True, False])
def test_boxes(files, tmp_path):
    nan = float("nan")
    wrong = {
        "i1": [-1] * 4,
        "i2": [20, 6, 4, 18],
        "i3": [4, 6, 20, 6],
        "i4": [4, nan, 20, 18],
        "i5": [40, 6, 50, 18],
        "i6": [-30, 2, 0, 18],
        "i7": [4, 6, 20, 26.5],  # 24 high
        "i8": [-1.5, 6, 20, 18],
        "i9": [-1, -1, 41, 25],  # by a pixel
    }
    make = (lambda *a, **k: as_files(tmp_path, *a, **k)) if files else in_memory
    dataset = make(noise(10), boxes=boxes(10, **wrong))
    report = data.check(dataset)
    assert found(report) == [
        ("no box", 1),
        *(("inverted box", index) for index in (2, 3, 4)),
        *(("box outside", index) for index in (5, 6)),
        *(("box crosses border", index) for index in (7, 8)),
    ]
    assert report.counts["inverted box"] == 3
    detail = "4, 6, 20, 26.5 in an image 40 wide and 24 high"
    assert report.findings[6].detail == detail


def test_each_box_of_an_image_is_looked_at():
    many = np.array([[GOOD, [9, 9, 3, 12], [-1] * 4], [GOOD, GOOD, [50, 1, 60, 9]]])
    report = data.check(in_memory(noise(2), boxes=many.astype("float32")))
    assert found(report) == [("inverted box", 0), ("box outside", 1)]


def test_without_boxes_none_is_missed(tmp_path):
    assert data.check(as_files(tmp_path, noise(3))).ok


def test_same_bytes_in_a_data_set_and_in_another(tmp_path):
    images = noise(4)
    train = as_files(tmp_path / "a", images[[0, 1, 0, 2]], class_ids=np.array([0] * 4))
    test = as_files(tmp_path / "b", images[[3, 1, 0]], class_ids=np.array([0] * 3))
    test = dataclasses.replace(test, split="test", class_names=train.class_names)
    report = data.check(train, test)
    assert [(f.dataset, f.problem, place(f.path)) for f in report.findings] == [
        ("tiny/train", "duplicate", 2),
        ("tiny/test", "in two data sets", 1),
        ("tiny/test", "in two data sets", 2),
    ]
    words = f"same bytes as {train.paths[1]} of tiny/train"
    assert report.findings[1].detail == words
    assert report.num_images == {"tiny/train": 4, "tiny/test": 3}


@pytest.fixture(autouse=True)
def folders(tmp_path):
    for name in "ab":
        (tmp_path / name).mkdir()


def test_same_bytes_with_another_class(tmp_path):
    ids = np.array([0, 1, 1])
    dataset = as_files(tmp_path, noise(2)[[0, 0, 0]], class_ids=ids)
    report = data.check(dataset)
    assert found(report) == [
        *(("duplicate", 1), ("mislabelled", 1)),
        *(("duplicate", 2), ("mislabelled", 2)),
    ]
    assert report.findings[1].detail.endswith("0.png of tiny/train, whose class is a")
    assert report.findings[1].class_name == "b"


def test_classes_are_compared_by_name():
    images = noise(1)
    one = in_memory(images, class_names=("a", "b"))
    other = in_memory(images, class_names=("b", "a"), class_ids=np.array([1]))
    problems = [f.problem for f in data.check(one, other).findings]
    assert problems == ["in two data sets"]


def test_images_in_memory_of_the_same_bytes_but_another_shape():
    one = in_memory(np.zeros((1, 6, 9, 3), "uint8"))
    other = in_memory(np.zeros((1, 9, 6, 3), "uint8"))
    assert data.check(one, other).ok
    assert found(data.check(one, one.take([0], "x"))) == [("in two data sets", 0)]


def test_boxes_are_of_images_as_read(tmp_path):
    dataset = as_files(tmp_path, noise(2), boxes=boxes(2, i1=[2, 25, 20, 38]))
    tags = Image.Exif()
    tags[0x0112] = 6
    content = encode(gradient(25, 40), "JPEG", exif=tags)
    Path(dataset.paths[1]).write_bytes(content)
    assert found(data.check(dataset)) == [("box outside", 1)]
    # Upright it is 25 wide and 40 high, and the box lies in it.
    assert data.check(dataclasses.replace(dataset, orientation="exif")).ok


def test_markdown_is_one_table_of_so_many_rows():
    paths = np.array(["a|b.png", "c\nd.png", "e.png"])
    dataset = in_memory(noise(3), boxes=np.full((3, 1, 4), -1.0), paths=paths)
    report = data.check(dataset)
    assert repr(report) == report._repr_markdown_() == report.to_markdown()
    text = report.to_markdown(max_rows=2)
    assert text == (
        "Images checked: tiny/train 3. Findings: no box 3.\n\n"
        "| problem | dataset | path | class_name | detail |\n"
        "| --- | --- | --- | --- | --- |\n"
        "| no box | tiny/train | a\\|b.png | a |  |\n"
        "| no box | tiny/train | c d.png | b |  |\n"
        "\n1 more.\n"
    )


def test_no_data_set():
    with pytest.raises(ValueError, match=r"must be given a data set. Received: none"):
        data.check()


@pytest.mark.data
def test_cub40_has_no_finding_but_what_is_known(cub40):
    test = data.cub200(cub40, "test", verify=False).take(np.arange(0, 1100, 40), "test")
    assert set(data.check(test).counts) <= {"box crosses border"}


def test_data_sets_of_one_name_are_counted_apart(tmp_path):
    first = as_files(tmp_path / "a", noise(3))
    second = as_files(tmp_path / "b", noise(2, seed=9))
    report = data.check(first, second)
    assert report.num_images == {"tiny/train": 3, "tiny/train (2)": 2}
