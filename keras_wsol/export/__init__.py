"""Models to SavedModels, LiteRT and ONNX; boxes of a whole data set to labels."""

from keras_wsol.export.checking import SavedModelCheck, check_saved_model
from keras_wsol.export.label_formats import PseudoLabel
from keras_wsol.export.litert import export_litert
from keras_wsol.export.model_card import model_card
from keras_wsol.export.onnx import export_onnx
from keras_wsol.export.pseudo_labels import PseudoLabelsWritten, write_pseudo_labels
from keras_wsol.export.saved_model import export_saved_model

__all__ = [
    "PseudoLabel",
    "PseudoLabelsWritten",
    "SavedModelCheck",
    "check_saved_model",
    "export_litert",
    "export_onnx",
    "export_saved_model",
    "model_card",
    "write_pseudo_labels",
]
