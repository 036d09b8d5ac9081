"""`keras-wsol localize` with a localizer that sees each class in a channel."""

import json
import shutil
from collections import Counter
from pathlib import Path

import keras
import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from keras_wsol import labels, viz
from keras_wsol.cli import labels_command
from keras_wsol.models import class_names_of
from keras_wsol.viz.side_by_side import show_found
from tests.cli.calling import call, readme, rows
from tests.cli.drawn_pets import IMAGES

THRESHOLD = 0.4


def test_localize_as_the_readme_has_it(model, pets, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").symlink_to(pets.images)
    (tmp_path / "runs" / "birds").mkdir(parents=True)
    shutil.copy(model, tmp_path / "runs" / "birds" / "localizer.keras")
    shown = call(*readme("localize"), "--cam-threshold", THRESHOLD)
    assert shown.status == 0, shown.err
    found = json.loads((tmp_path / "boxes.json").read_text("utf-8"))
    left_out = rows(tmp_path / "boxes.json.left_out.csv")
    broken = {Path(path).relative_to(pets.images).as_posix() for path in pets.broken}
    everything = {
        path.relative_to(pets.images).as_posix() for path in pets.images.rglob("*.png")
    }
    assert {row["path"] for row in left_out if row["reason"] != "no box"} == broken
    labelled = {image["id"]: image["file_name"] for image in found["images"]}
    assert {*labelled.values(), *(row["path"] for row in left_out)} == everything
    assert len(labelled) == len(found["annotations"]) == IMAGES - len(left_out)
    assert f"{len(labelled)} boxes of {IMAGES} images" in shown.out
    assert f"Left out {len(left_out)} images; see boxes.json.left_out.csv" in shown.out

    localizer = keras.saving.load_model(model)
    localizer.cam_threshold = THRESHOLD
    first = found["annotations"][0]
    with Image.open(pets.images / labelled[first["image_id"]]) as image:
        expected = localizer(np.asarray(image)[None])
    x0, y0, width, height = first["bbox"]
    box = (x0, y0, x0 + width, y0 + height)
    np.testing.assert_allclose(box, expected["boxes"][0, 0], atol=0.02)

    pictures = sorted(path.name for path in (tmp_path / "look").iterdir())
    assert len(pictures) == 12 + 1
    assert pictures.pop() == "thresholds.png"
    # The model takes each image for some class; of each as many, as far as there are.
    shown = [name[5:] for name in pictures]
    classes = {Path(name).name: "left out" for name in everything - broken}
    for annotation in found["annotations"]:
        name = labelled[annotation["image_id"]]
        classes[Path(name).name] = annotation["category_id"]
    of_shown = Counter(classes[name] for name in shown)
    there = Counter(classes.values())
    assert set(of_shown) == set(there)
    least = min(of_shown.values())
    assert all(n in (least, least + 1, there[c]) for c, n in of_shown.items())


def test_localize_known_classes_of_one_folder_as_yolo(model, pets):
    out = pets.root / "labels"
    words = ("localize", "--model", model, "--out", out, "--class-ids", "known")
    shown = call(*words, "--format", "yolo", "--images", pets.images)
    assert shown.status == 0, shown.err
    assert f"yolo detect train data={out / 'data.yaml'}" in shown.out
    names = pets.train.class_names
    written = sorted(out.glob("*/*/*.txt"))
    assert len(written) > IMAGES / 2
    for path in written:
        assert path.read_text().split()[0] == str(names.index(path.parent.name))
    # The rule of Ultralytics: `labels` in place of the last folder called `images`.
    for split in ("train.txt", "val.txt"):
        listed = (out / split).read_text().splitlines()
        assert len(listed) >= 3
        for line in listed:
            image = str(out / line)
            assert Path(image).is_file()
            stem = "/labels/".join(image.rsplit("/images/", 1)).rpartition(".")[0]
            assert Path(f"{stem}.txt") in written
    words = (*words, "--format", "yolo", "--overwrite")
    shown = call(*words, "--images", pets.images, pets.broken[0])
    assert "--class-ids known needs one folder in --images" in shown.err


def test_a_killed_localize_loses_nothing(model, pets, monkeypatch):
    out, journal = pets.root / "killed.csv", pets.root / ".killed.csv.jsonl"
    words = ("localize", "--model", model, "--images", pets.images)
    words = (*words, "--out", out, "--batch-size", 8)
    append = labels._Journal.append

    def killed(self, entries):
        append(self, entries)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(labels._Journal, "append", killed)
        shown = call(*words)
    assert shown.status == 130
    assert "The same command again goes on where it was (train, loc" in shown.err
    assert len(journal.read_text().splitlines()) == 1 + 8
    begun = []
    find = labels._find
    monkeypatch.setattr(labels, "_find", lambda *a: begun.append(1) or find(*a))
    shown = call(*words)
    assert shown.status == 0, shown.err
    assert len(begun) == 2  # 14 of 22 readable images
    assert not journal.exists()
    left_out = rows(out.with_name("killed.csv.left_out.csv"))
    assert len(rows(out)) == IMAGES - len(left_out)


@pytest.fixture
def two_objects(tmp_path):
    """A folder with an image of two red rectangles, the second half as large."""
    image = np.zeros((24, 36, 3), "uint8")
    image[4:20, 4:12, 0] = image[8:16, 20:28, 0] = 200
    image[:4, 32:, 0] = 200
    (tmp_path / "photos").mkdir()
    Image.fromarray(image).save(tmp_path / "photos" / "1.png")
    return tmp_path / "photos"


@pytest.mark.parametrize(
    ("words", "boxes"),
    [
        ((), 1),
        (("--max-boxes", 5), 2),
        (("--max-boxes", 5, "--min-share", 0), 3),
        (("--max-boxes", 2, "--min-share", 0), 2),
    ],
)
def test_more_boxes_than_one(words, boxes, model, two_objects, tmp_path):
    given = ("--model", model, "--images", two_objects, "--cam-threshold", 0.5)
    shown = call("localize", *given, "--out", tmp_path / "x.csv", *words)
    assert shown.status == 0, shown.err
    found = rows(tmp_path / "x.csv")
    edges = [tuple(float(row[e]) for e in ("x0", "y0", "x1", "y1")) for row in found]
    expected = [(4, 4, 12, 20), (20, 8, 28, 16), (32, 0, 36, 4)]
    assert edges == expected[:boxes]
    scores = [float(row["score"]) for row in found]
    assert scores == sorted(scores, reverse=True)
    assert len(set(scores)) == boxes
    assert f" {boxes} box{'es' * (boxes > 1)} of 1 image," in shown.out


def test_pictures_show_class_score_and_threshold(
    model, two_objects, tmp_path, monkeypatch
):
    painted = []

    def kept(show):
        def keep(*args, **more):
            painted.append(show(*args, **more))
            return painted[-1]

        return keep

    monkeypatch.setattr(labels_command, "show_found", kept(show_found))
    monkeypatch.setattr(viz, "show_thresholds", kept(viz.show_thresholds))
    words = ("localize", "--model", model, "--images", two_objects)
    words = (*words, "--out", tmp_path / "x.csv", "--pictures", tmp_path / "look")
    words = (*words, "--cam-threshold", 0.35)
    assert call(*words).status == 0
    found, sheet = painted
    names = class_names_of(keras.saving.load_model(model).model)
    assert found.axes[0].get_title() == "threshold 0.35"
    assert [text.get_text() for text in found.axes[0].texts] == [f"{names[0]} (1.00)"]
    titles = ["0.1", "0.2", "0.3", "0.35 *", "0.4", "0.5", "0.6"]
    assert [axes.get_title() for axes in sheet.axes] == titles
    files = {path.name for path in (tmp_path / "look").iterdir()}
    assert files == {"0000-1.png", "thresholds.png"}

    (tmp_path / "x.csv").unlink()
    (tmp_path / "x.csv.left_out.csv").unlink()
    shown = call(*words)
    assert shown.status != 0
    assert "look is not an empty folder. Choose another" in shown.err
    assert not (tmp_path / "x.csv").exists()
    words = (*words[:-1], float(np.float32(0.3)))  # as `fit_localizer` finds it
    assert call(*words, "--overwrite").status == 0
    titles = ["0.1", "0.2", "0.3 *", "0.4", "0.5", "0.6"]
    assert [axes.get_title() for axes in painted[-1].axes] == titles


@pytest.mark.parametrize("painted", [0, 1])
def test_a_kill_among_the_pictures_loses_nothing(
    painted, model, two_objects, tmp_path, monkeypatch
):
    out, look = tmp_path / "x.csv", tmp_path / "look"
    words = ("localize", "--model", model, "--images", two_objects, "--out", out)
    left = [None] * painted
    savefig = Figure.savefig

    def save(figure, path):
        if not left:
            raise KeyboardInterrupt
        left.pop()
        savefig(figure, path)

    with monkeypatch.context() as patch:
        patch.setattr(Figure, "savefig", save)
        assert call(*words, "--pictures", look).status == 130
    monkeypatch.setattr(labels, "_find", None)  # nothing is found anew
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thresholds.png").touch()
    shown = call(*words, "--pictures", mine)
    assert "mine is not an empty folder" in shown.err
    shown = call(*words, "--pictures", look)
    assert shown.status == 0, shown.err
    assert "1 box of 1 image," in shown.out
    assert {path.name for path in look.iterdir()} == {"0000-1.png", "thresholds.png"}
    assert [path.name for path in tmp_path.iterdir() if path.name[0] == "."] == []
    assert "x.csv exists" in call(*words, "--pictures", look).err


def test_localize_into_one_folder(model, pets):
    words = ("localize", "--model", model, "--images", pets.images, "--flat")
    shown = call(*words, "--out", pets.root / "flat.csv")
    assert "--flat is for a folder. Received: --format csv" in shown.err
    shown = call(*words, "--out", pets.root / "flat", "--format", "voc")
    assert shown.status == 0, shown.err
    links = list((pets.root / "flat" / "JPEGImages").iterdir())
    assert len(links) > IMAGES / 2
    assert all(link.readlink().parent.parent == pets.images for link in links)
