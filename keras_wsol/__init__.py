"""Weakly supervised object localization in Keras 3: image labels in, boxes out.

    import keras_wsol as wsol

The rooms, in the order in which data flows through them: `data`, `masks`, `boxes`,
`cam`, `layers`, `models`, `metrics`, `viz`, `evaluation`, `training`, `export`,
`labels`. The main names of the rooms are names of the package, too.

Importing the package registers its classes with Keras, so that
`keras.saving.load_model` reads what it has saved.
"""

import sys
from pathlib import Path

from keras_wsol.files import silenced

with silenced(
    Path(sys.argv[0]).stem == "keras-wsol" or sys.orig_argv[1:3] == ["-m", "keras_wsol"]
):
    import keras  # noqa: F401  # it loads its backend

from keras_wsol import (
    boxes,
    cam,
    data,
    evaluation,
    export,
    labels,
    layers,
    masks,
    metrics,
    models,
    training,
    viz,
)
from keras_wsol.evaluation import compare, evaluate
from keras_wsol.export import export_litert, export_onnx, export_saved_model
from keras_wsol.labels import write_pseudo_labels
from keras_wsol.layers import ADL, CAGD, DFM, DGDM, SAGD
from keras_wsol.models import Localizer, build_classifier, fit_localizer

__version__ = "0.1.0"

__all__ = [
    "ADL",
    "CAGD",
    "DFM",
    "DGDM",
    "SAGD",
    "Localizer",
    "boxes",
    "build_classifier",
    "cam",
    "compare",
    "data",
    "evaluate",
    "evaluation",
    "export",
    "export_litert",
    "export_onnx",
    "export_saved_model",
    "fit_localizer",
    "labels",
    "layers",
    "masks",
    "metrics",
    "models",
    "training",
    "viz",
    "write_pseudo_labels",
]
