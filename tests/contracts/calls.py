"""Ways to call a layer: with a held draw, compiled, for any image size."""

import keras

from tests.contracts.draws import ForcedDraws, ReplayedDraws, drawing


def held_draw(layer, input_shape, training=True):
    """The layer as a pure function of its input: the same draw in each call."""
    if not layer.built:
        layer.build(input_shape)
    state = [keras.ops.convert_to_tensor(v) for v in layer.variables]
    return lambda inputs: call_with(layer, state, inputs, training)


def call_with(layer, state, inputs, training=True):
    """Calls the layer as if `state` were the values of `layer.variables`."""
    with keras.StatelessScope(list(zip(layer.variables, state, strict=True))):
        return layer(inputs, training=training)


def given_draws(layer, input_shape):
    """The layer in training as a pure function of its input and of its draws."""
    function = held_draw(layer, input_shape)

    def with_draws(inputs, *draws):
        with drawing(ReplayedDraws(draws)):
            return function(inputs)

    return with_draws


def forced_draws(layer, inputs):
    """Numbers for `given_draws`: as many as the layer draws for these inputs."""
    with drawing(ForcedDraws()) as uniform:
        held_draw(layer, inputs.shape)(inputs)
    return uniform.made


def compiled(function):
    """Compiled by XLA; PyTorch has no XLA here and runs eagerly."""
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        return tf.function(function, jit_compile=True)
    if backend == "jax":
        import jax

        return jax.jit(function)
    return function


def quick(function):
    """As a backend runs it soonest: JAX compiles operations one by one otherwise."""
    return compiled(function) if keras.backend.backend() == "jax" else function


def any_size(function, channels, draws=()):
    """Traced once, batch, height and width unknown, where a backend can.

    `draws` are some that the function may get after its input: their sizes are
    unknown as well, so that only their number and rank counts.
    """
    if keras.backend.backend() != "tensorflow":
        return compiled(function)
    import tensorflow as tf

    signature = [
        tf.TensorSpec((None, None, None, channels), "float32"),
        *(tf.TensorSpec([None] * draw.ndim, "float32") for draw in draws),
    ]
    return tf.function(function, input_signature=signature)


def traced_training(layer, input_shape):
    """One traced function that calls the layer again and again.

    The state of its generators goes in and comes out with each call.
    """
    layer.build(input_shape)
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return tf.function(lambda inputs: layer(inputs, training=True))
    if keras.backend.backend() == "torch":
        return lambda inputs: layer(inputs, training=True)
    step = compiled(
        lambda inputs, state: layer.stateless_call([], state, inputs, training=True)
    )
    state = [variable.value for variable in layer.non_trainable_variables]

    def call(inputs):
        nonlocal state
        outputs, state = step(inputs, state)
        return outputs

    return call
