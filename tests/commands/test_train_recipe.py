"""`keras-wsol train --recipe`, and the options that take the place of its settings."""

import json
from types import SimpleNamespace

import keras
import numpy as np
import pytest

from keras_wsol import commands, models, training
from keras_wsol.commands import train_arguments, train_recipe
from keras_wsol.commands.load_localizer import load_localizer
from tests.commands.calling import call, rows
from tests.training import embedded

ENOUGH = "keras-wsol: error: enough\n"


def test_names_and_defaults_are_those_of_the_recipes():
    assert tuple(training.RECIPES) == train_arguments.RECIPES
    base = training.RECIPES[train_recipe.BASE]
    defaults = dict(train_arguments.DEFAULTS)
    assert defaults.pop("method") == "dgdm"
    assert defaults.pop("image_size") == base.image_size[0] == base.image_size[1]
    assert all(getattr(base, name) == value for name, value in defaults.items())
    # Without --recipe: the optimizer of examples/train_cub.py, no drawn-out epochs.
    assert (base.schedule, base.multipliers) == ("cosine", {"head_*": 10.0})
    assert (base.l2_decay, base.images_per_epoch, base.keep) == (0.0, None, "last")


def given(**changes):
    """A command line, and the recipe of it for 50 images."""
    names = ("recipe", "alpha", "map_size", "method_options", *train_arguments.DEFAULTS)
    options = SimpleNamespace(**{**dict.fromkeys(names), **changes})
    train_recipe.settle(options)
    return options, train_recipe.recipe_of(options, 50)


def test_a_recipe_alone_is_that_recipe():
    for name, recipe in training.RECIPES.items():
        options, found = given(recipe=name)
        assert found == recipe
        assert json.dumps(vars(options))  # as config.json has it


def test_what_is_given_takes_the_place_of_a_setting():
    _, found = given(
        recipe="dgdm-vgg16-cub",
        epochs=3,
        rate=0.5,
        batch_size=64,
        image_size=96,
        weights="none",
        map_size=28,
        method_options={"block_size": 5},
    )
    assert (found.epochs, found.rate, found.batch_size) == (3, 0.5, 50)
    assert (found.image_size, found.weights) == ((96, 96), None)
    assert found.backbone_options == {"head_convolutions": 2, "map_size": 28}
    assert found.method_options == {
        "drop_rate": 0.75,
        "block_size": 5,
        "min_multiple": 3.0,
        "drop_probability": 0.5,
    }
    assert (found.l2_decay, found.rate_free_velocity) == (5e-4, True)


def test_options_of_a_recipe_do_not_follow_to_another_method_or_backbone():
    _, found = given(recipe="dfm-resnet50-cub", method="adl")
    assert (found.method_options, found.drop_after) == ({}, None)
    _, found = given(recipe="dgdm-vgg16-cub", backbone="resnet50")
    assert (found.backbone_options, found.drop_after) == ({}, None)
    assert found.method_options["min_multiple"] == 3.0


VGG_RECIPES = [
    name
    for name, recipe in training.RECIPES.items()
    if recipe.multipliers == {"block*": 0.1}
]


def factors(name, backbone, method):
    """Rate times multiplier of each trained layer, by its name."""
    _, found = given(recipe=name, backbone=backbone, method=method)
    model = found.build(num_classes=3, weights=None, input_shape=(64, 96, 3))
    optimizer = found.optimizer(32_000)
    optimizer.build(model.trainable_variables)
    return {
        variable.path.split("/")[0]: found.rate * optimizer._factor(variable.path)
        for variable in model.trainable_variables
    }


def test_multipliers_of_the_recipe_part_new_layers_of_vgg_from_pretrained_ones():
    assert VGG_RECIPES == ["adl-vgg16-cub", "adl-vgg16-ilsvrc", "dgdm-vgg16-cub"]
    for layer, factor in factors("adl-vgg16-cub", "vgg16", "cbam").items():
        new = layer.startswith(("head_", "cbam_"))
        assert new != layer.startswith("block")
        assert factor == pytest.approx(0.01 if new else 0.001), layer


@pytest.mark.parametrize(
    ("backbone", "method", "new"),
    [
        ("mobilenet_v2", "adl", ("head_",)),  # which has layers block_1_..., too
        ("resnet50", "cbam", ("head_", "cbam_")),
        ("resnet50_se", "se", ("head_", "se_", "_se")),
    ],
)
def test_on_another_backbone_new_layers_have_the_rate_and_others_a_tenth(
    backbone, method, new
):
    found = factors("adl-vgg16-cub", backbone, method)
    assert "head_logits" in found
    for layer, factor in found.items():
        is_new = layer.startswith(new) or layer.endswith(new)
        assert factor == pytest.approx(0.01 if is_new else 0.001), layer
    assert {layer for layer in found if layer.startswith(method)} or method == "adl"


@pytest.mark.parametrize("name", VGG_RECIPES)
def test_what_is_carried_over_is_said(name, capsys):
    _, found = given(recipe=name, backbone="mobilenet", rate=0.02)
    assert (found.rate, found.multipliers) == (0.002, {"head_*": 10.0})
    said = capsys.readouterr().err
    assert said.endswith(
        f"The multipliers of {name}, {{'block*': 0.1}}, name layers of vgg16. On "
        "mobilenet, new layers learn at the rate of 0.02 and all others at a tenth: "
        "rate 0.002 with {'head_*': 10.0}.\n"
    )


@pytest.mark.parametrize(
    ("name", "backbone"),
    [
        ("wsolevaluation-vgg16-cub", "resnet50"),
        ("ours-mobilenet-small", "convnext_tiny"),
        ("dfm-resnet50-cub", "resnet101"),
        ("adl-resnet50_se-cub", "resnet50"),
        ("adl-vgg16-cub", "vgg16"),
    ],
)
def test_multipliers_that_mean_the_same_are_kept(name, backbone, capsys):
    _, found = given(recipe=name, backbone=backbone)
    recipe = training.RECIPES[name]
    assert (found.rate, found.multipliers) == (recipe.rate, recipe.multipliers)
    assert "The multipliers of" not in capsys.readouterr().err


def test_methods_and_backbones_with_new_layers_are_those_of_the_tables():
    trained = set()
    for method, make in models.METHODS.items():
        layer = make and make(**({"size": 2} if method == "cutout" else {}))
        if layer is not None:
            layer.build((2, 4, 6, 32))
            trained |= {method} if layer.trainable_weights else set()
    trained |= {name for name, spec in models.BACKBONES.items() if spec.inserted_blocks}
    assert trained == set(train_recipe._NEW_LAYERS)
    alike = {
        name
        for name, spec in models.BACKBONES.items()
        if spec.features == models.BACKBONES["resnet50"].features
    }
    assert alike == set(train_recipe._SAME_STAGES)


@pytest.mark.parametrize("backbone", ["mobilenet", "vgg16", "resnet18"])
def test_multipliers_of_stages_are_refused_on_other_backbones(backbone, pets, tmp_path):
    shown = call(
        "train", "--data", pets.images, "--out", tmp_path / "x",
        "--recipe", "dfm-resnet50-cub", "--backbone", backbone,
    )  # fmt: skip
    assert shown.status == 2
    fitting = [
        name
        for name, recipe in training.RECIPES.items()
        if recipe.multipliers in ({"block*": 0.1}, {"head_*": 10.0})
    ]
    assert shown.err.endswith(
        "error: --backbone must be one of ['resnet50', 'resnet50_se', 'resnet101'] "
        "with --recipe dfm-resnet50-cub, whose multipliers {'conv[1-4]_*': 0.1} name "
        f"stages of these. Received: {backbone!r}. Leave out --backbone, or --recipe; "
        f"or choose a recipe that fits any backbone, one of {fitting}.\n"
    )
    assert not (tmp_path / "x").exists()


def test_without_a_recipe_it_is_the_defaults():
    options, found = given(alpha=0.5)
    assert (found.backbone, found.method) == ("mobilenet", "dgdm")
    assert (found.backbone_options, found.method_options) == ({"alpha": 0.5}, {})
    assert vars(options).items() >= train_arguments.DEFAULTS.items()


def test_what_fit_is_given(pets, tmp_path, monkeypatch):
    seen = {}

    def fit(self, batches, **arguments):
        seen.update(arguments, model=self)
        raise RuntimeError("enough")

    monkeypatch.setattr(keras.Model, "fit", fit)
    arguments = ["--recipe", "adl-vgg16-cub", "--weights", "none", "--image-size", 32]
    shown = call(
        "train", "--data", pets.images, "--out", tmp_path / "x", "--batch-size", 4,
        *arguments,
    )  # fmt: skip
    assert shown.err.endswith(ENOUGH)
    assert "aims at top1_loc 52.36" in shown.err
    # 32,000 images an epoch, however many there are.
    assert (seen["steps_per_epoch"], seen["epochs"]) == (8000, 105)
    optimizer = seen["model"].optimizer
    assert (optimizer.l2_decay, optimizer.rate_free_velocity) == (5e-4, True)
    assert optimizer.multipliers == {"block*": 0.1}
    optimizer.iterations.assign(30 * 8000)
    assert float(optimizer.learning_rate) == pytest.approx(0.001)
    layer = seen["model"].get_layer("adl_block4_pool")
    assert (layer.drop_rate, layer.drop_threshold) == (0.75, 0.8)
    kept = [c for c in seen["callbacks"] if hasattr(c, "save_best_only")]
    assert [c.monitor for c in kept] == ["val_accuracy"]


def test_options_of_maps_and_methods_arrive(train, tmp_path, monkeypatch):
    # Steps are trained in test_train.py.
    monkeypatch.setattr(keras.Model, "fit", lambda self, *args, **options: None)
    best = tmp_path / "run" / "best.keras"
    best.parent.mkdir()
    best.write_bytes(b"of another run")
    shown = train(
        tmp_path / "run",
        **{
            "recipe": "ours-mobilenet-small",
            "epochs": 1,
            "batch-size": 18,
            "map-size": 28,
            "method-options": '{"focus": 0.3}',
        },
    )
    assert shown.status == 0, shown.err
    model = load_localizer(tmp_path / "run" / "localizer.keras").model
    assert model.name == "mobilenet_dfm"
    assert model.get_layer("head_pool").input.shape[1:3] == (8, 8)  # of 64 pixels
    assert {layer.focus for layer in models.inserted_layers(model)} == {0.3}
    kept = json.loads((tmp_path / "run" / "config.json").read_text())
    assert kept["recipe"] == "ours-mobilenet-small"
    assert (kept["method"], kept["method_options"]) == ("dfm", {"focus": 0.3})
    assert best.read_bytes() == b"of another run"  # nor is it the localizer's
    # Another recipe is another run.
    (tmp_path / "run" / "checkpoint.npz").write_bytes(b"of that run")
    again = train(tmp_path / "run", epochs=1)
    assert again.status == 2
    assert "recipe was 'ours-mobilenet-small', not None" in again.err


def test_the_model_with_the_lowest_error_becomes_the_localizer(
    train, tmp_path, monkeypatch
):
    def recipe_of(options, num_images, made=train_recipe.recipe_of):
        import dataclasses

        return dataclasses.replace(made(options, num_images), keep="lowest_error")

    def build(options, train):
        model = models.build_classifier(
            embedded.backbone(),
            "cam",
            3,
            weights=None,
            class_names=train.class_names,
            backbone_options={"normalization": "tf"},
        )
        optimizer = training.LayerwiseSGD(0.01)

        def accuracy(class_ids, logits):
            """Falls with each epoch."""
            return keras.ops.zeros_like(logits[:, 0]) - optimizer.iterations

        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(optimizer, loss, metrics=[accuracy], jit_compile=False)
        return model

    monkeypatch.setattr(commands.fitting, "recipe_of", recipe_of)
    monkeypatch.setattr(commands.train, "build", build)
    out = tmp_path / "run"
    shown = train(out, **{"epochs": 2, "image-size": embedded.SIDE})
    assert shown.status == 0, shown.err
    accuracies = [float(row["val_accuracy"]) for row in rows(out / "log.csv")]
    assert accuracies == [-2.0, -4.0]  # the first is the best
    best = keras.saving.load_model(out / "best.keras", compile=False)
    made = load_localizer(out / "localizer.keras").model
    for one, other in zip(best.get_weights(), made.get_weights(), strict=True):
        assert (one == other).all()
    with np.load(out / "checkpoint.npz") as last:
        assert not np.array_equal(last["0"], best.get_weights()[0])


@pytest.mark.parametrize("text", ["{", "[1]", "3", ""])
def test_method_options_must_be_a_json_object(text):
    shown = call("train", "--method-options", text)
    assert shown.status == 2
    assert "--method-options: must be a JSON object, such as" in shown.err


def test_wrong_options_are_said_in_the_words_of_the_command_line(pets, tmp_path):
    common = ["train", "--data", pets.images, "--weights", "none", "--out", tmp_path]
    shown = call(*common, "--method-options", '{"speed": 1}')
    assert shown.status == 2
    assert "--method-options of 'dgdm' may have" in shown.err
    shown = call(*common, "--map-size", 15)
    assert "--map-size of 'mobilenet'" in shown.err
    assert "must be one of [14, 28, 7]. Received: map_size=15" in shown.err
    shown = call(*common, "--recipe", "magic")
    assert "--recipe: invalid choice: 'magic'" in shown.err
