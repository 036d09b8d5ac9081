"""`keras-wsol evaluate | localize | export` with a model that `train` wrote."""

import argparse
import inspect
import json
import shutil
from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image

from keras_wsol import data, export, labels
from keras_wsol.cli import evaluate_command
from tests.cli.calling import call, rows
from tests.cli.drawn_pets import IMAGES, SIZE
from tests.data.cub_layout import write_cub

THRESHOLD = 0.4


def test_evaluate(trained, pets):
    out = pets.root / "evaluated"
    shown = call(
        *("evaluate", "--model", trained.model, "--data", pets.images, "--only-val"),
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
    assert f"Measuring {len(measured)} images after tuning the" in shown.err
    listed = out / "verified.jsonl"
    assert f"Left out 2 files that cannot be read; see {listed}." in shown.err
    tuned = report["tuned"]["cam_threshold"]
    assert f"tuned: at {tuned:.3f}" in shown.out
    page = (out / "report.html").read_text("utf-8")
    assert page.count("data:image/jpeg") >= len(measured)
    assert {Path(row["path"]) for row in rows(out / "images.csv")} == {
        Path(path) for path in measured
    }


def test_evaluate_refuses_to_tune_on_what_it_measures(trained, pets):
    boxes, out = pets.root / "test.csv", pets.root / "not"
    shown = call(
        *("evaluate", "--model", trained.model, "--data", pets.images, "--out", out),
        *("--boxes", boxes, "--tune-on", boxes),
    )
    assert shown.status == 2
    assert "keras-wsol: error: " in shown.err
    assert "tune_on" in shown.err
    assert not (out / "report.json").exists()


def options(out, **given):
    return argparse.Namespace(**{"out": out, "tune_on": None, **given})


def test_splits_of_cub(tmp_path):
    write_cub(tmp_path)

    def splits(tune_on):
        given = options(tmp_path / "out", data=tmp_path, tune_on=tune_on)
        return [x and x.split for x in evaluate_command._of_cub(given)]

    assert splits(None) == ["test", "train-fullsup"]
    assert splits("train") == ["test", "train"]
    assert splits("none") == ["test", None]


def test_only_val_needs_a_box_in_it(pets, tmp_path):
    boxes = tmp_path / "none.csv"
    shown = next(p for p in pets.train.paths if p not in pets.broken)
    boxes.write_text(f"path,x0,y0,x1,y1\n{Path(shown).name},1,2,3,4\n")
    given = {"data": pets.images, "boxes": boxes, "tune_on": "none"}
    with pytest.raises(ValueError, match="must have boxes of images in the validation"):
        evaluate_command._of_folder(options(tmp_path, only_val=True, **given), None)
    test, tune_on = evaluate_command._of_folder(
        options(tmp_path, only_val=False, **given), None
    )
    assert (len(test), tune_on) == (1, None)


def test_localize(trained, pets):
    out, look = pets.root / "boxes.csv", pets.root / "look"
    shown = call(
        *("localize", "--model", trained.model, "--images", pets.images, "--out", out),
        *("--cam-threshold", THRESHOLD, "--pictures", look, "--num-pictures", 5),
    )
    assert shown.status == 0, shown.err
    found, left_out = rows(out), rows(out.with_name("boxes.csv.left_out.csv"))
    broken = {Path(path).relative_to(pets.images).as_posix() for path in pets.broken}
    everything = {
        path.relative_to(pets.images).as_posix() for path in pets.images.rglob("*.png")
    }
    unread = {row["path"] for row in left_out if row["reason"] != "no box"}
    assert unread == broken
    assert len(found) == len({row["path"] for row in found}) == IMAGES - len(left_out)
    assert {row["path"] for row in (*found, *left_out)} == everything
    assert f"{len(found)} boxes of {IMAGES} images" in shown.out
    assert f"Left out {len(left_out)} images; see {out}.left_out.csv" in shown.out

    localizer = keras.saving.load_model(trained.model)
    localizer.cam_threshold = THRESHOLD
    with Image.open(pets.images / found[0]["path"]) as image:
        expected = localizer(np.asarray(image)[None])
    box = [float(found[0][edge]) for edge in ("x0", "y0", "x1", "y1")]
    np.testing.assert_allclose(box, expected["boxes"][0, 0], atol=0.02)

    pictures = sorted(look.iterdir())
    readable = sorted(everything - broken)[:5]
    assert [path.name[5:] for path in pictures] == [
        Path(name).name for name in readable
    ]
    assert readable[0] == found[0]["path"]
    with Image.open(pictures[0]) as picture:
        assert picture.size == SIZE[::-1]
        x0, y0 = (int(edge + 0.5) for edge in box[:2])
        assert picture.getpixel((x0, y0)) == (0, 255, 0)


@pytest.mark.slow
def test_localize_known_classes_of_one_folder_as_yolo(trained, pets):
    out = pets.root / "labels"
    words = ("localize", "--model", trained.model, "--out", out, "--class-ids", "known")
    shown = call(*words, "--format", "yolo", "--images", pets.images)
    assert shown.status == 0, shown.err
    names = pets.train.class_names
    written = sorted(out.glob("*/*/*.txt"))
    assert len(written) > IMAGES / 2
    for path in written:
        assert path.read_text().split()[0] == str(names.index(path.parent.name))
    shown = call(*words, "--overwrite", "--images", pets.images, pets.broken[0])
    assert "--class-ids known needs one folder in --images" in shown.err


@pytest.mark.slow
def test_a_killed_localize_loses_nothing(trained, pets, monkeypatch):
    out, journal = pets.root / "killed.csv", pets.root / ".killed.csv.jsonl"
    words = ("localize", "--model", trained.model, "--images", pets.images)
    words = (*words, "--out", out, "--batch-size", 8)
    append = labels._Journal.append

    def killed(self, entries):
        append(self, entries)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(labels._Journal, "append", killed)
        shown = call(*words)
    assert shown.status == 130
    assert "The same command goes on after the last batch." in shown.err
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


def test_export(trained, tmp_path, monkeypatch):
    """What the three functions are given; test_saved_model.py reads what they write."""
    given = []
    for name in ("export_saved_model", "export_litert", "export_onnx"):

        def write(localizer, path, name=name, **more):
            given.append((name, localizer.cam_threshold, path, more))

        monkeypatch.setattr(export, name, write)
    report = tmp_path / "report.json"
    report.write_text('{"split": "val", "fixed": {"top1_cls": 0.5}}')
    out = tmp_path / "x"
    words = ("export", "--model", trained.model, "--out", out)
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
    parameters = inspect.signature(data.images.read_image).parameters
    default = {"features": False, "max_pixels": parameters["max_pixels"].default}
    assert given == [
        (
            *("export_saved_model", 0.2, out),
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
        ("export_litert", 0.2, out, {}),
        ("export_onnx", 0.2, out, {}),
    ]
