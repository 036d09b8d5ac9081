"""What `fit` needs: an optimizer, schedules, a checkpoint that resumes."""

from keras_wsol.training.checkpoint import Checkpoint
from keras_wsol.training.layerwise_sgd import LayerwiseSGD
from keras_wsol.training.log_drop_shares import LogDropShares
from keras_wsol.training.schedules import learning_rate

__all__ = ["Checkpoint", "LayerwiseSGD", "LogDropShares", "learning_rate"]
