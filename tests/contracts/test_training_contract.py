"""Every public layer inside a model: it trains, it is saved and comes back."""

import keras
import numpy as np
import pytest
from keras import ops

from tests.contracts.activations import relu_features
from tests.contracts.cases import CASES, every_layer
from tests.contracts.weights import give_weights

# On PyTorch jit_compile asks for torch.compile and a C++ compiler. On JAX a step
# that is not compiled has each of its operations compiled, which takes longer.
JIT = {
    "tensorflow": (False, pytest.param(True, marks=pytest.mark.slow)),
    "jax": (True,),
    "torch": (False,),
}[keras.backend.backend()]
IMAGES = np.random.default_rng(10).normal(size=(6, 7, 5, 3)).astype("float32")
CLASS_IDS = np.array([0, 1, 0, 1, 1, 0])


def classifier(jit_compile):
    """A convolution, every layer, pooling and a dense layer."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((None, None, 3), name="images")
    x = keras.layers.Conv2D(8, 3, padding="same", activation="relu")(inputs)
    for case in CASES:
        x = case.layer(**case.usual, seed=5, name=case.name)(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    model = keras.Model(inputs, keras.layers.Dense(2)(x))
    model.compile(
        keras.optimizers.SGD(0.1),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        jit_compile=jit_compile,
    )
    return model


def fit(model):
    history = model.fit(
        IMAGES, CLASS_IDS, batch_size=3, epochs=2, shuffle=False, verbose=0
    )
    return history.history["loss"]


def values(variables):
    return [ops.convert_to_numpy(variable) for variable in variables]


def generators_of(layer):
    """The variables that are neither weight nor metric."""
    weights = {id(weight) for weight in layer.weights}
    return [v for v in layer.variables if id(v) not in weights]


@pytest.mark.parametrize("jit_compile", JIT)
def test_fit_moves_every_weight_and_every_generator(jit_compile):
    model = classifier(jit_compile)
    moved = [("the model", model.weights)]
    for case in CASES:
        layer = model.get_layer(case.name)
        assert (layer.weights == []) == case.weightless
        # A layer that passes its input on in `fit`, or draws at tracing alone, leaves
        # its generator where it was.
        moved.append((case.name, generators_of(layer)))
        assert (moved[-1][1] == []) == (case.random is None)
    start = [values(variables) for _, variables in moved]
    whole = values(model.variables)
    losses = fit(model)
    assert np.all(np.isfinite(losses))
    for (name, variables), before in zip(moved, start, strict=True):
        after = values(variables)
        assert all(np.all(np.isfinite(value)) for value in after), name
        pairs = zip(before, after, strict=True)
        assert not any(np.array_equal(*pair) for pair in pairs), name
    # All state is in variables: set back, training repeats.
    for variable, value in zip(model.variables, whole, strict=True):
        variable.assign(value)
    np.testing.assert_allclose(fit(model), losses, rtol=1e-6)
    # Batches may change their size.
    images = np.random.default_rng(11).normal(size=(4, 5, 8, 3)).astype("float32")
    assert np.isfinite(model.train_on_batch(images, CLASS_IDS[:4]))


@every_layer
def test_keras_file_round_trip(case, tmp_path):
    for settings in case.settings:
        inputs = keras.Input((None, None, 4))
        layer = case.layer(**settings, name="module")
        model = keras.Model(inputs, layer(inputs))
        give_weights(layer, channels=4)  # not those that its seed would give again
        model.save(tmp_path / "model.keras")
        revived = keras.saving.load_model(tmp_path / "model.keras")
        for pair in zip(revived.get_weights(), model.get_weights(), strict=True):
            np.testing.assert_array_equal(*pair)
        config = revived.get_layer("module").get_config()
        assert type(revived.get_layer("module")) is case.layer
        assert config == layer.get_config()
        features = relu_features(3, 5, 4, 4, seed=12)
        np.testing.assert_array_equal(
            ops.convert_to_numpy(revived(features, training=False)),
            ops.convert_to_numpy(model(features, training=False)),
        )
