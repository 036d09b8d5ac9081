"""A recipe and the command line, as one recipe."""

import argparse
import dataclasses
from typing import TYPE_CHECKING, Any

from keras_wsol.commands.command import say
from keras_wsol.commands.train_arguments import DEFAULTS

if TYPE_CHECKING:
    from keras_wsol.training import Recipe

# The command without --recipe: its schedule, multipliers and view are these.
BASE = "ours-mobilenet-small"


def settle(options: argparse.Namespace) -> None:
    """Fills in what the command line leaves open: the recipe's settings, or defaults.

    Args:
        options: The command line. It is changed.
    """
    settings: dict[str, Any] = dict(DEFAULTS)
    if options.recipe is not None:
        say("Loading Keras ...")
        recipe = _named(options.recipe)
        say(str(recipe))
        settings = {name: getattr(recipe, name, None) for name in DEFAULTS}
        settings["image_size"] = recipe.image_size[0]
        settings["weights"] = recipe.weights or "none"
    for name, value in settings.items():
        if getattr(options, name) is None:
            setattr(options, name, value)


def recipe_of(options: argparse.Namespace, num_images: int) -> "Recipe":
    """Makes the recipe that a command line asks for.

    Args:
        options: The command line, settled.
        num_images: Size of the training split; a batch is no larger.

    Returns:
        The recipe of `--recipe` with what else is given in its place; without it,
        images seen once an epoch and a cosine.

    Raises:
        ValueError: A number is out of range.
    """
    base = _named(options.recipe or BASE)
    changes: dict[str, Any] = {
        name: getattr(options, name)
        for name in ("backbone", "method", "epochs", "rate")
    }
    changes["weights"] = None if options.weights == "none" else options.weights
    changes["image_size"] = (options.image_size, options.image_size)
    changes["batch_size"] = min(options.batch_size, num_images)
    # Places and options of a recipe are of its backbone and of its method.
    same_backbone = options.recipe and options.backbone == base.backbone
    same_method = options.recipe and options.method == base.method
    backbone_options = dict(base.backbone_options) if same_backbone else {}
    for name in ("alpha", "map_size"):
        if getattr(options, name) is not None:
            backbone_options[name] = getattr(options, name)
    changes["backbone_options"] = backbone_options
    changes["drop_after"] = base.drop_after if same_backbone and same_method else None
    method_options = dict(base.method_options) if same_method else {}
    changes["method_options"] = {**method_options, **(options.method_options or {})}
    return dataclasses.replace(base, **changes)


def _named(name: str) -> "Recipe":
    from keras_wsol.training import RECIPES

    return RECIPES[name]
