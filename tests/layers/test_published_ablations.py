"""Each row of the papers' ablation tables is reachable by arguments."""

import functools
from itertools import combinations

import numpy as np
import pytest

from tests.layers.feature_maps import assert_equal, assert_frequency, train
from tests.layers.published_ablations import TABLES

ROWS = [row for table in TABLES for row in table]
LAYER_ROWS = [row for row in ROWS if row.layer is not None]
every_layer_row = pytest.mark.parametrize("row", LAYER_ROWS, ids=lambda row: row.name)
every_table = pytest.mark.parametrize("table", TABLES, ids=lambda table: table[0].table)


def features():
    """Smooth maps, 9 x 15 cells: a bright top, a dark border, weak channels."""
    rows, columns = np.mgrid[0:9, 0:15]
    generator = np.random.default_rng(3)
    samples = []
    for centre in ((3, 6), (5, 9)):
        distance = (rows - centre[0]) ** 2 + (columns - centre[1]) ** 2
        bump = np.exp(-distance / 9.0)[..., None]
        strength = np.array([0.2, 0.45, 0.55, 0.65, 1.5, 8.0])
        noise = generator.uniform(0.97, 1.03, (9, 15, 6))
        samples.append(bump * strength * noise)
    return np.stack(samples).astype("float32")


FEATURES = features()


@functools.cache
def outputs(row):
    """The layer's two candidate outputs, with every channel that may fall gone."""
    return [
        train(
            row.layer(**{**row.arguments, **row.all_fall, row.rate_name: rate}),
            FEATURES,
        )
        for rate in (1.0, 0.0)
    ]


@pytest.mark.parametrize(
    ("table", "rows"),
    list(zip(TABLES, (8, 6, 13), strict=True)),
    ids=["ADL", "DFM", "DGDM"],
)
def test_tables_are_complete(table, rows):
    # Counted in the papers; ADL prints its default row twice, DFM a row without CAM.
    assert len({row.row for row in table}) == len(table) == rows
    assert len({len(row.published) for row in table}) == 1


@every_layer_row
def test_row_computes_what_the_reference_does(row):
    first, second = outputs(row)
    assert_equal(first, row.reference(FEATURES, True))
    assert_equal(second, row.reference(FEATURES, False))


@every_layer_row
def test_row_draws_at_its_rate(row):
    # One call with a draw for each of 200 equal samples.
    layer = row.layer(**{**row.arguments, **row.all_fall, "draw": "sample", "seed": 1})
    outputs = train(layer, np.tile(FEATURES[:1], (200, 1, 1, 1)))
    used_first, used_second = (
        np.isclose(outputs, row.reference(FEATURES[:1], first), rtol=1e-4).all(
            (1, 2, 3)
        )
        for first in (True, False)
    )
    assert np.all(used_first | used_second)
    if row.rate is None:
        assert np.all(used_first & used_second)
    else:
        assert_frequency(used_first, row.rate)


@every_table
def test_rows_of_a_table_differ(table):
    # Two rows with one behaviour would be one experiment printed twice. Rows that
    # differ in the rate alone are told apart by the rate.
    rows = [row for row in table if row.layer is not None]
    for one, other in combinations(rows, 2):
        same = all(map(np.array_equal, outputs(one), outputs(other)))
        assert not same or one.rate != other.rate, (one.row, other.row)


def test_a_row_without_a_layer_is_the_plain_network():
    assert [row.name for row in ROWS if row.layer is None] == [
        "ADL 1: N/A, N/A",
        "DFM 1: CAM",
    ]
