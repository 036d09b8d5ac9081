"""Labels of images whose boxes are known."""

import csv
import dataclasses
import json

import numpy as np
import pytest
from PIL import Image

from keras_wsol import data, export
from keras_wsol.data import ImageDataset
from keras_wsol.export.label_formats import FORMATS
from tests.export.rectangles import (
    BLACK,
    BROKEN,
    CLASSES,
    IMAGES,
    draw,
    localizer,
    score,
    write,
    write_images,
)

BOXES = {name: box for name, _, _, box in IMAGES}
CLASS_OF = {name: class_id for name, class_id, _, _ in IMAGES}
SIZES = {name: size for name, _, size, _ in IMAGES}
# Files and folders, as images lie in them.
FOLDERS = {name.rpartition("/")[0] for name in BOXES}


@pytest.fixture
def root(tmp_path):
    return write_images(tmp_path / "images")


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """The folder of images, and what was written of it, by format."""
    root = write_images(tmp_path_factory.mktemp("written") / "images")
    return root, {
        name: write(root, root.parent / name / f"x{form.suffix or ''}", format=name)
        for name, form in FORMATS.items()
    }


def rows(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def boxes_in(path):
    """Boxes of a CSV file by image."""
    found = {}
    for row in rows(path):
        box = tuple(float(row[edge]) for edge in ("x0", "y0", "x1", "y1"))
        found.setdefault(row["path"], []).append(box)
    return found


def test_csv_goes_back_into_a_data_set(written):
    root, done = written[0], written[1]["csv"]
    assert boxes_in(done.path) == {name: [box] for name, box in BOXES.items()}
    for row in rows(done.path):
        assert (int(row["height"]), int(row["width"])) == SIZES[row["path"]]
        assert int(row["class_id"]) == CLASS_OF[row["path"]]
        assert row["class"] == CLASSES[CLASS_OF[row["path"]]]
        assert float(row["score"]) == pytest.approx(score(row["path"]), abs=1e-5)
    images = data.image_folder(root, class_names=CLASSES)
    again = data.boxes_from_csv(images, done.path)
    assert {
        path.removeprefix(f"{root}/"): tuple(box)
        for path, (box,) in zip(again.paths.tolist(), again.boxes.tolist(), strict=True)
    } == BOXES


@pytest.mark.parametrize("form", FORMATS)
def test_images_without_a_box_are_left_out_and_listed(form, written):
    root, done = written[0], written[1][form]
    assert (done.num_images, done.num_labelled, done.num_boxes) == (8, 6, 6)
    assert done.left_out == {"unreadable": 1, "no box": 1}
    assert done.unreadable == (BROKEN,)
    assert done.images_root == root
    folder = done.path.parent
    suffix = FORMATS[form].suffix
    name = f"x{suffix}.left_out.csv" if suffix else "x/left_out.csv"
    assert done.left_out_path == folder / name
    assert rows(done.left_out_path) == [
        {"path": BROKEN, "reason": "unreadable"},
        {"path": BLACK, "reason": "no box"},
    ]
    files = {file for file in folder.rglob("*") if file.is_file()}
    texts = [file.read_text("utf-8") for file in files - {done.left_out_path}]
    everything = "".join([*texts, *map(str, files)])
    assert "one" in everything
    assert "broken" not in everything
    assert "black" not in everything
    assert [p.name for p in folder.iterdir() if p.name[0] == "."] == []


def two_colors(count=1, **changes):
    """Red wins, but the images are said to be green."""
    red, green = (12, 8, 24, 20), (28, 4, 36, 8)
    image = draw((24, 36), (0, 200, red), (1, 150, green))
    images = ImageDataset(
        **{
            "name": "two",
            "split": "all",
            "class_names": CLASSES,
            "class_ids": np.ones(count, "int32"),
            "paths": np.array([f"two/{number}" for number in range(count)]),
            "images": np.stack([image] * count),
            **changes,
        }
    )
    return images, red, green


def test_known_classes_and_predicted_ones(tmp_path):
    images, red, green = two_colors()
    for class_ids, class_id, box in (("predicted", 0, red), ("known", 1, green)):
        path = tmp_path / f"{class_ids}.csv"
        export.write_pseudo_labels(
            localizer(), images, path, format="csv", class_ids=class_ids
        )
        (row,) = rows(path)
        assert boxes_in(path) == {"0": [box]}
        assert (row["class"], row["class_id"]) == (CLASSES[class_id], str(class_id))
        logits = 200 * 144 / 864, 150 * 32 / 864, 0
        expected = np.exp(logits[class_id]) / np.exp(logits).sum()
        assert float(row["score"]) == pytest.approx(expected, abs=1e-6)


def test_low_scores_are_left_out(tmp_path):
    images, *_ = two_colors()
    options = {"format": "csv", "class_ids": "known", "overwrite": True}
    path = tmp_path / "x.csv"
    # exp(150 * 32 / 864) / (exp(200 * 144 / 864) + ...) is about 1e-12.
    done = export.write_pseudo_labels(
        localizer(), images, path, min_score=0.01, **options
    )
    assert done.left_out == {"low score": 1}
    assert rows(path) == []
    done = export.write_pseudo_labels(
        localizer(), images, path, min_score=0.0, **options
    )
    assert done.left_out == {}
    assert len(rows(path)) == 1


def test_every_component(tmp_path):
    large, small = (0, 0, 12, 12), (20, 4, 28, 16)
    image = draw((24, 36), (2, 200, large), (2, 180, small))
    images = dataclasses.replace(two_colors()[0], images=image[None])
    path = tmp_path / "x.csv"
    done = export.write_pseudo_labels(
        localizer(max_boxes=3), images, path, format="csv", all_components=True
    )
    assert boxes_in(path) == {"0": [large, small]}
    assert (done.num_boxes, done.num_labelled) == (2, 1)
    with pytest.raises(ValueError, match="needs a `Localizer` with `max_boxes` above"):
        export.write_pseudo_labels(
            localizer(), images, tmp_path / "y.json", all_components=True
        )


def test_a_folder_of_images_nobody_sorted(root, tmp_path):
    done = export.write_pseudo_labels(localizer(), root, tmp_path / "x.json")
    assert done.num_labelled == 6
    # The wider of two that stand for one class is the model's to name.
    coco = json.loads(done.path.read_text("utf-8"))
    assert [category["name"] for category in coco["categories"]] == [*CLASSES]
    with pytest.raises(ValueError, match="must know the classes of 'images' in their"):
        export.write_pseudo_labels(
            localizer(), root, tmp_path / "y.json", class_ids="known"
        )


def test_a_model_without_class_names(tmp_path):
    images, *_ = two_colors()
    nameless = localizer(class_names=None)
    for names, expected in ((CLASSES, CLASSES[0]), (("a", "b"), "class 0")):
        path = tmp_path / f"{expected[:3]}.csv"
        other = dataclasses.replace(images, class_names=names)
        export.write_pseudo_labels(nameless, other, path, format="csv")
        assert rows(path)[0]["class"] == expected


def stop_at(count):
    def progress(done, total):
        assert total == 8
        if done >= count:
            raise KeyboardInterrupt

    return progress


def test_an_interrupted_job_goes_on(root, tmp_path):
    options = {"format": "csv", "part_size": 3, "images_root": root}
    whole = write(root, tmp_path / "whole.csv", **options)
    path = tmp_path / "x.csv"
    for stop in (3, 8):
        with pytest.raises(KeyboardInterrupt):
            write(root, path, progress=stop_at(stop), **options)
        assert not path.exists()
        # What is done is not looked at again, but for its size.
        for name in list(BOXES)[:stop]:
            (root / name).write_bytes(bytes((root / name).stat().st_size))
    done = write(root, path, **options)
    assert path.read_bytes() == whole.path.read_bytes()
    assert done.left_out_path.read_bytes() == whole.left_out_path.read_bytes()
    assert (done.num_boxes, done.unreadable) == (6, (BROKEN,))
    assert [p.name for p in tmp_path.iterdir() if p.name[0] == "."] == []


def test_the_parts_of_another_job_are_not_taken(tmp_path):
    images, *_ = two_colors(count=8)
    job = {"format": "csv", "part_size": 2, "class_ids": "known"}
    path = tmp_path / "x.csv"
    with pytest.raises(KeyboardInterrupt):
        export.write_pseudo_labels(
            localizer(), images, path, progress=stop_at(2), **job
        )
    others = {
        "min_score": (localizer(), images, {"min_score": 0.5}),
        "class_ids": (localizer(), images, {"class_ids": "predicted"}),
        "part_size": (localizer(), images, {"part_size": 3}),
        "all_components": (localizer(max_boxes=2), images, {"all_components": True}),
        "images": (localizer(), images.take(np.arange(8)[::-1], "all"), {}),
        "model": (localizer(cam_threshold=0.25), images, {}),
    }
    for what, (model, dataset, options) in others.items():
        with pytest.raises(ValueError, match=f"interrupted job with.*another {what}"):
            export.write_pseudo_labels(model, dataset, path, **{**job, **options})
    model = localizer()
    bias = model.model.layers[-1].weights[1]
    bias.assign([0.0, 0.0, 1e-3])
    with pytest.raises(ValueError, match="interrupted job with another model"):
        export.write_pseudo_labels(model, images, path, **job)
    # Another format is no other job.
    export.write_pseudo_labels(localizer(), images, path, **job)


def test_other_files_of_the_same_names_are_another_job(root, tmp_path):
    path = tmp_path / "x.csv"
    options = {"format": "csv", "part_size": 3, "class_ids": "known"}
    images = data.image_folder(root, class_names=CLASSES)
    elsewhere = data.image_folder(
        write_images(tmp_path / "elsewhere"), class_names=CLASSES
    )
    stored = dataclasses.replace(images, orientation="stored")
    assert images.orientation == "exif"
    with pytest.raises(KeyboardInterrupt):
        export.write_pseudo_labels(
            localizer(), images, path, progress=stop_at(3), **options
        )
    for other in (elsewhere, stored):
        with pytest.raises(ValueError, match="job with another images"):
            export.write_pseudo_labels(localizer(), other, path, **options)
    first = root / IMAGES[0][0]
    content = first.read_bytes()
    first.write_bytes(content + b"\0")
    with pytest.raises(ValueError, match="job with another images"):
        export.write_pseudo_labels(localizer(), images, path, **options)
    first.write_bytes(content)
    done = export.write_pseudo_labels(localizer(), images, path, **options)
    assert done.num_labelled == 6


def test_each_file_of_labels_has_a_list_of_its_own(tmp_path):
    images, *_ = two_colors()
    lists = {}
    for form, suffix, min_score in (("csv", ".csv", 0.0), ("coco", ".json", 1.0)):
        done = export.write_pseudo_labels(
            localizer(),
            images,
            tmp_path / f"birds{suffix}",
            format=form,
            class_ids="known",
            min_score=min_score,
        )
        lists[suffix] = done.left_out_path
    assert [len(rows(path)) for path in lists.values()] == [0, 1]


def test_a_list_of_another_is_not_replaced_unasked(tmp_path):
    images, *_ = two_colors(count=8)
    path, left_out = tmp_path / "x.csv", tmp_path / "x.csv.left_out.csv"
    job = {"format": "csv", "part_size": 2}
    left_out.write_text("mine")
    with pytest.raises(FileExistsError, match=r"x\.csv\.left_out\.csv, where images"):
        export.write_pseudo_labels(localizer(), images, path, **job)
    assert left_out.read_text() == "mine"
    left_out.unlink()
    left_out.mkdir()
    with pytest.raises(FileExistsError, match=r"x\.csv\.left_out\.csv, where images"):
        export.write_pseudo_labels(localizer(), images, path, overwrite=True, **job)
    left_out.rmdir()
    with pytest.raises(KeyboardInterrupt):
        export.write_pseudo_labels(
            localizer(), images, path, progress=stop_at(2), **job
        )
    # As if it had been killed when its list was renamed, and its labels not.
    left_out.write_text("path,reason\n")
    export.write_pseudo_labels(localizer(), images, path, **job)
    assert len(rows(path)) == 8


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("bl\udce5.jpg", r"'bl\\udce5\.jpg'"),
        ("two\nlines.jpg", r"'two\\nlines\.jpg'"),
        ("a\u2028/1.jpg", r"'a\\u2028/1\.jpg'"),
        ("a\x85.jpg", r"'a\\x85\.jpg'"),
        ("a\uffff.jpg", r"'a\\uffff\.jpg'"),
    ],
)
def test_names_that_cannot_be_written_are_refused_at_once(name, shown, tmp_path):
    model, way_out = localizer(), r"\. Rename the file or its folder"
    images, *_ = two_colors(paths=np.array([f"two/{name}", "two/x.jpg"]), count=2)
    with pytest.raises(ValueError, match=f"name of an image must.*{shown}{way_out}"):
        export.write_pseudo_labels(
            model, images, tmp_path / "x.json", images_root="two"
        )
    nameless = localizer(class_names=None)
    images = dataclasses.replace(two_colors()[0], class_names=("owl", name, "x"))
    with pytest.raises(ValueError, match=f"name of a class must.*{shown}.*other `cl"):
        export.write_pseudo_labels(nameless, images, tmp_path / "x.json")
    assert list(tmp_path.iterdir()) == []


def test_yolo_needs_other_names_than_images(tmp_path):
    paths = np.array(["cub/images/1.jpg", "cub/x/images.jpg"])
    images, *_ = two_colors(paths=paths, count=2)
    with pytest.raises(ValueError, match=r"'images/1\.jpg'\. Choose `images_root`"):
        export.write_pseudo_labels(localizer(), images, tmp_path / "x", format="yolo")
    assert list(tmp_path.iterdir()) == []
    done = export.write_pseudo_labels(
        localizer(), images.take([0], "all"), tmp_path / "x", format="yolo"
    )
    assert done.images_root.as_posix() == "cub/images"
    done = export.write_pseudo_labels(localizer(), images, tmp_path / "x.json")
    assert done.num_labelled == 2


def test_batches_change_nothing(written, tmp_path):
    root, done = written
    write(root, tmp_path / "x.csv", format="csv", batch_size=32)
    assert (tmp_path / "x.csv").read_bytes() == done["csv"].path.read_bytes()


def test_labels_are_replaced_as_a_whole_if_asked(tmp_path, monkeypatch):
    images, *_ = two_colors(count=2)
    options = {"class_ids": "known", "batch_size": 2}

    def again(name, **changes):
        return export.write_pseudo_labels(
            localizer(), images, tmp_path / name, **options | changes
        )

    for form, name in (("yolo", "yolo"), ("csv", "x.csv")):
        again(name, format=form)
        with pytest.raises(FileExistsError, match="or pass `overwrite=True`"):
            again(name, format=form)
        done = again(name, format=form, min_score=1.0, overwrite=True)
        assert (done.num_boxes, len(rows(done.left_out_path))) == (0, 2)
        files = [p for p in (tmp_path / "yolo").rglob("*.txt") if p.is_file()]
        assert [p.name for p in files] == ["train.txt"]
    (tmp_path / "yolo" / "images").mkdir()
    with pytest.raises(FileExistsError, match=r"more than labels: \['images'\]"):
        again("yolo", format="yolo", overwrite=True)
    assert (tmp_path / "yolo" / "images").is_dir()
    with pytest.raises(FileExistsError, match="holds no labels of 'yolo'"):
        again("x.csv", format="yolo", overwrite=True)

    def fail(*_):
        raise OSError("no space left")

    before = (tmp_path / "x.csv").read_bytes()
    broken = dataclasses.replace(FORMATS["csv"], write=fail)
    monkeypatch.setitem(FORMATS, "csv", broken)
    with pytest.raises(OSError, match="no space left"):
        again("x.csv", format="csv", overwrite=True)
    assert (tmp_path / "x.csv").read_bytes() == before


def test_images_share_no_name(root, tmp_path):
    first = root / IMAGES[0][0]
    Image.open(first).save(first.with_suffix(".bmp"))
    assert write(root, tmp_path / "x.json").num_labelled == 7
    for form in ("yolo", "voc"):
        with pytest.raises(ValueError, match="also without its suffix"):
            write(root, tmp_path / "x", format=form)
    images, *_ = two_colors(paths=np.array(["a", "a"]), count=2)
    with pytest.raises(ValueError, match=r"Several are called: \['a'\]"):
        export.write_pseudo_labels(localizer(), images, tmp_path / "y.json")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"format": "xml"}, "`format` must be one of"),
        ({"format": "csv"}, r"`path` must end in '.csv' for format='csv'"),
        ({"class_ids": "true"}, "`class_ids` must be one of"),
        ({"min_score": 1.5}, "`min_score` must be a number in"),
        ({"batch_size": 0}, "`batch_size` must be an integer of at least 1"),
        ({"part_size": 2.0}, "`part_size` must be an integer of at least 1"),
        ({"images_root": "elsewhere"}, "must be below `images_root`, elsewhere"),
    ],
)
def test_arguments(options, message, root, tmp_path):
    with pytest.raises(ValueError, match=message):
        write(root, tmp_path / "x.json", **options)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["images"]
