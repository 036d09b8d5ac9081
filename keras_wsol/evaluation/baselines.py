"""What a method has to beat: score maps and boxes that look at no image."""

import numpy as np

from keras_wsol.boxes import sweep_largest_boxes
from keras_wsol.evaluation.box_errors import best_overlaps

# Standard deviation in shares of the side. Cuts give the centred boxes with the view's
# proportions, each at some threshold, so where the threshold is chosen the deviation
# hardly matters. Below exp(-2) = 0.135 of the maximum, its value in the middle of the
# view's sides, every cut gives the whole view.
CENTRE_SIGMA = 0.25
# The IoU from which on a box is right, and those of MaxBoxAccV2.
_LEVELS = np.array([0.5, 0.3, 0.5, 0.7], "float32")
# The mean over so many boxes an image is within 0.1 points of the expected value on
# 250 images and more.
RANDOM_DRAWS = 1000


def centre_gaussian(size: tuple[int, int], sigma: float = CENTRE_SIGMA) -> np.ndarray:
    """Draws a centred Gaussian, the field's baseline (Choe et al., 2020).

    Args:
        size: Height and width.
        sigma: Float above 0, standard deviation in shares of height and width.

    Returns:
        float32 `(height, width)` in [0, 1], maximum 1.

    Example:
    >>> [round(float(x), 3) for x in centre_gaussian((1, 3), sigma=1 / 3)[0]]
    [0.607, 1.0, 0.607]
    """
    rows, columns = (
        np.exp(-0.5 * (((np.arange(n) + 0.5) / n - 0.5) / sigma) ** 2) for n in size
    )
    gaussian = np.outer(rows, columns)
    return (gaussian / gaussian.max()).astype("float32")


def whole_image(size: tuple[int, int]) -> np.ndarray:
    """Returns the box of the whole view, float32 `(4,)`."""
    return np.array([0, 0, size[1], size[0]], "float32")


def random_boxes(
    generator: np.random.Generator, shape: tuple[int, ...], size: tuple[int, int]
) -> np.ndarray:
    """Draws boxes between two points, each uniform over the view."""
    points = generator.random((*shape, 2, 2)) * np.array(size[::-1])
    points = np.sort(points, axis=-2)
    return points.reshape(*shape, 4).astype("float32")


class Baselines:
    """Localization of boxes that look at no image, batch by batch."""

    def __init__(
        self,
        size: tuple[int, int],
        thresholds: np.ndarray,
        in_v2: np.ndarray | None = None,
    ) -> None:
        self._size = size
        self._in_v2 = np.full(len(thresholds), True) if in_v2 is None else in_v2
        gaussian = centre_gaussian(size)[None]
        self._centre_boxes = sweep_largest_boxes(gaussian, thresholds)[:, 0]
        self._generator = np.random.default_rng(0)
        self._count = 0
        self._centre = np.zeros((len(_LEVELS), len(thresholds)))
        self._whole = np.zeros(len(_LEVELS))
        self._random = np.zeros(len(_LEVELS))

    def add(self, true_boxes: np.ndarray) -> None:
        """Adds the true boxes of some images, float32 `(N, M, 4)`."""
        count = len(true_boxes)
        drawn = random_boxes(self._generator, (count, RANDOM_DRAWS), self._size)
        self._count += count
        self._centre += _right(self._centre_boxes[None], true_boxes).sum(axis=1)
        self._whole += _right(whole_image(self._size)[None, None], true_boxes).sum(
            axis=(1, 2)
        )
        self._random += _right(drawn, true_boxes).mean(axis=2).sum(axis=1)

    def centre_curve(self) -> np.ndarray:
        """Returns GT-known Loc of the Gaussian at each threshold, `(T,)`."""
        return self._centre[0] / self._count

    def centre_v2(self) -> float:
        """Returns MaxBoxAccV2 of the Gaussian."""
        curves = self._centre[1:, self._in_v2]
        return float(curves.max(axis=1).mean() / self._count)

    def boxes(self) -> dict[str, dict[str, float]]:
        """Returns GT-known Loc and MaxBoxAccV2 of the two boxes, by their names."""
        found = {"whole image": self._whole, "random box": self._random}
        return {
            name: {
                "gt_known_loc": float(right[0] / self._count),
                "max_box_acc_v2": float(right[1:].mean() / self._count),
            }
            for name, right in found.items()
        }


def _right(boxes: np.ndarray, true_boxes: np.ndarray) -> np.ndarray:
    """Whether each box is right at each IoU, `(len(_LEVELS), N, T)`."""
    return best_overlaps(boxes, true_boxes) >= _LEVELS[:, None, None]
