"""Arguments, inference and draws of every public layer, on every backend."""

import importlib
import json
import pkgutil
from pathlib import Path

import keras
import numpy as np
from keras import ops

import keras_wsol
from keras_wsol import layers
from tests.contracts.activations import relu_features
from tests.contracts.cases import CASES, every_layer, every_layer_that_draws

# Models that are public, and layers, too; what they promise is in tests/models.
TESTED_ELSEWHERE = {"Localizer", "SecondLook"}
# What public layers share; it is no layer to be used.
BASES = {"AttentionGate", "AttentionMask", "HiddenParts", "MapLayer"}
BASES |= {"MaskOrImportance"}


def is_layer(value):
    return isinstance(value, type) and issubclass(value, keras.layers.Layer)


def public_layers():
    """Of all rooms, by their `__all__`."""
    rooms = [room for room in pkgutil.iter_modules(keras_wsol.__path__) if room.ispkg]
    modules = [importlib.import_module(f"keras_wsol.{room.name}") for room in rooms]
    names = {
        name: vars(module).get(name)
        for module in modules
        for name in getattr(module, "__all__", ())
    }
    return {name for name, value in names.items() if is_layer(value)}


def test_every_public_layer_has_a_case():
    cases = {case.name for case in CASES}
    assert public_layers() - TESTED_ELSEWHERE == cases
    tests = [
        path.read_text() for path in (Path(__file__).parents[1] / "models").glob("*.py")
    ]
    for name in public_layers() - cases:
        assert any(f"{name}(" in text for text in tests)


def test_every_layer_of_the_room_is_public():
    defined = {}
    for module in pkgutil.walk_packages(layers.__path__, "keras_wsol.layers."):
        members = vars(importlib.import_module(module.name))
        defined |= {
            name: value
            for name, value in members.items()
            if is_layer(value) and value.__module__ == module.name
        }
    assert set(defined) - BASES == set(layers.__all__)
    assert set(defined) >= BASES
    for name in layers.__all__:
        registered = keras.saving.get_registered_name(defined[name])
        assert registered == f"keras_wsol>{name}"
        assert keras.saving.get_registered_object(registered) is defined[name]


# --- arguments


@every_layer
def test_settings_name_every_argument_and_no_default(case):
    defaults = case.defaults
    named = set().union(*case.settings)
    assert named == set(defaults)
    for settings in case.settings:
        assert all(value != defaults[name] for name, value in settings.items())


@every_layer
def test_arguments_are_in_the_config_and_attributes_of_the_same_name(case):
    for settings in case.settings:
        layer = case.layer(**settings)
        config = layer.get_config()
        json.dumps(config)
        for name, value in {**case.defaults, **settings}.items():
            assert config[name] == value
            held = getattr(layer, name)
            if callable(held):  # an activation, as Keras' own layers hold it
                held = keras.activations.serialize(held)
            assert held == value, name


@every_layer
def test_revived_layer_has_the_same_arguments(case):
    for settings in case.settings:
        layer = case.layer(**settings, name="mine", trainable=False)
        for revived in (
            case.layer.from_config(layer.get_config()),
            keras.saving.deserialize_keras_object(
                json.loads(json.dumps(keras.saving.serialize_keras_object(layer)))
            ),
        ):
            assert type(revived) is case.layer
            assert revived.name == "mine"
            assert not revived.trainable
            config = revived.get_config()
            expected = {**case.defaults, **settings}
            assert {name: config[name] for name in expected} == expected


@every_layer
def test_dtype_policy_survives_the_config(case):
    features = relu_features(3, 6, 5, 4)
    for policy in ("float16", "mixed_float16", "mixed_bfloat16"):
        layer = case.layer(**case.usual, dtype=policy)
        revived = case.layer.from_config(layer.get_config())
        assert revived.dtype_policy.name == policy
        for training in (False, True):
            outputs = revived(features, training=training)
            dtype = keras.backend.standardize_dtype(outputs.dtype)
            assert dtype == policy.removeprefix("mixed_")


# --- inference


@every_layer
def test_inference_returns_the_input_where_declared(case):
    layer = case.layer(**case.usual)
    features = relu_features(3, 6, 5, 4, seed=1) - 0.5
    for outputs in (layer(features), layer(features, training=False)):
        same = np.array_equal(ops.convert_to_numpy(outputs), features)
        assert same == case.identity_at_inference
    assert (layer.weights == []) == case.weightless
    assert (layer.count_params() == 0) == case.weightless


# --- draws


def sequence(layer, features, calls=8):
    return [ops.convert_to_numpy(layer(features, training=True)) for _ in range(calls)]


def equal(first, second):
    return all(np.array_equal(*pair) for pair in zip(first, second, strict=True))


@every_layer_that_draws
def test_same_seed_same_draws_and_other_seed_other_draws(case):
    features = relu_features(3, 6, 5, 4, seed=2)
    first = sequence(case.layer(**case.random, seed=11), features)
    again = sequence(case.layer(**case.random, seed=11), features)
    other = sequence(case.layer(**case.random, seed=12), features)
    config = case.layer(**case.random, seed=11).get_config()
    revived = sequence(case.layer.from_config(config), features)
    assert equal(first, again)
    assert equal(first, revived)
    assert not equal(first, other)


@every_layer
def test_new_call_new_draw_where_declared(case):
    features = relu_features(3, 6, 5, 4, seed=2)
    layer = case.layer(**case.usual, seed=11)
    outputs = sequence(layer, features)
    assert equal(outputs[:-1], outputs[1:]) == (case.random is None)
    # What is neither weight nor metric is the state of a generator.
    assert (len(layer.variables) == len(layer.weights)) == (case.random is None)


@every_layer_that_draws
def test_layers_without_a_seed_draw_independently(case):
    features = relu_features(3, 6, 5, 4, seed=2)
    first, second = (sequence(case.layer(**case.random), features) for _ in range(2))
    assert not equal(first, second)
