"""Images kept for a report's page: evenly spread over the split, never picked."""

import io
from numbers import Integral

import numpy as np

from keras_wsol.evaluation.image_results import GalleryImage

# So many times as many images are kept on the way as are asked for: the last choice
# among them is the more even, the more there are.
_SPARE = 4


class EvenSample:
    """Keeps images evenly spread over a stream whose length is not known."""

    def __init__(self, count: int) -> None:
        if isinstance(count, bool) or not isinstance(count, Integral) or count < 0:
            raise ValueError(
                "`gallery` must be an integer of at least 0, the number of images to "
                f"keep. Received: gallery={count!r}."
            )
        self._count = int(count)
        self._step = 1
        self._kept: list[GalleryImage] = []

    def wants(self, index: int) -> bool:
        """Says whether the image at this place of the split is to be added."""
        return self._count > 0 and index % self._step == 0

    def add(self, index: int, image: np.ndarray, score_map: np.ndarray) -> None:
        """Adds an image that is wanted."""
        grey = np.clip(np.nan_to_num(score_map, nan=0.0), 0, 1) * 255
        self._kept.append(
            GalleryImage(
                index=index,
                jpeg=_jpeg(image),
                score_map=np.rint(grey).astype("uint8"),
            )
        )
        while len(self._kept) > _SPARE * self._count:
            self._step *= 2
            self._kept = [x for x in self._kept if x.index % self._step == 0]

    def images(self) -> tuple[GalleryImage, ...]:
        """Returns the images asked for; all there are, if they are fewer."""
        if len(self._kept) <= self._count:
            return tuple(self._kept)
        places = np.linspace(0, len(self._kept) - 1, self._count)
        return tuple(self._kept[place] for place in np.rint(places).astype(int))


def _jpeg(image: np.ndarray) -> bytes:
    from PIL import Image

    pixels = np.rint(np.clip(np.nan_to_num(image), 0, 255)).astype("uint8")
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=85)
    return buffer.getvalue()
