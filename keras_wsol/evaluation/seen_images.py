"""Images that a threshold was tuned on, to be known again on the test split."""

import hashlib
import os
from collections.abc import Iterable

import numpy as np

TUNED_ON_TEST = (
    "A threshold that is tuned on test images makes the figure worthless: `tune_on` "
    "must share no image with `test`. The report's `oracle` shows what the best "
    "threshold on the test split would give."
)


class SeenImages:
    """Knows images by their files and by their pixels.

    A file is the same under each spelling of its path, and through links. Pixels are
    the same if all of them are equal in the view that is evaluated; so an image that
    was stored or resized anew is known by its path alone. Of each image a path and 16
    bytes are kept.

    Published data sets hold some images twice, in two splits: equal pixels are let pass
    as long as they are at most a hundredth of the images seen.

    Attributes:
        repeated: Images met by `check` whose pixels were added before.
    """

    def __init__(self) -> None:
        self._paths: set[str] = set()
        self._digests: set[bytes] = set()
        self.repeated = 0

    def add(self, batch: dict[str, np.ndarray]) -> None:
        """Adds the images of a batch that could be read."""
        self._paths |= real_paths(batch.get("paths", ()))
        self._digests.update(_digests(batch))

    def check(self, batch: dict[str, np.ndarray], start: int) -> None:
        """Raises where images of a batch were added before."""
        for path in batch.get("paths", ()):
            if os.path.realpath(path) in self._paths:
                raise ValueError(f"{TUNED_ON_TEST} Both hold {str(path)!r}.")
        rows = np.flatnonzero(batch["class_ids"] >= 0)
        for row, digest in zip(rows, _digests(batch), strict=True):
            self.repeated += digest in self._digests
            if self.repeated > len(self._digests) // 100:
                name = f"image {start + row}"
                if "paths" in batch:
                    name += f", {str(batch['paths'][row])!r},"
                raise ValueError(
                    f"{TUNED_ON_TEST} The pixels of {name} of `test` are those of an "
                    "image of `tune_on`."
                )


def real_paths(paths: Iterable[str]) -> set[str]:
    """Returns one spelling of each path, without links."""
    return {os.path.realpath(str(path)) for path in paths}


def _digests(batch: dict[str, np.ndarray]) -> list[bytes]:
    images = batch["images"][batch["class_ids"] >= 0]
    images = np.ascontiguousarray(images, "float32")
    return [hashlib.blake2b(image, digest_size=16).digest() for image in images]
