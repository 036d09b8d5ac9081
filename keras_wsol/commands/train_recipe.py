"""A recipe and the command line, as one recipe."""

import argparse
import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from keras_wsol.commands.command import say
from keras_wsol.commands.train_arguments import BACKBONES, DEFAULTS

if TYPE_CHECKING:
    from keras_wsol.training import Recipe

# The command without --recipe: its schedule, multipliers and view are these.
BASE = "ours-mobilenet-small"

# Multipliers that name new layers alone mean the same on every backbone.
_OF_THE_HEAD = {"head_*": 10.0}
# All pretrained layers of VGG16 have such names, and no new one has.
_OF_ALL_PRETRAINED = {"block*": 0.1}
# Multipliers that name stages mean the same on backbones whose stages have these names.
_SAME_STAGES = ("resnet50", "resnet50_se", "resnet101")
# Trained layers that no weights are loaded for, beside the head's, by the method or the
# backbone that brings them.
_NEW_LAYERS = {"se": "se_*", "cbam": "cbam_*", "resnet50_se": "*_se"}


def settle(options: argparse.Namespace) -> None:
    """Fills in what the command line leaves open."""
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
    if options.recipe is not None:
        _say_what_is_carried_over(recipe, options)


def recipe_of(options: argparse.Namespace, num_images: int) -> "Recipe":
    """Makes the recipe that a command line asks for."""
    base = _named(options.recipe or BASE)
    changes: dict[str, Any] = {
        name: getattr(options, name) for name in ("backbone", "method", "epochs")
    }
    changes["rate"], changes["multipliers"] = _rate_and_multipliers(base, options)
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


def _say_what_is_carried_over(recipe: "Recipe", options: argparse.Namespace) -> None:
    rate, multipliers = _rate_and_multipliers(recipe, options)
    if multipliers != recipe.multipliers:
        say(
            f"The multipliers of {recipe.name}, {dict(recipe.multipliers)}, name "
            f"layers of {recipe.backbone}. On {options.backbone}, new layers learn at "
            f"the rate of {options.rate:g} and all others at a tenth: rate {rate:g} "
            f"with {multipliers}."
        )


def _rate_and_multipliers(
    base: "Recipe", options: argparse.Namespace
) -> tuple[float, Mapping[str, float]]:
    """Carries the rates of a recipe's layers over to the backbone of a command line."""
    given = base.multipliers
    if options.backbone in _meant_alike(base):
        return options.rate, given
    if given != _OF_ALL_PRETRAINED:
        raise ValueError(_not_carried_over(base, options.backbone))
    # The same for SGD as 1 and 0.1, in names that every backbone has.
    added = [_NEW_LAYERS.get(name) for name in (options.method, options.backbone)]
    patterns = [*_OF_THE_HEAD, *filter(None, added)]
    return options.rate / 10, dict.fromkeys(patterns, 10.0)


def _meant_alike(base: "Recipe") -> tuple[str, ...]:
    """The backbones on which a recipe's multipliers mean what they mean on its own."""
    if base.multipliers == _OF_THE_HEAD:
        return BACKBONES
    return _SAME_STAGES if base.backbone in _SAME_STAGES else (base.backbone,)


def _not_carried_over(base: "Recipe", backbone: str) -> str:
    from keras_wsol.training import RECIPES

    carried = (_OF_THE_HEAD, _OF_ALL_PRETRAINED)
    others = [name for name, one in RECIPES.items() if one.multipliers in carried]
    return (
        f"`backbone` must be one of {list(_meant_alike(base))} with --recipe "
        f"{base.name}, whose multipliers {dict(base.multipliers)} name stages of "
        f"these. Received: {backbone!r}. Leave out --backbone, or --recipe; or choose "
        f"a recipe that fits any backbone, one of {others}."
    )


def _named(name: str) -> "Recipe":
    from keras_wsol.training import RECIPES

    return RECIPES[name]
