"""Published trainings as data, and what a recipe makes of them."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import keras

from keras_wsol.arguments import check_choice, check_integer, check_number, near_name
from keras_wsol.data import ImageDataset
from keras_wsol.data.images import check_view
from keras_wsol.models import METHODS, build_classifier
from keras_wsol.training import sgd
from keras_wsol.training.checkpoint import Checkpoint, Progress
from keras_wsol.training.epoch_callbacks import EpochLog, WholeCheckpoint

# What `Recipe.__str__` says apart from the values.
_DESCRIPTION = ("name", "target", "target_source", "notes", "lacks")
_MOST_EPOCHS = 12  # of a recipe in few steps: each ends with a validation
_OF_THE_SOURCE = (*_DESCRIPTION, "dataset", "num_classes")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A way to train a model, with the figure it aims at and where each value is from.

    It is data: `dataclasses.replace(recipe, batch_size=16)` is another recipe.

    Attributes:
        name: Key in `training.RECIPES`.
        dataset, num_classes: What it was made for.
        backbone, method, backbone_options, weights: As in `models.build_classifier`.
        drop_after: Layers after which the method's go, to every argument of the layer
            there; or only their names, or `None`, with the presets of the row.
        image_size: Height and width of the images.
        view: `"whole"` or `"center_crop"`, used in evaluation only. Training takes a
            random crop of 224/256 of each side, and flips half of the images.
        batch_size: Images in a step.
        epochs: Number of epochs, as the source counts them.
        images_per_epoch: Images in such an epoch; `None` for each image once.
        rate: First learning rate.
        schedule, drop_epochs: As in `training.learning_rate`.
        momentum, nesterov, rate_free_velocity, l2_decay, l2_weights, multipliers: As in
            `LayerwiseSGD`.
        keep: Model that is evaluated: the `"last"`, or the one with the
            `"lowest_error"` in Top-1 classification on the validation images.
        target, target_source: Published figures in per cent, if any; their source.
        notes: Attribute to its source: `[paper]`, `[code]` of its authors, or `[ours]`.
        lacks: What the source does and this package does not.

    Example:
        recipe = RECIPES["adl-vgg16-cub"]
        model = recipe.build(class_names=train.class_names)
        recipe.compile(model, len(train))
        done, callbacks = recipe.resume(model, "runs/adl")
        model.fit(
            recipe.batches(train, epochs_done=done),
            validation_data=held_out.batches(**recipe.evaluation_options()),
            steps_per_epoch=recipe.steps_per_epoch(len(train)), shuffle=False,
            epochs=recipe.epochs, initial_epoch=done, callbacks=callbacks,
        )
    """

    name: str
    dataset: str
    num_classes: int
    backbone: str
    method: str
    drop_after: Mapping[str, Mapping[str, Any]] | Sequence[str] | None = None
    backbone_options: Mapping[str, Any] = field(default_factory=dict)
    weights: str | None = "imagenet"
    image_size: Sequence[int] = (224, 224)
    view: str = "center_crop"
    batch_size: int
    epochs: int
    images_per_epoch: int | None = None
    rate: float
    schedule: str
    drop_epochs: Sequence[float] = ()
    momentum: float = 0.9
    nesterov: bool = True
    rate_free_velocity: bool = False
    l2_decay: float = 0.0
    l2_weights: Sequence[str] | None = sgd.KERNELS
    multipliers: Mapping[str, float] = field(default_factory=dict)
    keep: str = "last"
    target: Mapping[str, float]
    target_source: str
    notes: Mapping[str, str]
    lacks: Sequence[str] = ()

    def __post_init__(self) -> None:
        for entry in fields(self):
            value = getattr(self, entry.name)
            if isinstance(value, Mapping):
                object.__setattr__(self, entry.name, MappingProxyType(dict(value)))
            elif isinstance(value, list):  # as JSON has it
                object.__setattr__(self, entry.name, tuple(value))
        for name in ("num_classes", "batch_size", "epochs"):
            check_integer(name, getattr(self, name))
        if self.images_per_epoch is not None:
            check_integer("images_per_epoch", self.images_per_epoch, self.batch_size)
        check_number("rate", self.rate, high=None)
        check_choice("schedule", self.schedule, sgd.SCHEDULES)
        check_choice("keep", self.keep, ("last", "lowest_error"))
        check_view(self.view)

    def steps_per_epoch(self, num_images: int) -> int:
        """Returns the number of full batches in an epoch, of a number of images."""
        num_images = check_integer("num_images", num_images, self.batch_size)
        return (self.images_per_epoch or num_images) // self.batch_size

    def in_steps(self, steps: int) -> "Recipe":
        """Returns the recipe for a number of steps in all, its schedule scaled along.

        They are parted into as many epochs of equal length as can be, at most twelve.
        """
        steps = check_integer("steps", steps)
        most = min(steps, self.epochs, _MOST_EPOCHS)
        epochs = next(count for count in range(most, 0, -1) if steps % count == 0)
        return replace(
            self,
            epochs=epochs,
            images_per_epoch=steps // epochs * self.batch_size,
            drop_epochs=tuple(each * epochs / self.epochs for each in self.drop_epochs),
        )

    def build(self, **changes: Any) -> keras.Model:
        """Builds the classifier, not compiled.

        `changes` are arguments of `models.build_classifier` in place of the recipe's or
        besides them. `class_names` give the number of classes, too.
        """
        names, places = changes.get("class_names"), self.drop_after
        if isinstance(places, Mapping):
            make = METHODS[self.method]
            places = {place: make(**options) for place, options in places.items()}
        arguments = {
            "backbone": self.backbone,
            "method": self.method,
            "num_classes": self.num_classes if names is None else len(names),
            "weights": self.weights,
            "input_shape": (*self.image_size, 3),
            "drop_after": places,
            "backbone_options": dict(self.backbone_options),
        }
        if {"method", "backbone"} & set(changes):  # its places are of these
            arguments["drop_after"] = None
        return build_classifier(**(arguments | changes))

    def optimizer(self, num_images: int) -> sgd.LayerwiseSGD:
        """Makes the optimizer, with its schedule for a number of training images."""
        rate = sgd.learning_rate(
            self.schedule,
            self.rate,
            epochs=self.epochs,
            steps_per_epoch=self.steps_per_epoch(num_images),
            drop_epochs=self.drop_epochs,
        )
        return sgd.LayerwiseSGD(
            rate,
            self.momentum,
            self.nesterov,
            self.multipliers,
            self.l2_decay,
            self.l2_weights,
            self.rate_free_velocity,
        )

    def compile(self, model: keras.Model, num_images: int, **options: Any) -> None:
        """Compiles a classifier with optimizer, loss and accuracy.

        Multipliers that fit only frozen layers are left out. `options` are further
        arguments of `keras.Model.compile`.
        """
        optimizer = self.optimizer(num_images)
        trained = sgd.patterns_that_fit(self.multipliers, model.trainable_variables)
        frozen = sgd.patterns_that_fit(self.multipliers, model.non_trainable_variables)
        for pattern in frozen - trained:
            del optimizer.multipliers[pattern]
        model.compile(
            optimizer=optimizer,
            loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            metrics=["accuracy"],
            **options,
        )

    def batches(
        self, dataset: ImageDataset, *, seed: int = 0, epochs_done: int = 0
    ) -> Any:
        """Makes the batches to train on, repeated: an epoch need not be a pass.

        `seed` fixes order and augmentation. `epochs_done` is what `resume` returned.
        """
        steps = getattr(epochs_done, "steps", 0)
        done = Progress(check_integer("epochs_done", epochs_done, 0), steps)
        return dataset.batches(
            self.batch_size,
            training=True,
            seed=seed,
            start_step=done.start_step(self.steps_per_epoch(len(dataset))),
            image_size=tuple(self.image_size),
        ).repeat()

    def evaluation_options(self) -> dict[str, Any]:
        """Returns the arguments of `ImageDataset.batches` for evaluation."""
        size = tuple(self.image_size)
        return {"batch_size": self.batch_size, "image_size": size, "view": self.view}

    def resume(
        self, model: keras.Model, folder: str | Path
    ) -> tuple[Progress, list[keras.callbacks.Callback]]:
        """Goes on from the folder of a run, which is made, with a compiled model.

        Returns:
            How much is done (see `Checkpoint.restore`), and callbacks that stop at a
            NaN loss, write `log.csv`, save `checkpoint.npz`, and keep `best.keras` if
            `keep` is `"lowest_error"`; `fit` then needs `validation_data`.
        """
        folder = Path(folder)
        checkpoint = Checkpoint(folder / "checkpoint.npz", every_seconds=600)
        done = checkpoint.restore(model)
        log = EpochLog(folder / "log.csv", done)
        best = WholeCheckpoint(
            folder / "best.keras",
            monitor="val_accuracy",
            mode="max",
            save_best_only=True,
            initial_value_threshold=log.best("val_accuracy"),
        )
        kept = [best] if self.keep == "lowest_error" else []
        # Last the checkpoint, which says that all before it is done.
        stop = keras.callbacks.TerminateOnNaN(raise_error=True)
        return done, [stop, *kept, log, checkpoint]

    def to_json(self) -> str:
        """Returns the recipe as JSON."""
        return json.dumps(self._values(), indent=2)

    def settings(self) -> dict[str, Any]:
        """Returns what decides a training, as JSON has it: no name, figure or note."""
        values = json.loads(self.to_json())
        return {k: v for k, v in values.items() if k not in _OF_THE_SOURCE}

    def _values(self) -> dict[str, Any]:
        values = {entry.name: getattr(self, entry.name) for entry in fields(self)}
        return {k: dict(v) if isinstance(v, Mapping) else v for k, v in values.items()}

    @classmethod
    def from_json(cls, text: str) -> "Recipe":
        """Makes the recipe that `to_json` wrote."""
        return cls(**json.loads(text))

    def __str__(self) -> str:
        target = ", ".join(f"{name} {value}" for name, value in self.target.items())
        lines = [self.name, f"  aims at {target or 'no figure'} ({self.target_source})"]
        for name, value in self._values().items():
            if isinstance(self.drop_after, Mapping) and name == "drop_after":
                value = "".join(f"\n    {x}: {dict(v)}" for x, v in value.items())
            if name not in _DESCRIPTION:
                lines.append(f"  {name} = {value}  {self.notes.get(name, '')}".rstrip())
        if self.images_per_epoch is not None:
            total = self.epochs * self.images_per_epoch
            lines.append(f"  images seen in all: {total:,}")
        return "\n".join([*lines, *(f"  lacks: {text}" for text in self.lacks)])


class Recipes(dict):
    """Recipes by name, which say what a misspelt one may have meant."""

    def __missing__(self, name: Any) -> None:
        raise KeyError(f"{name!r} is none of {list(self)}.{near_name(name, self)}")
