"""Records prepared in the tests, with the features of the real builders."""

import importlib
import io
import re

import numpy as np
import pytest
import tensorflow_datasets as tfds

from keras_wsol import data
from tests.data.handmade import encode
from tests.data.ilsvrc_layout import write_xml
from tests.data.small_datasets import noise

tfds_module = importlib.import_module("keras_wsol.data.tfds")
F = tfds.features
BIRDS = "CUB_200_2011/images"
ALBATROSS, LAYSAN = "001.Black_footed_Albatross", "002.Laysan_Albatross"


def prepare(data_dir, name, version, features, **splits):
    """Writes records as the builder of that name does."""

    class Builder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        VERSION = tfds.core.Version(version)
        pkg_dir_path = code_path = None  # no file of checksums

        def _info(self):
            features_dict = F.FeaturesDict(features)
            return tfds.core.DatasetInfo(builder=self, features=features_dict)

        def _split_generators(self, _):
            return {
                split: self._generate_examples(rows) for split, rows in splits.items()
            }

        def _generate_examples(self, rows):
            yield from enumerate(rows)

    Builder.name = name
    Builder(data_dir=str(data_dir)).download_and_prepare()
    return data_dir


def jpeg(number, size=(24, 40)):
    return encode(noise(1, *size, seed=number)[0], "JPEG", quality=95)


def shares(box, size):
    x0, y0, x1, y1 = box
    return F.BBox(y0 / size[0], x0 / size[1], y1 / size[0], x1 / size[1])


def bird(number, label, folder, box, size=(24, 40)):
    return {
        "image": io.BytesIO(jpeg(number, size)),
        "image/filename": f"{BIRDS}/{folder}/{number}.jpg",
        "label": label,
        "label_name": folder[4:].lower(),
        "bbox": shares(box, size),
        "segmentation_mask": np.zeros((*size, 1), "uint8"),
    }


BIRD_FEATURES = {
    "image": F.Image(),
    "image/filename": F.Text(),
    "label": F.ClassLabel(num_classes=200),
    "label_name": F.Text(),
    "bbox": F.BBoxFeature(),
    "segmentation_mask": F.Image(shape=(None, None, 1)),
}
TRAIN = [(n, n % 2, (ALBATROSS, LAYSAN)[n % 2], (3, 4, 30, 20)) for n in range(13)]


@pytest.fixture(scope="module")
def birds(tmp_path_factory):
    return prepare(
        tmp_path_factory.mktemp("tfds"),
        "caltech_birds2011",
        "0.2.0",
        BIRD_FEATURES,
        train=[bird(*row) for row in TRAIN],
        test=[
            bird(40, 1, LAYSAN, (10, 6, 40, 24)),
            bird(41, 0, ALBATROSS, (2, 3, 5, 7), size=(31, 17)),
        ],
    )


def numbers(split):
    return [int(path.rsplit("/", 1)[-1].removesuffix(".jpg")) for path in split.paths]


def test_birds_with_boxes_in_pixels(birds, tmp_path):
    test = data.tfds("caltech_birds2011", "test", birds, files=tmp_path)
    boxes = dict(zip(numbers(test), test.boxes[:, 0].tolist(), strict=True))
    assert boxes[40] == pytest.approx([10, 6, 40, 24], abs=1e-4)
    assert boxes[41] == pytest.approx([2, 3, 5, 7], abs=1e-4)
    ids = dict(zip(numbers(test), test.class_ids.tolist(), strict=True))
    assert ids == {40: 1, 41: 0}
    # As `data.cub200` has them; a class that is not in the records has its number.
    assert test.class_names[:3] == ("Black footed Albatross", "Laysan Albatross", "2")
    assert test.num_classes == 200
    assert (test.name, test.split) == ("caltech_birds2011", "test")
    assert test.notes == {"records": "caltech_birds2011:0.2.0, test"}
    assert test.boxes.dtype == "float32"
    assert data.check(test).ok


def test_files_are_those_of_the_records_to_the_byte(birds, tmp_path):
    test = data.tfds("caltech_birds2011", "test", birds, files=tmp_path)
    path = tmp_path / "test" / BIRDS / LAYSAN / "40.jpg"
    assert str(path) in test.paths
    assert path.read_bytes() == jpeg(40)


def test_the_rest_of_the_package_reads_it(birds, tmp_path):
    train = data.tfds("caltech_birds2011", "train", birds, files=tmp_path)
    options = {"training": True, "seed": 1, "image_size": (14, 21)}
    steps = [list(train.batches(4, start_step=n, **options)) for n in (0, 2)]
    np.testing.assert_array_equal(steps[0][2][0], steps[1][0][0])
    [batch] = train.take([3], "x").batches(1, with_boxes=True, image_size=(12, 20))
    np.testing.assert_allclose(batch["boxes"][0, 0], [1.5, 2, 15, 10], atol=1e-4)


def test_fullsup_and_the_rest(birds, tmp_path):
    def split(name, seed=0):
        return data.tfds("caltech_birds2011", name, birds, files=tmp_path, seed=seed)

    fullsup, weaksup = split("train-fullsup"), split("train-weaksup")
    assert np.bincount(fullsup.class_ids).tolist() == [5, 5]
    assert sorted(numbers(fullsup) + numbers(weaksup)) == list(range(13))
    assert fullsup.notes["train-fullsup"] == "5 images a class, drawn with seed 0"
    assert len({tuple(numbers(split("train-fullsup", n))) for n in range(4)}) > 1


def test_unpacked_once_and_not_where_it_was_interrupted(birds, tmp_path, monkeypatch):
    arguments = ("caltech_birds2011", "test", birds)
    write_one = tfds_module._write_one

    def stop(record, folder, number):
        if number == 1:
            raise KeyboardInterrupt
        return write_one(record, folder, number)

    with monkeypatch.context() as patch:
        patch.setattr(tfds_module, "_write_one", stop)
        with pytest.raises(KeyboardInterrupt):
            data.tfds(*arguments, files=tmp_path)
    assert list(tmp_path.iterdir()) == []
    first = data.tfds(*arguments, files=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["test"]
    monkeypatch.setattr(tfds_module, "_write_one", stop)
    again = data.tfds(*arguments, files=tmp_path)
    np.testing.assert_array_equal(first.boxes, again.boxes)


def test_files_lie_beside_the_records_unless_told(birds):
    test = data.tfds("caltech_birds2011", "test", birds)
    folder = birds / "caltech_birds2011" / "0.2.0" / "files" / "test"
    assert test.paths[0].startswith(str(folder))
    # The records can still be read.
    assert len(data.tfds("caltech_birds2011", "train", birds)) == 13


def test_cars_count_from_zero(tmp_path):
    names = tfds.builder("cars196", data_dir=str(tmp_path)).info.features["label"].names
    features = {
        "image": F.Image(),
        "label": F.ClassLabel(names=names),
        "bbox": F.BBoxFeature(),
        "id": F.Text(),
    }
    row = {"image": io.BytesIO(jpeg(1)), "label": 195, "id": "00001"}
    row["bbox"] = shares((3, 4, 40, 24), (24, 40))
    prepare(tmp_path, "cars196", "2.1.0", features, test=[row])
    test = data.tfds("cars196", "test", tmp_path)
    np.testing.assert_allclose(test.boxes[0, 0], [2, 3, 40, 24], atol=1e-4)
    assert test.paths[0].endswith("/00001.jpg")
    assert test.class_names[195] == "smart fortwo Convertible 2012"
    assert test.class_names[-4] == "Volvo C30 Hatchback 2012"


@pytest.fixture
def imagenet(tmp_path):
    builder = tfds.builder("imagenet2012", data_dir=str(tmp_path))
    names = builder.info.features["label"].names
    features = {
        "image": F.Image(),
        "label": F.ClassLabel(names=names),
        "file_name": F.Text(),
    }
    rows = [
        {
            "image": io.BytesIO(jpeg(n)),
            "label": label,
            "file_name": f"ILSVRC2012_val_0000000{n}.JPEG",
        }
        for n, label in ((1, 65), (2, 970))
    ]
    version = str(builder.version)
    prepare(tmp_path, "imagenet2012", version, features, validation=rows)
    return tmp_path


def test_imagenet_is_joined_with_its_boxes(imagenet):
    # The classes of the first two validation images of ILSVRC.
    xml = imagenet / "xml"
    write_xml(
        xml / "ILSVRC2012_val_00000001.xml",
        (24, 40),
        ("n01751748", (3, 4, 29, 19)),
        ("n01751748", (0, 0, 39, 23)),
        ("n01440764", (1, 1, 2, 2)),
    )
    test = data.tfds("imagenet2012", "test", imagenet, boxes=xml)
    order = np.argsort(test.paths)
    assert test.class_ids[order].tolist() == [65, 970]
    assert test.class_names == tuple(sorted(test.class_names))
    none = [-1.0] * 4
    assert test.boxes[order].tolist() == [
        [[3, 4, 30, 20], [0, 0, 40, 24]],
        [none, none],
    ]
    assert data.tfds("imagenet2012", "test", imagenet).boxes is None


def test_annotations_of_other_images(imagenet):
    write_xml(imagenet / "xml" / "n01440764_1.xml", (24, 40))
    message = r"named like the images. Received: 1 files, none of which is"
    with pytest.raises(ValueError, match=message):
        data.tfds("imagenet2012", "test", imagenet, boxes=imagenet / "xml")


def test_names_that_repeat_or_lead_elsewhere(tmp_path):
    names = ["../../up.jpg", "up.jpg", "/abs/a.jpg", "list.json", "x\\y"]
    rows = [bird(n, 0, ALBATROSS, (3, 4, 30, 20)) for n in range(5)]
    for row, name in zip(rows, names, strict=True):
        row["image/filename"] = name
    prepare(tmp_path, "caltech_birds2011", "0.2.0", BIRD_FEATURES, test=rows)
    test = data.tfds("caltech_birds2011", "test", tmp_path, files=tmp_path / "f")
    assert len(set(test.paths)) == 5
    folder = (tmp_path / "f" / "test").resolve()
    written = [path for path in folder.rglob("*") if path.is_file()]
    assert len(written) == 6
    assert not (tmp_path / "up.jpg").exists()
    assert data.check(test).ok


def test_data_set_that_is_not_prepared(tmp_path):
    message = (
        r"caltech_birds2011 must be prepared, with a split 'test', at "
        + re.escape(str(tmp_path))
    )
    with pytest.raises(FileNotFoundError, match=message):
        data.tfds("caltech_birds2011", "test", tmp_path)


def test_a_folder_of_other_files_is_named(birds, tmp_path):
    (tmp_path / "test").mkdir()
    (tmp_path / "test" / "mine.txt").touch()
    with pytest.raises(FileExistsError, match=re.escape(f"{tmp_path / 'test'} holds")):
        data.tfds("caltech_birds2011", "test", birds, files=tmp_path)
    assert (tmp_path / "test" / "mine.txt").is_file()


def test_builder_without_labels(tmp_path):
    features = {"image": F.Image()}
    rows = [{"image": io.BytesIO(jpeg(1))}]
    prepare(tmp_path, "pictures", "1.0.0", features, train=rows)
    with pytest.raises(ValueError, match=r"`image` and `label`. Received: \['image'\]"):
        data.tfds("pictures", "train", tmp_path)


def test_unknown_split():
    with pytest.raises(ValueError, match=r"must be .*Received: split='validation'"):
        data.tfds("imagenet2012", "validation")
