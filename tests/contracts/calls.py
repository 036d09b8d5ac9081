"""Ways to call a layer: with a held draw, compiled, for any image size."""

import keras


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


def any_size(function, channels):
    """Traced once, batch, height and width unknown, where a backend can."""
    if keras.backend.backend() != "tensorflow":
        return compiled(function)
    import tensorflow as tf

    signature = [tf.TensorSpec((None, None, None, channels), "float32")]
    return tf.function(function, input_signature=signature)
