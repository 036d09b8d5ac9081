"""A model and a data set to an honest report."""

from keras_wsol.evaluation.at_threshold import AtThreshold
from keras_wsol.evaluation.baselines import centre_gaussian
from keras_wsol.evaluation.best_index import best_index
from keras_wsol.evaluation.callback import LocalizationEvaluation
from keras_wsol.evaluation.comparison import Comparison, Difference, compare
from keras_wsol.evaluation.image_results import ClassRow, GalleryImage, ImageResults
from keras_wsol.evaluation.paired_bootstrap import difference_interval
from keras_wsol.evaluation.protocol import evaluate
from keras_wsol.evaluation.report import Report
from keras_wsol.evaluation.tables import markdown_table
from keras_wsol.evaluation.tune_threshold import TunedThreshold, tune_threshold

__all__ = [
    "AtThreshold",
    "ClassRow",
    "Comparison",
    "Difference",
    "GalleryImage",
    "ImageResults",
    "LocalizationEvaluation",
    "Report",
    "TunedThreshold",
    "best_index",
    "centre_gaussian",
    "compare",
    "difference_interval",
    "evaluate",
    "markdown_table",
    "tune_threshold",
]
