"""Kill -9, again and again: the run ends as one that nothing happened to."""

import numpy as np
import pytest

from tests.training import killed_run
from tests.training.killed_run import CHECKPOINT, FINAL, LOG

pytestmark = pytest.mark.slow
KILLS = 10
EPOCHS = 24


def test_killed_ten_times_ends_as_never_killed(tmp_path):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    whole.mkdir()
    parts.mkdir()
    process = killed_run.start(whole, EPOCHS, 0)
    rng = np.random.default_rng(6)
    within = set()
    for kill in range(KILLS):
        # Nothing of what another seed makes may remain, once anything is done.
        seed = kill if (parts / CHECKPOINT).is_file() else 0
        steps, delay = int(rng.integers(2, 10)), rng.uniform(0, 0.01)
        begun, code = killed_run.killed(parts, EPOCHS, seed, steps, delay)
        assert (begun, code) == (steps, -9)
        if (parts / CHECKPOINT).is_file():
            with np.load(parts / CHECKPOINT) as saved:
                within.add(int(saved["progress"][1]))
    begun, code = killed_run.killed(parts, EPOCHS, 99, 10**6, 0)
    assert code == 0
    assert 0 < begun < EPOCHS * killed_run.STEPS
    assert len(within) > 2, "the kills were all at the same step of an epoch"
    process.join()
    with np.load(whole / FINAL) as one, np.load(parts / FINAL) as other:
        assert [name.split()[0] for name in one] == [n.split()[0] for n in other]
        # ADL's, those of the two layers in DGDM, and Dropout's.
        assert sum("seed_generator_state" in name for name in one) == 4
        for first, second in zip(one, other, strict=True):
            np.testing.assert_array_equal(one[first], other[second], err_msg=first)
    # Metrics of an epoch that was begun twice are those of its rest.
    logs = [(folder / LOG).read_text().splitlines() for folder in (whole, parts)]
    assert len(logs[0]) == len(logs[1]) == EPOCHS + 1
    assert [row.split(",")[0] for row in logs[0]] == [r.split(",")[0] for r in logs[1]]
    assert sum(a != b for a, b in zip(*logs, strict=True)) <= KILLS
