"""`keras-wsol train`: a run that is interrupted, resumed, repeated, and changed."""

import csv
import io
import json
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_wsol import commands, data, models
from keras_wsol.commands import run_folder
from keras_wsol.commands.load_localizer import load_localizer
from tests.commands.calling import call, rows
from tests.data.cub_layout import write_cub


def epochs(log):
    return [row["epoch"] for row in csv.DictReader(io.StringIO(log))]


def test_train_goes_on_after_the_last_whole_epoch(trained, pets):
    assert trained.first.status == 130
    assert "The same command goes on where it was, ten min" in trained.first.err
    assert epochs(trained.first_log) == ["0"]
    assert trained.second.status == 0, trained.second.err
    assert "1 of 2 epochs are done." in trained.second.err
    log = (trained.out / "log.csv").read_text()
    assert epochs(log) == ["0", "1"]
    assert log.startswith(trained.first_log)
    assert all(
        0 <= float(row["val_accuracy"]) <= 1 for row in rows(trained.out / "log.csv")
    )
    listed = (trained.out / "unreadable.txt").read_text().splitlines()
    assert listed == sorted(pets.broken)
    assert f"Wrote {trained.out / 'localizer.keras'}" in trained.second.out


def test_train_takes_its_options(trained, pets):
    localizer = load_localizer(trained.out / "localizer.keras")
    classifier = localizer.model
    assert classifier.name == "mobilenet_dgdm"
    assert localizer.input_size == (64, 64)
    assert classifier.get_layer("conv1").filters == 8  # a quarter of 32
    frozen = [layer.name for layer in classifier.layers if not layer.trainable]
    assert frozen[-1] == "conv1_relu"
    assert models.class_names_of(classifier) == tuple(
        data.image_folder(pets.images).class_names
    )
    kept = json.loads((trained.out / "config.json").read_text())
    assert (kept["epochs"], kept["freeze"], kept["seed"]) == (2, ["conv1_relu"], 0)
    assert not {"data", "out", "command", "debug"} & set(kept)


def test_train_again_does_no_epoch_twice(trained, train, pets, monkeypatch):
    """What `fit` is given: nothing left to do, and the optimizer of the examples."""
    given = {}

    def fit(self, batches, **options):
        given.update(options, model=self, batches=batches)
        return SimpleNamespace(history={})

    monkeypatch.setattr(keras.Model, "fit", fit)
    shown = train(trained.out)
    assert shown.status == 0, shown.err
    assert (given["initial_epoch"], given["epochs"]) == (2, 2)
    optimizer = given["model"].optimizer
    assert optimizer.multipliers == {"head_*": 10.0}
    assert int(optimizer.iterations) == 4  # 18 images, 9 in a batch, two epochs
    assert float(optimizer._learning_rate(0)) == pytest.approx(0.005)
    assert float(optimizer._learning_rate(2)) == pytest.approx(0.0025)
    assert float(optimizer._learning_rate(4)) == pytest.approx(0.0)
    images = data.image_folder(pets.images, "train")
    assert given["class_weight"] == images.class_weights()
    # The broken image of the validation split is left out, not of class -1.
    seen = [class_id for _, ids in given["validation_data"] for class_id in ids.numpy()]
    paths = pets.val.paths.tolist()
    assert seen == np.delete(pets.val.class_ids, paths.index(pets.broken[1])).tolist()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seed": 1}, "holds a run with other options: seed was 0, not 1. Choose"),
        (
            {"method": "cam", "epochs": 3},
            "options: epochs was 2, not 3; method was 'dgdm', not 'cam'.",
        ),
    ],
)
def test_train_refuses_the_folder_of_another_run(trained, train, changes, message):
    before = {path: path.read_bytes() for path in trained.out.iterdir()}
    shown = train(trained.out, **changes)
    assert shown.status == 2
    assert message in shown.err
    assert "Loading" not in shown.err
    assert {path: path.read_bytes() for path in trained.out.iterdir()} == before


def test_a_folder_without_a_whole_epoch_may_be_taken(tmp_path):
    run_folder.claim(tmp_path, {"seed": 1, "class_names": ("a", "b")})
    run_folder.claim(tmp_path, {"seed": 2, "class_names": ("a", "b")})
    (tmp_path / run_folder.CHECKPOINT).touch()
    run_folder.claim(tmp_path, {"seed": 2, "class_names": ("a", "b")})
    with pytest.raises(
        ValueError, match=r"class_names was \['a', 'b'\], not \['b', 'a'\]; seed"
    ):
        run_folder.claim(tmp_path, {"seed": 1, "class_names": ("b", "a")})
    assert json.loads((tmp_path / "config.json").read_text())["seed"] == 2


def test_train_deterministically(train, tmp_path, monkeypatch):
    """Switches it on before the model is built, and XLA off. (Not for all tests.)"""
    done = []
    monkeypatch.setattr(
        tf.config.experimental, "enable_op_determinism", lambda: done.append("switched")
    )

    def compile(self, **options):
        done.append(options["jit_compile"])
        raise RuntimeError("enough")

    monkeypatch.setattr(keras.Model, "compile", compile)
    switch = ("--deterministic", "--weights", "none", "--alpha", "0.25")
    images = tmp_path / "images"
    for name in "ab":
        (images / name).mkdir(parents=True)
        (images / name / "1.jpg").touch()
    shown = call("train", "--data", images, "--out", tmp_path / "x", *switch)
    assert shown.err.endswith("keras-wsol: error: enough\n")
    assert done == ["switched", False]


def test_train_learns_from_train_weaksup_of_cub(tmp_path, monkeypatch):
    given = []

    def build(options, train):
        given.append(train)
        raise RuntimeError("enough")

    monkeypatch.setattr(commands.train, "build", build)
    write_cub(tmp_path)
    shown = call(
        "train", "--dataset", "cub", "--data", tmp_path, "--out", tmp_path / "x"
    )
    assert shown.err.endswith("keras-wsol: error: enough\n")
    assert [train.split for train in given] == ["train-weaksup"]
    assert "split='train-fullsup'" in shown.err


def test_train_needs_two_classes(tmp_path):
    (tmp_path / "only").mkdir()
    (tmp_path / "only" / "1.jpg").touch()
    shown = call("train", "--data", tmp_path, "--out", tmp_path / "x")
    assert shown.status == 2
    assert "at least two classes. Received: ['only']." in shown.err
    assert not (tmp_path / "x").exists()


def test_train_where_nothing_can_be_read(tmp_path):
    for name in "ab":
        (tmp_path / "images" / name).mkdir(parents=True)
        (tmp_path / "images" / name / "1.jpg").write_text("broken")
    options = {
        "data": tmp_path / "images",
        "out": tmp_path / "x",
        "weights": "none",
        "alpha": 0.25,
        "image-size": 32,
        "method": "cam",
    }
    shown = call("train", *(word for k, v in options.items() for word in (f"--{k}", v)))
    assert shown.status == 2
    assert "No image of a whole batch can be read, so most of" in shown.err
    assert not (tmp_path / "x" / "localizer.keras").exists()
