"""Training and inference steps of a Keras model as functions to be timed."""

import os
import platform

import keras

BACKEND = keras.backend.backend()


def make_turn(model, data, mode, jit):
    """A function of a number of steps, which it takes and waits for.

    `model` is compiled, its optimizer built; `data` is images and class ids on the
    device; `mode` is "train", which updates the weights, or "forward", which is
    inference; `jit` says whether the step is compiled.
    """
    make = {"tensorflow": _tensorflow_turn, "jax": _jax_turn, "torch": _torch_turn}
    return make[BACKEND](model, data, mode, jit)


def _tensorflow_turn(model, data, mode, jit):
    import tensorflow as tf

    tf.get_logger().setLevel("ERROR")  # It minds functions that are made in a loop.

    def train(images, class_ids):
        return model.train_step((images, class_ids))

    def forward(images, class_ids):
        return model(images, training=False)

    step = tf.function(train if mode == "train" else forward, jit_compile=jit)

    def turn(steps):
        for _ in range(steps):
            result = step(*data)
        # The kernel that backpropagation reaches last: a read of it is queued behind
        # its update, and so waits.
        last = model.trainable_variables[0].value if mode == "train" else result
        tf.reshape(last, [-1])[0].numpy()

    return turn


def _jax_turn(model, data, mode, jit):
    import jax

    # A copy, since the step gives the memory of what it is handed to its result.
    state = jax.tree.map(
        jax.numpy.copy,
        tuple(
            [variable.value for variable in variables]
            for variables in (
                model.trainable_variables,
                model.non_trainable_variables,
                model.optimizer.variables,
                model.metrics_variables,
            )
        ),
    )

    def train(state, data):
        return model.train_step(state, data)[1]

    def forward(state, data):
        return model.stateless_call(state[0], state[1], data[0], training=False)[0]

    step = train if mode == "train" else forward
    if jit:
        step = jax.jit(step, donate_argnums=0 if mode == "train" else ())

    def turn(steps):
        nonlocal state
        for _ in range(steps):
            result = step(state, data)
            if mode == "train":
                state = result
        jax.block_until_ready(result)

    return turn


def _torch_turn(model, data, mode, jit):
    import torch

    def forward(data):
        with torch.no_grad():
            return model(data[0], training=False)

    step = model.train_step if mode == "train" else forward
    if jit:
        step(data)  # Makes the loss and its mean, which the compiler cannot follow.
        step = torch.compile(step)

    def turn(steps):
        for _ in range(steps):
            step(data)
        if torch.cuda.is_available():
            torch.cuda.synchronize()

    return turn


def compiles():
    """Whether Keras compiles a step here unless told otherwise."""
    on_gpu = not device_name().endswith("CPU")
    return BACKEND == "jax" or (BACKEND == "tensorflow" and on_gpu)


def device_name():
    """The GPU, or else how many cores of which processor this process may use."""
    if BACKEND == "tensorflow":
        import tensorflow as tf

        for device in tf.config.list_physical_devices("GPU"):
            return tf.config.experimental.get_device_details(device)["device_name"]
    elif BACKEND == "jax":
        import jax

        if (device := jax.devices()[0]).platform != "cpu":
            return device.device_kind
    else:
        import torch

        if torch.cuda.is_available():
            return torch.cuda.get_device_name()
    return f"{len(os.sched_getaffinity(0))} cores, {platform.machine()} CPU"
