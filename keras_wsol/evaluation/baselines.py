"""Score maps that look at no image: what a method has to beat."""

import numpy as np

# Standard deviation in shares of the side. Where the threshold is chosen it does not
# matter: every centred box is the box of some threshold.
CENTRE_SIGMA = 0.25


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
