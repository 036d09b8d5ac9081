"""Models to SavedModels, LiteRT and ONNX, with a model card."""

from keras_wsol.export.litert_onnx import export_litert, export_onnx
from keras_wsol.export.saved_model import export_saved_model, model_card

__all__ = ["export_litert", "export_onnx", "export_saved_model", "model_card"]
