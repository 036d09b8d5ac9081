"""How a published model was trained, as data: what it takes to train it again."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import keras

from keras_wsol.data.views import check_view
from keras_wsol.layers.arguments import check_choice, check_integer, check_number
from keras_wsol.models import build_classifier
from keras_wsol.training.layerwise_sgd import (
    KERNELS,
    LayerwiseSGD,
    patterns_that_fit,
)
from keras_wsol.training.progress import Progress
from keras_wsol.training.run_folder import resume
from keras_wsol.training.schedules import SCHEDULES, learning_rate

if TYPE_CHECKING:
    from keras_wsol.data import ImageDataset

KEEP = ("last", "lowest_error")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A way to train a model, with the figure it aims at and where each value is from.

    It is data: `dataclasses.replace(recipe, batch_size=16)` is another recipe.

    Attributes:
        name: Its key in `training.RECIPES`.
        dataset: The data set it was made for.
        num_classes: Integer, classes of that data set.
        backbone: A row of `models.BACKBONES`.
        method: A row of `models.METHODS`.
        drop_after: Layers after which the method's layer goes; `None` for the places
            of the backbone's row.
        method_options: Options of the method's layers.
        backbone_options: Options of the backbone.
        weights: What training starts from, as in `models.build_classifier`.
        image_size: Height and width of the images.
        view: What is shown of an image in evaluation, `"whole"` or `"center_crop"`.
            In training it is always a random crop of 224/256 of each side, and half
            of the images are flipped.
        batch_size: Images in a step.
        epochs: How many epochs, as the source counts them.
        images_per_epoch: Images seen in such an epoch, whatever the size of the data
            set; `None` for each image once.
        rate: First learning rate.
        schedule: As in `training.learning_rate`.
        drop_epochs: After how many epochs the rate drops to a tenth.
        momentum: Of `LayerwiseSGD`, as all from here to `multipliers`.
        nesterov: See there.
        rate_free_velocity: See there.
        l2_decay: See there.
        l2_weights: See there.
        multipliers: See there.
        keep: Which model is evaluated: the `"last"` one, or that with the
            `"lowest_error"` in Top-1 classification on the validation images.
        target: Measure to the published figure in per cent.
        target_source: Table and column that it stands in.
        notes: Name of an attribute to where its value comes from, after a mark:
            `[paper]`, `[code]` (what its authors released), or `[ours]`, with the
            reason.
        lacks: What the source does and this package does not.

    Raises:
        TypeError: A number has another type than it must have.
        ValueError: A number is out of range, or a choice unknown.

    Example:
        recipe = RECIPES["adl-vgg16-cub"]
        model = recipe.build(class_names=train.class_names)
        recipe.compile(model, len(train))
        steps = recipe.steps_per_epoch(len(train))

        def batches(start_step):
            done = Progress(*divmod(start_step, steps))
            return recipe.batches(train, epochs_done=done)

        done, callbacks = recipe.resume(model, "runs/adl", batches)
        model.fit(
            batches(done.start_step(steps)),
            validation_data=held_out.batches(**recipe.evaluation_options()),
            steps_per_epoch=steps,
            epochs=recipe.epochs, initial_epoch=done, callbacks=callbacks,
        )
    """

    name: str
    dataset: str
    num_classes: int
    backbone: str
    method: str
    drop_after: Sequence[str] | None = None
    method_options: Mapping[str, Any] = field(default_factory=dict)
    backbone_options: Mapping[str, Any] = field(default_factory=dict)
    weights: str | None = "imagenet"
    image_size: Sequence[int] = (224, 224)
    view: str = "center_crop"
    batch_size: int
    epochs: int
    images_per_epoch: int | None = None
    rate: float
    schedule: str
    drop_epochs: Sequence[int] = ()
    momentum: float = 0.9
    nesterov: bool = True
    rate_free_velocity: bool = False
    l2_decay: float = 0.0
    l2_weights: Sequence[str] | None = KERNELS
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
        check_choice("schedule", self.schedule, SCHEDULES)
        check_choice("keep", self.keep, KEEP)
        check_view(self.view)

    def steps_per_epoch(self, num_images: int) -> int:
        """Returns the number of steps in an epoch.

        Args:
            num_images: Size of the training split. It matters only where
                `images_per_epoch` is `None`.

        Returns:
            The number of full batches.

        Raises:
            ValueError: There are fewer images than a batch has.

        Example:
        >>> from keras_wsol.training import RECIPES
        >>> RECIPES["adl-resnet50_se-cub"].steps_per_epoch(5994)
        1000
        """
        num_images = check_integer("num_images", num_images, self.batch_size)
        return (self.images_per_epoch or num_images) // self.batch_size

    def build(self, **changes: Any) -> keras.Model:
        """Builds the model.

        Args:
            **changes: Arguments of `models.build_classifier` that differ or are
                missing here, such as `class_names`, `seed` or `weights`. With
                `class_names`, there are as many classes as names.

        Returns:
            The model of `models.build_classifier`, not compiled.

        Raises:
            ValueError: As in `models.build_classifier`.
        """
        names = changes.get("class_names")
        arguments = {
            "backbone": self.backbone,
            "method": self.method,
            "num_classes": self.num_classes if names is None else len(names),
            "weights": self.weights,
            "input_shape": (*self.image_size, 3),
            "drop_after": self.drop_after,
            "method_options": dict(self.method_options),
            "backbone_options": dict(self.backbone_options),
        }
        return build_classifier(**{**arguments, **changes})

    def optimizer(self, num_images: int) -> LayerwiseSGD:
        """Makes the optimizer with its schedule.

        Args:
            num_images: Size of the training split.

        Returns:
            A new optimizer.
        """
        rate = learning_rate(
            self.schedule,
            self.rate,
            epochs=self.epochs,
            steps_per_epoch=self.steps_per_epoch(num_images),
            drop_epochs=self.drop_epochs,
        )
        return LayerwiseSGD(
            rate,
            self.momentum,
            self.nesterov,
            self.multipliers,
            self.l2_decay,
            self.l2_weights,
            self.rate_free_velocity,
        )

    def compile(self, model: keras.Model, num_images: int, **options: Any) -> None:
        """Compiles a model with optimizer, loss and accuracy.

        Multipliers that fit frozen layers alone are left out.

        Args:
            model: A classifier that gives logits.
            num_images: Size of the training split.
            **options: Further arguments of `keras.Model.compile`, such as
                `jit_compile`.
        """
        optimizer = self.optimizer(num_images)
        trained, frozen = (
            patterns_that_fit(self.multipliers, variables)
            for variables in (model.trainable_variables, model.non_trainable_variables)
        )
        for pattern in frozen - trained:
            del optimizer.multipliers[pattern]
        model.compile(
            optimizer=optimizer,
            loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            metrics=["accuracy"],
            **options,
        )

    def batches(
        self,
        dataset: "ImageDataset",
        *,
        seed: int = 0,
        epochs_done: int = 0,
        **options: Any,
    ) -> Any:
        """Makes the batches to train on, without an end. Needs TensorFlow.

        Args:
            dataset: The training split.
            seed: Integer, fixes order and augmentation.
            epochs_done: What `resume` returned: how much of an earlier run this one
                goes on from; or an integer, whole epochs.
            **options: Further arguments of `ImageDataset.batches`.

        Returns:
            A `tf.data.Dataset` as of `ImageDataset.batches`, repeated: an epoch of
            the recipe need not be a pass. Give `fit` the `steps_per_epoch`.
        """
        steps = getattr(epochs_done, "steps", 0)
        done = Progress(int(epochs_done), steps)
        start = done.start_step(self.steps_per_epoch(len(dataset)))
        return dataset.batches(
            self.batch_size,
            training=True,
            seed=seed,
            start_step=start,
            image_size=tuple(self.image_size),
            **options,
        ).repeat()

    def evaluation_options(self) -> dict[str, Any]:
        """Returns the arguments of `ImageDataset.batches` for evaluation."""
        return {
            "batch_size": self.batch_size,
            "image_size": tuple(self.image_size),
            "view": self.view,
        }

    def resume(
        self,
        model: keras.Model,
        folder: str | Path,
        batches: Callable[[int], Iterable[Any]] | None = None,
    ) -> tuple[Progress, list[keras.callbacks.Callback]]:
        """Goes on from what lies in a folder, and makes the callbacks.

        See `run_folder.resume`. Where the recipe keeps the model with the lowest
        error, `fit` needs `validation_data`.

        Args:
            model: The compiled model.
            folder: Where the run is kept. It is made.
            batches: Function of a number of steps that gives the batches after these;
                without it, the error of a loss that is no number names no layer.

        Returns:
            How much was done, for `batches` and as the `initial_epoch` of `fit`, and
            the callbacks for `fit`, which needs `steps_per_epoch`.

        Raises:
            ValueError: The folder holds a run of another model.
        """
        keep_best = self.keep == "lowest_error"
        return resume(model, folder, batches, keep_lowest_error=keep_best)

    def to_json(self) -> str:
        """Returns the recipe as JSON."""
        values = {entry.name: getattr(self, entry.name) for entry in fields(self)}
        return json.dumps(
            {
                name: dict(value) if isinstance(value, Mapping) else value
                for name, value in values.items()
            },
            indent=2,
        )

    @classmethod
    def from_json(cls, text: str) -> "Recipe":
        """Makes the recipe again from what `to_json` gave.

        Args:
            text: JSON.

        Returns:
            An equal recipe.

        Raises:
            ValueError: An entry is unknown or missing, or `text` is no JSON object.
        """
        values = json.loads(text)
        known = {entry.name for entry in fields(cls)}
        if not isinstance(values, dict) or set(values) != known:
            given = set(values) if isinstance(values, dict) else set()
            raise ValueError(
                "`text` must be a JSON object with an entry for each attribute of "
                f"Recipe. Unknown: {sorted(given - known)}. Missing: "
                f"{sorted(known - given)}."
            )
        return cls(**values)

    def __str__(self) -> str:
        described = {"name", "target", "target_source", "notes", "lacks"}
        lines = [self.name, f"  aims at {_figures(self.target)} ({self.target_source})"]
        for entry in fields(self):
            if entry.name in described:
                continue
            note = self.notes.get(entry.name)
            value = getattr(self, entry.name)
            value = dict(value) if isinstance(value, Mapping) else value
            lines.append(f"  {entry.name} = {value}" + (f"  {note}" if note else ""))
        if self.images_per_epoch is not None:
            total = self.epochs * self.images_per_epoch
            lines.append(f"  images seen in all: {total:,}")
        lines += [f"  lacks: {text}" for text in self.lacks]
        return "\n".join(lines)


def _figures(target: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value}" for name, value in target.items()) or "no figure"
