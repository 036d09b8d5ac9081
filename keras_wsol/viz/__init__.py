"""Pictures: score maps as colours, boxes as frames, models side by side."""

from keras_wsol.viz.figures import Cell, overlay, show
from keras_wsol.viz.side_by_side import compare_models, show_thresholds

__all__ = ["Cell", "compare_models", "overlay", "show", "show_thresholds"]
