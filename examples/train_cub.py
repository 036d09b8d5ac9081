"""Trains on CUB-200-2011 from class labels, and measures the boxes.

    python examples/train_cub.py --data DIR --method dgdm --backbone mobilenet \
        --alpha 0.75 --weights PATH --epochs 12 --out runs/cub-dgdm
    python examples/train_cub.py --data DIR --recipe adl-vgg16-cub --out runs/adl

With --recipe it trains as a paper or its code has it; what else is given takes the
place of a setting. `print(keras_wsol.training.RECIPES[NAME])` shows them all.

Trains on train-weaksup (labels only), tunes the score-map threshold on train-fullsup,
evaluates on test once. Into --out go config.json, log.csv, metrics.json,
metrics_center_crop.json, gallery.png, localizer.keras and saved_model/1. Interrupted,
the same command goes on where it was, ten minutes before at most, and ends with the
same weights.
"""

import argparse
import dataclasses
import json
import tempfile
from pathlib import Path

import keras
import tensorflow as tf
from smoke_data import write_cub

from keras_wsol import data, evaluation, export, models, training, viz


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
    """Trains, evaluates and exports.

    Args:
        options: The command line.
    """
    # The same seed gives the same weights, interrupted or not.
    tf.config.experimental.enable_op_determinism()
    out = Path(options.out)
    out.mkdir(parents=True, exist_ok=True)
    check_same_run(options, out / "config.json")

    train = data.cub200(options.data, "train-weaksup")
    held_out = data.cub200(options.data, "train-fullsup")
    test = data.cub200(options.data, "test")
    print(f"{train}\n{held_out} ({held_out.notes['train-fullsup']})\n{test}")

    model = build_model(options, train)
    fit(model, train, held_out, options, out)

    localizer = models.Localizer(model)
    report = evaluation.evaluate(localizer, test, tune_on=held_out)
    tuned = models.Localizer(model, cam_threshold=report.tuned.cam_threshold)
    report.to_json(out / "metrics.json")
    cropped = evaluation.evaluate(localizer, test, tune_on=held_out, view="center_crop")
    cropped.to_json(out / "metrics_center_crop.json")
    print(f"\n{report.to_markdown()}\n\n{cropped.to_markdown()}\n")

    picked = range(0, len(test), max(1, len(test) // 24))  # evenly, not by hand
    picture = evaluation.compare_models(
        {model.name: tuned}, test, picked, cell_size=160
    )
    viz.save_png(out / "gallery.png", picture)
    tuned.save(out / "localizer.keras")
    export.export_saved_model(tuned, out / "saved_model" / "1", overwrite=True)
    print(f"Wrote {out}.")


def build_model(options: argparse.Namespace, train: data.ImageDataset) -> keras.Model:
    """Builds and compiles the classifier.

    Args:
        options: The command line.
        train: The training split.

    Returns:
        The compiled model.
    """
    model = models.build_classifier(
        options.backbone,
        options.method,
        train.num_classes,
        weights=None if options.weights == "none" else options.weights,
        input_shape=(options.image_size, options.image_size, 3),
        drop_after=options.drop_after,
        method_options=options.method_options,
        backbone_options=backbone_options(options),
        class_names=train.class_names,
        freeze=options.freeze,
        seed=options.seed,
    )
    if options.recipe:
        recipe_of(options).compile(model, len(train))
        return model
    rate = training.learning_rate(
        options.schedule,
        options.rate,
        epochs=options.epochs,
        steps_per_epoch=train.steps_per_epoch(options.batch_size),
    )
    model.compile(
        optimizer=training.LayerwiseSGD(
            rate, multipliers={"head_*": options.head_multiplier}
        ),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    return model


def backbone_options(options: argparse.Namespace) -> dict:
    """Options of the backbone: of the recipe, if it is for this one, and given ones.

    Args:
        options: The command line.

    Returns:
        The dictionary.
    """
    recipe = training.RECIPES.get(options.recipe)
    same = recipe is not None and recipe.backbone == options.backbone
    alpha = {} if options.alpha is None else {"alpha": options.alpha}
    return {**(recipe.backbone_options if same else {}), **alpha}


def recipe_of(options: argparse.Namespace) -> training.Recipe:
    """The recipe with what else is given in its place.

    Args:
        options: The command line, with `recipe`.

    Returns:
        The recipe.
    """
    return dataclasses.replace(
        training.RECIPES[options.recipe],
        epochs=options.epochs,
        batch_size=options.batch_size,
        rate=options.rate,
        schedule=options.schedule,
        **({"images_per_epoch": None} if options.smoke else {}),
    )


def fit(
    model: keras.Model,
    train: data.ImageDataset,
    held_out: data.ImageDataset,
    options: argparse.Namespace,
    out: Path,
) -> None:
    """Trains from where an earlier run of the same command stopped.

    Args:
        model: The compiled model.
        train: The training split.
        held_out: What the model with the lowest error is chosen on, if a recipe wants
            that one rather than the last.
        options: The command line.
        out: Folder for the checkpoint and the log.
    """
    checkpoint = training.Checkpoint(out / "checkpoint.npz", every_seconds=600)
    done = checkpoint.restore(model)
    if done:
        print(f"Resuming after {done.epochs} epochs and {done.steps} steps.")
    steps = train.steps_per_epoch(options.batch_size)
    validation, best = None, []
    if options.recipe:
        recipe = recipe_of(options)
        steps = recipe.steps_per_epoch(len(train))
        if recipe.keep == "lowest_error":
            size = (options.image_size, options.image_size)
            validation = held_out.batches(
                options.batch_size, image_size=size, view=recipe.view
            )
            best = [training.keep_best(out / "best.keras", out / "log.csv", done)]

    def batches(start_step: int) -> tf.data.Dataset:
        return train.batches(
            options.batch_size,
            training=True,
            seed=options.seed,
            start_step=start_step,
            image_size=(options.image_size, options.image_size),
        ).repeat()

    try:
        model.fit(
            batches(done.start_step(steps)),
            steps_per_epoch=steps,
            validation_data=validation,
            epochs=options.epochs,
            initial_epoch=done,
            callbacks=[
                training.StopAtNonFinite(checkpoint, batches),
                *best,
                training.EpochLog(out / "log.csv", done),
                checkpoint,
            ],
            shuffle=False,  # the batches are shuffled already
            verbose=2 if options.smoke else "auto",
        )
    except training.NonFiniteLossError as error:
        raise SystemExit(f"{error} Lower --rate and start again.") from error
    if best:
        model.load_weights(out / "best.keras")


def check_same_run(options: argparse.Namespace, path: Path) -> None:
    """Notes the options, or refuses to resume a run that had others.

    Args:
        options: The command line.
        path: The file that holds the options.

    Raises:
        SystemExit: The folder holds a run with other options.
    """
    config = {k: v for k, v in vars(options).items() if k not in ("data", "out")}
    text = json.dumps(config, indent=2, sort_keys=True) + "\n"
    if path.is_file() and path.read_text() != text:
        raise SystemExit(
            f"{path.parent} holds a run with other options (see {path}). Choose "
            "another --out, or delete it."
        )
    path.write_text(text)


def parse_options() -> argparse.Namespace:
    """Reads the command line.

    Returns:
        The options.
    """
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", help="folder that holds CUB_200_2011")
    parser.add_argument("--out", help="folder to write")
    parser.add_argument("--recipe", choices=list(training.RECIPES))
    parser.add_argument("--method", default="dgdm", choices=list(models.METHODS))
    parser.add_argument(
        "--backbone", default="mobilenet", choices=list(models.BACKBONES)
    )
    parser.add_argument("--alpha", type=float, help="width of a MobileNet")
    parser.add_argument(
        "--weights", default="imagenet", help='"imagenet", "none" or a path'
    )
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--rate", type=float, default=0.005, help="learning rate")
    parser.add_argument(
        "--head-multiplier", type=float, help="10 by default; a recipe has its own"
    )
    parser.add_argument(
        "--schedule", default="cosine", choices=["cosine", "step", "constant"]
    )
    parser.add_argument("--freeze", action="append", help="batch_norm or layer")
    parser.add_argument("--drop-after", action="append", help="layer; may be repeated")
    parser.add_argument(
        "--method-options", type=json.loads, default={}, help="JSON object"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--smoke", action="store_true", help="two epochs on drawn images"
    )
    options = parser.parse_args()
    if options.recipe:
        options = fill_in(parser, options)
    elif options.head_multiplier is None:
        options.head_multiplier = 10.0
    if options.smoke:
        options.weights = "none"
        if not options.recipe:
            options.backbone, options.alpha = "mobilenet", 0.25
        options.epochs, options.batch_size, options.image_size = 2, 8, 64
    elif not (options.data and options.out):
        parser.error("--data and --out are needed (or --smoke)")
    return options


def fill_in(
    parser: argparse.ArgumentParser, options: argparse.Namespace
) -> argparse.Namespace:
    """Takes what the command line leaves open from its recipe.

    Args:
        parser: The parser.
        options: What it gave, with `recipe`.

    Returns:
        The options.
    """
    if options.head_multiplier is not None:
        parser.error("--head-multiplier: a recipe has its own, so leave it out")
    recipe = training.RECIPES[options.recipe]
    names = ("method", "backbone", "epochs", "batch_size", "rate", "schedule")
    parser.set_defaults(
        **{name: getattr(recipe, name) for name in names},
        weights=recipe.weights or "none",
        image_size=recipe.image_size[0],
    )
    options = parser.parse_args()
    # Its places and options are of its method and backbone.
    if (options.method, options.backbone) == (recipe.method, recipe.backbone):
        options.drop_after = options.drop_after or recipe.drop_after
    if options.method == recipe.method:
        options.method_options = {**recipe.method_options, **options.method_options}
    print(recipe)
    return options


if __name__ == "__main__":
    main()
