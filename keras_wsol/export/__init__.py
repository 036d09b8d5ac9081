"""Models to SavedModels. Writing one needs the TensorFlow backend."""

from keras_wsol.export.saved_model import export_saved_model

__all__ = ["export_saved_model"]
