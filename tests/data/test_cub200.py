import functools
import re

import numpy as np
import pytest

from keras_wsol import data
from tests.data import cub_layout
from tests.data.cub_layout import write_cub, write_lists

# Most images are not there.
cub200 = functools.partial(data.cub200, verify=False)


@pytest.fixture
def folder(tmp_path):
    return write_cub(tmp_path)


def names(split):
    return [path.rsplit("/", 1)[-1] for path in split.paths]


def test_official_split_in_the_order_of_the_ids(folder):
    train, test = cub200(folder, "train"), cub200(folder, "test")
    assert names(train) == ["a1.png", "a3.png", "b1.png", "l1.png"]  # 3, 5, 12, 20
    assert names(test) == ["a2.png", "b2.png"]  # 4, 7
    assert train.class_ids.tolist() == [0, 0, 2, 1]
    assert test.class_ids.tolist() == [0, 2]
    assert (train.name, train.split, test.split) == ("cub200", "train", "test")
    assert not train.notes


def test_class_names_are_readable_and_in_the_order_of_the_labels(folder):
    for split in ("train", "test"):
        assert cub200(folder, split).class_names == cub_layout.NAMES
    assert cub200(folder, "test").num_classes == 3


def test_boxes_from_corner_and_size_to_two_corners(folder):
    boxes = cub200(folder, "train").boxes
    assert boxes.dtype == np.float32
    expected = [[0, 0, 40, 24], [5, 6, 12, 14], [1.5, 2, 11.5, 22], [7, 1, 9.5, 4]]
    np.testing.assert_array_equal(boxes, np.array(expected)[:, None])


def test_paths_lead_to_the_images(folder):
    test = cub200(folder, "test")
    np.testing.assert_array_equal(test.image(0), np.full((24, 40, 3), 4))
    np.testing.assert_array_equal(test.image(1), np.full((24, 40, 3), 7))


def test_root_may_be_the_folder_around(folder):
    around = cub200(folder.parent, "train")
    np.testing.assert_array_equal(around.paths, cub200(folder, "train").paths)


def test_listed_fullsup_and_the_rest(folder):
    (folder / "train_fullsup.txt").write_text("20\n3\n")
    fullsup = cub200(folder, "train-fullsup")
    weaksup = cub200(folder, "train-weaksup")
    assert names(fullsup) == ["a1.png", "l1.png"]
    assert names(weaksup) == ["a3.png", "b1.png"]
    note = {"train-fullsup": "the ids of train_fullsup.txt"}
    assert fullsup.notes == weaksup.notes == note
    assert cub200(folder).split == "train-weaksup"


@pytest.fixture
def larger(tmp_path):
    """Classes with 8, 7 and 3 training images, and one test image each."""
    labels = dict(enumerate([1] * 9 + [2] * 8 + [3] * 4, start=1))
    first = {1, 10, 18}
    return write_lists(
        tmp_path,
        images={i: f"x/{i}.jpg" for i in labels},
        image_class_labels=labels,
        train_test_split={i: int(i not in first) for i in labels},
        bounding_boxes=dict.fromkeys(labels, "0 0 1 1"),
        classes={1: "001.A", 2: "002.B", 3: "003.C"},
    )


def test_without_the_list_five_a_class_by_seed(larger):
    def ids(split, seed):
        return [int(n.split(".")[0]) for n in names(cub200(larger, split, seed))]

    fullsup = cub200(larger, "train-fullsup", seed=3)
    # A class of three keeps one to train on.
    assert np.bincount(fullsup.class_ids).tolist() == [5, 5, 2]
    assert fullsup.notes == {"train-fullsup": "5 images a class, drawn with seed 3"}
    assert cub200(larger, seed=4).notes["train-fullsup"].endswith("seed 4")
    for seed in range(5):
        drawn, rest = ids("train-fullsup", seed), ids("train-weaksup", seed)
        assert sorted(drawn + rest) == ids("train", seed)
        assert drawn == ids("train-fullsup", seed)
    assert len({tuple(ids("train-fullsup", seed)) for seed in range(5)}) == 5


@pytest.mark.parametrize(
    "file",
    [
        *("images.txt", "image_class_labels.txt", "train_test_split.txt"),
        *("bounding_boxes.txt", "classes.txt"),
    ],
)
def test_missing_list_is_named(folder, file):
    (folder / file).unlink()
    with pytest.raises(FileNotFoundError, match=re.escape(str(folder / file))):
        cub200(folder)


def test_missing_folder_is_named(tmp_path):
    message = re.escape(f"`root` must be a folder. Nothing is at: {tmp_path / 'no'}.")
    with pytest.raises(FileNotFoundError, match=message):
        cub200(tmp_path / "no")


def test_unknown_split(folder):
    message = (
        r"`split` must be one of \['train', 'train-weaksup', 'train-fullsup', 'test'\]"
        ". Received: split='val'."
    )
    with pytest.raises(ValueError, match=message):
        cub200(folder, "val")


@pytest.mark.parametrize(
    "file", ["image_class_labels", "train_test_split", "bounding_boxes"]
)
def test_list_that_lacks_images_is_named(tmp_path, file):
    table = {
        "image_class_labels": cub_layout.LABELS,
        "train_test_split": cub_layout.IS_TRAIN,
        "bounding_boxes": cub_layout.BOXES,
    }[file]
    short = {key: value for key, value in table.items() if key not in (5, 20)}
    write_lists(tmp_path, **{file: short})
    message = rf"{file}.txt must have all images of .* Missing: 2, the first of id 5\."
    with pytest.raises(ValueError, match=message):
        cub200(tmp_path)


def test_label_without_a_class(tmp_path):
    write_lists(tmp_path, image_class_labels={**cub_layout.LABELS, 4: 77})
    message = r"classes.txt lacks the classes \[77\]"
    with pytest.raises(ValueError, match=message):
        cub200(tmp_path)


@pytest.mark.parametrize("flag", [2, -1])
def test_flag_of_neither_split(tmp_path, flag):
    write_lists(tmp_path, train_test_split={**cub_layout.IS_TRAIN, 4: flag})
    message = rf"train_test_split.txt must say 1 for .* Received: \[{flag}\]"
    with pytest.raises(ValueError, match=message):
        cub200(tmp_path)


def test_listed_id_of_the_test_split(folder):
    (folder / "train_fullsup.txt").write_text("3\n7\n")
    message = r"train_fullsup.txt must have ids of training images. Received: \[7\]"
    with pytest.raises(ValueError, match=message):
        cub200(folder, "train-fullsup")


def test_listed_id_that_no_image_has(folder):
    (folder / "train_fullsup.txt").write_text("3\n999\n")
    with pytest.raises(ValueError, match=r"train_fullsup.txt.*999"):
        cub200(folder, "train-fullsup")


@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("bounding_boxes", "8 1.0 2.0 3.0"),  # a value short
        ("image_class_labels", "8"),
        ("images", "8 a folder/with blanks.jpg"),
        ("image_class_labels", "8 sparrow"),  # no number
        ("bounding_boxes", "8 1.0 2.0 3.0 wide"),
        ("classes", "nine 009.Brewer_Blackbird"),
    ],
)
def test_malformed_line_is_named(folder, file, line):
    path = folder / f"{file}.txt"
    count = len(path.read_text().splitlines())
    path.write_text(f"{path.read_text()}\n{line}\n")
    # One line is empty: that does no harm, and counts.
    message = re.escape(f"{path}, line {count + 2}: ") + f".*{line!r}"
    with pytest.raises(ValueError, match=message):
        cub200(folder)


@pytest.mark.data
def test_cub40_has_the_numbers_of_its_lists(cub40):
    splits = {
        split: cub200(cub40, split)
        for split in ("train-weaksup", "train-fullsup", "test", "train")
    }
    # `grep -c ' 1$' train_test_split.txt` and `wc -l train_fullsup.txt`.
    lengths = {split: len(images) for split, images in splits.items()}
    assert lengths == {
        "train-weaksup": 1000,
        "train-fullsup": 200,
        "test": 1100,
        "train": 1200,
    }
    fullsup = splits["train-fullsup"]
    assert np.bincount(fullsup.class_ids).tolist() == [5] * 40
    assert fullsup.notes == {"train-fullsup": "the ids of train_fullsup.txt"}
    assert fullsup.class_names[0] == "Black footed Albatross"
    assert fullsup.class_names[39] == "Eared Grebe"


@pytest.mark.data
def test_cub40_boxes_read_by_eye(cub40):
    # 1 69.0 57.0 199.0 141.0 is the first test image, 320 wide and 223 high.
    test = cub200(cub40, "test")
    assert test.paths[0].endswith("Black_Footed_Albatross_0001_796111.jpg")
    np.testing.assert_array_equal(test.boxes[0], [[69, 57, 268, 198]])
    assert test.image(0).shape == (223, 320, 3)
    # 50 30.2 26.2 171.8 180.3 is the first of train_fullsup.txt.
    fullsup = cub200(cub40, "train-fullsup")
    assert fullsup.paths[0].endswith("Black_Footed_Albatross_0077_796114.jpg")
    np.testing.assert_allclose(fullsup.boxes[0, 0], [30.2, 26.2, 202, 206.5], rtol=1e-6)
    # The class of image 819, 27.0 6.0 148.0 127.0, is the 15th: Spotted Catbird.
    train = cub200(cub40, "train")
    place = [path.endswith("Spotted_Catbird_0041_796807.jpg") for path in train.paths]
    assert train.class_names[train.class_ids[place].item()] == "Spotted Catbird"
    np.testing.assert_array_equal(train.boxes[place], [[[27, 6, 175, 133]]])


def test_an_image_that_cannot_be_read_is_left_out(folder):
    path = folder / "images" / cub_layout.IMAGES[3]
    path.write_bytes(b"no image")
    with pytest.warns(UserWarning, match="1 of 4 images cannot be read"):
        train = data.cub200(folder, "train")
    assert names(train) == ["a3.png", "b1.png", "l1.png"]
    assert [left for left, _ in train.left_out] == [str(path)]
    assert train.boxes[0, 0].tolist() == [5, 6, 12, 14]
    assert not data.cub200(folder, "test").left_out
