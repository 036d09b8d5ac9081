"""A model and a data set to an honest report."""

from keras_wsol.evaluation.baselines import centre_gaussian
from keras_wsol.evaluation.galleries import compare_models
from keras_wsol.evaluation.protocol import best_index, evaluate
from keras_wsol.evaluation.report import AtThreshold, Report, markdown_table

__all__ = [
    "AtThreshold",
    "Report",
    "best_index",
    "centre_gaussian",
    "compare_models",
    "evaluate",
    "markdown_table",
]
