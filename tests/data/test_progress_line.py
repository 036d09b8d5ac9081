"""The line on long work: its words, when it is written, and who writes one."""

import io
import sys

import keras
import numpy as np
import pytest

from keras_wsol import data, evaluation, export, models
from keras_wsol.data.progress_line import ProgressLine, tracked
from tests.data.small_datasets import in_memory, noise


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still until it is moved."""
    now = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    return now


def test_a_file_gets_a_line_every_ten_seconds(monkeypatch, clock):
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    line = ProgressLine("Reading", verbose=True)
    # 4 images a second; the first 40 were done by another run.
    for seconds in range(0, 31, 5):
        clock[0] = 100.0 + seconds
        line(40 + 4 * seconds, 160)
    assert sys.stderr.getvalue().splitlines() == [
        "Reading: 40 of 160 images",
        "Reading: 80 of 160 images, 4 a second, 20 s left",
        "Reading: 120 of 160 images, 4 a second, 10 s left",
        "Reading: 160 of 160 images",
    ]


def test_a_terminal_has_one_line_written_over(monkeypatch, clock):
    monkeypatch.setattr(sys, "stderr", Terminal())
    line = ProgressLine("Reading", unit="batches")
    for step in (0, 1, 2, 300):
        clock[0] = 100.0 + 0.08 * step
        line(step, 300)
    assert sys.stderr.getvalue() == (
        "\rReading: 0 of 300 batches"
        # At 0.08 s nothing, the line is too new; at 0.16 s:
        "\rReading: 2 of 300 batches, 12.5 a second, 24 s left"
        "\rReading: 300 of 300 batches" + " " * 24 + "\n"
    )


@pytest.mark.parametrize(
    ("stream", "verbose", "shown"),
    [
        (io.StringIO, "auto", False),
        (io.StringIO, True, True),
        (io.StringIO, 1, True),
        (Terminal, "auto", True),
        (Terminal, False, False),
        (Terminal, 0, False),
    ],
)
def test_auto_is_for_those_who_look(monkeypatch, stream, verbose, shown):
    monkeypatch.setattr(sys, "stderr", stream())
    monkeypatch.delitem(sys.modules, "ipykernel", raising=False)
    ProgressLine("Reading", verbose)(3, 3)
    assert bool(sys.stderr.getvalue()) == shown


def test_a_notebook_is_looked_at(monkeypatch):
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    monkeypatch.setitem(sys.modules, "ipykernel", object())
    ProgressLine("Reading")(3, 3)
    assert sys.stderr.getvalue() == "\rReading: 3 of 3 images\n"


def test_verbose_is_one_of_three():
    with pytest.raises(ValueError, match=r"`verbose` must be .*verbose='always'"):
        ProgressLine("Reading", "always")


def test_tracked_counts_what_is_done_and_not_what_is_begun():
    found = []
    items = tracked("abc", lambda *counts: found.append(counts), 30, lambda _: 10)
    assert list(items) == ["a", "b", "c"]
    assert found == [(0, 30), (10, 30), (20, 30), (30, 30)]
    # Without a total, the last call ends the line.
    found.clear()
    list(tracked("ab", lambda *counts: found.append(counts)))
    assert found == [(0, None), (1, None), (2, 2)]


def small_model():
    images = keras.Input((14, 21, 3))
    x = keras.layers.Conv2D(4, 3, name="conv")(images)
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(images, keras.layers.Dense(5, name="head")(x))


@pytest.fixture(scope="module")
def birds():
    boxes = np.tile(np.array([[[2, 3, 9, 8]]], "float32"), (5, 1, 1))
    return in_memory(noise(5, 14, 21), boxes=boxes)


def works(birds, path):
    """Each kind of long work, and the line that it ends with."""
    model = small_model()
    held_out = in_memory(
        noise(4, 14, 21, seed=1),
        boxes=birds.boxes[:4],
        class_names=birds.class_names,
        split="train-fullsup",
        paths=np.array(["a", "b", "c", "d"]),
    )
    batches = birds.batches(2, image_size=(14, 21))
    return [
        (
            lambda verbose: evaluation.evaluate(
                model, birds, held_out, num_thresholds=5, verbose=verbose
            ),
            ["Tuning the threshold: 4 of 4 images", "Measuring: 5 of 5 images"],
        ),
        (
            lambda verbose: evaluation.tune_threshold(
                model, held_out, num_thresholds=5, verbose=verbose
            ),
            ["Tuning the threshold: 4 of 4 images"],
        ),
        (
            lambda verbose: models.fit_component(
                model, batches, "conv", verbose=verbose
            ),
            ["Reading features: 3 of 3 batches"],
        ),
        (
            lambda verbose: data.check(birds, verbose=verbose),
            ["Checking: 5 of 5 images"],
        ),
        (
            lambda verbose: export.write_pseudo_labels(
                model, birds, path, overwrite=True, verbose=verbose
            ),
            ["Finding boxes: 5 of 5 images"],
        ),
    ]


def test_all_long_work_says_how_far_it_is(birds, tmp_path, capsys):
    for work, expected in works(birds, tmp_path / "labels.json"):
        capsys.readouterr()
        work(True)
        lines = capsys.readouterr().err.splitlines()
        assert [line for line in lines if line in expected] == expected
        work("auto")
        assert not any(line in expected for line in capsys.readouterr().err.split("\n"))
