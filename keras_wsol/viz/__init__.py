"""Pictures: score maps as colours, boxes as frames, models side by side."""

from keras_wsol.viz.cells import GalleryCell
from keras_wsol.viz.colors import PREDICTED_BOX_COLOR, TRUE_BOX_COLOR, heat_map
from keras_wsol.viz.frames import draw_boxes
from keras_wsol.viz.galleries import gallery
from keras_wsol.viz.masks import show_masks
from keras_wsol.viz.paint import overlay
from keras_wsol.viz.panels import panel
from keras_wsol.viz.png import save_png
from keras_wsol.viz.threshold_sheet import threshold_sheet

__all__ = [
    "PREDICTED_BOX_COLOR",
    "TRUE_BOX_COLOR",
    "GalleryCell",
    "draw_boxes",
    "gallery",
    "heat_map",
    "overlay",
    "panel",
    "save_png",
    "show_masks",
    "threshold_sheet",
]
