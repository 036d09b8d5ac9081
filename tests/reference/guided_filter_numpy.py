"""The guided filter with colours, window by window (He, Sun and Tang, 2013)."""

import numpy as np

from tests.reference import cam_numpy


def guided_filter(score_map, image, reach, epsilon):
    """Equations 14 to 16: `(h, w)` and `(h, w, 3)` in [0, 1], windows cut at the edge.

    Returns the result and the mean coefficients `(h, w, 4)`, offsets last.
    """
    height, width = score_map.shape

    def window(y, x):
        rows = slice(max(0, y - reach), y + reach + 1)
        return rows, slice(max(0, x - reach), x + reach + 1)

    fits = np.zeros((height, width, 4))
    for y, x in np.ndindex(height, width):
        colours = image[window(y, x)].reshape(-1, 3)
        values = score_map[window(y, x)].reshape(-1)
        covariance = np.cov(colours.T, bias=True) + epsilon * np.eye(3)
        together = (colours * values[:, None]).mean(0) - colours.mean(0) * values.mean()
        slopes = np.linalg.solve(covariance, together)
        fits[y, x] = [*slopes, values.mean() - slopes @ colours.mean(0)]
    means = np.zeros_like(fits)
    for y, x in np.ndindex(height, width):
        means[y, x] = fits[window(y, x)].reshape(-1, 4).mean(0)
    return (means[..., :3] * image).sum(-1) + means[..., 3], means


def fast_guided_filter(score_map, image, reach, epsilon, grid):
    """The same on a coarser grid, the mean coefficients enlarged (He and Sun, 2015)."""
    coarse_image = cam_numpy.resize(image, grid, antialias=True)
    coarse_map = cam_numpy.resize(score_map[..., None], grid)[..., 0]
    _, means = guided_filter(coarse_map, coarse_image, reach, epsilon)
    means = cam_numpy.resize(means, image.shape[:2])
    return (means[..., :3] * image).sum(-1) + means[..., 3]
