"""Every public layer inside a model: it trains, it is saved and comes back."""

import keras
import numpy as np
import pytest
from keras import ops

from tests.contracts.activations import relu_features
from tests.contracts.cases import every_layer
from tests.contracts.weights import give_weights

# On PyTorch jit_compile asks for torch.compile and a C++ compiler. On JAX a step
# that is not compiled has each of its operations compiled, which takes longer.
JIT = {"tensorflow": (False, True), "jax": (True,), "torch": (False,)}[
    keras.backend.backend()
]


def small_classifier(case, jit_compile=JIT[0]):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((None, None, 3), name="images")
    x = keras.layers.Conv2D(8, 3, padding="same", activation="relu")(inputs)
    x = case.layer(**case.usual, seed=5, name="module")(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    model = keras.Model(inputs, keras.layers.Dense(2)(x))
    model.compile(
        keras.optimizers.SGD(0.1),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        jit_compile=jit_compile,
    )
    return model


IMAGES = np.random.default_rng(10).normal(size=(6, 7, 5, 3)).astype("float32")
CLASS_IDS = np.array([0, 1, 0, 1, 1, 0])


def fit(model, epochs):
    history = model.fit(IMAGES, CLASS_IDS, batch_size=3, epochs=epochs, verbose=0)
    return history.history["loss"]


def generator_states(layer):
    """The state of each generator: what is neither weight nor metric."""
    weights = {id(weight) for weight in layer.weights}
    states = [v for v in layer.variables if id(v) not in weights]
    return [ops.convert_to_numpy(state).tolist() for state in states]


@every_layer
@pytest.mark.parametrize("jit_compile", JIT)
def test_fit_moves_every_weight_and_every_generator(case, jit_compile):
    model = small_classifier(case, jit_compile)
    layer = model.get_layer("module")
    assert (layer.weights == []) == case.weightless
    started = generator_states(layer)
    assert (started == []) == (case.random is None)
    before = model.get_weights()
    assert np.all(np.isfinite(fit(model, epochs=2)))
    after = model.get_weights()
    assert all(np.all(np.isfinite(weight)) for weight in after)
    assert not any(np.array_equal(*pair) for pair in zip(before, after, strict=True))
    # A layer that passes its input on in `fit`, or draws at tracing alone, leaves
    # its generator where it was.
    pairs = zip(started, generator_states(layer), strict=True)
    assert all(first != last for first, last in pairs)


@every_layer
def test_fit_repeats_with_its_seed(case):
    losses = [fit(small_classifier(case), epochs=2) for _ in range(2)]
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-6)


@every_layer
def test_fit_with_batches_of_changing_size(case):
    model = small_classifier(case)
    for shape in ((6, 7, 5, 3), (4, 5, 8, 3)):
        images = np.random.default_rng(11).normal(size=shape).astype("float32")
        loss = model.train_on_batch(images, CLASS_IDS[: shape[0]])
        assert np.isfinite(loss)


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
