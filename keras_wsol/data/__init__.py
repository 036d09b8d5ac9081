"""Files to images, class ids and boxes."""

from keras_wsol.data.boxes_csv import boxes_from_csv
from keras_wsol.data.cub200 import cub200
from keras_wsol.data.dataset import ImageDataset
from keras_wsol.data.image_files import image_files
from keras_wsol.data.image_folder import image_folder
from keras_wsol.data.segmentations import (
    Segmentation,
    cub200_masks,
    openimages_masks,
    read_segmentation,
)
from keras_wsol.data.synthetic import synthetic

__all__ = [
    "ImageDataset",
    "Segmentation",
    "boxes_from_csv",
    "cub200",
    "cub200_masks",
    "image_files",
    "image_folder",
    "openimages_masks",
    "read_segmentation",
    "synthetic",
]
