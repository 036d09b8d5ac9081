import re

import cv2
import numpy as np
import pytest
from PIL import Image

from keras_wsol.data import cub200_segmentations, openimages_segmentations
from keras_wsol.data.wsolevaluation import (
    Segmentation,
    read_grey,
    read_segmentation,
    resize_nearest,
)
from keras_wsol.metrics import PxAP
from tests.reference import wsolevaluation_numpy as published


def save(path, grey, mode=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(grey, "uint8")).convert(mode or "L").save(path)
    return path


def squares(height, width, *corners):
    grey = np.zeros((height, width))
    for top, left, bottom, right in corners:
        grey[top:bottom, left:right] = 255
    return grey


@pytest.fixture
def openimages(tmp_path):
    """Two images in the layout of OpenImages-30k; one has two objects."""
    folder = tmp_path / "val" / "0bt_c3"
    first, second = squares(20, 30, (2, 3, 9, 11)), squares(20, 30, (5, 8, 15, 25))
    save(folder / "a_m1.png", first, "1")
    save(folder / "a_m2.png", second, "1")
    save(folder / "a_ignore.png", squares(20, 30, (0, 0, 12, 14)), "1")
    save(folder / "b_m1.png", squares(40, 16, (0, 0, 7, 7)), "1")
    lists = tmp_path / "localization.txt"
    lists.write_text(
        "val/0bt_c3/a.jpg,val/0bt_c3/a_m1.png,val/0bt_c3/a_ignore.png\n"
        "val/0bt_c3/b.jpg,val/0bt_c3/b_m1.png,\n"
        "val/0bt_c3/a.jpg,val/0bt_c3/a_m2.png,\n"
    )
    return tmp_path, lists


def test_openimages_segmentations(openimages):
    root, lists = openimages
    masks = openimages_segmentations(root, lists)
    folder = root / "val" / "0bt_c3"
    assert masks == {
        "val/0bt_c3/a.jpg": Segmentation(
            (folder / "a_m1.png", folder / "a_m2.png"), folder / "a_ignore.png"
        ),
        "val/0bt_c3/b.jpg": Segmentation((folder / "b_m1.png",)),
    }
    assert list(masks) == ["val/0bt_c3/a.jpg", "val/0bt_c3/b.jpg"]


def test_union_and_what_is_ignored(openimages):
    masks = openimages_segmentations(*openimages)
    mask, ignored = read_segmentation(masks["val/0bt_c3/a.jpg"], None)
    expected = squares(20, 30, (2, 3, 9, 11), (5, 8, 15, 25)) > 0
    np.testing.assert_array_equal(mask, expected)
    region = squares(20, 30, (0, 0, 12, 14)) > 0
    np.testing.assert_array_equal(ignored, region & ~expected)
    mask, ignored = read_segmentation(masks["val/0bt_c3/b.jpg"], None)
    assert (mask.sum(), ignored.sum(), mask.shape) == (49, 0, (40, 16))


def test_resized_as_in_the_published_evaluator(openimages):
    masks = openimages_segmentations(*openimages)["val/0bt_c3/a.jpg"]
    mask, ignored = read_segmentation(masks, (17, 22))
    greys = [
        cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
        for path in (*masks.object_paths, masks.ignore_path)
    ]
    resized = [published.resized_nearest(grey, (17, 22)) for grey in greys]
    expected = published.mask_values(resized[:-1], resized[-1])
    np.testing.assert_array_equal(mask + 255 * ignored, expected)


def test_resize_nearest_is_that_of_opencv():
    rng = np.random.default_rng(0)
    for _ in range(300):
        old_height, old_width, height, width = rng.integers(1, 300, 4)
        grey = rng.integers(0, 256, (old_height, old_width)).astype("uint8")
        np.testing.assert_array_equal(
            resize_nearest(grey, (height, width)),
            published.resized_nearest(grey, (height, width)),
        )


def test_grey_values_of_every_mode(tmp_path):
    grey = np.array([[0, 51, 102], [153, 204, 255]])
    for mode in ("L", "LA", "RGB", "RGBA"):
        path = save(tmp_path / f"{mode}.png", grey, mode)
        np.testing.assert_array_equal(read_grey(path), grey)
    path = save(tmp_path / "1.png", squares(2, 3, (0, 1, 1, 3)), "1")
    assert read_grey(path).tolist() == [[0, 255, 255], [0, 0, 0]]


def test_cub_masks(tmp_path):
    # How many of five annotators: 0 to 5.
    grey = np.array([[0, 51, 102], [153, 204, 255]])
    name = "001.Black_footed_Albatross/Black_Footed_Albatross_0046_18"
    save(tmp_path / "segmentations" / f"{name}.png", grey, "LA")
    for root in (tmp_path, tmp_path / "segmentations"):
        [found] = cub200_segmentations(root, [f"/elsewhere/images/{name}.jpg"])
        mask, ignored = read_segmentation(found, None)
        assert mask.tolist() == [[False] * 3, [True] * 3]
        assert not ignored.any()
    [found] = cub200_segmentations(tmp_path, [f"{name}.jpg"], threshold=0)
    assert read_segmentation(found, None)[0].sum() == 5
    with pytest.raises(FileNotFoundError, match=r"of .*b\.jpg is missing: .*b\.png"):
        cub200_segmentations(tmp_path, ["images/c/b.jpg"])


def test_masks_go_into_the_metric(openimages):
    masks = openimages_segmentations(*openimages)
    metric = PxAP(num_thresholds=10)
    for segmentation in masks.values():
        mask, ignored = read_segmentation(segmentation, (24, 32))
        # Right but for what is ignored.
        metric.update_state(mask[None], (mask | ignored)[None] * 1.0, ignored[None])
    assert metric.result() == 1


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("\na.jpg,m.png", "line 2: must have the values str, str, str."),
        ("a.jpg,,i.png", "Received: a.jpg,,i.png."),
        ("a.jpg,m.png,i.png\na.jpg,n.png,i.png", "Received: a.jpg,n.png,i.png."),
    ],
)
def test_bad_lists(tmp_path, lines, message):
    lists = tmp_path / "localization.txt"
    lists.write_text(lines)
    with pytest.raises(ValueError, match=re.escape(message)):
        openimages_segmentations(tmp_path, lists)


def test_missing_and_unreadable_files(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"localization\.txt"):
        openimages_segmentations(tmp_path, tmp_path / "localization.txt")
    with pytest.raises(FileNotFoundError, match="`root` must be a folder"):
        cub200_segmentations(tmp_path / "nowhere", [])
    (tmp_path / "text.png").write_text("no picture")
    for name in ("text.png", "none.png"):
        with pytest.raises(ValueError, match=f"Cannot read the segmentation: .*{name}"):
            read_segmentation(Segmentation((tmp_path / name,)))


def test_bad_segmentations(tmp_path):
    with pytest.raises(ValueError, match="need at least one array"):
        read_segmentation(Segmentation(()))
    one = save(tmp_path / "one.png", np.zeros((3, 4)))
    other = save(tmp_path / "other.png", np.zeros((4, 3)))
    with pytest.raises(ValueError, match=r"one size.*\(3, 4\), \(4, 3\)"):
        read_segmentation(Segmentation((one, other)), None)
    assert read_segmentation(Segmentation((one, other)), (5, 6))[0].shape == (5, 6)
