"""What `fit` needs: optimizer, schedules, a checkpoint that resumes, recipes."""

from keras_wsol.training.checkpoint import Checkpoint
from keras_wsol.training.layerwise_sgd import LayerwiseSGD
from keras_wsol.training.log_drop_shares import LogDropShares
from keras_wsol.training.recipe import Recipe
from keras_wsol.training.recipes import RECIPES
from keras_wsol.training.schedules import learning_rate

__all__ = [
    "RECIPES",
    "Checkpoint",
    "LayerwiseSGD",
    "LogDropShares",
    "Recipe",
    "learning_rate",
]
