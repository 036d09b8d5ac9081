"""The training of `keras-wsol train`."""

import argparse
import sys
from typing import TYPE_CHECKING, Any

from keras_wsol.commands.command import say
from keras_wsol.commands.run_folder import BEST, CHECKPOINT
from keras_wsol.commands.train_recipe import recipe_of

if TYPE_CHECKING:
    import keras

    from keras_wsol.data import ImageDataset
    from keras_wsol.training import Recipe


def build(options: argparse.Namespace, train: "ImageDataset") -> "keras.Model":
    """Builds and compiles the classifier."""
    if options.deterministic:
        import tensorflow as tf

        tf.config.experimental.enable_op_determinism()
    recipe = recipe_of(options, len(train))
    model = recipe.build(
        class_names=train.class_names, freeze=options.freeze, seed=options.seed
    )
    # XLA on a GPU has no deterministic gradient of max pooling.
    jit_compile = False if options.deterministic else "auto"
    recipe.compile(model, len(train), jit_compile=jit_compile)
    return model


def fit(
    model: "keras.Model",
    train: "ImageDataset",
    val: "ImageDataset",
    options: argparse.Namespace,
) -> None:
    """Trains from where an earlier run of the same command stopped."""
    import tensorflow as tf

    from keras_wsol import training
    from keras_wsol.training import run_folder

    checkpoint = training.Checkpoint(
        options.out / CHECKPOINT, every_seconds=run_folder.SAVE_EVERY
    )
    done = checkpoint.restore(model)
    recipe = recipe_of(options, len(train))
    batch_size, steps = recipe.batch_size, recipe.steps_per_epoch(len(train))
    if done:
        within = f", and {done.steps} of {steps} steps" if done.steps else ""
        say(f"{done} of {options.epochs} epochs are done{within}.")
    size = (options.image_size, options.image_size)
    shape = {"image_size": size, "unreadable": "skip"}
    viewed = {**shape, "view": recipe.view}
    weights = train.class_weights() if options.dataset == "folder" else None

    def batches(start_step: int) -> "tf.data.Dataset":
        return train.batches(
            batch_size,
            training=True,
            seed=options.seed,
            start_step=start_step,
            **shape,
        ).repeat()

    best = _best_kept(recipe, val, options, done)
    try:
        model.fit(
            batches(done.start_step(steps)),
            steps_per_epoch=steps,
            validation_data=_readable(val, batch_size, viewed) if len(val) else None,
            epochs=options.epochs,
            initial_epoch=done,
            class_weight=weights,
            callbacks=[
                training.StopAtNonFinite(checkpoint, batches, class_weight=weights),
                *best,
                training.EpochLog(options.out / "log.csv", done),
                checkpoint,
            ],
            shuffle=False,  # the batches are shuffled already
            verbose=1 if sys.stdout.isatty() else 2,
        )
    except training.NonFiniteLossError as error:
        raise RuntimeError(f"{error} Lower --rate and choose another --out.") from error
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
    if best:  # the folder may hold one of another run, too
        model.load_weights(options.out / BEST)


def _best_kept(
    recipe: "Recipe", val: "ImageDataset", options: argparse.Namespace, done: int
) -> list["keras.callbacks.Callback"]:
    """What keeps the model with the lowest error, if the recipe wants that one."""
    if recipe.keep != "lowest_error" or not len(val):
        return []
    from keras_wsol.training import keep_best

    return [keep_best(options.out / BEST, options.out / "log.csv", done)]


def _readable(val: "ImageDataset", batch_size: int, shape: dict[str, Any]) -> Any:
    """Batches without the images that could not be read, whose class is -1."""

    def readable(images: Any, class_ids: Any) -> tuple[Any, Any]:
        return images[class_ids >= 0], class_ids[class_ids >= 0]

    # Not `filter`: Keras warns of batches whose number it does not know.
    return val.batches(batch_size, **shape).map(readable)
