"""What `fit` needs: an optimizer, schedules, a checkpoint that resumes."""

from keras_wsol.training.checkpoint import Checkpoint
from keras_wsol.training.layerwise_sgd import LayerwiseSGD
from keras_wsol.training.schedules import learning_rate

__all__ = ["Checkpoint", "LayerwiseSGD", "learning_rate"]
