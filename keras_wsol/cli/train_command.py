"""The command that trains."""

import argparse
import dataclasses
import json
import os
import sys
import time
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from reprlib import repr  # a thousand class names are cut
from typing import Any

import keras

from keras_wsol import cam, data, models
from keras_wsol.cam.split import split_at
from keras_wsol.cli import shared_arguments as shared
from keras_wsol.files import delete_leftovers, reading, replaced
from keras_wsol.models import BACKBONES, METHODS
from keras_wsol.training import RECIPES, Recipe

# Schedule, multipliers and view of the command without --recipe.
BASE = RECIPES["ours-mobilenet-small"]
# Without --freeze, a pretrained backbone learns from behind this layer on.
_FROZEN = {"mobilenet": "conv_pw_11_relu"}
# Options that take the place of an attribute of the recipe.
_OF_RECIPE = (
    *("backbone", "method", "drop_after", "weights", "epochs", "batch_size", "rate"),
)
# Score maps that are fitted to the images.
_FITTED = {"ddt": cam.DDT, "foreground": cam.Foreground, "c2am": cam.C2AM}
# Of the methods that do not train at the rate of the others: their authors'.
_RATES = {"bas": 0.001, "spg": 0.001}
_WRITTEN = ("config.json", "log.csv", "best.keras", "localizer.keras")
_WRITTEN += (shared.TRAINED_ON, shared.VERIFIED)
_SECONDS = 20  # between two lines on an epoch


def train_arguments(add: Callable[..., None]) -> None:
    """Adds the arguments of `train`."""

    def setting(flag: str, text: str, default: Any, **more: Any) -> None:
        more["default"] = argparse.SUPPRESS
        add(flag, text, f"{default}, or the recipe's", **more)

    add("--data", "folder of the images", type=shared.existing, required=True)
    text = "images by class, a fifth of them for validation; or CUB-200-2011"
    add("--dataset", text, default="folder", choices=["folder", "cub"])
    add("--out", "folder of this run", type=Path, required=True)
    text = "a paper's training (or ours) with backbone and method: one of %(choices)s"
    add("--recipe", text, "none", choices=list(RECIPES), metavar="NAME")
    for name, table in (("backbone", BACKBONES), ("method", METHODS)):
        of_table = {"choices": list(table), "metavar": "NAME"}
        text = "one of %(choices)s; not together with --recipe"
        setting(f"--{name}", text, getattr(BASE, name), **of_table)
    text = "layers that those of the method follow"
    add("--drop-after", text, "the backbone's", default=argparse.SUPPRESS, nargs="+")
    text = "imagenet (downloaded once), none (random), or an .h5 or .keras file"
    setting("--weights", text, BASE.weights, type=shared.weights)
    text = "passes over the images, or epochs as the recipe counts them"
    setting("--epochs", text, BASE.epochs, type=shared.count)
    text = "batches in all, in place of --epochs; the schedule is scaled along"
    add("--steps", text, "all of the epochs", type=shared.count)
    setting("--batch-size", "images in a batch", BASE.batch_size, type=shared.count)
    text = "first learning rate; without --recipe falling as a cosine, head ten-fold"
    rates = f"{BASE.rate} ({_RATES['bas']} for {' and '.join(_RATES)})"
    setting("--rate", text, rates, type=shared.positive)
    setting("--image-size", "side of the images", BASE.image_size[0], type=shared.count)
    setting("--alpha", shared.ALPHA, 1.0, type=shared.positive)
    setting("--map-size", "side of the last map at 224 pixels", 14, type=shared.count)
    text = "score map of the localizer: own, that of the method, or one of %(choices)s"
    maps = {"choices": ["own", *cam.SCORE_MAPS, *_FITTED], "metavar": "NAME"}
    add("--score-map", text, "what suits the images", **maps)
    add("--layer", "the layer that --score-map reads", "the map's own")
    text = "side of the images as the localizer reads them, a multiple of 32"
    add("--input-size", text, "that of the training", type=shared.count)
    add("--seed", "fixes weights and draws", type=int, default=0)
    text = "no training of batch_norm, backbone, or all up to a layer; may be repeated"
    text += "; none trains everything"
    frozen = f"{_FROZEN[BASE.backbone]} of a pretrained {BASE.backbone}, or none"
    add("--freeze", text, f"{frozen}, or none with --recipe", action="append")
    text = "the same weights each time, interrupted or not, to the last bit; slower"
    add("--deterministic", text, action="store_true")


def train(options: argparse.Namespace) -> None:
    """Images sorted by class to a model that gives class, score map and box.

    In the end, a score map, its layer and threshold are chosen that suit the images;
    four lines say which, and why. With --score-map, that one is read instead.

    With --recipe, it is trained as a paper or its code has it, as far as these say:
    places, images seen, schedule, decay and multipliers;
    `print(keras_wsol.training.RECIPES[NAME])` shows them with their sources. What else
    is given takes the place of its settings. Where the recipe keeps the model with the
    lowest error on the validation images, that is best.keras and the localizer's. Of
    CUB-200-2011, train-weaksup is learned from.

    Into --out go localizer.keras, log.csv, config.json, checkpoint.npz, trained_on.txt
    and verified.jsonl, which lists the files that cannot be read. Interrupted, the same
    command goes on where it was, ten minutes before at most; other options in the same
    folder are refused. But --score-map, --layer and --input-size may change: then
    localizer.keras is made anew, without a threshold that was tuned.

    Example:
      keras-wsol train --data birds --out runs/birds
    """
    recipe = _recipe(options)
    with shared.owned(options.out):
        for name in _WRITTEN:
            delete_leftovers(options.out / name)
        _run(options, recipe)


def _run(options: argparse.Namespace, recipe: Recipe) -> None:
    out = options.out
    images, val = _splits(options)
    shared.say(f"{images}\n{val}")
    shared.say_left_out(out / shared.VERIFIED, images, val)
    size = min(recipe.batch_size, len(images))
    recipe = dataclasses.replace(recipe, batch_size=size)
    recipe = recipe.in_steps(options.steps) if options.steps else recipe
    freeze = _freeze(options, recipe)
    names = ("dataset", "seed", "deterministic", "steps")
    own = {name: getattr(options, name) for name in names} | {"freeze": freeze}
    own["class_names"] = list(images.class_names)
    _claim(out, {**recipe.settings(), **own})
    _keep_list(out / shared.TRAINED_ON, list(map(os.path.realpath, images.paths)))
    if options.deterministic:
        import tensorflow as tf

        tf.config.experimental.enable_op_determinism()
    model = recipe.build(
        class_names=images.class_names, freeze=freeze, seed=options.seed
    )
    # XLA on a GPU has no deterministic gradient of max pooling.
    jit_compile = False if options.deterministic else "auto"
    recipe.compile(model, len(images), jit_compile=jit_compile)
    done, callbacks = recipe.resume(model, out)
    if done:
        steps = f" and {done.steps} steps of the next" if done.steps else ""
        shared.say(f"{done} of {recipe.epochs} epochs{steps} are done.")
    path = out / "localizer.keras"
    _check_reading(model, options)
    if done >= recipe.epochs and _is_as_asked(path, options):
        # Its threshold may have been tuned.
        print(f"Kept {path}: the run is finished.")
        return
    held_out = val.batches(**recipe.evaluation_options()) if len(val) else None
    weights = images.class_weights() if options.dataset == "folder" else None
    bar = sys.stdout.isatty()
    try:
        model.fit(
            recipe.batches(images, seed=options.seed, epochs_done=done),
            steps_per_epoch=recipe.steps_per_epoch(len(images)),
            validation_data=held_out,
            epochs=recipe.epochs,
            initial_epoch=done,
            class_weight=weights,
            callbacks=callbacks if bar else [_Progress(), *callbacks],
            shuffle=False,  # the batches are shuffled already
            verbose=1 if bar else 2,
        )
    except RuntimeError as error:
        if "NaN or Inf loss" not in str(error):
            raise
        way_out = "Lower --rate and choose another --out."
        raise RuntimeError(f"{error} {way_out}") from error
    if recipe.keep == "lowest_error" and held_out is not None:
        with reading(out / "best.keras", "choose another --out to train anew"):
            model.load_weights(out / "best.keras")
    shared.say("Choosing what boxes are read from ...")
    localizer = _localizer(model, images, options)
    with replaced(path) as temporary:
        localizer.save(temporary)
    print(f"Wrote {path}. Next: keras-wsol localize --model {path} --images ...")


class _Progress(keras.callbacks.Callback):
    """Says how far an epoch is, every now and then, where no bar is shown."""

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self._epoch, self._said = epoch, time.monotonic()

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        if time.monotonic() - self._said >= _SECONDS:
            self._said, of = time.monotonic(), self.params
            figures = ", ".join(f"{k} {float(v):.3f}" for k, v in (logs or {}).items())
            epoch = f"Epoch {self._epoch + 1} of {of['epochs']}"
            shared.say(f"{epoch}, step {batch + 1} of {of['steps']}: {figures}")


def _recipe(options: argparse.Namespace) -> Recipe:
    """The recipe, or ours for any backbone and method, with what else is given."""
    given = vars(options)  # settings are there only if they were given
    if options.recipe and {"backbone", "method"} & set(given):
        raise ValueError(f"{options.recipe!r} has its own backbone and method.")
    if options.steps and "epochs" in given:
        raise ValueError("--steps and --epochs both say how long: give one of them.")
    if options.layer and options.score_map in (None, "cam", "own"):
        raise ValueError("--layer needs a --score-map that reads it: not cam or own.")
    base = RECIPES[options.recipe] if options.recipe else BASE
    changes = {name: given[name] for name in _OF_RECIPE if name in given}
    if not options.recipe:
        changes = {"rate": _RATES.get(given.get("method"), base.rate), **changes}
    if "image_size" in given:
        changes["image_size"] = (options.image_size, options.image_size)
    own = {name: given[name] for name in ("alpha", "map_size") if name in given}
    of_backbone = {**base.backbone_options, **own} if options.recipe else own
    return dataclasses.replace(base, backbone_options=of_backbone, **changes)


def _freeze(options: argparse.Namespace, recipe: Recipe) -> list[str] | None:
    """What is not trained: the early layers of a pretrained backbone, or as asked."""
    if options.freeze:
        return None if options.freeze == ["none"] else options.freeze
    early = _FROZEN.get(recipe.backbone)
    return None if options.recipe or recipe.weights is None else early and [early]


def _asked(options: argparse.Namespace) -> str:
    """What is asked for of the localizer, as on the command line."""
    names = ("score_map", "layer", "input_size")
    given = [(name, getattr(options, name)) for name in names]
    return " ".join(f"--{k.replace('_', '-')} {v}" for k, v in given if v)


def _is_as_asked(path: Path, options: argparse.Namespace) -> bool:
    """Whether a localizer is there, and was made as it is asked for."""
    if not zipfile.is_zipfile(path):
        return False
    with reading(path, "delete it, and the same command makes it anew"):
        localizer = keras.saving.load_model(path, compile=False)
    return localizer.notes.get("options", "") == _asked(options)


def _check_reading(model: keras.Model, options: argparse.Namespace) -> None:
    """Raises for a layer or size that the model cannot be read at, before training."""
    side = options.input_size
    model = models.with_input_size(model, (side, side)) if side else model
    if options.layer:
        split_at(model, options.layer)


def _localizer(
    model: keras.Model, images: data.ImageDataset, options: argparse.Namespace
) -> models.Localizer:
    """The localizer whose map suits the images, or that reads the map asked for."""
    name, side, asked = options.score_map, options.input_size, _asked(options)
    notes = {"options": asked} if asked else {}
    if name is None:
        sizes = {"input_sizes": [(side, side)]} if side else {}
        found = models.fit_localizer(model, images, seed=options.seed, **sizes)
        found.notes = {**found.notes, **notes}
        return found
    model = models.with_input_size(model, (side, side)) if side else model
    layer = {"layer": options.layer} if options.layer else {}
    if name == "own":
        return models.Localizer(model, notes=notes)
    if name in _FITTED:
        score_map = _FITTED[name].fit(model, images, **layer)
        notes["fitted on"] = f"{len(images)} images of {images.split}"
    else:
        score_map = cam.SCORE_MAPS[name](**layer)
    return models.Localizer(model, score_map=score_map, notes=notes)


def _keep_list(path: Path, images: list[str]) -> None:
    """Writes which images are learned from, the same as before if a run goes on."""
    begun = path.is_file() and (path.parent / "checkpoint.npz").is_file()
    with reading(path, "choose another --out, or delete that folder"):
        before = os.fsdecode(path.read_bytes()).splitlines() if begun else images
        if not before:
            raise EOFError("it is empty")
        # The whole folder may have been moved.
        old, new = (
            {os.path.relpath(each, os.path.commonpath(paths)) for each in paths}
            for paths in (before, images)
        )
    if old != new:
        raise ValueError(
            f"{path.parent} must go on with the images that it began with. Since then "
            f"{len(new - old)} came into the training split and {len(old - new)} left "
            f"it, such as {sorted(old ^ new)[:3]}. Leave the folder as it was, or "
            "choose another --out."
        )
    with replaced(path) as temporary:
        temporary.write_bytes(os.fsencode("".join(f"{each}\n" for each in images)))


def _splits(options: argparse.Namespace) -> list[data.ImageDataset]:
    """Opens what is learned from, and what is not."""
    # The same whatever --seed is, so that runs are compared on the same images.
    opened, splits = data.image_folder, ("train", "val")
    if options.dataset == "cub":
        opened, splits = data.cub200, ("train-weaksup", "train-fullsup")
    else:
        shared.check_folder(options.data)
    verify = options.out / shared.VERIFIED
    train, val = (opened(options.data, split, verify=verify) for split in splits)
    if train.num_classes < 2:
        raise ValueError(
            f"{options.data} must hold folders of at least two classes. Received: "
            f"{list(train.class_names)}. For images of one kind of object, "
            "`keras-wsol boxes` needs no training."
        )
    return [train, val]


def _claim(folder: Path, configuration: Mapping[str, Any]) -> None:
    """Notes the configuration of a run, or refuses a folder that holds another run."""
    path = folder / "config.json"
    # A run that has saved nothing left nothing to go on from: its folder may be taken.
    if any((folder / x).is_file() for x in ("checkpoint.npz", "localizer.keras")):
        with reading(path, "choose another --out, or delete that folder"):
            begun = dict(json.loads(path.read_text("utf-8"))) if path.exists() else {}
        steps, keys = configuration.get("steps"), {*configuration, *begun}
        if begun.setdefault("steps", steps) != steps:  # older runs have not noted it
            keys -= {"epochs", "images_per_epoch"}  # which follow from it
        differs = [
            f"`{key}` was {repr(begun.get(key))}, not {repr(configuration.get(key))}"
            for key in sorted(keys)
            if configuration.get(key) != begun.get(key)
        ]
        if differs:
            raise ValueError(
                f"{folder} holds a run with other options: {'; '.join(differs)}. "
                "Choose another --out, or delete that folder."
            )
    with replaced(path) as temporary:
        text = json.dumps(configuration, indent=2, sort_keys=True)
        temporary.write_text(text + "\n", "utf-8")
