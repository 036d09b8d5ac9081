"""Every recipe builds and compiles its model, and a step moves the weights."""

import dataclasses

import keras
import numpy as np
import pytest

from keras_wsol.models import BACKBONES
from keras_wsol.training import RECIPES

# Of each backbone and method the first: the others differ in data alone.
FIRST = {
    (recipe.backbone, recipe.method): name for name, recipe in reversed(RECIPES.items())
}


def test_every_recipe_says_what_it_aims_at():
    for recipe in RECIPES.values():
        # A figure, or why there is none; and where it stands.
        assert recipe.target_source
        none = "not been checked", "our own"
        assert recipe.target or any(text in recipe.target_source for text in none)
        assert all(0 < figure < 100 for figure in recipe.target.values())


def test_a_recipe_in_few_steps_scales_its_schedule():
    recipe = RECIPES["adl-vgg16-cub"]  # 105 epochs; a tenth after 30, 60, 90 and 100
    few = recipe.in_steps(210)
    assert (few.epochs, few.steps_per_epoch(32)) == (10, 21)
    # A tenth after 60, 120, 180 and 200 of 210 steps.
    rate = few.optimizer(32)._learning_rate
    found = [float(rate(step)) for step in (59, 60, 120, 179, 180, 200)]
    base = recipe.rate
    expected = [base, base / 10, base / 100, base / 100, base / 1e3, base / 1e4]
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    for steps, parted in ((500, (10, 50)), (7, (7, 1)), (101, (1, 101)), (24, (12, 2))):
        few = recipe.in_steps(steps)
        assert (few.epochs, few.steps_per_epoch(32)) == parted


@pytest.mark.slow
@pytest.mark.parametrize("name", FIRST.values())
def test_a_step(name):
    recipe = RECIPES[name]
    if recipe.backbone in ("resnet18", "resnet34"):
        pytest.importorskip(BACKBONES[recipe.backbone].extra.replace("-", "_"))
    # InceptionV3 refuses sides below 75.
    size = (80, 96) if recipe.backbone == "inception_v3" else (32, 64)
    # One image in ILSVRC's many classes is as good as one in three.
    recipe = dataclasses.replace(recipe, image_size=size, batch_size=2)
    model = recipe.build(weights=None, num_classes=3)
    recipe.compile(model, 2)
    model.run_eagerly = True  # quicker than tracing for one step
    before = [variable.numpy().copy() for variable in model.trainable_variables]
    images = np.random.default_rng(0).uniform(0, 255, (2, *size, 3))
    loss, *_ = model.train_on_batch(images.astype("float32"), np.array([0, 2]))
    assert np.isfinite(loss)
    assert loss > 0
    moved = {
        variable.path.split("/")[0]
        for old, variable in zip(before, model.trainable_variables, strict=True)
        if not np.array_equal(old, variable.numpy())
    }
    assert "head_logits" in moved
    assert len(moved) > 5  # not the head alone
    assert isinstance(model.optimizer, keras.optimizers.SGD)
