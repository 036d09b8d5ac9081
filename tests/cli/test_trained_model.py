"""`keras-wsol evaluate | localize | export` with a model that `train` wrote."""

import argparse
import json
import shutil
from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image

from keras_wsol import data, labels
from keras_wsol.cli import trained_model
from tests.cli.calling import call, readme, rows
from tests.cli.drawn_pets import IMAGES, SIZE
from tests.data.cub_layout import write_cub

THRESHOLD = 0.4


def test_evaluate(model, pets):
    out = pets.root / "evaluated"
    shown = call(
        *("evaluate", "--model", model, "--data", pets.images, "--only-val"),
        *("--boxes", pets.root / "test.csv", "--tune-on", pets.root / "tune.csv"),
        *("--cam-threshold", THRESHOLD, "--out", out),
    )
    assert shown.status == 0, shown.err
    report = json.loads((out / "report.json").read_text())
    boxed = {row["path"] for row in rows(pets.root / "test.csv")}
    of_val = [path for path in pets.val.paths if Path(path).name in boxed]
    measured = set(of_val) - set(pets.broken)
    assert report["num_images"] == len(measured) == len(of_val) - 1 > 0
    assert (report["split"], report["view"]) == ("val", "whole")
    assert report["fixed"]["cam_threshold"] == pytest.approx(THRESHOLD)
    assert f"Measuring {len(measured)} images ..." in shown.err
    listed = out / "verified.jsonl"
    assert f"Left out 2 files that cannot be read; see {listed}." in shown.err
    tuned = report["tuned"]["cam_threshold"]
    assert f"pass on --cam-threshold {tuned:.3f}" in shown.out
    page = (out / "report.html").read_text("utf-8")
    assert page.count("data:image/jpeg") >= len(measured)
    assert {Path(row["path"]) for row in rows(out / "images.csv")} == {
        Path(path) for path in measured
    }


def test_evaluate_refuses_to_tune_on_what_it_measures(model, pets):
    boxes, out = pets.root / "test.csv", pets.root / "not"
    shown = call(
        *("evaluate", "--model", model, "--data", pets.images, "--out", out),
        *("--boxes", boxes, "--tune-on", boxes),
    )
    assert shown.status == 2
    assert "keras-wsol: error: " in shown.err
    assert "tune_on" in shown.err
    assert not (out / "report.json").exists()


def splits(out, **given):
    """What is measured, and what the threshold is chosen on."""
    given = {"out": out, "tune_on": None, "dataset": "folder", **given}
    return trained_model._splits(argparse.Namespace(**given), None)


def test_splits_of_cub(tmp_path):
    write_cub(tmp_path)

    def names(tune_on):
        given = {"dataset": "cub", "data": tmp_path, "tune_on": tune_on}
        return [x and x.split for x in splits(tmp_path / "out", **given)]

    assert names(None) == ["test", "train-fullsup"]
    assert names("train") == ["test", "train"]
    assert names("none") == ["test", None]


def test_only_val_needs_a_box_in_it(pets, tmp_path):
    boxes = tmp_path / "none.csv"
    shown = next(p for p in pets.train.paths if p not in pets.broken)
    boxes.write_text(f"path,x0,y0,x1,y1\n{Path(shown).name},1,2,3,4\n")
    given = {"data": pets.images, "boxes": boxes, "tune_on": "none"}
    with pytest.raises(ValueError, match="must have boxes of images in the validation"):
        splits(tmp_path, only_val=True, **given)
    test, tune_on = splits(tmp_path, only_val=False, **given)
    assert (len(test), tune_on) == (1, None)


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

    pictures = sorted((tmp_path / "look").iterdir())
    readable = sorted(everything - broken)[:12]
    assert [path.name[5:] for path in pictures] == [
        Path(name).name for name in readable
    ]
    assert readable[0] == labelled[first["image_id"]]
    with Image.open(pictures[0]) as picture:
        assert picture.size == SIZE[::-1]
        x0, y0 = (int(edge + 0.5) for edge in box[:2])
        assert picture.getpixel((x0, y0)) == (0, 255, 0)


def test_localize_known_classes_of_one_folder_as_yolo(model, pets):
    out = pets.root / "labels"
    words = ("localize", "--model", model, "--out", out, "--class-ids", "known")
    shown = call(*words, "--format", "yolo", "--images", pets.images)
    assert shown.status == 0, shown.err
    names = pets.train.class_names
    written = sorted(out.glob("*/*/*.txt"))
    assert len(written) > IMAGES / 2
    for path in written:
        assert path.read_text().split()[0] == str(names.index(path.parent.name))
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


def test_given_images(pets, tmp_path):
    source = next(p for p in pets.train.paths if p not in pets.broken)
    for name in ("cats/1.png", "cats/deep/2.png", "dogs/3.png", "4.png", "dogs/no.txt"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, path)

    def opened(*names):
        paths = [tmp_path / name for name in names]
        images = labels.open_images(paths, tmp_path / "verified.jsonl")
        return [Path(path).relative_to(tmp_path).as_posix() for path in images.paths]

    assert opened("") == ["4.png", "cats/1.png", "cats/deep/2.png", "dogs/3.png"]
    assert opened("4.png") == ["4.png"]
    assert opened("dogs", "4.png", "cats") == [
        *("dogs/3.png", "4.png", "cats/1.png", "cats/deep/2.png")
    ]


@pytest.mark.parametrize("as_folder", [False, True])
def test_given_images_are_upright(as_folder, tmp_path):
    # A tall picture that the camera stored lying, as its EXIF tag 6 says.
    upright = np.zeros((40, 24, 3), "uint8")
    upright[:20] = 255
    tags = Image.Exif()
    tags[0x0112] = 6
    for name in ("a.jpg", "b.jpg"):
        stored = Image.fromarray(np.rot90(upright))
        stored.save(tmp_path / name, exif=tags, quality=95)
    paths = [tmp_path] if as_folder else [tmp_path / "a.jpg", tmp_path / "b.jpg"]
    images = labels.open_images(paths, tmp_path / "verified.jsonl")
    assert images.sizes.tolist() == [[40, 24]] * 2
    np.testing.assert_allclose(images.image(0), upright.astype(float), atol=20)


def test_export(model, tmp_path, monkeypatch):
    """What the three functions are given; test_saved_model.py reads what they write."""
    given = []
    for name in ("export_saved_model", "export_litert", "export_onnx"):

        def write(localizer, path, name=name, **more):
            given.append((name, localizer.cam_threshold, path, more))

        monkeypatch.setattr(trained_model, name, write)
    report = tmp_path / "report.json"
    report.write_text('{"split": "val", "fixed": {"top1_cls": 0.5}}')
    out = tmp_path / "x"
    words = ("export", "--model", model, "--out", out)
    for more in (
        ("--report", report, "--features", "--max-pixels", 1000),
        ("--overwrite", "--cam-threshold", THRESHOLD),
        ("--format", "litert"),
        ("--format", "onnx"),
    ):
        shown = call(*words, *more)
        assert shown.status == 0, shown.err
        assert shown.out == f"Wrote {out}.\n"
    metrics = {"split": "val", "fixed": {"top1_cls": 0.5}}
    limit = data.images.MAX_PIXELS
    default = {"features": False, "max_pixels": limit}
    assert given == [
        (
            *("export_saved_model", 0.5, out),
            {
                "overwrite": False,
                "features": True,
                "max_pixels": 1000,
                "metrics": metrics,
            },
        ),
        (
            *("export_saved_model", THRESHOLD, out),
            {"overwrite": True, "metrics": None, **default},
        ),
        ("export_litert", 0.5, out, {}),
        ("export_onnx", 0.5, out, {}),
    ]
