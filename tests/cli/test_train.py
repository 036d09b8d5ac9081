"""`keras-wsol train`: a run that is repeated, changed, interrupted and resumed."""

import dataclasses
import fcntl
import json
import os
import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from keras_wsol import cam, data, models, training
from keras_wsol.cli import train_command
from keras_wsol.cli.command_line import build_parser
from keras_wsol.training.checkpoint import Progress
from tests.cli.calling import call, readme, rows
from tests.data.cub_layout import write_cub
from tests.models.painted import painted_classifier

ENOUGH = "keras-wsol: error: enough\n"


def load(folder):
    return keras.saving.load_model(folder / "localizer.keras")


def settings(*words):
    """The recipe that a command line asks for."""
    options = build_parser().parse_args(["train", "--data", ".", "--out", *words])
    return train_command._recipe(options)


def test_a_run_leaves_what_the_help_says(trained, pets):
    log = rows(trained.folder / "log.csv")
    assert [row["epoch"] for row in log] == ["0", "1"]
    assert all(0 <= float(row["val_accuracy"]) <= 1 for row in log)
    listed = trained.folder / "verified.jsonl"
    assert f"Left out 2 files that cannot be read; see {listed}." in trained.err
    verdicts = [json.loads(line) for line in listed.read_text("utf-8").splitlines()]
    assert {v["path"] for v in verdicts if v["reason"]} == set(pets.broken)
    assert f"Wrote {trained.model}" in trained.out
    learned_from = (trained.folder / "trained_on.txt").read_text("utf-8").splitlines()
    good = np.isin(pets.train.paths, pets.broken, invert=True)
    assert learned_from == [os.path.realpath(path) for path in pets.train.paths[good]]
    kept = json.loads((trained.folder / "config.json").read_text())
    assert (kept["epochs"], kept["freeze"], kept["seed"]) == (2, ["conv_pw_1_relu"], 0)
    assert kept["backbone_options"] == {"alpha": 0.25}
    assert kept["dataset"] == "folder"
    assert not {"name", "num_classes", "target", "notes", "lacks"} & set(kept)


def test_a_run_takes_its_options(trained, pets):
    localizer = load(trained.folder)
    classifier = localizer.model
    assert isinstance(localizer, models.Localizer)
    assert classifier.name == "mobilenet_cam"
    assert localizer.input_size == (32, 32)
    assert classifier.get_layer("conv1").filters == 8  # a quarter of 32
    frozen = [layer.name for layer in classifier.layers if not layer.trainable]
    assert frozen[-1] == "conv_pw_1_relu"
    names = data.image_folder(pets.images, verify=False).class_names
    assert models.class_names_of(classifier) == tuple(names)


def test_train_again_does_no_epoch_twice(trained, train, pets, monkeypatch):
    """What `fit` is given: nothing left to do, and the optimizer of the recipe."""
    given = {}

    def fit(self, batches, **options):
        given.update(options, model=self, batches=batches)

    monkeypatch.setattr(keras.Model, "fit", fit)
    path = trained.folder / "localizer.keras"
    before = path.read_bytes()
    shown = train(trained.folder)
    assert shown.out == f"Kept {path}: the run is finished.\n"
    assert (path.read_bytes(), given) == (before, {})
    path.unlink()  # as if it had been killed before
    shown = train(trained.folder)
    assert shown.status == 0, shown.err
    assert "2 of 2 epochs are done." in shown.err
    assert (int(given["initial_epoch"]), given["epochs"]) == (2, 2)
    assert given["steps_per_epoch"] == 2  # 17 of 18 images, 8 in a batch
    optimizer = given["model"].optimizer
    assert optimizer.multipliers == {"head_*": 10.0}
    assert int(optimizer.iterations) == 4
    assert float(optimizer.learning_rate) == pytest.approx(0.0)
    optimizer.iterations.assign(0)
    assert float(optimizer.learning_rate) == pytest.approx(0.005)
    train_split = np.isin(pets.train.paths, pets.broken, invert=True)
    weights = pets.train.take(train_split, "train").class_weights()
    assert given["class_weight"] == weights
    # The broken image of the validation split is in no batch.
    seen = [class_id for _, ids in given["validation_data"] for class_id in ids.numpy()]
    good = np.isin(pets.val.paths, pets.broken, invert=True)
    assert seen == pets.val.class_ids[good].tolist()


def test_train_refuses_the_folder_of_another_run(trained, train):
    before = {path: path.read_bytes() for path in trained.folder.iterdir()}
    for changes, message in (
        ({"seed": 1}, "holds a run with other options: --seed was 0, not 1. Choose"),
        (
            {"method": "adl", "epochs": 3},
            "options: --epochs was 2, not 3; --method was 'cam', not 'adl'.",
        ),
        ({"epochs": None, "steps": 60}, "other options: --steps was None, not 60. Ch"),
    ):
        shown = train(trained.folder, **changes)
        assert shown.status == 2
        assert message in shown.err
    assert {path: path.read_bytes() for path in trained.folder.iterdir()} == before


def test_two_jobs_do_not_write_one_folder(trained, train, pets):
    before = {path: path.read_bytes() for path in trained.folder.iterdir()}
    boxes = ("--boxes", pets.root / "test.csv", "--model", trained.model)
    with (trained.folder / ".lock").open("a") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        for shown in (
            train(trained.folder),
            call("evaluate", "--data", pets.images, "--out", trained.folder, *boxes),
        ):
            assert shown.status == 2
            assert f"Another job is writing {trained.folder}: wait" in shown.err
    (trained.folder / ".lock").unlink()
    assert {path: path.read_bytes() for path in trained.folder.iterdir()} == before


@pytest.mark.slow
def test_a_damaged_localizer_of_a_finished_run_is_made_again(trained, train, tmp_path):
    out = shutil.copytree(trained.folder, tmp_path / "run")
    (out / "localizer.keras").write_bytes(b"")
    (out / ".localizer.keras.k1ll3d_0").mkdir()
    shown = train(out)
    assert shown.status == 0, shown.err
    assert isinstance(load(out), models.Localizer)
    names = {path.name for path in trained.folder.iterdir()}
    assert {path.name for path in out.iterdir()} == names


def test_a_run_does_not_go_on_with_other_images(tmp_path):
    path, keep = tmp_path / "trained_on.txt", train_command._keep_list
    keep(path, ["/a/cat/1.png", "/a/dog/1.png", "/a/dog/2.png"])
    keep(path, ["/a/caf\udce9/1.png", "/a/2.png"])  # the name is no UTF-8
    keep(path, ["/a/cat/1.png", "/a/dog/2.png"])  # nothing was saved
    (tmp_path / "checkpoint.npz").touch()
    message = r"1 came into .* and 1 left it, such as \['dog/2.png', 'dog/3.png'\]"
    with pytest.raises(ValueError, match=message):
        keep(path, ["/a/cat/1.png", "/a/dog/3.png"])
    assert path.read_text("utf-8") == "/a/cat/1.png\n/a/dog/2.png\n"
    keep(path, ["/moved/b/cat/1.png", "/moved/b/dog/2.png"])
    assert path.read_text("utf-8").startswith("/moved/b/cat/1.png\n")


def test_a_folder_without_a_checkpoint_may_be_taken(tmp_path):
    claim = train_command._claim
    claim(tmp_path, {"seed": 1, "class_names": ["a", "b"]})
    claim(tmp_path, {"seed": 2, "class_names": ["a", "b"]})
    (tmp_path / "checkpoint.npz").touch()
    claim(tmp_path, {"seed": 2, "class_names": ["a", "b"]})
    with pytest.raises(
        ValueError, match=r"`class_names` was \['a', 'b'\], not \['b', 'a'\]; `seed`"
    ):
        claim(tmp_path, {"seed": 1, "class_names": ["b", "a"]})
    assert json.loads((tmp_path / "config.json").read_text())["seed"] == 2


def test_without_a_recipe_there_is_ours():
    base = training.RECIPES["ours-mobilenet-small"]
    recipe = settings("x", "--backbone", "vgg16", "--method", "cam")
    assert (recipe.backbone, recipe.method) == ("vgg16", "cam")
    assert recipe.backbone_options == {}
    assert (recipe.schedule, recipe.multipliers) == ("cosine", {"head_*": 10.0})
    assert (recipe.l2_decay, recipe.images_per_epoch, recipe.keep) == (
        0.0,
        None,
        "last",
    )
    assert (recipe.rate, recipe.epochs) == (base.rate, base.epochs)
    assert settings("x").method == "dgdm"


def test_methods_that_need_it_have_the_rate_of_their_authors():
    assert settings("x", "--method", "spg").rate == 0.001
    assert settings("x", "--method", "bas").rate == 0.001
    assert settings("x", "--method", "bas", "--rate", "0.02").rate == 0.02
    assert settings("x", "--method", "acol").rate == 0.005


def test_early_layers_of_a_pretrained_mobilenet_are_frozen_unless_all_is_to_learn():
    for words, expected in (
        ("", ["conv_pw_11_relu"]),
        ("--freeze none", None),
        ("--freeze backbone", ["backbone"]),
        ("--weights none", None),
        ("--backbone vgg16", None),
        ("--recipe ours-mobilenet-small", None),
    ):
        words = ["train", "--data", ".", "--out", "x", *words.split()]
        options = build_parser().parse_args(words)
        recipe = train_command._recipe(options)
        assert train_command._freeze(options, recipe) == expected


def test_steps_and_epochs_are_not_given_together():
    with pytest.raises(ValueError, match="--steps and --epochs both say how long"):
        settings("x", "--steps", "5", "--epochs", "2")
    places = ["conv_pw_12_relu", "conv_pw_13_relu"]
    assert settings("x", "--drop-after", *places).drop_after == tuple(places)


@pytest.mark.slow
def test_a_map_that_is_asked_for_is_read(trained, pets):
    classifier = load(trained.folder).model
    words = ("--score-map", "foreground", "--layer", "conv_pw_12_relu")
    words = ["train", "--data", ".", "--out", "x", *words, "--input-size", "64"]
    options = build_parser().parse_args(words)
    images = pets.train.take(np.isin(pets.train.paths, pets.broken, invert=True), "x")
    found = train_command._localizer(classifier, images, options)
    assert isinstance(found.score_map, cam.Foreground)
    assert found.score_map.layer == "conv_pw_12_relu"
    assert found.input_size == (64, 64)
    assert found.notes["fitted on"] == "17 images of x"
    with pytest.raises(ValueError, match="--layer needs a --score-map that reads it"):
        settings("x", "--layer", "conv_pw_12_relu")


@pytest.mark.slow
def test_a_finished_run_is_read_anew_only_if_another_map_is_asked_for(
    trained, train, tmp_path
):
    """Another size counts, too; a threshold that was tuned stays."""
    out = shutil.copytree(trained.folder, tmp_path / "run")
    for words in (("--score-map", "cam"), ("--score-map", "cam", "--input-size", 64)):
        shown = train(out, words)
        assert shown.out.startswith("Wrote "), shown.err
        localizer = load(out)
        assert localizer.notes["options"] == " ".join(map(str, words))
        localizer.cam_threshold = 0.33
        localizer.save(out / "localizer.keras")
        assert train(out, words).out.startswith("Kept ")
        assert load(out).cam_threshold == 0.33
    assert train(out).out.startswith("Score map: ")
    assert "options" not in load(out).notes


def test_a_layer_that_is_not_there_is_said_before_training(train, tmp_path):
    words = ("--score-map", "foreground", "--layer", "conv_pw_99")
    shown = train(tmp_path / "run", words)
    assert shown.status == 2
    assert "conv_pw_99" in shown.err
    assert "Epoch" not in shown.out + shown.err
    assert not (tmp_path / "run" / "checkpoint.npz").exists()


def test_the_map_of_the_method_is_read_if_asked_for(pets):
    small = {"weights": None, "input_shape": (64, 64, 3)}
    small["backbone_options"] = {"alpha": 0.25}
    classifier = models.build_classifier("mobilenet", "acol", 3, **small)
    words = ["train", "--data", ".", "--out", "x", "--score-map", "own"]
    options = build_parser().parse_args(words)
    found = train_command._localizer(classifier, pets.train, options)
    assert isinstance(found.score_map, cam.ErasedMaps)
    with pytest.raises(ValueError, match="--layer needs a --score-map that reads it"):
        settings("x", "--score-map", "own", "--layer", "conv_pw_12_relu")


def test_an_epoch_says_how_far_it_is(monkeypatch, capsys):
    monkeypatch.setattr(train_command, "_SECONDS", 100)
    clock = iter([0, 50, 100, 150, 160, 199, 250, 250])
    monkeypatch.setattr(train_command.time, "monotonic", lambda: next(clock))
    progress = train_command._Progress()
    progress.set_params({"epochs": 3, "steps": 5})
    progress.on_epoch_begin(1)
    for batch in range(5):
        progress.on_train_batch_end(batch, {"loss": 1.5, "accuracy": 0.25})
    assert capsys.readouterr().err.splitlines() == [
        "Epoch 2 of 3, step 2 of 5: loss 1.500, accuracy 0.250",
        "Epoch 2 of 3, step 5 of 5: loss 1.500, accuracy 0.250",
    ]


def test_what_is_given_takes_the_place_of_a_setting():
    for name, recipe in training.RECIPES.items():
        assert settings("x", "--recipe", name) == recipe
    words = "--epochs 3 --rate 0.5 --batch-size 64 --image-size 96 --weights none"
    words = ["x", "--recipe", "dgdm-vgg16-cub", *words.split(), "--map-size", "28"]
    found, recipe = settings(*words), training.RECIPES["dgdm-vgg16-cub"]
    options = {**recipe.backbone_options, "map_size": 28}
    assert len(options) == 2
    changes = {"epochs": 3, "rate": 0.5, "batch_size": 64, "image_size": (96, 96)}
    changes |= {"weights": None, "backbone_options": options}
    assert found == dataclasses.replace(recipe, **changes)
    for more in (("--method", "adl"), ("--backbone", "vgg16")):
        with pytest.raises(ValueError, match="'adl-vgg16-cub' has its own backbone a"):
            settings("x", "--recipe", "adl-vgg16-cub", *more)


@pytest.fixture
def built(monkeypatch):
    """Stops at the building of a model: the recipe and its arguments."""
    given = []

    def build(self, **changes):
        given.append((self, changes))
        raise RuntimeError("enough")

    monkeypatch.setattr(training.Recipe, "build", build)
    return given


def test_train_learns_from_train_weaksup_of_cub(tmp_path, built):
    write_cub(tmp_path)
    words = ("train", "--dataset", "cub", "--data", tmp_path, "--recipe")
    shown = call(*words, "adl-vgg16-cub", "--seed", 7, "--out", tmp_path / "x")
    assert shown.err.endswith(ENOUGH)
    [(recipe, arguments)] = built
    names = data.cub200(tmp_path, "train-weaksup", verify=False).class_names
    assert arguments == {"class_names": names, "freeze": None, "seed": 7}
    assert (recipe.name, recipe.method) == ("adl-vgg16-cub", "adl")
    assert "split='train-weaksup'" in shown.err
    assert "split='train-fullsup'" in shown.err


def test_the_command_of_the_readme(pets, tmp_path, monkeypatch, built):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "birds").symlink_to(pets.images)
    assert call(*readme("train")).err.endswith(ENOUGH)
    [(recipe, arguments)] = built
    changes = {"batch_size": 17, "backbone_options": {}}
    assert arguments["freeze"] == ["conv_pw_11_relu"]
    assert recipe == dataclasses.replace(train_command.BASE, **changes)
    assert arguments["class_names"] == pets.train.class_names
    assert (tmp_path / "runs" / "birds" / "config.json").is_file()


@pytest.mark.slow
def test_the_commands_of_the_readme_after_each_other(pets, tmp_path, monkeypatch):
    small = {"weights": None, "epochs": 1, "image_size": (32, 32)}
    base = dataclasses.replace(train_command.BASE, **small)
    monkeypatch.setattr(train_command, "BASE", base)
    monkeypatch.chdir(tmp_path)
    for name in ("birds", "photos"):
        (tmp_path / name).symlink_to(pets.images)
    for command in ("train", "localize"):
        shown = call(*readme(command))
        assert shown.status == 0, shown.err
    found = json.loads((tmp_path / "boxes.json").read_text())
    left_out = rows(tmp_path / "boxes.json.left_out.csv")
    assert len(found["images"]) + len(left_out) == len(pets.train) + len(pets.val)
    assert {c["name"] for c in found["categories"]} == set(pets.train.class_names)
    assert len(list((tmp_path / "look").iterdir())) == 12 + 1


def test_train_deterministically(train, tmp_path, monkeypatch):
    """Switches it on before the model is built, and XLA off. (Not for all tests.)"""
    done = []
    monkeypatch.setattr(
        tf.config.experimental, "enable_op_determinism", lambda: done.append("switched")
    )

    def compile(self, model, num_images, **options):
        done.append(options["jit_compile"])
        raise RuntimeError("enough")

    monkeypatch.setattr(training.Recipe, "build", lambda self, **_: None)
    monkeypatch.setattr(training.Recipe, "compile", compile)
    for words, expected in (([], ["auto"]), (["--deterministic"], ["switched", False])):
        shown = train(tmp_path / "x", words=words)
        assert shown.err.endswith(ENOUGH)
        assert done == expected
        done.clear()


def test_the_model_with_the_lowest_error_becomes_the_localizer(
    train, tmp_path, monkeypatch
):
    best = {}
    painted = painted_classifier((24, 36), 3)
    monkeypatch.setattr(training.Recipe, "build", lambda self, **_: painted)

    def fit(self, *_, validation_data, callbacks, **options):
        assert [c.monitor for c in callbacks if hasattr(c, "save_best_only")]
        last = self.get_weights()
        best["weights"] = [weight + 1 for weight in last]
        self.set_weights(best["weights"])
        self.save(tmp_path / "run" / "best.keras")
        self.set_weights(last)

    options = {"keep": "lowest_error", "multipliers": {}}
    keeping = dataclasses.replace(train_command.BASE, **options)
    monkeypatch.setattr(train_command, "BASE", keeping)
    monkeypatch.setattr(keras.Model, "fit", fit)
    shown = train(tmp_path / "run", freeze=None)
    assert shown.status == 0, shown.err
    found = load(tmp_path / "run").model.get_weights()
    for one, other in zip(best["weights"], found, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_loss_that_is_not_finite_says_the_way_out(train, tmp_path, monkeypatch):
    painted = painted_classifier((24, 36), 3)
    monkeypatch.setattr(training.Recipe, "build", lambda self, **_: painted)
    base = dataclasses.replace(train_command.BASE, multipliers={})
    monkeypatch.setattr(train_command, "BASE", base)
    resumed = training.Recipe.resume
    for said, more in (
        ("NaN or Inf loss encountered.", " Lower --rate and choose another --out."),
        ("no memory.", ""),
    ):

        def fit(self, *_, said=said, **options):
            raise RuntimeError(said)

        def within(self, model, folder):
            return Progress(1, 1), resumed(self, model, folder)[1]

        monkeypatch.setattr(keras.Model, "fit", fit)
        monkeypatch.setattr(training.Recipe, "resume", within)
        shown = train(tmp_path / "run", freeze=None)
        assert shown.err.endswith(f"error: {said}{more}\n")
        assert "1 of 2 epochs and 1 steps of the next are done." in shown.err


def test_train_needs_two_classes_and_readable_images(tmp_path):
    for name in "ab":
        (tmp_path / "images" / name).mkdir(parents=True)
        (tmp_path / "images" / name / "1.jpg").write_text("broken")
    shown = call("train", "--data", tmp_path / "images", "--out", tmp_path / "x")
    assert (shown.status, shown.out) == (2, "")
    assert "cannot be read" in shown.err
    assert shown.err.count("\n") == 1
    assert not (tmp_path / "x" / "config.json").exists()
    shutil.rmtree(tmp_path / "images" / "b")
    for number in range(8):  # the broken one is in `val`, as is the last of these
        Image.new("RGB", (40, 32)).save(tmp_path / "images" / "a" / f"{number}.png")
    shown = call("train", "--data", tmp_path / "images", "--out", tmp_path / "x")
    assert "`keras-wsol boxes` needs no training" in shown.err
    assert shown.err.count("error") == 1


def test_cub_is_no_folder_by_class(tmp_path):
    write_cub(tmp_path)
    shown = call("train", "--data", tmp_path, "--out", tmp_path / "x")
    assert "is CUB-200-2011: pass --dataset cub." in shown.err
    assert shown.err.count("\n") == 1


def test_wrong_options_are_said_by_the_library(train, tmp_path):
    shown = train(tmp_path, **{"map-size": 15})
    assert shown.status == 2
    assert "must be one of [14, 28, 7]. Received: --map-size 15." in shown.err


@pytest.mark.slow
def test_a_killed_run_goes_on(train, tmp_path, monkeypatch):
    def interrupt(self, epoch, logs=None):
        if epoch == 1:
            raise KeyboardInterrupt

    out = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(training.EpochLog, "on_epoch_begin", interrupt)
        shown = train(out)
    assert shown.status == 130
    assert "The same command again goes on where it was (train, l" in shown.err
    log = (out / "log.csv").read_text()
    assert not (out / "localizer.keras").exists()
    shown = train(out)
    assert shown.status == 0, shown.err
    assert "1 of 2 epochs are done." in shown.err
    assert (out / "log.csv").read_text().startswith(log)
    assert [row["epoch"] for row in rows(out / "log.csv")] == ["0", "1"]
    assert (out / "localizer.keras").is_file()
