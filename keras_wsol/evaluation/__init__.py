"""A model and a data set to an honest report."""

from keras_wsol.evaluation.callback import LocalizationEvaluation
from keras_wsol.evaluation.compare import Comparison, compare
from keras_wsol.evaluation.evaluate import evaluate
from keras_wsol.evaluation.report import Report

__all__ = [
    "Comparison",
    "LocalizationEvaluation",
    "Report",
    "compare",
    "evaluate",
]
