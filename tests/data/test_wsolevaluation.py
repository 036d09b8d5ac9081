"""Lists written as those of wsolevaluation; some lines are taken over."""

import functools
import re

import numpy as np
import pytest
from PIL import Image

from keras_wsol import data

# Most images are not there.
wsolevaluation = functools.partial(data.wsolevaluation, verify=False)

ALBATROSS, ANI = "001.Black_footed_Albatross", "002.Groove_billed_Ani"
CUB = {
    "train": {f"{ANI}/Ani_0068_1538.jpg": (1, [(214, 30, 365, 357)])},
    "val": {
        f"{ALBATROSS}/34591720571.jpg": (0, [(350, 67, 457, 330)]),
        f"{ANI}/36391104306.jpg": (1, [(147, 130, 502, 402)]),
    },
    "test": {
        f"{ANI}/Ani_0094_1540.jpg": (1, [(17, 87, 450, 349)]),
        f"{ALBATROSS}/Black_Footed_Albatross_0046_18.jpg": (0, [(60, 27, 385, 331)]),
    },
}
ILSVRC = {
    "train": {"train/n01440764/n01440764_10026.JPEG": (0, None)},
    "val": {
        "val2/0/a31041fd.jpeg": (0, [(156, 163, 318, 230)]),
        "val2/2/66123ec1.jpeg": (2, [(70, 162, 410, 326), (71, 305, 140, 473)]),
    },
    "test": {
        "val/ILSVRC2012_val_00000001.JPEG": (1, [(111, 108, 441, 193)]),
        "val/ILSVRC2012_val_00000002.JPEG": (
            2,
            [(45, 49, 499, 162), (2, 69, 437, 207)],
        ),
        "val/ILSVRC2012_val_00000003.JPEG": (0, [(38, 19, 385, 373)]),
    },
}
OPEN_IMAGES = {
    "val": {"val/0bt_c3/1cd9.jpg": (0, None), "val/083wq/862f.jpg": (1, None)},
    "test": {"test/0bt_c3/0a51.jpg": (0, None), "test/083wq/48f3.jpg": (1, None)},
}
MASKS = (
    "val/083wq/862f.jpg,val/083wq/862f_m083wq_f9.png,val/083wq/862f_ignore.png\n"
    "val/083wq/862f.jpg,val/083wq/862f_m083wq_8f.png,\n"
    "val/0bt_c3/1cd9.jpg,val/0bt_c3/1cd9_m0bt_c3_69.png,val/0bt_c3/1cd9_ignore.png\n"
)


def write(root, name, splits):
    (root / "dataset" / name).mkdir(parents=True)
    for split, images in splits.items():
        lists = root / "metadata" / name / split
        lists.mkdir(parents=True)
        texts = {"image_ids": "", "class_labels": "", "image_sizes": ""}
        for image, (label, boxes) in images.items():
            texts["image_ids"] += f"{image}\n"
            texts["class_labels"] += f"{image},{label}\n"
            texts["image_sizes"] += f"{image},500,375\n"
            for box in boxes or []:
                line = ",".join(map(str, (image, *box)))
                texts["localization"] = f"{texts.get('localization', '')}{line}\n"
        for file, text in texts.items():
            (lists / f"{file}.txt").write_text(text)
    return root / "metadata" / name, root / "dataset" / name


@pytest.fixture
def cub(tmp_path):
    return write(tmp_path, "CUB", CUB)


@pytest.fixture
def ilsvrc(tmp_path):
    return write(tmp_path, "ILSVRC", ILSVRC)


def test_the_three_splits_of_cub(cub):
    splits = {
        name: wsolevaluation(*cub, name)
        for name in ("train-weaksup", "train-fullsup", "test")
    }
    ids = {name: split.class_ids.tolist() for name, split in splits.items()}
    assert ids == {"train-weaksup": [1], "train-fullsup": [0, 1], "test": [1, 0]}
    for name, split in splits.items():
        # As `data.cub200` names them, whatever classes a split has.
        assert split.class_names == ("Black footed Albatross", "Groove billed Ani")
        assert (split.name, split.split) == ("CUB", name)
    assert wsolevaluation(*cub).split == "train-weaksup"


def test_boxes_are_the_numbers_of_the_file(cub, ilsvrc):
    boxes = wsolevaluation(*cub, "test").boxes
    assert boxes.dtype == "float32"
    assert boxes.tolist() == [[[17, 87, 450, 349]], [[60, 27, 385, 331]]]
    none = [-1] * 4
    assert wsolevaluation(*ilsvrc, "test").boxes.tolist() == [
        [[111, 108, 441, 193], none],
        [[45, 49, 499, 162], [2, 69, 437, 207]],
        [[38, 19, 385, 373], none],
    ]


def test_paths_begin_in_the_folder_of_images(ilsvrc):
    path = ilsvrc[1] / "val2" / "2" / "66123ec1.jpeg"
    path.parent.mkdir(parents=True)
    Image.fromarray(np.full((24, 40, 3), 9, "uint8")).save(path)
    fullsup = wsolevaluation(*ilsvrc, "train-fullsup")
    assert fullsup.paths[1] == str(path)
    assert fullsup.image(1)[0, 0].tolist() == [9, 9, 9]


def test_classes_in_no_folder_of_their_own_are_called_by_number(ilsvrc):
    test = wsolevaluation(*ilsvrc, "test")
    assert test.class_names == ("0", "1", "2")
    assert test.class_ids.tolist() == [1, 2, 0]
    wnids = ("n01440764", "n01443537", "n01484850")
    fullsup = wsolevaluation(*ilsvrc, "train-fullsup", class_names=wnids)
    assert fullsup.class_names == wnids


def test_training_images_without_boxes(ilsvrc):
    train = wsolevaluation(*ilsvrc)
    assert train.boxes is None
    # As many classes as in the test split, though it has one image.
    assert train.class_names == ("0", "1", "2")


def test_openimages_has_masks_that_are_found_by_name(tmp_path):
    metadata, images = write(tmp_path, "OpenImages", OPEN_IMAGES)
    (metadata / "val" / "image_sizes.txt").unlink()
    lists = metadata / "val" / "localization.txt"
    lists.write_text(MASKS)
    val = wsolevaluation(metadata, images, "train-fullsup")
    assert val.boxes is None
    assert val.class_names == ("0bt_c3", "083wq")
    masks = data.openimages_segmentations(images, lists)
    names = [path.removeprefix(f"{images}/") for path in val.paths]
    assert [len(masks[name].object_paths) for name in names] == [1, 2]


@pytest.mark.parametrize("file", ["image_ids.txt", "class_labels.txt"])
def test_missing_list_is_named(cub, file):
    path = cub[0] / "val" / file
    path.unlink()
    with pytest.raises(FileNotFoundError, match=re.escape(str(path))):
        wsolevaluation(*cub, "train-fullsup")


def test_missing_folders_are_named(cub, tmp_path):
    for folders in ((tmp_path / "no", cub[1]), (cub[0], tmp_path / "no")):
        with pytest.raises(FileNotFoundError, match=re.escape(str(tmp_path / "no"))):
            wsolevaluation(*folders)


@pytest.mark.parametrize(
    ("file", "line", "message"),
    [
        ("class_labels", "x.jpg", r"labels.txt, line 4: .* str, int. .*'x.jpg'"),
        ("class_labels", "x.jpg,one", r"labels.txt, line 4: .* str, int. .*'x.jpg,one"),
        ("image_ids", "x.jpg", r"3 images, of which 1 lack: \['x.jpg'\]"),
        ("localization", "x.jpg,1,2,3,4", r"boxes of 'x.jpg', not in image_ids.txt"),
        ("localization", "x.jpg,1,2,3", r"localization.txt, line 4: .* int, int. "),
        ("localization", "x.jpg,1,2,3,4.5", r"localization.txt, line 4: .*,4.5'"),
    ],
)
def test_wrong_line(cub, file, line, message):
    path = cub[0] / "val" / f"{file}.txt"
    # One line is empty: that does no harm, and counts.
    path.write_text(f"{path.read_text()}\n{line}\n")
    with pytest.raises(ValueError, match=message):
        wsolevaluation(*cub, "train-fullsup")


def test_names_that_are_composed_otherwise_in_another_list(tmp_path):
    apart, whole = "zoe\u0308.jpg", "zo\u00eb.jpg"
    cub = write(tmp_path, "CUB", {"val": {whole: (0, [(1, 2, 3, 4)]), "b": (1, [])}})
    path = cub[0] / "val" / "image_ids.txt"
    path.write_text(f"{apart}\nb\n", "utf-8")
    val = wsolevaluation(*cub, "train-fullsup")
    # It is opened by the name that the list of images has.
    assert val.paths[0] == str(cub[1] / apart)
    assert val.boxes[0].tolist() == [[1, 2, 3, 4]]


def test_number_of_classes_that_no_memory_holds(cub):
    path = cub[0] / "val" / "class_labels.txt"
    path.write_text(path.read_text().replace(",0\n", ",2000000000\n"))
    with pytest.raises(ValueError, match=r"class_labels.txt \(2000000001 classes are"):
        wsolevaluation(*cub, "train-fullsup")


def test_class_below_zero(cub):
    path = cub[0] / "val" / "class_labels.txt"
    path.write_text(path.read_text().replace(",0\n", ",-1\n"))
    with pytest.raises(ValueError, match=r"in \[0, 2\), .* Received: \[-1\]"):
        wsolevaluation(*cub, "train-fullsup")


def test_class_without_a_name(cub):
    message = r"`class_ids` must be in \[0, 1\), the number of `class_names`"
    with pytest.raises(ValueError, match=message):
        wsolevaluation(*cub, "test", class_names=["albatross"])


def test_unknown_split(cub):
    with pytest.raises(ValueError, match=r"'test'\]. Received: split='val'"):
        wsolevaluation(*cub, "val")
