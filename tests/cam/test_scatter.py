"""Mean and scatter of parts, against those of all cells at once."""

import numpy as np
import pytest

from keras_wsol.cam.unsupervised import NOTHING, joined


@pytest.mark.parametrize("far", [0.0, 1e6])
def test_parts_give_what_all_cells_do(far):
    # Far from zero, a sum of squares would lose all digits.
    rng = np.random.default_rng(0)
    parts = [rng.normal(size=(n, 3)) + far + n for n in (5, 0, 1, 8)]
    found = NOTHING
    for part in parts:
        found = joined(found, part)
    count, mean, scatter = found
    cells = np.concatenate(parts)
    assert count == 14
    np.testing.assert_allclose(mean, cells.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(scatter, 14 * np.cov(cells.T, bias=True), rtol=1e-7)
    assert NOTHING[0] == NOTHING[1].sum() == NOTHING[2].sum() == 0
