"""`keras-wsol evaluate | export` with a model that `train` wrote."""

import argparse
import io
import json
import os
import shutil
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image

from keras_wsol import data, labels
from keras_wsol.cli import command_line, trained_model
from tests.cli.calling import call, rows
from tests.data.cub_layout import write_cub

THRESHOLD = 0.4


@pytest.fixture(scope="module")
def evaluated(model, pets):
    """What `evaluate --save` said, wrote, and made of a copy of the model."""
    folder = pets.root / "saved"
    folder.mkdir()
    shutil.copy(model, folder / "localizer.keras")
    seen = [os.path.realpath(path) for path in pets.train.paths]
    (folder / "trained_on.txt").write_text("\n".join(["/else.png", *seen]) + "\n")
    words = ("evaluate", "--model", folder / "localizer.keras", "--data", pets.images)
    shown = call(
        *(*words, "--only-val", "--boxes", pets.root / "test.csv"),
        *("--tune-on", pets.root / "tune.csv", "--save"),
        *("--cam-threshold", THRESHOLD, "--out", folder / "test"),
    )
    assert shown.status == 0, shown.err
    shown.out_folder, shown.model = folder / "test", folder / "localizer.keras"
    shown.report = json.loads((shown.out_folder / "report.json").read_text())
    boxed = {row["path"] for row in rows(pets.root / "test.csv")}
    of_val = [path for path in pets.val.paths if Path(path).name in boxed]
    shown.measured = set(of_val) - set(pets.broken)
    assert len(shown.measured) == len(of_val) - 1 > 0
    return shown


def test_evaluate(evaluated):
    report, out = evaluated.report, evaluated.out_folder
    count = len(evaluated.measured)
    assert report["num_images"] == count
    assert (report["split"], report["view"]) == ("val", "whole")
    assert report["fixed"]["cam_threshold"] == pytest.approx(THRESHOLD)
    assert report["score_map"] == "CAM(negative_weights=True)"
    assert f"Measuring {count} images ..." in evaluated.err
    listed = out / "verified.jsonl"
    assert f"Left out 2 files that cannot be read; see {listed}." in evaluated.err
    page = (out / "report.html").read_text("utf-8")
    assert page.count("data:image/jpeg") >= count
    assert {Path(row["path"]) for row in rows(out / "images.csv")} == {
        Path(path) for path in evaluated.measured
    }


def test_a_tuned_threshold_is_saved_into_the_model(evaluated, model):
    tuned = evaluated.report["tuned"]["cam_threshold"]
    assert f"a localizer with the threshold {tuned:.3f}, tuned on" in evaluated.out
    found = keras.saving.load_model(evaluated.model)
    assert found.cam_threshold == pytest.approx(tuned)
    assert found.notes["threshold"] == "tuned on 12 images of tune.csv by gt_known_loc"
    before = keras.saving.load_model(model)
    for one, other in zip(found.get_weights(), before.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    names = {path.name for path in evaluated.model.parent.iterdir()}
    assert names == {"localizer.keras", "test", "trained_on.txt"}


def test_saving_needs_what_a_threshold_is_chosen_on(evaluated, pets, tmp_path):
    words = ("evaluate", "--model", evaluated.model, "--data", pets.images, "--save")
    words += ("--boxes", pets.root / "test.csv", "--out", tmp_path / "out")
    shown = call(*words)
    assert "error: --save needs --tune-on" in shown.err
    shown = call(*words, "--tune-on", pets.root / "tune.csv", "--view", "center_crop")
    assert "error: --save needs --view whole" in shown.err
    assert not (tmp_path / "out").exists()


def test_a_classifier_is_not_replaced_by_a_localizer(evaluated, pets, tmp_path):
    path = tmp_path / "best.keras"
    keras.saving.load_model(evaluated.model).model.save(path)
    before = path.read_bytes()
    words = ("--boxes", pets.root / "test.csv", "--tune-on", pets.root / "tune.csv")
    words += ("--model", path, "--data", pets.images, "--out", tmp_path / "out")
    shown = call("evaluate", "--save", *words)
    assert shown.status == 2
    assert "best.keras, of a classifier, which would be lost" in shown.err
    assert path.read_bytes() == before
    assert not (tmp_path / "out").exists()


def test_images_that_were_trained_on_are_said(evaluated, pets, tmp_path):
    words = ("evaluate", "--model", evaluated.model, "--data", pets.images)
    shown = call(*words, "--boxes", pets.root / "test.csv", "--out", tmp_path)
    boxed = {row["path"] for row in rows(pets.root / "test.csv")}
    good = {*pets.train.paths, *pets.val.paths} - {*pets.broken}
    measured = {path for path in good if Path(path).name in boxed}
    count = len(measured & {*pets.train.paths})
    assert 0 < count < len(measured)
    listed = evaluated.model.parent / "trained_on.txt"
    said = f"Warning: {count} of the {len(measured)} images were trained on"
    assert f"{said} (see {listed})" in shown.err


def test_a_terminal_that_lacks_a_letter_shows_the_table(evaluated, monkeypatch):
    folder, written = evaluated.out_folder, io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, "ascii"))
    words = ["compare", "--reports", f"M\u00f6we={folder}", f"x={folder}"]
    assert command_line.main(words) == 0
    sys.stdout.flush()
    assert b"\n| M\\xf6we | 1 | " in written.getvalue()


def test_compare(evaluated, tmp_path):
    folder, table = evaluated.out_folder, tmp_path / "table.csv"
    words = (f"A={folder}", f"A={folder / 'report.json'}", folder)
    shown = call("compare", "--out", table, "--reports", *words)
    assert shown.status == 0, shown.err
    assert "\n| A | 2 | " in shown.out
    assert f"\n| {folder} | 1 | " in shown.out
    figures = {row["measure"]: float(row["share"]) for row in rows(table)[4:]}
    for name in ("top1_cls", "max_box_acc_v2"):
        assert figures[name] == pytest.approx(evaluated.report[name], abs=1e-4)
    tuned = evaluated.report["tuned"]["gt_known_loc"]
    assert figures["gt_known_loc"] == pytest.approx(tuned, abs=1e-4)
    shown = call("compare", "--reports", folder, tmp_path)
    assert f"error: {tmp_path} must be a folder with report.json" in shown.err
    assert "Nothing is at: no" in call("compare", "--reports", "A=no").err


def test_a_report_of_another_map_is_not_exported(evaluated, monkeypatch, tmp_path):
    given = []
    monkeypatch.setattr(
        trained_model, "export_saved_model", lambda *_, metrics, **__: given.append(1)
    )
    report = evaluated.out_folder / "report.json"
    words = ("export", "--model", evaluated.model, "--out", tmp_path / "1", "--report")
    assert call(*words, report).status == 0
    assert given == [1]
    shown = call(*words, report, "--cam-threshold", 0.9)
    assert "is of another localizer: the threshold was one of [" in shown.err
    other = tmp_path / "report.json"
    changed = {**evaluated.report, "score_map": "GradCAM()", "image_size": [9, 9]}
    other.write_text(json.dumps(changed))
    shown = call(*words, other)
    assert "score_map was GradCAM(), not CAM(negative_weights=True); image" in shown.err
    assert given == [1]


def test_evaluate_refuses_to_tune_on_what_it_measures(model, pets):
    boxes, out = pets.root / "test.csv", pets.root / "not"
    shown = call(
        *("evaluate", "--model", model, "--data", pets.images, "--out", out),
        *("--boxes", boxes, "--tune-on", boxes),
    )
    assert shown.status == 2
    assert "keras-wsol: error: " in shown.err
    assert "--tune-on" in shown.err
    assert not (out / "report.json").exists()


def splits(out, **given):
    """What is measured, and what the threshold is chosen on."""
    given = {"out": out, "tune_on": None, "dataset": "folder", **given}
    given = {"model": out / "model.keras", **given}
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


def test_only_val_leaves_out_what_was_learned_from(pets, tmp_path):
    """Also where images were added since, so that the split would be another."""
    root = tmp_path / "images"
    shutil.copytree(pets.images, root)
    whole = data.image_folder(root)
    learned = whole.paths[3:7].tolist()
    listed = "\n".join(map(os.path.realpath, learned))
    (tmp_path / "trained_on.txt").write_text(listed, "utf-8")
    boxes = tmp_path / "all.csv"
    lines = (f"{Path(path).relative_to(root)},1,2,3,4" for path in whole.paths)
    boxes.write_text("path,x0,y0,x1,y1\n" + "\n".join(lines), "utf-8")
    given = {"data": root, "boxes": boxes, "tune_on": "none"}
    test, _ = splits(tmp_path, only_val=True, **given)
    assert sorted({*whole.paths} - {*test.paths}) == sorted(
        str(root / x) for x in learned
    )


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
    metrics = {
        "model": keras.saving.load_model(model).model.name,
        "score_map": "CAM(negative_weights=True)",
        "image_size": list(keras.saving.load_model(model).input_size),
        "fixed": {"cam_threshold": 0.5},
    }
    report = tmp_path / "report.json"
    report.write_text(json.dumps(metrics))
    out = tmp_path / "x"
    words = ("export", "--model", model, "--out", out)
    for more in (
        ("--report", report, "--features", "--max-pixels", 1000),
        ("--overwrite", "--cam-threshold", THRESHOLD),
        ("--format", "litert"),
        ("--format", "onnx", "--overwrite"),
        ("--out", out.with_suffix(".tflite")),
        ("--out", out.with_suffix(".onnx")),
        ("--out", out.with_suffix(".ONNX")),
        ("--out", out.with_suffix(".onnx"), "--format", "saved_model"),
    ):
        shown = call(*words, *more)
        assert shown.status == 0, shown.err
        written = more[1] if more[0] == "--out" else out
        assert shown.out == f"Wrote {written}.\n"
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
        ("export_litert", 0.5, out, {"overwrite": False}),
        ("export_onnx", 0.5, out, {"overwrite": True}),
        # By the ending, where no format is named.
        ("export_litert", 0.5, out.with_suffix(".tflite"), {"overwrite": False}),
        ("export_onnx", 0.5, out.with_suffix(".onnx"), {"overwrite": False}),
        ("export_onnx", 0.5, out.with_suffix(".ONNX"), {"overwrite": False}),
        (
            *("export_saved_model", 0.5, out.with_suffix(".onnx")),
            {"overwrite": False, "metrics": None, **default},
        ),
    ]
    for more in (["--features"], ["--max-pixels", 1000], ["--report", report]):
        shown = call(*words, "--format", "litert", *more)
        assert shown.status == 2
        assert "--report are for a SavedModel, not litert" in shown.err
