"""The trainings of study.py: from where an earlier start of it stopped."""

import argparse
import importlib.util
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
from study_runs import Run

from keras_wsol import data, evaluation, models, training
from keras_wsol.cam.split import graph_of
from keras_wsol.models.methods import Method
from keras_wsol.training.epoch_callbacks import WholeCheckpoint

TENSORFLOW = importlib.util.find_spec("tensorflow") is not None
BATCH_SIZE = 32
EVERY = 3  # epochs between two looks at train-fullsup


def trained(
    run: Run,
    splits: dict[str, data.ImageDataset],
    options: argparse.Namespace,
    folder: Path,
) -> tuple[keras.Model, float]:
    """Trains a classifier, or goes on with it, or loads it.

    Args:
        run: What is trained.
        splits: The data.
        options: The command line.
        folder: Where checkpoint, log and the best model lie.

    Returns:
        The classifier of the best epoch, and how long this process trained it.
    """
    model = build(run, splits["train-weaksup"], options)
    if not run.epochs:
        return model, 0.0
    best, finished = folder / "best.keras", folder / "finished"
    start = time.monotonic()
    if not finished.is_file():
        fit(model, run, splits, folder, best)
        finished.write_text("")
    chosen = keras.saving.load_model(best, compile=False)
    return chosen, time.monotonic() - start


def build(
    run: Run, train: data.ImageDataset, options: argparse.Namespace
) -> keras.Model:
    """Builds and compiles the classifier of a run.

    Args:
        run: What is trained.
        train: The training images.
        options: The command line.

    Returns:
        The compiled model.
    """
    files = {"mobilenet": options.weights, "mobilenet_v2": options.weights_v2}
    backbone, weights = run.backbone, files.get(run.backbone)
    if backbone == "efficientnet_lite0":
        backbone, weights = lite0(options.weights_lite0, run.image_size), "imagenet"
    kind = models.METHODS[run.method]
    method: Any = run.method
    if own := kind is not None and issubclass(kind, Method):
        row = models.BACKBONES.get(run.backbone)
        presets = row.presets.get(method, {}) if row else {}
        method = kind(**{**presets, **run.options})
    model = models.build_classifier(
        backbone,
        method,
        train.num_classes,
        weights=weights,
        input_shape=(run.image_size, run.image_size, 3),
        drop_after=run.places,
        backbone_options=dict(run.backbone_options),
        class_names=train.class_names,
        freeze=run.freeze,
        batch_norm_momentum=run.batch_norm_momentum,
        seed=run.seed,
    )
    if run.options and not own:
        model = with_options(model, run.options)
    return compiled(model, run, train)


def lite0(path: Path, image_size: int) -> keras.Model:
    """EfficientNet-Lite0 of images in [0, 255], a functional model of one's own."""
    stored = keras.saving.load_model(path, compile=False)
    images = keras.Input((image_size, image_size, 3), name="images")
    scaled = keras.layers.Rescaling(1 / 128, -127 / 128)(images)
    tensors = {id(stored.inputs[0]): scaled}
    for node in graph_of(stored.outputs[0])[1:]:
        inputs = [tensors[id(parent)] for parent in node.parents]
        call = node.operation
        tensors[id(node.tensor)] = call(inputs if len(inputs) > 1 else inputs[0])
    outputs = tensors[id(stored.outputs[0])]
    return keras.Model(images, outputs, name="efficientnet_lite0")


def compiled(model: keras.Model, run: Run, train: data.ImageDataset) -> keras.Model:
    """Compiles a classifier, or its last part, with the rates of a run."""
    steps = train.steps_per_epoch(BATCH_SIZE)
    rate = training.learning_rate(
        "cosine", run.rate, epochs=max(1, run.epochs), steps_per_epoch=steps
    )
    model.compile(
        optimizer=training.LayerwiseSGD(
            rate, multipliers={"head_*": run.head_multiplier}
        ),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    return model


def with_options(model: keras.Model, options: Mapping[str, Any]) -> keras.Model:
    """Copies a classifier with other options on top of its row's, at every place.

    Args:
        model: The classifier.
        options: Arguments of the layers that its method inserted.

    Returns:
        The copy, with the same weights.
    """
    inserted = {layer.name for layer in models.inserted_layers(model)}

    def changed(layer: keras.layers.Layer) -> keras.layers.Layer:
        config = layer.get_config()
        if layer.name in inserted:
            config |= options
        return type(layer).from_config(config)

    copy = keras.models.clone_model(model, clone_function=changed)
    copy.set_weights(model.get_weights())
    return copy


def fit(
    model: keras.Model,
    run: Run,
    splits: dict[str, data.ImageDataset],
    folder: Path,
    best: Path,
) -> None:
    """Trains from where an earlier start of the study stopped.

    Args:
        model: The compiled model.
        run: What is trained.
        splits: The data.
        folder: Where checkpoint and log lie.
        best: Where the model of the best epoch goes.
    """
    checkpoint = training.Checkpoint(folder / "checkpoint.npz", every_seconds=600)
    done = checkpoint.restore(model)
    log = training.EpochLog(folder / "log.csv", done)
    train = splits["train-weaksup"]
    steps = train.steps_per_epoch(BATCH_SIZE)
    look = evaluation.LocalizationEvaluation(
        splits["train-fullsup"], every=EVERY, num_thresholds=100
    )
    # Keras' own saves the epochs between two looks, too.
    keep = WholeCheckpoint(
        best,
        monitor="val_top1_loc",
        mode="max",
        save_best_only=True,
        initial_value_threshold=log.best("val_top1_loc"),
    )
    model.fit(
        training_batches(train, run, done.start_step(steps)),
        epochs=run.epochs,
        steps_per_epoch=steps,
        initial_epoch=done,
        callbacks=[
            keras.callbacks.TerminateOnNaN(raise_error=True),
            look,
            keep,
            log,
            checkpoint,
        ],
        shuffle=False,  # the batches are shuffled already
        verbose=2,
    )


def training_batches(train: data.ImageDataset, run: Run, start_step: int) -> Any:
    """Returns cropped and flipped batches, read by what is installed.

    Args:
        train: The training images.
        run: Says size and seed.
        start_step: Batches that came before.

    Returns:
        What `fit` takes.
    """
    size = (run.image_size, run.image_size)
    options = {"seed": run.seed, "start_step": start_step, "image_size": size}
    if TENSORFLOW:
        return train.batches(BATCH_SIZE, training=True, **options).repeat()
    return train.training_sequence(BATCH_SIZE, **options)
