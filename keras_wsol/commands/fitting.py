"""The training of `keras-wsol train`."""

import argparse
import sys
from typing import TYPE_CHECKING, Any

from keras_wsol.commands.command import say
from keras_wsol.commands.run_folder import CHECKPOINT

if TYPE_CHECKING:
    import keras

    from keras_wsol.data import ImageDataset

HEAD_MULTIPLIER = 10.0


def build(options: argparse.Namespace, train: "ImageDataset") -> "keras.Model":
    """Builds and compiles the classifier.

    Args:
        options: The command line.
        train: The images to learn from.

    Returns:
        The compiled model.

    Raises:
        ValueError: An option does not fit the backbone or the method.
        FileNotFoundError: There is no such file of weights.
    """
    import keras

    from keras_wsol import models, training

    if options.deterministic:
        import tensorflow as tf

        tf.config.experimental.enable_op_determinism()
    model = models.build_classifier(
        options.backbone,
        options.method,
        train.num_classes,
        weights=None if options.weights == "none" else options.weights,
        input_shape=(options.image_size, options.image_size, 3),
        backbone_options=None if options.alpha is None else {"alpha": options.alpha},
        class_names=train.class_names,
        freeze=options.freeze,
        seed=options.seed,
    )
    rate = training.learning_rate(
        "cosine",
        options.rate,
        epochs=options.epochs,
        steps_per_epoch=train.steps_per_epoch(_batch_size(options, train)),
    )
    model.compile(
        optimizer=training.LayerwiseSGD(rate, multipliers={"head_*": HEAD_MULTIPLIER}),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        # XLA on a GPU has no deterministic gradient of max pooling.
        jit_compile=False if options.deterministic else "auto",
    )
    return model


def fit(
    model: "keras.Model",
    train: "ImageDataset",
    val: "ImageDataset",
    options: argparse.Namespace,
) -> None:
    """Trains from where an earlier run of the same command stopped.

    Args:
        model: The compiled model.
        train: The images to learn from.
        val: Images to measure the accuracy on after each epoch; there may be none.
        options: The command line.

    Raises:
        RuntimeError: The loss is no number any more, or memory ran out.
        ValueError: No image of a whole batch can be read.
    """
    import keras
    import numpy as np
    import tensorflow as tf

    from keras_wsol import training

    checkpoint = training.Checkpoint(options.out / CHECKPOINT)
    done = checkpoint.restore(model)
    if done:
        say(f"{done} of {options.epochs} epochs are done.")
    batch_size = _batch_size(options, train)
    size = (options.image_size, options.image_size)
    shape = {"image_size": size, "unreadable": "skip"}
    batches = train.batches(
        batch_size,
        training=True,
        seed=options.seed,
        start_step=done * train.steps_per_epoch(batch_size),
        **shape,
    )
    try:
        history = model.fit(
            batches,
            validation_data=_readable(val, batch_size, shape) if len(val) else None,
            epochs=options.epochs,
            initial_epoch=done,
            class_weight=train.class_weights() if options.dataset == "folder" else None,
            callbacks=[
                keras.callbacks.TerminateOnNaN(),
                checkpoint,
                keras.callbacks.CSVLogger(options.out / "log.csv", append=done > 0),
            ],
            shuffle=False,  # the batches are shuffled already
            verbose=1 if sys.stdout.isatty() else 2,
        )
    except tf.errors.ResourceExhaustedError as error:
        raise RuntimeError(
            "Memory ran out: lower --batch-size or --image-size."
        ) from error
    except tf.errors.InvalidArgumentError as error:
        if "images of a batch can be read" not in error.message:
            raise
        raise ValueError(
            "No image of a whole batch can be read, so most of "
            f"{options.data} seems to be broken, or in another format than its names."
        ) from error
    if not np.isfinite(history.history.get("loss", [0.0])).all():
        raise RuntimeError(
            "The loss is no number any more: lower --rate and choose another --out. "
            f"The last good epoch is in {checkpoint.path}."
        )


def _batch_size(options: argparse.Namespace, train: "ImageDataset") -> int:
    return min(options.batch_size, len(train))


def _readable(val: "ImageDataset", batch_size: int, shape: dict[str, Any]) -> Any:
    """Batches without the images that could not be read, whose class is -1."""

    def readable(images: Any, class_ids: Any) -> tuple[Any, Any]:
        return images[class_ids >= 0], class_ids[class_ids >= 0]

    # Not `filter`: Keras warns of batches whose number it does not know.
    return val.batches(batch_size, **shape).map(readable)
