"""PxAP of the images of a split, whose masks are read one by one."""

from collections.abc import Mapping, Sequence

import numpy as np

from keras_wsol.data import Segmentation, read_segmentation
from keras_wsol.metrics import PxAP


class PxAPOfImages:
    """Measures score maps against the masks of their images."""

    def __init__(
        self,
        masks: Sequence[Segmentation] | Mapping[str, Segmentation],
        size: tuple[int, int],
    ) -> None:
        self._masks, self._size = masks, size
        self._metric = PxAP()

    def add(self, index: int, path: str, score_map: np.ndarray) -> None:
        """Adds an image."""
        mask, ignored = read_segmentation(self._mask(index, path), self._size)
        if not np.isfinite(score_map).all():
            score_map = np.zeros_like(score_map)
        self._metric.update_state(mask[None], score_map[None], ignored[None])

    def result(self) -> float:
        """Returns PxAP of the images added, in [0, 1]."""
        return self._metric.result()

    def _mask(self, index: int, path: str) -> Segmentation:
        if isinstance(self._masks, Mapping):
            # Names are some parts long, and the path ends with one of them.
            parts = path.replace("\\", "/").split("/")
            names = ["/".join(parts[start:]) for start in range(len(parts))]
            found = [self._masks[name] for name in names if name in self._masks]
            if found:
                return found[0]
        elif index < len(self._masks):
            return self._masks[index]
        raise ValueError(
            f"`masks` must hold the mask of each image. There is none for image "
            f"{index}, {path}."
        )
