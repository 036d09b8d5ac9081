"""Arguments, inference and draws of every public layer, on every backend."""

import importlib
import json
import pkgutil
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import ops

import keras_wsol
from keras_wsol import layers
from tests.contracts.activations import relu_features
from tests.contracts.cases import CASES, every_layer, every_layer_that_draws

# Layers that are public but are no modules to splice in: they need images of three
# channels, or whole models, or return scores. What they promise is in these tests.
TESTED_ELSEWHERE = {
    "ImageNetNormalization": "tests/models/test_normalization.py",
    "Localizer": "tests/models/test_localizer.py",
    "Logits": "tests/models/test_classifier.py",
    "MeasuredLocalizer": "tests/metrics/test_measured_localizer.py",
}


def is_layer(value):
    return isinstance(value, type) and issubclass(value, keras.layers.Layer)


def test_every_public_layer_has_a_case():
    public = set()
    for room in keras_wsol.__all__:
        members = vars(importlib.import_module(f"keras_wsol.{room}"))
        # A name that is missing here is loaded when it is first used; no layer is.
        exported = {name: members.get(name) for name in members["__all__"]}
        public |= {name for name, value in exported.items() if is_layer(value)}
    assert public == {case.name for case in CASES} | set(TESTED_ELSEWHERE)


@pytest.mark.parametrize(("name", "file"), TESTED_ELSEWHERE.items())
def test_layers_without_a_case_are_tested_elsewhere(name, file):
    assert name in (Path(__file__).parents[2] / file).read_text()


def test_every_layer_of_the_room_is_public():
    defined = {}
    for module in pkgutil.walk_packages(layers.__path__, "keras_wsol.layers."):
        members = vars(importlib.import_module(module.name))
        defined |= {
            name: value
            for name, value in members.items()
            if is_layer(value) and value.__module__ == module.name
        }
    assert set(defined) == set(layers.__all__)
    for layer in defined.values():
        registered = keras.saving.get_registered_name(layer)
        assert keras.saving.get_registered_object(registered) is layer


# --- arguments


@every_layer
def test_settings_name_every_argument_and_no_default(case):
    defaults = case.defaults
    named = set().union(*case.settings)
    assert named == set(defaults)
    for settings in case.settings:
        assert all(value != defaults[name] for name, value in settings.items())


@every_layer
def test_config_names_every_argument(case):
    for settings in case.settings:
        config = case.layer(**settings).get_config()
        expected = {**case.defaults, **settings}
        assert {name: config[name] for name in expected} == expected
        json.dumps(config)


@every_layer
def test_arguments_are_attributes_of_the_same_name(case):
    for settings in case.settings:
        layer = case.layer(**settings)
        for name, value in {**case.defaults, **settings}.items():
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
@pytest.mark.parametrize("policy", ["float16", "mixed_float16", "mixed_bfloat16"])
def test_dtype_policy_survives_the_config(case, policy):
    layer = case.layer(**case.usual, dtype=policy)
    revived = case.layer.from_config(layer.get_config())
    assert revived.dtype_policy.name == policy
    features = relu_features(3, 6, 5, 4)
    expected = policy.removeprefix("mixed_")
    for training in (False, True):
        outputs = revived(features, training=training)
        assert keras.backend.standardize_dtype(outputs.dtype) == expected


@every_layer
def test_package_is_part_of_the_registered_name(case):
    assert (
        keras.saving.get_registered_name(case.layer)
        == f"keras_wsol>{case.layer.__name__}"
    )


# --- inference


@every_layer
def test_inference_returns_the_input_where_declared(case):
    layer = case.layer(**case.usual)
    features = relu_features(3, 6, 5, 4, seed=1) - 0.5
    for outputs in (layer(features), layer(features, training=False)):
        same = np.array_equal(ops.convert_to_numpy(outputs), features)
        assert same == case.identity_at_inference


@every_layer
def test_layer_has_no_weights_where_declared(case):
    layer = case.layer(**case.usual)
    layer(relu_features(3, 6, 5, 4), training=True)
    assert (layer.weights == []) == case.weightless
    assert (layer.count_params() == 0) == case.weightless


# --- draws


def sequence(layer, features, calls=12):
    return [ops.convert_to_numpy(layer(features, training=True)) for _ in range(calls)]


def equal(first, second):
    return all(np.array_equal(*pair) for pair in zip(first, second, strict=True))


@every_layer_that_draws
def test_same_seed_same_draws_and_other_seed_other_draws(case):
    features = relu_features(3, 6, 5, 4, seed=2)
    first = sequence(case.layer(**case.random, seed=11), features)
    again = sequence(case.layer(**case.random, seed=11), features)
    other = sequence(case.layer(**case.random, seed=12), features)
    assert equal(first, again)
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
def test_revived_layer_repeats_the_draws(case):
    features = relu_features(3, 6, 5, 4, seed=2)
    layer = case.layer(**case.random, seed=11)
    revived = case.layer.from_config(layer.get_config())
    assert equal(sequence(layer, features), sequence(revived, features))


@every_layer_that_draws
def test_layers_without_a_seed_draw_independently(case):
    features = relu_features(3, 6, 5, 4, seed=2)
    first, second = (sequence(case.layer(**case.random), features) for _ in range(2))
    assert not equal(first, second)
