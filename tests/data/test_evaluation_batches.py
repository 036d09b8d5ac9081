"""What `tf.data` and Pillow give for evaluation, numbers by hand and by each other."""

import numpy as np
import pytest

from tests.data.small_datasets import as_files, gradient, in_memory, noise

KEYS = {"images", "class_ids", "boxes", "sizes", "paths"}


def with_tensorflow(dataset, batch_size, **options):
    batches = list(dataset.batches(batch_size, with_boxes=True, **options))
    return [{key: value.numpy() for key, value in batch.items()} for batch in batches]


def with_pillow(dataset, batch_size, **options):
    return list(dataset.numpy_batches(batch_size, **options))


def with_either(dataset, batch_size, **options):
    return list(dataset.evaluation_batches(batch_size, **options))


both = pytest.mark.parametrize("read", [with_tensorflow, with_pillow])


def text(paths):
    return [path.decode() if isinstance(path, bytes) else str(path) for path in paths]


def boxed(images, boxes, **changes):
    return in_memory(images, boxes=np.array(boxes, "float32"), **changes)


@both
def test_every_image_once_in_order_the_last_batch_short(read):
    dataset = boxed(noise(7, 6, 9), np.arange(28).reshape(7, 1, 4))
    batches = read(dataset, 3, image_size=(6, 9))
    assert [set(batch) for batch in batches] == [KEYS] * 3
    ids = [batch["class_ids"].tolist() for batch in batches]
    assert ids == [[0, 1, 2], [3, 4, 5], [6]]
    assert text(batches[2]["paths"]) == ["image 6"]
    images = np.concatenate([batch["images"] for batch in batches])
    # Already of the size asked for: the pixels are the stored ones.
    np.testing.assert_array_equal(images, dataset.images)
    types = {key: batches[0][key].dtype for key in ("images", "class_ids", "boxes")}
    assert types == {"images": np.float32, "class_ids": np.int32, "boxes": np.float32}
    assert batches[0]["sizes"].dtype == np.int32


@both
def test_boxes_of_the_whole_image(read):
    # 24 x 40 to 12 x 10: y by a half, x by a quarter.
    boxes = [[[8, 6, 20, 18], [-1] * 4], [[0, 0, 40, 24], [4, 2, 36, 22]]]
    [batch] = read(boxed(noise(2), boxes), 2, image_size=(12, 10))
    expected = [[[2, 3, 5, 9], [-1] * 4], [[0, 0, 10, 12], [1, 1, 9, 11]]]
    np.testing.assert_array_equal(batch["boxes"], expected)
    np.testing.assert_array_equal(batch["sizes"], [[24, 40], [24, 40]])


@both
def test_center_crop_of_image_and_boxes(read):
    # 16 x 48 is 256/224 of 14 x 42: pixels stay, a row and three columns are cut off
    # on each side.
    images = noise(1, 16, 48)
    boxes = [[[4, 3, 14, 9], [0, 0, 48, 16], [-1] * 4, [40, 0, 48, 8]]]
    [batch] = read(boxed(images, boxes), 1, image_size=(14, 42), view="center_crop")
    np.testing.assert_array_equal(batch["images"], images[:, 1:15, 3:45])
    expected = [[1, 2, 11, 8], [0, 0, 42, 14], [-1] * 4, [37, 0, 42, 7]]
    np.testing.assert_array_equal(batch["boxes"][0], expected)
    np.testing.assert_array_equal(batch["sizes"], [[16, 48]])


@both
@pytest.mark.parametrize("view", ["whole", "center_crop"])
def test_a_box_stays_around_what_it_was_drawn_around(read, view, tmp_path):
    # White rectangles on black, images of different sizes.
    sizes, boxes = [(60, 90), (75, 50)], [[30, 20, 66, 44], [10, 36, 38, 60]]
    images = []
    for (height, width), (x0, y0, x1, y1) in zip(sizes, boxes, strict=True):
        image = np.zeros((height, width, 3), "uint8")
        image[y0:y1, x0:x1] = 255
        images.append(image)
    dataset = as_files(tmp_path, images, boxes=np.array(boxes, "float32")[:, None])
    [batch] = read(dataset, 2, image_size=(48, 64), view=view)
    np.testing.assert_array_equal(batch["sizes"], sizes)
    for image, [box] in zip(batch["images"], batch["boxes"], strict=True):
        rows, columns = np.nonzero(image[..., 0] > 127)
        bounds = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        np.testing.assert_allclose(box, bounds, atol=0.6)


def assert_equal(one, other):
    assert set(one) == set(other) == KEYS
    for key in KEYS - {"paths"}:
        np.testing.assert_array_equal(one[key], other[key])


@pytest.mark.parametrize("view", ["whole", "center_crop"])
def test_pillow_and_tensorflow_agree(view, tmp_path):
    images = [*noise(2, 33, 50), gradient(61, 41), gradient(20, 30), gradient(24, 40)]
    boxes = [[3, 4, 9, 11], [-1] * 4, [0, 0, 41, 61], [1, 2, 9, 8], [1, 2, 9, 8]]
    dataset = as_files(tmp_path, images, boxes=np.array(boxes, "float32")[:, None])
    options = {"image_size": (24, 40), "view": view}
    ours = with_tensorflow(dataset, 2, **options)
    either = with_either(dataset, 2, **options)
    assert_equal(either[0], ours[0])
    for mine, theirs in zip(either, with_pillow(dataset, 2, **options), strict=True):
        np.testing.assert_allclose(mine["images"], theirs["images"], atol=2e-3)
        for key in ("class_ids", "boxes", "sizes"):
            np.testing.assert_array_equal(mine[key], theirs[key])
            assert mine[key].dtype == theirs[key].dtype
        assert text(mine["paths"]) == text(theirs["paths"])


def test_without_boxes_pairs_of_images_and_class_ids():
    images = noise(5, 6, 9)
    pairs = list(in_memory(images).batches(2, image_size=(6, 9)))
    assert [ids.numpy().tolist() for _, ids in pairs] == [[0, 1], [2, 3], [4]]
    np.testing.assert_array_equal(pairs[2][0], images[4:])
    [batch] = with_pillow(in_memory(images), 9, image_size=(6, 9))
    assert batch["boxes"].shape == (5, 0, 4)
    [either] = with_either(in_memory(images), 9, image_size=(6, 9))
    assert_equal(either, batch)
    assert either["paths"].tolist() == [f"image {index}" for index in range(5)]


def test_without_tensorflow_pillow_reads(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    dataset = in_memory(noise(3, 16, 48))
    options = {"image_size": (14, 42), "view": "center_crop"}
    for one, other in zip(
        with_either(dataset, 2, **options),
        with_pillow(dataset, 2, **options),
        strict=True,
    ):
        assert_equal(one, other)


@both
def test_files_and_memory_give_the_same(read, tmp_path):
    boxes = np.tile(np.array([1, 2, 9, 8], "float32"), (3, 1, 1))
    images = noise(3)
    options = {"image_size": (14, 21), "view": "center_crop"}
    stored = read(as_files(tmp_path, images, boxes=boxes), 3, **options)
    memory = read(in_memory(images, boxes=boxes), 3, **options)
    for key in KEYS - {"paths"}:
        np.testing.assert_array_equal(stored[0][key], memory[0][key])


@both
def test_a_second_pass_is_the_same(read):
    dataset = boxed(noise(3), np.zeros((3, 1, 4)))
    first, again = (read(dataset, 2, image_size=(6, 9)) for _ in range(2))
    for one, other in zip(first, again, strict=True):
        np.testing.assert_array_equal(one["images"], other["images"])
    assert dataset.batches(2, image_size=(6, 9)).cardinality() == 2


@pytest.mark.data
def test_a_real_image_and_its_box(cub40):
    from keras_wsol import data

    # 320 x 223 with the box 69, 57, 268, 198: by 224/320 and 224/223.
    test = data.cub200(cub40, "test", verify=False).take([0], "one")
    for read in (with_tensorflow, with_pillow):
        [batch] = read(test, 1)
        expected = [69 * 0.7, 57 * 224 / 223, 268 * 0.7, 198 * 224 / 223]
        np.testing.assert_allclose(batch["boxes"][0, 0], expected, rtol=1e-6)
        np.testing.assert_array_equal(batch["sizes"], [[223, 320]])
        assert batch["images"].shape == (1, 224, 224, 3)
