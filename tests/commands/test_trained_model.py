"""`keras-wsol evaluate | localize | export` with a model that `train` wrote."""

import json
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from keras_wsol import data, models, viz
from keras_wsol.commands.given_images import given_images
from keras_wsol.commands.load_localizer import load_localizer
from keras_wsol.commands.measured_images import cub_splits, folder_splits
from keras_wsol.data.numpy_pipeline import MAX_PIXELS
from tests.commands.calling import call, rows
from tests.commands.drawn_pets import IMAGES, SIZE
from tests.data.cub_layout import write_cub

THRESHOLD = 0.4


def test_evaluate(trained, pets):
    out = pets.root / "evaluated"
    model = trained.out / "localizer.keras"
    shown = call(
        *("evaluate", "--model", model, "--data", pets.images, "--only-val"),
        *("--boxes", pets.root / "test.csv", "--tune-on", pets.root / "tune.csv"),
        *("--cam-threshold", THRESHOLD, "--out", out),
    )
    assert shown.status == 0, shown.err
    report = json.loads((out / "report.json").read_text())
    measured = {row["path"] for row in rows(pets.root / "test.csv")}
    of_val = [path for path in pets.val.paths if Path(path).name in measured]
    assert report["num_images"] == len(of_val) - 1 > 0
    assert report["num_skipped"] == 1
    assert (report["split"], report["view"]) == ("val", "whole")
    assert report["fixed"]["cam_threshold"] == pytest.approx(THRESHOLD)
    assert f"images, val, view whole, {report['num_images']} images" in shown.out
    tuned = report["tuned"]["cam_threshold"]
    assert f"tuned: at {tuned:.3f}" in shown.out
    page = (out / "report.html").read_text("utf-8")
    assert page.count("data:image/jpeg") >= len(of_val) - 1
    assert len(rows(out / "images.csv")) == len(of_val)


def test_evaluate_refuses_to_tune_on_what_it_measures(trained, pets):
    boxes = pets.root / "test.csv"
    shown = call(
        *("evaluate", "--model", trained.out / "localizer.keras"),
        *("--data", pets.images, "--boxes", boxes, "--tune-on", boxes),
        *("--out", pets.root / "not"),
    )
    assert shown.status == 2
    assert "keras-wsol: error: A threshold that is tuned on test images" in shown.err
    assert "--tune-on must share no image" in shown.err
    assert not (pets.root / "not").exists()


def test_splits_of_cub(tmp_path):
    write_cub(tmp_path)

    def splits(tune_on):
        return [x and x.split for x in cub_splits(tmp_path, tune_on)]

    assert splits(None) == ["test", "train-fullsup"]
    assert splits("train") == ["test", "train"]
    assert splits("none") == ["test", None]


def test_only_val_needs_a_box_in_it(pets):
    tune = pets.root / "none.csv"
    shown = data.image_folder(pets.images, "train").paths[0]
    tune.write_text(f"path,x0,y0,x1,y1\n{Path(shown).name},1,2,3,4\n")
    with pytest.raises(ValueError, match="must have boxes of images in the validation"):
        folder_splits(pets.images, None, tune, None, only_val=True)
    test, tune_on = folder_splits(pets.images, None, tune, "none")
    assert (len(test), tune_on) == (1, None)


def test_localize(trained, pets):
    out, look = pets.root / "boxes.csv", pets.root / "look"
    model = trained.out / "localizer.keras"
    shown = call(
        *("localize", "--model", model, "--images", pets.images, "--out", out),
        *("--cam-threshold", THRESHOLD, "--pictures", look, "--num-pictures", 5),
    )
    assert shown.status == 0, shown.err
    found = rows(out)
    names = {
        Path(path).relative_to(pets.images).as_posix(): path for path in pets.broken
    }
    everything = {
        path.relative_to(pets.images).as_posix() for path in pets.images.rglob("*.png")
    }
    left_out = rows(out.with_name("boxes.csv.left_out.csv"))
    unreadable = {row["path"] for row in left_out if row["reason"] == "unreadable"}
    assert unreadable == set(names)
    assert len(found) == len({row["path"] for row in found}) == IMAGES - len(left_out)
    assert {row["path"] for row in (*found, *left_out)} == everything
    assert f"{len(found)} boxes of {IMAGES} images" in shown.out
    assert "2 unreadable" in shown.out
    assert f"{IMAGES} of {IMAGES} images\n" in shown.err

    localizer = models.Localizer(load_localizer(model).model, cam_threshold=THRESHOLD)
    with Image.open(pets.images / found[0]["path"]) as image:
        expected = localizer(np.asarray(image)[None])
    box = [float(found[0][edge]) for edge in ("x0", "y0", "x1", "y1")]
    np.testing.assert_allclose(box, expected["boxes"][0, 0], atol=0.02)

    pictures = sorted(look.iterdir())
    readable = sorted(set(everything) - set(names))[:5]
    assert [path.name[5:] for path in pictures] == [
        Path(name).name for name in readable
    ]
    assert readable[0] == found[0]["path"]
    with Image.open(pictures[0]) as picture:
        assert picture.size == SIZE[::-1]
        x0, y0 = (int(edge + 0.5) for edge in box[:2])
        assert picture.getpixel((x0, y0)) == tuple(viz.PREDICTED_BOX_COLOR)


def test_localize_known_classes_of_one_folder_as_yolo(trained, pets):
    out = pets.root / "labels"
    shown = call(
        *("localize", "--model", trained.out / "localizer.keras", "--out", out),
        *("--images", pets.images, "--class-ids", "known", "--format", "yolo"),
    )
    assert shown.status == 0, shown.err
    names = data.image_folder(pets.images).class_names
    written = sorted(out.glob("*/*/*.txt"))
    assert len(written) > IMAGES / 2
    for path in written:
        assert path.read_text().split()[0] == str(names.index(path.parent.name))


def test_given_images(tmp_path):
    for name in ("cats/1.jpg", "cats/deep/2.png", "dogs/3.gif", "4.bmp", "dogs/no.txt"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()

    def opened(*names, by_class=False, class_names=None):
        paths = [tmp_path / name for name in names]
        images = given_images(paths, by_class, class_names)
        return [Path(path).relative_to(tmp_path).as_posix() for path in images.paths]

    assert opened("") == ["4.bmp", "cats/1.jpg", "cats/deep/2.png", "dogs/3.gif"]
    assert opened("4.bmp") == ["4.bmp"]
    assert opened("dogs", "4.bmp", "cats") == [
        *("dogs/3.gif", "4.bmp", "cats/1.jpg", "cats/deep/2.png")
    ]
    assert opened("", by_class=True) == ["cats/1.jpg", "cats/deep/2.png", "dogs/3.gif"]
    ids = given_images([tmp_path], True, ("dogs", "owls", "cats")).class_ids
    assert ids.tolist() == [2, 2, 0]
    with pytest.raises(ValueError, match=r"needs one folder in --images.*2 paths"):
        opened("cats", "dogs", by_class=True)


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
    for images in (
        given_images(paths, by_class=False, class_names=None),
        given_images(paths[:1], by_class=False, class_names=None),
    ):
        image = images.image(0)
        assert image.shape == (40, 24, 3)
        np.testing.assert_allclose(image, upright.astype(float), atol=20)


@pytest.mark.export
def test_export(trained, pets):
    out = pets.root / "pets" / "1"
    model = trained.out / "localizer.keras"
    shown = call("export", "--model", model, "--out", out, "--cam-threshold", THRESHOLD)
    assert shown.status == 0, shown.err
    assert shown.out == f"Wrote {out}.\n"
    path = next(p for p in pets.images.rglob("*.png") if str(p) not in pets.broken)
    with Image.open(path) as image:
        expected = load_localizer(model, THRESHOLD)(np.asarray(image)[None])
    served = tf.saved_model.load(str(out)).signatures["serve_bytes"]
    found = served(tf.constant([path.read_bytes()]))
    np.testing.assert_allclose(found["boxes"], expected["boxes"], atol=0.02)
    assert found["class_names"][0, 0].numpy().decode() in {
        folder.name for folder in pets.images.iterdir()
    }
    again = call("export", "--model", model, "--out", out)
    assert again.status == 2
    assert f"{out} exists. Choose another --out, or pass --overwrite." in again.err


def test_export_hands_on_what_only_a_saved_model_has(trained, tmp_path, monkeypatch):
    from keras_wsol.export import saved_model

    given = []

    def write(_, path, **options):
        given.append((path, options))

    monkeypatch.setattr(saved_model, "export_saved_model", write)
    report = tmp_path / "report.json"
    report.write_text('{"split": "val", "fixed": {"top1_cls": 0.5}}')
    out = tmp_path / "1"
    words = ("export", "--model", trained.out / "localizer.keras", "--out", out)
    for more in (
        ("--report", report, "--features", "--max-pixels", 1000),
        ("--overwrite",),
    ):
        shown = call(*words, *more)
        assert shown.status == 0, shown.err
    metrics = {"split": "val", "fixed": {"top1_cls": 0.5}}
    first = {"metrics": metrics, "features": True, "max_pixels": 1000}
    assert given == [(out, {"overwrite": False, **first}), (out, {"overwrite": True})]
    report.write_text("[1, 2]")
    shown = call(*words, "--report", report)
    assert shown.status == 2
    assert "a JSON object. It holds a list." in shown.err
    # The default that the help names is the library's.
    assert f"(default: {MAX_PIXELS})" in " ".join(call("export", "--help").out.split())


@pytest.mark.parametrize("name", ["litert", "onnx"])
def test_export_in_other_formats(trained, tmp_path, monkeypatch, name):
    from keras_wsol.export import litert, onnx

    module = {"litert": litert, "onnx": onnx}[name]
    given = []
    monkeypatch.setattr(module, f"export_{name}", lambda *values: given.extend(values))
    shown = call(
        *("export", "--model", trained.out / "localizer.keras", "--format", name),
        *("--out", tmp_path / "x", "--cam-threshold", THRESHOLD),
    )
    assert shown.status == 0, shown.err
    assert given[0].cam_threshold == THRESHOLD
    assert given[1] == tmp_path / "x"
