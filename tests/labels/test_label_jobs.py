"""Jobs that are killed at any step, meet each other, or find files of others."""

import os
import shutil
import sys
import threading

import numpy as np
import pytest

from keras_wsol import labels
from keras_wsol.label_formats import WRITTEN
from keras_wsol.labels import check_output, write_pseudo_labels
from keras_wsol.models import Localizer, with_input_size
from tests.labels.rectangles import (
    BLACK,
    CLASSES,
    IMAGES,
    SIZE,
    localizer,
    write,
    write_images,
)
from tests.labels.test_pseudo_labels import hidden, rows, two_colors

pytestmark = pytest.mark.filterwarnings("ignore:.*cannot be read and")
CHANGES = {"os.rename", "os.remove", "os.link", "os.symlink", "os.mkdir", "os.rmdir"}
kill = {"below": None, "left": 0}


def strike(event, args):
    """Ends a job at its n-th change of a file, and whatever it would do after that."""
    other_thread = threading.current_thread() is not threading.main_thread()
    if kill["below"] is None or other_thread:
        return
    writes = event == "open" and args[2] & (os.O_WRONLY | os.O_RDWR)
    if (writes or event in CHANGES) and str(args[0]).startswith(kill["below"]):
        kill["left"] -= 1
        if kill["left"] < 0:
            raise KeyboardInterrupt


@pytest.fixture(scope="module", autouse=True)
def striking():
    sys.addaudithook(strike)  # for good: it cannot be taken away


def killed(below, step, job):
    """Whether a job was killed before its n-th change of a file, counted from 0."""
    kill.update(below=str(below), left=step)
    try:
        job()
    except KeyboardInterrupt:
        return True
    finally:
        kill["below"] = None
    return False


def content(folder):
    return {
        path.relative_to(folder).as_posix(): path.readlink()
        if path.is_symlink()
        else path.read_bytes()
        for path in folder.rglob("*")
        if path.is_symlink() or path.is_file()
    }


def is_done(out, whole):
    """Whether a job was killed when all was written, and its journal gone."""
    found = content(out)
    return {x: v for x, v in found.items() if not x.endswith(".lock")} == whole


def fill_as_others(folder):
    """What somebody may put into labels of YOLO: an image, a label, and more."""
    name = IMAGES[0][0]
    link = folder / "images" / name
    image = link.read_bytes()
    link.unlink()
    link.write_bytes(image)
    (folder / "labels" / "by hand.txt").write_text("0 0.5 0.5 1 1\n")
    (folder / "labels" / f"{CLASSES[2]}" / "black.txt").write_text("by hand")
    (folder / "images" / "by hand.png").symlink_to("nowhere")
    (folder / "runs" / "1").mkdir(parents=True)
    (folder / "runs" / "1" / "best.pt").write_text("weights")
    (folder / "labels" / f"{CLASSES[0]}.cache").touch()  # Ultralytics'


@pytest.mark.parametrize(("name", "form"), [("x.csv", "csv"), ("x", "yolo")])
@pytest.mark.parametrize("before", [pytest.param(False, marks=pytest.mark.slow), True])
@pytest.mark.parametrize("stride", [23, pytest.param(1, marks=pytest.mark.slow)])
def test_a_job_killed_at_any_step_goes_on(name, form, before, stride, tmp_path):
    root = write_images(tmp_path / "images")
    rest = {"format": form, "batch_size": 4, "overwrite": before}
    start, out = tmp_path / "start", tmp_path / "out"
    start.mkdir()
    if before:
        write(root, start / name, format=form, min_score=0.9)
        if form == "yolo":
            fill_as_others(start / name)

    def job():
        write(root, out / name, **rest, then=lambda _: (out / "then").touch())

    def begin():
        shutil.rmtree(out, ignore_errors=True)
        shutil.copytree(start, out, symlinks=True)

    begin()
    job()
    whole, step = content(out), 0
    begin()
    while killed(out, step, job):
        if is_done(out, whole):
            break  # but for letting go of the lock
        job()
        assert content(out) == whole, step
        assert hidden(out) == [], step
        step += stride
        begin()
    assert step > (30 if form == "yolo" else 12)


def test_what_others_put_among_labels_stays(tmp_path):
    root, path = write_images(tmp_path / "images"), tmp_path / "yolo"
    write(root, path, format="yolo")
    fresh = content(path)
    fill_as_others(path)
    before = content(path)
    for form in ("yolo", "voc", "yolo"):
        write(root, path, format=form, overwrite=True)
        assert hidden(tmp_path) == []
        after = content(path)
        others = {k: v for k, v in before.items() if k not in fresh}
        del others[f"labels/{CLASSES[0]}.cache"]
        others[f"images/{IMAGES[0][0]}"] = (root / IMAGES[0][0]).read_bytes()
        assert {k: after.get(k) for k in others} == others
    assert {k for k in after if k not in others} == {
        k for k in fresh if k not in others
    }
    # Of our own, nothing is left if nothing is labelled.
    black = [root / BLACK]
    write_pseudo_labels(localizer(), black, path, "yolo", overwrite=True)
    ours = {"data.yaml", "train.txt", "val.txt", "labels.csv", ".keras_wsol.json"}
    ours.add("classes.txt")
    assert content(path).keys() - ours == others.keys()


@pytest.mark.parametrize("form", ["yolo", "coco"])
def test_a_folder_that_is_not_ours_is_not_replaced(form, tmp_path):
    path = tmp_path / ("x.json" if form == "coco" else "x")
    path.mkdir()
    images, *_ = two_colors()
    write_pseudo_labels(localizer(), images, path, form, overwrite=True)
    path = path.with_name(f"y{path.suffix}")
    path.mkdir()
    (path / "mine").touch()
    with pytest.raises(FileExistsError, match=r"/y.* does not hold our labels. Choose"):
        write_pseudo_labels(localizer(), images, path, form, overwrite=True)
    assert [file.name for file in path.iterdir()] == ["mine"]


def test_what_is_there_is_seen_at_once(tmp_path):
    (tmp_path / "x.csv").symlink_to("nowhere")
    with pytest.raises(FileExistsError, match=r"x\.csv exists"):
        check_output(tmp_path / "x.csv", "csv", False)
    # As a kill between the two renames of an `overwrite=True` leaves labels.
    (tmp_path / ".x.old").mkdir()
    with pytest.raises(FileExistsError, match=r"/x exists"):
        check_output(tmp_path / "x", "yolo", False)


@pytest.mark.parametrize("name", ["x.csv", "x.csv.left_out.csv"])
@pytest.mark.parametrize("put", ["file", "link"])
def test_what_comes_meanwhile_is_not_replaced_unasked(name, put, tmp_path, monkeypatch):
    images, *_ = two_colors(count=2)
    late, append, found = tmp_path / name, labels._Journal.append, []

    def meanwhile(self, entries):
        append(self, entries)
        if not os.path.lexists(late):
            late.write_text("theirs") if put == "file" else late.symlink_to("nowhere")

    def job():
        return write_pseudo_labels(localizer(), images, tmp_path / "x.csv", "csv")

    monkeypatch.setattr(labels._Journal, "append", meanwhile)
    for _ in range(2):
        with pytest.raises(FileExistsError, match=f"{name} exists"):
            job()
    assert late.is_symlink() or late.read_text() == "theirs"
    late.unlink()
    monkeypatch.undo()
    monkeypatch.setattr(labels, "_find", lambda *_: found.append(1))
    assert job().num_boxes == 2
    assert found == []  # only what was left to be written
    assert hidden(tmp_path) == []


def test_a_second_job_is_refused_while_the_first_is_at_work(tmp_path, monkeypatch):
    images, *_ = two_colors(count=4)
    path, refused, append = tmp_path / "x.csv", [], labels._Journal.append

    def job(some=images, **options):
        return write_pseudo_labels(localizer(), some, path, "csv", **options)

    def meanwhile(self, entries):
        append(self, entries)
        others = (
            job,
            lambda: job(images.take([0], "all"), overwrite=True),
            lambda: job(images, class_ids="known"),
            lambda: check_output(path, "csv", True),
        )
        for other in others:
            with pytest.raises(FileExistsError, match=r"Another job is.*x\.csv"):
                other()
            refused.append(other)

    monkeypatch.setattr(labels._Journal, "append", meanwhile)
    assert job(batch_size=3).num_boxes == 4
    assert len(refused) >= 8
    assert len(rows(path)) == 4
    assert hidden(tmp_path) == []


def test_images_are_not_taken_from_the_output(tmp_path):
    root = write_images(tmp_path / "images")
    done = write_pseudo_labels(localizer(), root, root / "labels", "voc")
    with pytest.raises(ValueError, match=r"labels must not hold.*JPEGImages"):
        write_pseudo_labels(localizer(), root, done.path, "voc", overwrite=True)
    assert len(list((done.path / "Annotations").rglob("*.xml"))) == len(IMAGES)


def test_flat_folders(tmp_path):
    root = write_images(tmp_path / "images")
    names = sorted(name.rpartition("/")[2] for name, *_ in IMAGES)
    for form, links, folder in (
        ("yolo", "images", "labels"),
        ("voc", "JPEGImages", "Annotations"),
    ):
        done = write(root, tmp_path / form, format=form, flat=True)
        linked = {p.name: p.readlink() for p in (done.path / links).iterdir()}
        assert linked == {n.rpartition("/")[2]: root / n for n, *_ in IMAGES}
        stems = sorted(p.stem for p in (done.path / folder).iterdir())
        assert stems == sorted(name.rpartition(".")[0] for name in names)
        # What is left out is named as it is below the root.
        assert all("/" in name for name, _ in done.left_out)
    lines = [
        line
        for split in ("train", "val")
        for line in (tmp_path / "yolo" / f"{split}.txt").read_text().splitlines()
    ]
    assert sorted(lines) == [f"./images/{name}" for name in names]
    images, *_ = two_colors(paths=np.array(["a/1.jpg", "b/1.png", "2.jpg"]), count=3)
    with pytest.raises(ValueError, match=r"Received: \['a/1\.jpg', 'b/1\.png'\]"):
        write_pseudo_labels(localizer(), images, tmp_path / "z", "voc", flat=True)
    with pytest.raises(ValueError, match="`flat` is for a folder"):
        write_pseudo_labels(localizer(), images, tmp_path / "z.csv", "csv", flat=True)


@pytest.mark.parametrize("text", [b"\0\0\n", b"null\n", b"[1]\n"])
def test_a_damaged_journal_is_named_with_the_way_out(text, tmp_path):
    root, path = write_images(tmp_path / "images"), tmp_path / "x.csv"
    journal = labels.journal_of(path).path
    journal.write_bytes(text)
    with pytest.raises(ValueError, match=f"{journal}.*If it is damaged, delete it"):
        write(root, path, format="csv")
    assert journal.read_bytes() == text


@pytest.mark.parametrize("text", ["", "[1]", "\0"])
def test_a_damaged_list_of_what_is_ours_is_named(text, tmp_path):
    root, path = write_images(tmp_path / "images"), tmp_path / "yolo"
    write(root, path, format="yolo")
    (path / WRITTEN).write_text(text)
    with pytest.raises(ValueError, match=rf"{WRITTEN}.*damaged, move .*yolo away"):
        write(root, path, format="yolo", overwrite=True)


def test_the_same_weights_at_another_size_are_another_model():
    model = localizer().model
    sized = [Localizer(with_input_size(model, size)) for size in (SIZE, (48, 72))]
    first, other = (labels._digest_of_model(each, CLASSES) for each in sized)
    assert first == labels._digest_of_model(Localizer(model), CLASSES)
    assert first != other
