"""What `fit` needs: optimizer, schedules, a checkpoint that resumes, recipes."""

from keras_wsol.training.checkpoint import Checkpoint
from keras_wsol.training.epoch_callbacks import AverageReplicas, EpochLog, LogDropShares
from keras_wsol.training.recipe_table import RECIPES
from keras_wsol.training.recipes import Recipe
from keras_wsol.training.sgd import LayerwiseSGD, learning_rate

__all__ = [
    "RECIPES",
    "AverageReplicas",
    "Checkpoint",
    "EpochLog",
    "LayerwiseSGD",
    "LogDropShares",
    "Recipe",
    "learning_rate",
]
