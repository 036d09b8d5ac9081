"""Trains on CUB-200-2011 from class labels, and measures the boxes.

    python examples/train_cub.py --data DIR --method dgdm --weights PATH --out runs/dgdm
    python examples/train_cub.py --data DIR --recipe adl-vgg16-cub --out runs/adl

It trains as a recipe has it, by default the small one of this package (a MobileNetV1
for 12 epochs); what else is given takes the place of a setting.
`print(keras_wsol.training.RECIPES[NAME])` shows them all.

Trains on train-weaksup (labels only), tunes the score-map threshold on train-fullsup,
measures test once. The boxes are those of the class activation map, as in the papers;
with --score-map fit those of `fit_localizer`, which finds more of the object. Into
--out go config.json, log.csv, metrics.json, metrics_center_crop.json, gallery.png,
localizer.keras and saved_model/1. Interrupted, the same command goes on where it was,
ten minutes before at most, and ends with the same weights.
"""

import argparse
import dataclasses
import json
import tempfile
from pathlib import Path

import tensorflow as tf
from smoke_data import write_cub

import keras_wsol as wsol
from keras_wsol import data, evaluation, export, models, training, viz

# Options that take the place of an attribute of the recipe.
SETTINGS = ("method", "backbone", "weights", "epochs", "batch_size", "rate", "schedule")


def main() -> None:
    """Runs the command line."""
    options = parse_options()
    if options.smoke:
        with tempfile.TemporaryDirectory() as folder:
            options.data = str(write_cub(Path(folder) / "data"))
            options.out = options.out or str(Path(folder) / "out")
            run(options)
    else:
        run(options)


def run(options: argparse.Namespace) -> None:
    """Trains, evaluates and exports."""
    # The same seed gives the same weights, interrupted or not.
    tf.config.experimental.enable_op_determinism()
    recipe, out = recipe_of(options), Path(options.out)
    out.mkdir(parents=True, exist_ok=True)
    check_same_run(recipe, options, out / "config.json")
    train, held_out, test = (
        data.cub200(options.data, split)
        for split in ("train-weaksup", "train-fullsup", "test")
    )
    print(f"{train}\n{held_out} ({held_out.notes['train-fullsup']})\n{test}")

    model = recipe.build(
        class_names=train.class_names, freeze=options.freeze, seed=options.seed
    )
    # XLA on a GPU has no deterministic gradient of max pooling.
    recipe.compile(model, len(train), jit_compile=False)
    done, callbacks = recipe.resume(model, out)
    model.fit(
        recipe.batches(train, seed=options.seed, epochs_done=done),
        steps_per_epoch=recipe.steps_per_epoch(len(train)),
        validation_data=held_out.batches(**recipe.evaluation_options()),
        epochs=recipe.epochs,
        initial_epoch=done,
        callbacks=callbacks,
        shuffle=False,  # the batches are shuffled already
        verbose=2,
    )
    if recipe.keep == "lowest_error":
        model.load_weights(out / "best.keras")

    fit = options.score_map == "fit"
    localizer = wsol.fit_localizer(model, train) if fit else models.Localizer(model)
    cropped = evaluation.evaluate(localizer, test, tune_on=held_out, view="center_crop")
    cropped.to_json(out / "metrics_center_crop.json")
    report = evaluation.evaluate(localizer, test, tune_on=held_out)
    report.to_json(out / "metrics.json")
    print(f"\n{report.to_markdown()}\n\n{cropped.to_markdown()}\n")
    localizer.cam_threshold = report.tuned.cam_threshold
    picked = range(0, len(test), max(1, len(test) // 24))  # evenly, not by hand
    viz.compare_models({model.name: localizer}, test, picked).savefig(
        out / "gallery.png"
    )
    localizer.save(out / "localizer.keras")
    export.export_saved_model(localizer, out / "saved_model" / "1", overwrite=True)
    print(f"Wrote {out}.")


def recipe_of(options: argparse.Namespace) -> training.Recipe:
    """Returns the recipe, with what else is given in its place."""
    recipe = training.RECIPES[options.recipe]
    given = {name: getattr(options, name) for name in SETTINGS}
    given = {name: value for name, value in given.items() if value is not None}
    if options.weights == "none":
        given["weights"] = None
    if options.image_size:
        given["image_size"] = (options.image_size, options.image_size)
    if {"method", "backbone"} & set(given):  # its places and options are of these
        given["drop_after"] = None
    if "backbone" in given:
        given["backbone_options"] = {}
    if options.alpha is not None:
        given["backbone_options"] = {"alpha": options.alpha}
    if options.smoke:
        given["images_per_epoch"] = None
    return dataclasses.replace(recipe, **given)


def check_same_run(
    recipe: training.Recipe, options: argparse.Namespace, path: Path
) -> None:
    """Notes recipe and options, or refuses to resume a run that had others."""
    given = {k: v for k, v in vars(options).items() if k not in ("data", "out")}
    config = {"recipe": recipe.settings(), "options": given}
    text = json.dumps(config, indent=2, sort_keys=True) + "\n"
    if path.is_file() and path.read_text() != text:
        raise SystemExit(
            f"{path.parent} holds a run with other options (see {path}). Choose "
            "another --out, or delete it."
        )
    path.write_text(text)


def parse_options() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", help="folder that holds CUB_200_2011")
    parser.add_argument("--out", help="folder to write")
    parser.add_argument(
        "--recipe", choices=list(training.RECIPES), default="ours-mobilenet-small"
    )
    parser.add_argument("--method", choices=list(models.METHODS))
    parser.add_argument("--backbone", choices=list(models.BACKBONES))
    parser.add_argument("--alpha", type=float, help="width of a MobileNet")
    parser.add_argument("--weights", help='"imagenet", "none" or a path')
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--batch-size", type=int)
    parser.add_argument("--image-size", type=int)
    parser.add_argument("--rate", type=float, help="learning rate")
    parser.add_argument("--schedule", choices=["cosine", "step", "constant"])
    parser.add_argument("--score-map", default="cam", choices=["cam", "fit"])
    parser.add_argument("--freeze", action="append", help="batch_norm or layer")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--smoke", action="store_true", help="drawn images, 2 epochs")
    options = parser.parse_args()
    if options.smoke:
        options.weights, options.image_size = "none", 64
        options.epochs, options.batch_size = 2, 8
        if options.recipe == "ours-mobilenet-small":
            options.alpha = 0.25
    elif not (options.data and options.out):
        parser.error("--data and --out are needed (or --smoke)")
    return options


if __name__ == "__main__":
    main()
