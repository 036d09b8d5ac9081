"""Files to images, class ids and boxes."""

from keras_wsol.data.boxes_from import boxes_from_coco, boxes_from_csv, boxes_from_voc
from keras_wsol.data.check import check
from keras_wsol.data.dataset import ImageDataset, to_keras_boxes
from keras_wsol.data.fine_grained import cub200, stanford_cars
from keras_wsol.data.ilsvrc2012 import ilsvrc2012
from keras_wsol.data.image_folder import image_files, image_folder
from keras_wsol.data.synthetic import synthetic
from keras_wsol.data.tfds import tfds
from keras_wsol.data.wsolevaluation import (
    cub200_segmentations,
    openimages_segmentations,
    wsolevaluation,
)

__all__ = [
    "ImageDataset",
    "boxes_from_coco",
    "boxes_from_csv",
    "boxes_from_voc",
    "check",
    "cub200",
    "cub200_segmentations",
    "ilsvrc2012",
    "image_files",
    "image_folder",
    "openimages_segmentations",
    "stanford_cars",
    "synthetic",
    "tfds",
    "to_keras_boxes",
    "wsolevaluation",
]
