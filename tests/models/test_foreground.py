"""From images to the foreground map, by DDT's first guess."""

import numpy as np
import pytest

from keras_wsol.models import fit_component, fit_foreground
from tests.models.painted import CELL, blob_images, painted_classifier
from tests.reference import score_map_numpy

SIZE = (24, 36)


def features_of(images):
    cells = images.reshape(len(images), 6, CELL, 9, CELL, 3)
    return cells.astype("float64").mean(axis=(2, 4))


@pytest.mark.parametrize("rounds", [1, 3])
def test_equals_the_loops(rounds):
    images = blob_images(5, SIZE, seed=2)
    features = features_of(images)
    expected = score_map_numpy.foreground(features, rounds, 0.1)
    batches = [images[:2], (images[2:4], [0, 1]), {"images": images[4:]}]
    found = fit_foreground(painted_classifier(), batches, rounds=rounds)
    np.testing.assert_allclose(found.weights, expected[0], rtol=1e-3)
    np.testing.assert_allclose(found.bias, expected[1], rtol=1e-3)
    assert found.share == expected[2]
    other = score_map_numpy.foreground(features, 4 - rounds, 0.1)
    assert other[2] != expected[2]  # rounds count


def test_the_largest_part_alone_is_taken():
    # A large blob and a small one apart from it, on noise.
    images = np.random.default_rng(0).integers(0, 20, (1, *SIZE, 3), "uint8")
    images[0, 4:16, 4:20] += 200
    images[0, 16:20, 28:32] += 200
    found = fit_foreground(painted_classifier(), [images], rounds=1)
    assert found.share == 3 * 4 / 54
    component = fit_component(painted_classifier(), [images])
    mean, vector = np.array(component.mean), np.array(component.vector)
    assert (features_of(images) @ vector > mean @ vector).sum() == 3 * 4 + 1


def test_bad_arguments():
    model, images = painted_classifier(), blob_images(2, SIZE)
    with pytest.raises(TypeError, match=r"read several times.*iterator"):
        fit_foreground(model, iter([images]))
    with pytest.raises(ValueError, match="`rounds` must be an integer"):
        fit_foreground(model, [images], rounds=0)
    with pytest.raises(ValueError, match="`shrinkage` must be above 0"):
        fit_foreground(model, [images], shrinkage=0.0)
    with pytest.raises(ValueError, match="finite features"):
        fit_foreground(model, [])
