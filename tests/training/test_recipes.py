"""The recipes: values by hand from the papers and their code, and what they make."""

import dataclasses
import json
from pathlib import Path
from types import MappingProxyType

import keras
import numpy as np
import pytest

from keras_wsol.models import BACKBONES, METHODS
from keras_wsol.training import RECIPES, Checkpoint, EpochLog, Recipe, recipes
from tests.data.small_datasets import in_memory, noise

ALL = list(RECIPES.values())
DESCRIBED = {"name", "dataset", "num_classes", "target", "target_source", "notes"}
STEPS = 3  # of an epoch in the runs below, of images 9 in batches of 4


def small(**changes):
    """A recipe of a training that a test can run: 3 steps an epoch, 2 a pass."""
    arguments = {
        "batch_size": 4,
        "images_per_epoch": 12,
        "epochs": 4,
        "schedule": "step",
        "drop_epochs": (1, 3),
        "image_size": (14, 21),
        "rate": 0.05,
        "num_classes": 9,
        "multipliers": {"head_*": 3.0},
        "rate_free_velocity": True,
        "l2_decay": 0.01,
        "keep": "lowest_error",
    }
    return dataclasses.replace(RECIPES["adl-vgg16-cub"], **{**arguments, **changes})


def small_model():
    keras.utils.set_random_seed(0)
    images = keras.Input((14, 21, 3))
    x = keras.layers.Rescaling(1 / 255)(images)
    x = keras.layers.Conv2D(4, 3, activation="relu", name="conv")(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(images, keras.layers.Dense(9, name="head_dense")(x))


FROZEN = Path(__file__).parents[1] / "reference" / "recipes.json"


def layer_configs(chosen):
    """Place to the configuration of the layer that the method inserts there."""
    kind, spec = METHODS[chosen.method], BACKBONES[chosen.backbone]
    places = chosen.drop_after
    if places is None:  # a recipe of ours, that goes with its row
        row = () if kind is None else spec.places(chosen.method)
        size = (224, 224, 3)
        places = {place: spec.preset(chosen.method, place, size) for place in row}
    configs = {}
    for place, options in places.items():
        layer = kind(**options)
        names = set(layer.get_config()) - {"name", "dtype", "trainable", "seed"}
        configs[place] = {name: layer.get_config()[name] for name in sorted(names)}
    return configs


def configuration(chosen):
    """Every value of a recipe and of the layers and optimizer that it makes."""
    text = {"notes", "lacks", "target_source"}
    values = json.loads(chosen.to_json())
    optimizer = chosen.optimizer(6000).get_config()
    return json.loads(
        json.dumps(
            {
                **{name: value for name, value in values.items() if name not in text},
                "layers": layer_configs(chosen),
                "optimizer": {k: v for k, v in optimizer.items() if k != "name"},
            }
        )
    )


# --- the table


@pytest.mark.parametrize("name", RECIPES)
def test_every_value_is_frozen(name):
    frozen = json.loads(FROZEN.read_text())
    assert configuration(RECIPES[name]) == frozen[name]


def test_names_are_those_of_the_table():
    assert all(name == each.name for name, each in RECIPES.items())
    # Method or protocol, backbone, data set.
    assert set(RECIPES) == {
        *FIGURES,
        "cam-inception_v3-cub",
        "cam-inception_v3-ilsvrc",
        "wsolevaluation-vgg16-openimages",
        "wsolevaluation-vgg16-cub",
        "ours-mobilenet-small",
    }


# By hand from train.py, config.py and run_train.sh of github.com/junsukchoe/ADL:
# int(25 * (256 / 32) * 5) and int(5000 * (256 / 256) * 0.2) steps in an epoch.
ADL = {
    "adl-vgg16-cub": (1000, 0.01, 5e-4, 0.8, 200),
    "adl-resnet50_se-cub": (1000, 0.1, 1e-4, 0.9, 200),
    "adl-vgg16-ilsvrc": (1000, 0.01, 5e-4, 0.8, 1000),
    "adl-resnet50_se-ilsvrc": (1000, 0.01, 1e-4, 0.9, 1000),
}


@pytest.mark.parametrize("name", ADL)
def test_adls_code_to_the_letter(name):
    steps, rate, decay, threshold, classes = ADL[name]
    chosen = RECIPES[name]
    images = 5994 if name.endswith("cub") else 1_281_167
    assert chosen.steps_per_epoch(images) == steps
    batch = 32 if name.endswith("cub") else 256
    assert (chosen.epochs, chosen.batch_size) == (105, batch)
    assert (chosen.num_classes, chosen.keep) == (classes, "lowest_error")
    for config in layer_configs(chosen).values():
        assert (config["drop_rate"], config["drop_threshold"]) == (0.75, threshold)
    assert (chosen.image_size, chosen.view) == ((224, 224), "center_crop")
    optimizer = chosen.optimizer(images)
    assert (optimizer.momentum, optimizer.nesterov) == (0.9, True)
    assert optimizer.rate_free_velocity
    assert optimizer.l2_decay == decay
    assert "kernel" in optimizer.l2_weights
    assert not {"bias", "gamma", "beta"} & set(optimizer.l2_weights)
    found = []
    for epoch in (0, 30, 60, 90, 100):
        for step in (epoch * steps - 1, epoch * steps):
            optimizer.iterations.assign(max(step, 0))
            found.append(float(optimizer.learning_rate))
    expected = [rate * 0.1**k for k in (0, 0, 0, 1, 1, 2, 2, 3, 3, 4)]
    assert found == pytest.approx(expected, rel=1e-5)


def test_wsolevaluation_drops_before_the_epochs_that_its_frequency_divides():
    # epoch % 15 == 0 of 1 .. 50, before it is trained: after 14, 29 and 44 epochs.
    assert RECIPES["wsolevaluation-vgg16-cub"].drop_epochs == (14, 29, 44)
    assert RECIPES["wsolevaluation-vgg16-openimages"].drop_epochs == (2, 5, 8)
    assert RECIPES["wsolevaluation-vgg16-cub"].l2_weights is None
    assert RECIPES["wsolevaluation-vgg16-cub"].steps_per_epoch(5994) == 187


# Table and column: see `target_source`.
FIGURES = {
    "adl-vgg16-cub": (52.36, 65.27),
    "adl-resnet50_se-cub": (62.29, 80.34),
    "adl-vgg16-ilsvrc": (44.92, 69.48),
    "adl-resnet50_se-ilsvrc": (48.53, 75.85),
    "adl-mobilenet-cub": (47.74, 70.43),
    "adl-mobilenet-ilsvrc": (43.01, 67.77),
    "adl-inception_v3-cub": (53.04, 74.55),
    "adl-inception_v3-ilsvrc": (48.71, 72.83),
    "cam-vgg16-cub": (34.41, 67.55),
    "cam-resnet50_se-cub": (42.72, 80.65),
    "cam-mobilenet-cub": (43.70, 71.94),
    "cam-vgg16-ilsvrc": (42.80, 66.60),
    "cam-resnet50_se-ilsvrc": (46.19, 76.56),
    "cam-mobilenet-ilsvrc": (41.66, 68.38),
    "dfm-resnet50-cub": (56.14, 81.06),
    "dfm-resnet101-cub": (54.68, 81.52),
    "dfm-vgg16-cub": (55.84, 72.52),
    "dfm-mobilenet-cub": (49.13, 72.37),
    "dfm-resnet50-ilsvrc": (49.61, 77.76),
    "dfm-resnet101-ilsvrc": (50.65, 77.52),
    "dfm-vgg16-ilsvrc": (47.41, 68.60),
    "dfm-mobilenet-ilsvrc": (44.19, 68.63),
    "dgdm-vgg16-cub": (54.34, 69.85),
    "dgdm-resnet50-cub": (59.40, 76.20),
    "dgdm-inception_v3-cub": (52.62, 72.23),
    "dgdm-resnet50_se-ilsvrc": (48.81, 73.50),
    "dgdm-resnet18-cars": (87.38, 88.91),
    "dgdm-resnet34-cars": (88.44, 89.91),
    "dgdm-resnet50-cars": (90.25, 91.85),
}


@pytest.mark.parametrize("name", FIGURES)
def test_published_figures(name):
    target = RECIPES[name].target
    assert (target["top1_loc"], target["top1_cls"]) == FIGURES[name]


def test_every_value_says_where_it_comes_from():
    for chosen in ALL:
        check_notes(chosen)


def check_notes(chosen):
    for entry in dataclasses.fields(Recipe):
        value = getattr(chosen, entry.name)
        if entry.name in DESCRIBED | {"lacks"} or value in (None, (), {}):
            continue
        note = chosen.notes.get(entry.name, "")
        assert note.startswith(("[paper] ", "[code] ", "[ours] ")), entry.name
    assert set(chosen.notes) <= {entry.name for entry in dataclasses.fields(Recipe)}
    assert chosen.target_source


@pytest.mark.parametrize("chosen", ALL, ids=lambda r: r.name)
def test_printed(chosen):
    text = str(chosen)
    assert text.startswith(chosen.name)
    assert chosen.target_source in text
    for part in (*chosen.notes.values(), *chosen.lacks, chosen.dataset):
        assert part in text
    for figure in chosen.target.values():
        assert str(figure) in text


def test_printed_images_seen():
    # 105 epochs of 25 * 256 * 5 and of 5000 * 256 * 0.2 images.
    assert "seen in all: 3,360,000" in str(RECIPES["adl-vgg16-cub"])
    assert "seen in all: 26,880,000" in str(RECIPES["adl-vgg16-ilsvrc"])
    assert "seen in all" not in str(RECIPES["wsolevaluation-vgg16-cub"])


# --- as data


@pytest.mark.parametrize("chosen", ALL, ids=lambda r: r.name)
def test_json_and_back(chosen):
    text = chosen.to_json()
    again = Recipe.from_json(text)
    assert again == chosen
    for entry in dataclasses.fields(Recipe):
        value = getattr(chosen, entry.name)
        assert type(getattr(again, entry.name)) is type(value), entry.name
        assert json.loads(text)[entry.name] == (
            list(value) if isinstance(value, tuple) else value
        )


def test_settings_are_what_decides_the_training():
    chosen = RECIPES["adl-vgg16-cub"]
    words = DESCRIBED | {"lacks"}
    found = chosen.settings()
    assert set(found) == {entry.name for entry in dataclasses.fields(Recipe)} - words
    assert found["image_size"] == [224, 224]  # as a file has it
    assert dataclasses.replace(chosen, name="mine", notes={}).settings() == found
    assert dataclasses.replace(chosen, rate=0.02).settings() != found


def test_a_changed_entry_is_another_recipe():
    chosen = RECIPES["adl-vgg16-cub"]
    entries = json.loads(chosen.to_json())
    again = Recipe.from_json(json.dumps({**entries, "rate": 0.02}))
    assert again != chosen
    assert again == dataclasses.replace(chosen, rate=0.02)


def test_nothing_of_a_recipe_can_be_changed_in_place():
    chosen = RECIPES["adl-vgg16-cub"]
    with pytest.raises(dataclasses.FrozenInstanceError):
        chosen.rate = 1.0
    with pytest.raises(TypeError):
        chosen.multipliers["block*"] = 1.0
    with pytest.raises(TypeError):
        RECIPES["mine"] = chosen
    with pytest.raises(KeyError, match=r"'adl-vgg16-cbu' .* mean 'adl-vgg16-cub'"):
        RECIPES["adl-vgg16-cbu"]
    assert isinstance(chosen.notes, MappingProxyType)


def test_json_with_other_entries_is_refused():
    entries = json.loads(RECIPES["adl-vgg16-cub"].to_json())
    del entries["rate"]
    with pytest.raises(TypeError, match=r"missing 1 required .* argument: 'rate'"):
        Recipe.from_json(json.dumps(entries))
    with pytest.raises(TypeError, match="unexpected keyword argument 'speed'"):
        Recipe.from_json(json.dumps({**entries, "speed": 1}))
    with pytest.raises(TypeError, match="must be a mapping, not list"):
        Recipe.from_json("[1, 2]")


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        ({"batch_size": True}, TypeError),
        ({"epochs": 2.0}, TypeError),
        ({"epochs": 0}, ValueError),
        ({"images_per_epoch": 3}, ValueError),  # less than a batch
        ({"rate": -1.0}, ValueError),
        ({"schedule": "linear"}, ValueError),
        ({"keep": "best"}, ValueError),
        ({"view": "crop"}, ValueError),
    ],
    ids=str,
)
def test_arguments(wrong, error):
    (name,) = wrong
    with pytest.raises(error, match=rf"`{name}` must be "):
        small(**wrong)


def test_fewer_images_than_a_batch():
    with pytest.raises(ValueError, match="`num_images` must be an integer >= 4"):
        small(images_per_epoch=None).steps_per_epoch(3)
    assert small(images_per_epoch=None).steps_per_epoch(11) == 2


# --- what they make


def test_a_build_takes_changes(monkeypatch):
    given = {}
    monkeypatch.setattr(recipes, "build_classifier", lambda **kw: given.update(kw))
    for chosen in ALL:
        chosen.build(weights=None, seed=3)
        assert given["input_shape"] == (224, 224, 3)
        assert given["num_classes"] == chosen.num_classes
        assert given["method"] == chosen.method
        assert {*(given["drop_after"] or ())} == {*(chosen.drop_after or ())}
        for place, layer in (given["drop_after"] or {}).items():
            config = layer.get_config()
            assert {**config, **chosen.drop_after[place]} == config
            free = {"name", "dtype", "trainable", "seed"}  # all else is pinned
            assert set(config) - free == set(chosen.drop_after[place])
        assert (given["weights"], given["seed"]) == (None, 3)
        chosen.build(class_names=("a", "b"))
        assert (given["num_classes"], given["weights"]) == (2, chosen.weights)
        chosen.build(method="cam")
        assert (given["method"], given["drop_after"]) == ("cam", None)


BUILT = [
    name
    for name in (
        "ours-mobilenet-small",
        "adl-vgg16-cub",
        "dfm-resnet50-cub",
        "adl-resnet50_se-cub",
    )
    if RECIPES[name].backbone in BACKBONES
]
# By hand: the factor of every weight of these layers.
FACTORS = {
    "ours-mobilenet-small": ({"head_logits": 10.0, "conv1": 1.0, "conv_pw_13": 1.0}),
    "adl-vgg16-cub": (
        {"block1_conv1": 0.1, "block5_conv3": 0.1, "head_conv1": 1.0, "head_logits": 1}
    ),
    "dfm-resnet50-cub": (
        {"conv1_conv": 0.1, "conv4_block6_3_bn": 0.1, "conv5_block1_1_conv": 1.0}
    ),
    "adl-resnet50_se-cub": (
        {
            "conv1_bn": 0.1,
            "conv2_block1_se": 0.1,
            "conv4_block6_se": 0.1,
            "conv5_block1_se": 1.0,
            "conv5_block3_3_conv": 1.0,
            "head_logits": 1.0,
        }
    ),
}


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.slow] if "resnet" in name else [])
        for name in BUILT
    ],
)
def test_multipliers_reach_the_layers_of_the_real_backbone(name):
    chosen = RECIPES[name]
    model = chosen.build(weights=None, input_shape=(32, 64, 3), num_classes=3)
    chosen.compile(model, 6000)
    # Raises where a pattern fits no layer.
    model.optimizer.build(model.trainable_variables)
    assert model.name == f"{chosen.backbone}_{chosen.method}"
    factors = {}
    for variable in model.trainable_variables:
        factor = model.optimizer._factor(variable.path)
        factors.setdefault(variable.path.split("/")[0], set()).add(factor)
    for layer, factor in FACTORS[name].items():
        assert factors[layer] == {factor}, layer


def test_multipliers_of_frozen_layers_are_left_out():
    chosen, model = small(multipliers={"conv": 0.1, "head_*": 3.0}), small_model()
    chosen.compile(model, 12)
    assert model.optimizer.multipliers == {"conv": 0.1, "head_*": 3.0}
    model.get_layer("conv").trainable = False
    chosen.compile(model, 12)
    assert model.optimizer.multipliers == {"head_*": 3.0}
    model.optimizer.build(model.trainable_variables)
    # What fits no layer at all is still a mistake.
    small(multipliers={"block*": 0.1}).compile(model, 12)
    with pytest.raises(ValueError, match=r"fit no trained layer: \['block\*'\]"):
        model.optimizer.build(model.trainable_variables)


def batches_of(dataset, count):
    taken = dataset.take(count)
    return [(images.numpy(), ids.numpy()) for images, ids in taken]


def test_batches_go_through_the_passes_and_resume_within_one():
    images = in_memory(noise(9, 16, 22))
    passes = images.batches(4, training=True, seed=5, image_size=(14, 21))
    expected = [batch for _ in range(3) for batch in batches_of(passes, 2)]
    found = batches_of(small().batches(images, seed=5), 6)
    later = batches_of(small().batches(images, seed=5, epochs_done=1), 3)
    assert len(found) == 6
    assert len(later) == 3
    for one, other in zip([*found, *later], [*expected, *expected[3:]], strict=True):
        np.testing.assert_array_equal(one[0], other[0])
        np.testing.assert_array_equal(one[1], other[1])


def run(chosen, folder, until):
    """Trains up to an epoch, from where the folder says."""
    images = in_memory(noise(9, 16, 22))
    model = small_model()
    chosen.compile(model, len(images))
    done, callbacks = chosen.resume(model, folder)
    model.fit(
        chosen.batches(images, seed=2, epochs_done=done),
        validation_data=images.batches(**chosen.evaluation_options()),
        steps_per_epoch=chosen.steps_per_epoch(len(images)),
        epochs=until,
        initial_epoch=done,
        callbacks=callbacks,
        verbose=0,
    )
    return done, model


@pytest.mark.slow
def test_interrupted_and_resumed_is_uninterrupted(tmp_path):
    _, whole = run(small(), tmp_path / "whole", 4)
    assert run(small(), tmp_path / "parts", 2)[0] == 0
    done, parts = run(small(), tmp_path / "parts", 4)
    assert done == 2
    for one, other in zip(whole.get_weights(), parts.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    assert int(parts.optimizer.iterations) == 4 * STEPS
    logs = [(tmp_path / name / "log.csv").read_text() for name in ("whole", "parts")]
    assert logs[0] == logs[1]
    assert len(logs[0].splitlines()) == 5


def test_the_model_with_the_lowest_error_is_kept_of_equals_the_first(tmp_path):
    model = small_model()
    small().compile(model, 9)
    _, callbacks = small().resume(model, tmp_path)
    (best,) = [c for c in callbacks if hasattr(c, "save_best_only")]
    best.set_model(model)
    for epoch, accuracy in enumerate([0.2, 0.6, 0.6, 0.3]):
        model.get_layer("head_dense").bias.assign(np.full(9, epoch, "float32"))
        # The lowest loss belongs to another epoch.
        best.on_epoch_end(epoch, {"val_accuracy": accuracy, "val_loss": 3.0 - epoch})
    kept = keras.saving.load_model(tmp_path / "best.keras")
    np.testing.assert_array_equal(kept.get_layer("head_dense").bias, np.ones(9))


def test_a_resumed_run_keeps_the_best_of_before(tmp_path):
    model = small_model()
    small().compile(model, 9)
    saved = Checkpoint(tmp_path / "checkpoint.npz")
    saved.set_model(model)
    saved.on_epoch_end(0)
    (tmp_path / "log.csv").write_text(
        "accuracy,epoch,loss,val_accuracy,val_loss\r\n0.5,0,1.5,0.75,1.6\r\n",
        newline="",
    )
    done, callbacks = small().resume(model, tmp_path)
    (best,) = [c for c in callbacks if hasattr(c, "save_best_only")]
    assert (done, best.best) == (1, 0.75)


def test_a_nan_loss_stops_training_with_the_step_named(tmp_path):
    images = in_memory(noise(9, 16, 22))
    chosen, model = small(keep="last"), small_model()
    chosen.compile(model, 9, jit_compile=False)
    _, callbacks = chosen.resume(model, tmp_path)

    class Spoil(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            if batch == 1:
                self.model.get_layer("head_dense").bias.assign(np.full(9, np.nan))

    with pytest.raises(RuntimeError, match="NaN or Inf loss encountered at batch 1"):
        model.fit(
            chosen.batches(images),
            steps_per_epoch=3,
            callbacks=[*callbacks, Spoil()],
            verbose=0,
        )
    assert not (tmp_path / "checkpoint.npz").exists()  # nothing good was saved


def test_the_last_model_needs_no_validation(tmp_path):
    chosen = small(keep="last")
    model = small_model()
    chosen.compile(model, 9)
    _, callbacks = chosen.resume(model, tmp_path)
    kinds = [type(callback) for callback in callbacks]
    assert kinds == [keras.callbacks.TerminateOnNaN, EpochLog, Checkpoint]


def test_evaluation_options():
    assert RECIPES["wsolevaluation-vgg16-cub"].evaluation_options() == {
        "batch_size": 32,
        "image_size": (224, 224),
        "view": "whole",
    }
