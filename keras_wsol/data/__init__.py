"""Files to images, class ids and boxes."""

from keras_wsol.data.cub200 import cub200
from keras_wsol.data.dataset import ImageDataset
from keras_wsol.data.image_folder import image_folder
from keras_wsol.data.synthetic import synthetic

__all__ = ["ImageDataset", "cub200", "image_folder", "synthetic"]
