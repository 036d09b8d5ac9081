"""Published trainings as data."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import keras

from keras_wsol.arguments import check_choice, check_integer, check_number
from keras_wsol.data.images import check_view
from keras_wsol.models import build_classifier
from keras_wsol.training.progress import Progress
from keras_wsol.training.run_folder import resume
from keras_wsol.training.sgd import (
    KERNELS,
    SCHEDULES,
    LayerwiseSGD,
    learning_rate,
    patterns_that_fit,
)

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


_CODE = "github.com/junsukchoe/ADL, commit 1779e55"
_TENSORPACK = (
    "Tensorpack's worker processes each draw an order of their own, so that an image "
    "may come twice before another one comes; here every pass has each image once.",
    "Resizing there is OpenCV's bilinear without antialiasing, rounded to bytes after "
    "the crop; here it is antialiased and not rounded.",
    "Images there are normalized by ImageNet's mean and deviation; here as the weights "
    "of keras.applications were trained.",
)
_TEST_SPLIT = (
    "On CUB the code validates on 5,794 images, as many as the test split has, and "
    "keeps the model that is best there; pass a held-out split here."
)
_VGG_LACKS = "The code draws the last layer's weights with a deviation of 0.01."
_RESNET_LACKS = (
    "keras.applications' ResNet50 strides in the first 1x1 convolution of a block "
    "and has biases, the code's in the 3x3 one and has none; its batch "
    "normalization averages with 0.9 and not 0.99. Its SE blocks are pretrained "
    "with the rest (Tensorpack's ImageNet-ResNet50-SE.npz), of which Keras has no "
    "weights: here the blocks are new, and `{'*_se': 1.0, 'conv[1-4]_*': 0.1}` lets "
    "them learn as such."
)
_CUB_OUTPUTS = (
    "The code gives ResNet50-SE 1,000 outputs on CUB, too; here there are 200 [ours: "
    "no image is of the other 800 classes]."
)

# What the four trainings of ADL's code have in common.
_NOTES = {
    "method_options": "[paper] drop rate 75 %; threshold 80 % for VGG, 90 % for ResNet",
    "weights": "[paper] pretrained on ImageNet",
    "image_size": "[code] data_loader.py: resized to 256x256, cropped to 224x224",
    "view": "[code] data_loader.py: CenterCrop; boxes follow",
    "epochs": "[code] config.py: 105",
    "schedule": "[code] train.py: ScheduledHyperParamSetter",
    "drop_epochs": "[code] train.py: a tenth after epochs 30, 60, 90 and 100",
    "momentum": "[code] train.py: MomentumOptimizer(lr, 0.9, use_nesterov=True)",
    "nesterov": "[code] as momentum",
    "rate_free_velocity": "[code] TensorFlow 1's MomentumOptimizer",
    "l2_decay": "[code] train.py: 5e-4 for vgg_gap, 1e-4 for resnet50_se, in the loss",
    "l2_weights": "[code] train.py: regularize_cost('.*/W'): kernels",
    "keep": "[code] train.py: MinSaver('val-error-top1')",
    "drop_after": "[paper] Table 2 (VGG: pool3, pool4, conv5-3); [code] ResNet: "
    "run_train.sh, gating positions 31, 41 and 5. The rows of models.BACKBONES",
}
SETTINGS: Mapping[str, Any] = {
    "method": "adl",
    "image_size": (224, 224),
    "view": "center_crop",
    "batch_size": 32,
    "epochs": 105,
    "schedule": "step",
    "drop_epochs": (30, 60, 90, 100),
    "momentum": 0.9,
    "nesterov": True,
    "rate_free_velocity": True,
    "l2_weights": KERNELS,
    "keep": "lowest_error",
}
_BACKBONES: Mapping[str, Mapping[str, Any]] = {
    "vgg16": {
        "method_options": {"drop_rate": 0.75, "drop_threshold": 0.8},
        "backbone_options": {"head_convolutions": 1},
        "l2_decay": 5e-4,
        "multipliers": {"block*": 0.1},
    },
    "resnet50_se": {
        "method_options": {"drop_rate": 0.75, "drop_threshold": 0.9},
        "l2_decay": 1e-4,
        "multipliers": {"conv[1-4]_*": 0.1},
    },
}
_BACKBONE_NOTES = {
    "vgg16": {
        "backbone_options": "[code] backbone/vgg.py: one 3x3x1024 convolution, 'new'",
        "multipliers": "[code] train.py: conv.* (and fc.*, of which there are none) "
        "x 0.1; new and linear x 1",
    },
    "resnet50_se": {
        "multipliers": "[code] train.py: conv0.* and group[0-2].* x 0.1: the stem and "
        "the first three stages; the last stage and the head x 1",
    },
}
DATA: Mapping[str, Mapping[str, Any]] = {
    "cub": {
        "dataset": "CUB-200-2011",
        "num_classes": 200,
        "images_per_epoch": 32_000,
    },
    "ilsvrc": {
        "dataset": "ILSVRC 2012",
        "num_classes": 1000,
        "images_per_epoch": 256_000,
    },
}
_DATA_NOTES = {
    "cub": "[code] train.py: 25 steps of 256 images x stepscale 5; 561 passes over "
    "5,994 images in all",
    "ilsvrc": "[code] train.py: 5000 steps of 256 images x stepscale 0.2; 21 passes "
    "over 1,281,167 images in all",
}
_PUBLISHED_COMMAND = "[code] run_train.sh"
_NO_COMMAND = "no command for this pair was published"
_PROPORTION = f"[ours] {_NO_COMMAND}; as that of ResNet50-SE on CUB"
_DEFAULT_RATE = f"[code] config.py: the default of --base_lr; {_NO_COMMAND}"


def _adl(
    backbone: str,
    data: str,
    rate: float,
    target: Mapping[str, float],
    target_source: str,
) -> Recipe:
    published = (backbone, data) == ("resnet50_se", "cub")
    lacks = [*_TENSORPACK, _VGG_LACKS if backbone == "vgg16" else _RESNET_LACKS]
    lacks += [_TEST_SPLIT] if data == "cub" else []
    lacks += [_CUB_OUTPUTS] if published else []
    return Recipe(
        name=f"adl-{backbone}-{data}",
        backbone=backbone,
        rate=rate,
        target=target,
        target_source=f"Choe and Shim, 2019 (arXiv:1908.10028), {target_source}",
        notes={
            "backbone": f"[code] {_CODE}",
            "method": "[paper] ADL",
            "batch_size": _PUBLISHED_COMMAND if published else _PROPORTION,
            "images_per_epoch": _DATA_NOTES[data],
            "rate": _PUBLISHED_COMMAND if published else _DEFAULT_RATE,
            **_NOTES,
            **_BACKBONE_NOTES[backbone],
        },
        lacks=lacks,
        **SETTINGS,
        **_BACKBONES[backbone],
        **DATA[data],
    )


ADL_RECIPES = (
    _adl(
        "vgg16",
        "cub",
        0.01,
        {"top1_loc": 52.36, "top1_cls": 65.27, "gt_known_loc": 75.41},
        "Tables 2 and 3, VGG-GAP",
    ),
    _adl(
        "resnet50_se",
        "cub",
        0.1,
        {"top1_loc": 62.29, "top1_cls": 80.34},
        "Table 3, ResNet50-SE",
    ),
    _adl(
        "vgg16",
        "ilsvrc",
        0.01,
        {"top1_loc": 44.92, "top1_cls": 69.48},
        "Table 3, VGG-GAP",
    ),
    _adl(
        "resnet50_se",
        "ilsvrc",
        0.01,
        {"top1_loc": 48.53, "top1_cls": 75.85},
        "Table 3, ResNet50-SE",
    ),
)


_AS_ADL = "[ours] not stated; as ADL's code, whose settings the paper builds on"
# Neither paper says how it was trained.
_UNSTATED_NOTES = {
    **dict.fromkeys(("image_size", "view", "batch_size", "epochs"), _AS_ADL),
    **dict.fromkeys(("images_per_epoch", "schedule", "drop_epochs"), _AS_ADL),
    **dict.fromkeys(("nesterov", "rate_free_velocity", "momentum"), _AS_ADL),
    **dict.fromkeys(("l2_decay", "l2_weights", "multipliers", "keep"), _AS_ADL),
    "rate": "[ours] not stated; the default of ADL's code",
}
_DFM_LACKS = (
    "The paper names neither optimizer, rate, batch nor length of the training; it "
    "used PyTorch on one TITAN V.",
    "Images and boxes: the paper says ILSVRC 2016, whose images are those of 2012.",
)
_DFM_NOTES = {
    **_UNSTATED_NOTES,
    "backbone": "[paper] ResNet50",
    "method": "[paper] DFM",
    "drop_after": "[paper] following conv4_1 and conv5_3",
    "method_options": "[paper] alpha 0.85, beta 0.95, omega 0.15, delta 0.6, gamma "
    "0.4, tau 0.70; the layer's defaults for what the paper leaves open",
    "weights": "[paper] ILSVRC pretrained, fine-tuned",
}
_DFM_OPTIONS = {
    "channel_threshold": 0.85,
    "position_threshold": 0.95,
    "focus": 0.15,
    "position_weight": 0.6,
    "channel_weight": 0.4,
    "position_rate": 0.7,
}


def _dfm(data: str, target: Mapping[str, float]) -> Recipe:
    column = "CUB-200-2011" if data == "cub" else "ILSVRC 2016"
    settings = {**SETTINGS, "method": "dfm"}
    return Recipe(
        name=f"dfm-resnet50-{data}",
        backbone="resnet50",
        drop_after=("conv4_block1_out", "conv5_block3_out"),
        method_options=_DFM_OPTIONS,
        rate=0.01,
        l2_decay=1e-4,
        multipliers={"conv[1-4]_*": 0.1},
        target=target,
        target_source=f"Zhou et al. (arXiv:1909.04813), Table 3, {column}",
        notes=_DFM_NOTES,
        lacks=_DFM_LACKS,
        **settings,
        **DATA[data],
    )


_DGDM_NOTES = {
    **_UNSTATED_NOTES,
    "method": "[paper] DGDM",
    "drop_after": "[paper] higher-level and intermediate layers, as ADL; the rows of "
    "models.BACKBONES. The ablation on VGG has all pooling layers",
    "method_options": "[paper] drop rate 75 %, block size 3, beta 3 (Table 1), alpha "
    "0.5; thresholds of the spatial mask [ours]: not stated, the layer's defaults",
    "weights": "[paper] ImageNet pretrained",
}
_DGDM_LACKS = (
    "The paper says SGD, and nothing of rate, batch, decay or length.",
    "Its Table 3 gives ResNet50 62.32 G multiply-adds; at 224x224 with 14x14 maps they "
    "are 6.05 G. The size of its images is not stated.",
)


def _dgdm(backbone: str, target: Mapping[str, float], **settings: Any) -> Recipe:
    notes = {"backbone": f"[paper] {backbone}", **_DGDM_NOTES}
    if "backbone_options" in settings:
        notes["backbone_options"] = (
            "[paper] two head convolutions: the 29.08 M parameters of Table 3"
        )
    return Recipe(
        name=f"dgdm-{backbone}-cub",
        backbone=backbone,
        method_options={
            "drop_rate": 0.75,
            "block_size": 3,
            "min_multiple": 3.0,
            "drop_probability": 0.5,
        },
        rate=0.01,
        target=target,
        target_source="Yin et al. (arXiv:2003.04719), Table 3 (and, for GT-known Loc, "
        "Table 1)",
        notes=notes,
        lacks=_DGDM_LACKS,
        **{**SETTINGS, **settings, "method": "dgdm"},
        **DATA["cub"],
    )


_WSOL_CODE = "github.com/clovaai/wsolevaluation"
_WSOL_NOTES = {
    "backbone": f"[code] {_WSOL_CODE}, VGG16-GAP with 14x14 maps",
    "method": "[code] cam",
    "backbone_options": "[code] wsol/vgg.py: one 3x3x1024 convolution",
    "weights": "[code] --pretrained TRUE",
    "image_size": "[code] config.py: resized to 256x256, cropped to 224x224",
    "view": "[code] data_loaders.py: evaluation squashes the whole image to 224x224",
    "schedule": "[code] main.py: adjust_learning_rate",
    "momentum": "[code] config.py: 0.9",
    "nesterov": "[code] main.py: nesterov=True",
    "rate_free_velocity": "[code] torch.optim.SGD",
    "l2_weights": "[code] torch.optim.SGD decays all that it is given",
    "multipliers": "[code] config.py: --lr_classifier_ratio 10, for what is not in "
    "vgg's 'features': conv6 and fc",
    "keep": "[code] README: 'We suggest to use the last checkpoint'",
}
_WSOL_LACKS = (
    "The last batch of a pass, smaller than the others, is trained on there; here only "
    "full batches are.",
    "Images there are normalized by ImageNet's mean and deviation; here as the weights "
    "of keras.applications were trained.",
)
_NO_WSOL_FIGURE = (
    "Choe et al., 2020 (arXiv:2001.07437), whose table is not entered here: its "
    "figures have not been checked against the paper"
)


def _wsolevaluation(
    data: str, source: str, images_in: int, every: int, **settings: Any
) -> Recipe:
    epochs = settings["epochs"]
    # `epoch % every == 0` with epochs counted from 1, before the epoch is trained.
    drops = tuple(range(every - 1, epochs, every))
    notes = dict.fromkeys(("batch_size", "epochs", "rate", "l2_decay"), source)
    notes |= {
        "drop_epochs": f"{source}: --lr_decay_frequency {every}, before the epochs of "
        "these numbers, counted from 1",
        "images_per_epoch": f"[code] each of the {images_in:,} training images once",
        **_WSOL_NOTES,
    }
    return Recipe(
        name=f"wsolevaluation-vgg16-{data}",
        backbone="vgg16",
        method="cam",
        backbone_options={"head_convolutions": 1},
        view="whole",
        batch_size=32,
        schedule="step",
        drop_epochs=drops,
        rate_free_velocity=True,
        l2_decay=5e-4,
        l2_weights=None,
        multipliers={"head_*": 10.0},
        target={},
        target_source=_NO_WSOL_FIGURE,
        notes=notes,
        lacks=_WSOL_LACKS,
        **settings,
    )


_OURS = "[ours] examples/train_cub.py"
_OURS_NOTES = {
    "backbone": f"{_OURS}: small enough for a CPU",
    "method": "[ours] the best of CAM, ADL, DFM and DGDM on CUB-40, one seed",
    "backbone_options": f"{_OURS}: three quarters of the width",
    "weights": f"{_OURS}: a few dozen images a class do not train a backbone",
    "image_size": f"{_OURS}: as the papers",
    "view": "[ours] as it is served",
    "batch_size": f"{_OURS}: its default",
    "epochs": f"{_OURS}: its default; longer was not tried",
    "images_per_epoch": "[ours] each image once",
    "rate": f"{_OURS}: its default",
    "schedule": f"{_OURS}: ends at 0, so that the last model is the one to keep",
    "drop_epochs": "[ours] the cosine has none",
    "momentum": f"{_OURS}: as ADL's code",
    "nesterov": f"{_OURS}: as ADL's code",
    "rate_free_velocity": "[ours] the rate falls slowly, so that it hardly matters",
    "l2_decay": "[ours] none in twelve epochs",
    "l2_weights": "[ours] no decay",
    "multipliers": f"{_OURS}: a new head learns faster than pretrained layers",
    "keep": "[ours] needs no validation images",
    "method_options": "[ours] the layer's defaults",
    "drop_after": "[ours] the row of models.BACKBONES",
}

_TABLE = (
    *ADL_RECIPES,
    _dfm("cub", {"top1_loc": 56.14, "top1_cls": 81.06}),
    _dfm("ilsvrc", {"top1_loc": 49.61, "top1_cls": 77.76}),
    _dgdm(
        "vgg16",
        {"top1_loc": 54.34, "top1_cls": 69.85, "gt_known_loc": 75.02},
        backbone_options={"head_convolutions": 2},
        l2_decay=5e-4,
        multipliers={"block*": 0.1},
    ),
    _dgdm(
        "resnet50",
        {"top1_loc": 59.40, "top1_cls": 76.20},
        l2_decay=1e-4,
        multipliers={"conv[1-4]_*": 0.1},
    ),
    _wsolevaluation(
        "openimages",
        "[code] README, 'Run train+eval'",
        29_819,
        3,
        dataset="OpenImages30k",
        num_classes=100,
        epochs=10,
        rate=0.00227913316,
    ),
    _wsolevaluation(
        "cub",
        "[code] not wsolevaluation's own: README of its authors' later repository "
        "(Kim et al., 2021, arXiv:2107.13221), the command for CUB",
        5_994,
        15,
        dataset="CUB-200-2011",
        num_classes=200,
        epochs=50,
        rate=0.00001268269,
    ),
    Recipe(
        name="ours-mobilenet-small",
        dataset="CUB-40: 40 classes, 1,000 training images",
        num_classes=40,
        backbone="mobilenet",
        method="dfm",
        backbone_options={"alpha": 0.75},
        view="whole",
        batch_size=32,
        epochs=12,
        rate=0.005,
        schedule="cosine",
        multipliers={"head_*": 10.0},
        target={
            "top1_loc": 46.27,
            "top1_cls": 74.00,
            "gt_known_loc": 58.18,
            "max_box_acc_v2": 56.42,
        },
        target_source="our own measurement, one seed: examples/results/cub40.csv, run "
        "cub40-dfm, view whole, threshold tuned on held-out images",
        notes=_OURS_NOTES,
    ),
)

RECIPES: Mapping[str, Recipe] = MappingProxyType(
    {recipe.name: recipe for recipe in _TABLE}
)
