"""What `fit` needs: optimizer, schedules, a checkpoint that resumes, recipes."""

from keras_wsol.training.checkpoint import Checkpoint
from keras_wsol.training.distribution import AverageReplicas
from keras_wsol.training.epoch_log import EpochLog
from keras_wsol.training.log_drop_shares import LogDropShares
from keras_wsol.training.progress import Progress
from keras_wsol.training.recipes import RECIPES, Recipe
from keras_wsol.training.run_folder import keep_best
from keras_wsol.training.sgd import LayerwiseSGD, learning_rate
from keras_wsol.training.stop_at_non_finite import NonFiniteLossError, StopAtNonFinite

__all__ = [
    "RECIPES",
    "AverageReplicas",
    "Checkpoint",
    "EpochLog",
    "LayerwiseSGD",
    "LogDropShares",
    "NonFiniteLossError",
    "Progress",
    "Recipe",
    "StopAtNonFinite",
    "keep_best",
    "learning_rate",
]
