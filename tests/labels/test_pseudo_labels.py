"""Labels of images whose boxes are known, and of a job that is killed."""

import csv
import dataclasses
import json

import cv2
import numpy as np
import pytest
from PIL import Image

from keras_wsol import data, labels
from keras_wsol.data import ImageDataset
from keras_wsol.label_formats import LABEL_FORMATS
from keras_wsol.labels import write_pseudo_labels
from tests.labels.rectangles import (
    BLACK,
    BROKEN,
    CLASSES,
    IMAGES,
    draw,
    localizer,
    opened,
    score,
    write,
    write_images,
)

pytestmark = pytest.mark.filterwarnings("ignore:.*cannot be read and")
BOXES = {name: box for name, _, _, box in IMAGES}
CLASS_OF = {name: class_id for name, class_id, _, _ in IMAGES}
SIZES = {name: size for name, _, size, _ in IMAGES}


@pytest.fixture
def root(tmp_path):
    return write_images(tmp_path / "images")


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """The folder of images, and what was written of it, by format."""
    root = write_images(tmp_path_factory.mktemp("written") / "images")
    return root, {
        name: write(root, root.parent / name / f"x{form.suffix or ''}", format=name)
        for name, form in LABEL_FORMATS.items()
    }


def rows(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def hidden(folder):
    return [path.name for path in folder.iterdir() if path.name[0] == "."]


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
    images = opened(root)
    again = data.boxes_from_csv(images, done.path)
    assert {
        path.removeprefix(f"{root}/"): tuple(box)
        for path, (box,) in zip(again.paths.tolist(), again.boxes.tolist(), strict=True)
    } == BOXES


@pytest.mark.parametrize("form", LABEL_FORMATS)
def test_images_without_a_box_are_left_out_and_listed(form, written):
    root, done = written[0], written[1][form]
    assert (done.num_images, done.num_boxes) == (8, 6)
    (unread, reason), black = done.left_out
    assert (unread, black) == (BROKEN, (BLACK, "no box"))
    assert reason not in ("no box", "low score", "")
    assert done.images_root == root
    folder, name = done.path.parent, f"x{LABEL_FORMATS[form].suffix or ''}.left_out.csv"
    assert done.left_out_path == folder / name
    listed = [(row["path"], row["reason"]) for row in rows(done.left_out_path)]
    assert listed == list(done.left_out)
    files = {file for file in folder.rglob("*") if file.is_file()}
    texts = [
        file.read_text("utf-8")
        for file in files - {done.left_out_path}
        if not file.is_symlink()
    ]
    everything = "".join([*texts, *map(str, files)])
    assert "one" in everything
    assert "broken" not in everything
    assert "black" not in everything
    assert hidden(folder) == []
    ids = [CLASS_OF.get(p.removeprefix(f"{root}/"), -1) for p in opened(root).paths]
    assert done.class_ids.tolist() == ids
    assert ids.count(-1) == 1


@pytest.mark.parametrize(
    ("form", "folder"), [("yolo", "images"), ("voc", "JPEGImages")]
)
def test_folders_hold_links_to_the_images_with_a_box(form, folder, written):
    root, done = written[0], written[1][form].path / folder
    links = [path for path in done.rglob("*") if path.is_symlink()]
    found = {p.relative_to(done).as_posix(): p.readlink() for p in links}
    assert found == {name: root / name for name in BOXES}


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
        write_pseudo_labels(localizer(), images, path, "csv", class_ids=class_ids)
        (row,) = rows(path)
        assert boxes_in(path) == {"0": [box]}
        assert (row["class"], row["class_id"]) == (CLASSES[class_id], str(class_id))
        logits = 200 * 144 / 864, 150 * 32 / 864, 0
        expected = np.exp(logits[class_id]) / np.exp(logits).sum()
        assert float(row["score"]) == pytest.approx(expected, abs=1e-6)


def test_low_scores_are_left_out(tmp_path):
    images, *_ = two_colors()
    path = tmp_path / "x.csv"
    # exp(150 * 32 / 864) / (exp(200 * 144 / 864) + ...) is about 1e-12.
    for min_score, left_out in ((0.01, (("0", "low score"),)), (0.0, ())):
        done = write_pseudo_labels(
            localizer(),
            images,
            path,
            "csv",
            class_ids="known",
            min_score=min_score,
            overwrite=True,
        )
        assert done.left_out == left_out
        assert len(rows(path)) == done.num_boxes == 1 - len(left_out)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp"])
@pytest.mark.parametrize("orientation", ["exif", "stored"])
def test_images_that_trainers_turn_otherwise_are_left_out(
    suffix, orientation, tmp_path
):
    """OpenCV turns all three by their EXIF tag, a data set JPEG alone, if at all."""
    paths = [tmp_path / f"{tag}{suffix}" for tag in (1, 3, 6)]
    for path, tag in zip(paths, (1, 3, 6), strict=True):
        tags = Image.Exif()
        tags[0x0112] = tag
        image = Image.fromarray(draw((24, 36), (0, 200, (12, 8, 24, 16))))
        image.save(path, exif=tags)
        assert cv2.imread(path).shape == ((36, 24, 3) if tag == 6 else (24, 36, 3))
    images = dataclasses.replace(
        two_colors(3)[0],
        images=None,
        paths=np.array(paths, str),
        orientation=orientation,
    )
    done = write_pseudo_labels(localizer(), images, tmp_path / "x", "yolo")
    ours = (suffix, orientation) == (".jpg", "exif")
    names = [] if ours else [f"3{suffix}", f"6{suffix}"]
    assert done.left_out == tuple((name, "EXIF orientation") for name in names)
    assert done.class_ids.tolist() == ([0, 0, 0] if ours else [0, -1, -1])
    # A CSV file goes back into a data set, which reads them as this one did.
    done = write_pseudo_labels(localizer(), images, tmp_path / "x.csv", "csv")
    assert done.left_out == ()


@pytest.mark.parametrize("suffix", [".jpg", ".webp"])
def test_a_broken_tag_turns_nothing(suffix, tmp_path):
    tags = Image.Exif()
    tags[0x0112] = 6
    image = Image.fromarray(draw((24, 36), (0, 200, (12, 8, 24, 16))))
    path = tmp_path / f"x{suffix}"
    image.save(path, exif=tags)
    text = path.read_bytes()
    start = text.index(tags.tobytes()[6:10])
    path.write_bytes(text[:start] + b"??" + text[start + 2 :])
    done = write_pseudo_labels(localizer(), path, tmp_path / "x", "yolo")
    assert done.left_out == ()


def test_the_box_of_every_component(tmp_path):
    large, small = (0, 0, 12, 12), (20, 4, 28, 16)
    image = draw((24, 36), (2, 200, large), (2, 180, small))
    images = dataclasses.replace(two_colors()[0], images=image[None])
    path = tmp_path / "x.csv"
    done = write_pseudo_labels(localizer(max_boxes=3), images, path, "csv")
    assert boxes_in(path) == {"0": [large, small]}
    assert (done.num_boxes, done.num_images) == (2, 1)
    # 12 x 12 cells but for a corner; 8 x 12 of a lower map, with more of each cut off.
    of_boxes = [1.0, 84 / 143]
    assert [float(row["score"]) for row in rows(path)] == pytest.approx(
        of_boxes, abs=1e-6
    )
    few = {"cam_threshold": 0.5, "max_boxes": 3, "min_share": 0.7}
    done = write_pseudo_labels(localizer(**few), images, tmp_path / "few.csv", "csv")
    assert boxes_in(done.path) == {"0": [large]}


def test_files_and_folders_that_nobody_sorted(root, tmp_path):
    first, *_ = IMAGES[0]
    given = [root / first, root / CLASSES[2]]
    done = write_pseudo_labels(localizer(), given, tmp_path / "x.json")
    assert (done.num_images, done.num_boxes) == (3, 2)
    coco = json.loads(done.path.read_text("utf-8"))
    assert [category["name"] for category in coco["categories"]] == [*CLASSES]
    # In the order given: the one file first.
    assert [image["file_name"] for image in coco["images"]] == [first, IMAGES[5][0]]
    assert hidden(tmp_path) == []
    with pytest.raises(ValueError, match="must know the classes of 'images' in their"):
        write_pseudo_labels(localizer(), root, tmp_path / "y.json", class_ids="known")
    with pytest.raises(ValueError, match="There must be an image in"):
        write_pseudo_labels(localizer(), [], tmp_path / "z.json")


def test_a_model_without_class_names(tmp_path):
    images, *_ = two_colors()
    nameless = localizer(class_names=None)
    for names, expected in ((CLASSES, CLASSES[0]), (("a", "b"), "class 0")):
        path = tmp_path / f"{expected[:3]}.csv"
        other = dataclasses.replace(images, class_names=names)
        write_pseudo_labels(nameless, other, path, "csv")
        assert rows(path)[0]["class"] == expected


@pytest.fixture
def stop_after(monkeypatch):
    """Kills a job after some batches: nothing behind the journal is run."""

    def stop(batches):
        begun = []

        def append(journal, entries, append=labels._Journal.append):
            if len(begun) == batches:
                raise KeyboardInterrupt
            begun.append(append(journal, entries))

        monkeypatch.setattr(labels._Journal, "append", append)

    yield stop
    monkeypatch.undo()


def test_a_killed_job_loses_nothing(root, tmp_path, stop_after, monkeypatch):
    whole = write(root, tmp_path / "whole.csv", format="csv")
    path, journal = tmp_path / "x.csv", tmp_path / ".x.csv.jsonl"
    stop_after(1)
    with pytest.raises(KeyboardInterrupt):
        write(root, path, format="csv")
    monkeypatch.undo()
    assert not path.exists()
    # What is done is not read again, but for its size.
    images = opened(root)
    for name in images.paths[:3]:
        (root / name).write_bytes(bytes((root / name).stat().st_size))
    # As if it had been killed in the middle of a line.
    assert len(journal.read_text().splitlines()) == 4
    journal.write_bytes(journal.read_bytes() + b'{"path": "on')
    options = {"class_ids": "known", "batch_size": 3}
    done = write_pseudo_labels(localizer(), images, path, "csv", **options)
    assert path.read_bytes() == whole.path.read_bytes()
    assert done.left_out_path.read_bytes() == whole.left_out_path.read_bytes()
    assert (done.num_boxes, done.left_out) == (6, whole.left_out)
    assert hidden(tmp_path) == []


def test_a_job_killed_while_it_writes_only_writes(tmp_path, monkeypatch):
    images, *_ = two_colors(count=4)
    path, job = tmp_path / "x.csv", {"format": "csv", "batch_size": 3}

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(labels, "_write_list", killed)
        with pytest.raises(KeyboardInterrupt):
            write_pseudo_labels(localizer(), images, path, **job)
    monkeypatch.setattr(labels, "_find", killed)
    assert write_pseudo_labels(localizer(), images, path, **job).num_boxes == 4
    assert len(rows(path)) == 4


def test_the_journal_of_another_job_is_not_taken(tmp_path, stop_after, monkeypatch):
    images, *_ = two_colors(count=4)
    job = {"format": "csv", "batch_size": 3, "class_ids": "known"}
    path = tmp_path / "x.csv"
    stop_after(1)
    with pytest.raises(KeyboardInterrupt):
        write_pseudo_labels(localizer(), images, path, **job)
    monkeypatch.undo()
    biased = localizer(top_k=1)
    biased.model.layers[-1].weights[1].assign([0.0, 0.0, 1e-3])
    others = {
        "min_score": (localizer(), images, {"min_score": 0.5}),
        "class_ids": (localizer(), images, {"class_ids": "predicted"}),
        "images": (localizer(), images.take(np.arange(4)[::-1], "all"), {}),
        "model": (localizer(cam_threshold=0.25), images, {}),
        "another model": (localizer(max_boxes=3), images, {}),
        " model": (localizer(score_map="channel_mean"), images, {}),
        "model.": (biased, images, {}),
    }
    for what, (model, dataset, options) in others.items():
        with pytest.raises(ValueError, match=f"interrupted job with.*{what}"):
            write_pseudo_labels(model, dataset, path, **{**job, **options})
    # Another format, or size of batches, is no other job.
    write_pseudo_labels(localizer(), images, path, **{**job, "batch_size": 2})
    assert len(rows(path)) == 4


def test_other_files_of_the_same_names_are_another_job(
    root, tmp_path, stop_after, monkeypatch
):
    path = tmp_path / "x.csv"
    images = opened(root)
    elsewhere = write_images(tmp_path / "elsewhere")
    others = [
        data.image_folder(elsewhere, class_names=CLASSES),
        dataclasses.replace(images, orientation="stored"),
    ]
    options = {"class_ids": "known", "batch_size": 3}
    stop_after(1)
    with pytest.raises(KeyboardInterrupt):
        write_pseudo_labels(localizer(), images, path, "csv", **options)
    monkeypatch.undo()
    for other in others:
        with pytest.raises(ValueError, match="job with another images"):
            write_pseudo_labels(localizer(), other, path, "csv", **options)
    first = root / IMAGES[0][0]
    first.write_bytes(first.read_bytes() + b"\0")
    with pytest.raises(ValueError, match="job with another images"):
        write_pseudo_labels(localizer(), images, path, "csv", **options)


def test_a_file_that_breaks_later_is_named(root, tmp_path):
    images = opened(root)
    broken = next(path for path in images.paths if "two" in path)
    with open(broken, "r+b") as file:  # noqa: PTH123
        file.truncate(60)
    with pytest.raises(Exception, match="two, 2"):
        write_pseudo_labels(localizer(), images, tmp_path / "x.json", batch_size=3)
    assert not (tmp_path / "x.json").exists()


def test_a_list_of_another_is_not_replaced_unasked(tmp_path):
    images, *_ = two_colors(count=4)
    path, left_out = tmp_path / "x.csv", tmp_path / "x.csv.left_out.csv"
    job = {"format": "csv", "batch_size": 3}
    left_out.write_text("mine")
    with pytest.raises(FileExistsError, match=r"x\.csv\.left_out\.csv exists"):
        write_pseudo_labels(localizer(), images, path, **job)
    assert left_out.read_text() == "mine"


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
    path, way_out = tmp_path / "x.json", r"\. Rename the file or its folder"
    images, *_ = two_colors(paths=np.array([f"two/{name}", "two/x.jpg"]), count=2)
    with pytest.raises(ValueError, match=f"name of an image must.*{shown}{way_out}"):
        write_pseudo_labels(localizer(), images, path, images_root="two")
    nameless = localizer(class_names=None)
    images = dataclasses.replace(two_colors()[0], class_names=("owl", name, "x"))
    with pytest.raises(ValueError, match=f"name of a class must.*{shown}.*other `cl"):
        write_pseudo_labels(nameless, images, path)
    assert list(tmp_path.iterdir()) == []


def test_yolo_needs_other_names_than_images(tmp_path):
    paths = np.array(["cub/images/1.jpg", "cub/x/images.jpg"])
    images, *_ = two_colors(paths=paths, count=2)
    with pytest.raises(ValueError, match=r"'images/1\.jpg'\. Choose `images_root`"):
        write_pseudo_labels(localizer(), images, tmp_path / "x", format="yolo")
    assert list(tmp_path.iterdir()) == []
    some = images.take([0], "all")
    done = write_pseudo_labels(localizer(), some, tmp_path / "x", format="yolo")
    assert done.images_root.as_posix() == "cub/images"


def test_batches_change_nothing(written, tmp_path):
    root, done = written
    write(root, tmp_path / "x.csv", format="csv", batch_size=32)
    assert (tmp_path / "x.csv").read_bytes() == done["csv"].path.read_bytes()


def test_labels_are_replaced_as_a_whole_if_asked(tmp_path, monkeypatch):
    images, *_ = two_colors(count=2)
    options = {"class_ids": "known", "batch_size": 3}

    def again(name, **changes):
        return write_pseudo_labels(
            localizer(), images, tmp_path / name, **options | changes
        )

    for form, name in (("yolo", "yolo"), ("csv", "x.csv")):
        again(name, format=form)
        with pytest.raises(FileExistsError, match="or pass `overwrite=True`"):
            again(name, format=form)
        done = again(name, format=form, min_score=1.0, overwrite=True)
        assert (done.num_boxes, len(rows(done.left_out_path))) == (0, 2)
        files = [p for p in (tmp_path / "yolo").rglob("*.txt") if p.is_file()]
        assert sorted(p.name for p in files) == ["classes.txt", "train.txt", "val.txt"]
    with pytest.raises(FileExistsError, match=r"x\.csv does not hold our labels"):
        again("x.csv", format="yolo", overwrite=True)

    def fail(*_):
        raise OSError("no space left")

    before = (tmp_path / "x.csv").read_bytes()
    broken = dataclasses.replace(LABEL_FORMATS["csv"], write=fail)
    monkeypatch.setitem(LABEL_FORMATS, "csv", broken)
    with pytest.raises(OSError, match="no space left"):
        again("x.csv", format="csv", overwrite=True)
    assert (tmp_path / "x.csv").read_bytes() == before


def test_images_share_no_name(root, tmp_path):
    first = root / IMAGES[0][0]
    Image.open(first).save(first.with_suffix(".bmp"))
    assert write(root, tmp_path / "x.json").num_boxes == 7
    for form in ("yolo", "voc"):
        with pytest.raises(ValueError, match=r"without.*one\.bmp', '.*one\.png'"):
            write(root, tmp_path / "x", format=form)
    images, *_ = two_colors(paths=np.array(["a", "a"]), count=2)
    with pytest.raises(ValueError, match=r"Received: \['a', 'a'\]"):
        write_pseudo_labels(localizer(), images, tmp_path / "y.json")


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"format": "xml"}, ValueError, "`format` must be one of"),
        ({"format": "csv"}, ValueError, r"`path` must end in '.csv' for format='csv'"),
        ({"class_ids": "true"}, ValueError, "`class_ids` must be one of"),
        ({"min_score": 1.5}, ValueError, "`min_score` must be a number in"),
        ({"batch_size": 0}, ValueError, "`batch_size` must be an integer >= 1"),
        ({"batch_size": 2.0}, TypeError, "`batch_size` must be an integer >= 1"),
        ({"images_root": "elsewhere"}, ValueError, "must be below one folder, `imag"),
    ],
)
def test_arguments(options, error, message, tmp_path):
    images, *_ = two_colors()
    with pytest.raises(error, match=message):
        write_pseudo_labels(localizer(), images, tmp_path / "x.json", **options)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.filterwarnings("ignore:.*cannot be read and")
def test_an_image_that_is_left_out_takes_no_name(tmp_path):
    root = tmp_path / "images"
    root.mkdir()
    image = draw((24, 36), (0, 200, (12, 8, 24, 16)))
    Image.fromarray(image).save(root / "a.png")
    (root / "a.jpg").write_bytes(b"")
    done = write_pseudo_labels(localizer(), root, tmp_path / "x", "voc")
    assert done.num_boxes == 1
    assert [path for path, _ in done.left_out] == ["a.jpg"]
    Image.fromarray(image).save(root / "a.jpg")
    with pytest.raises(ValueError, match=r"different names.*'a.jpg', 'a.png'"):
        write_pseudo_labels(localizer(), root, tmp_path / "y", "voc")
