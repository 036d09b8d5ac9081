"""Checks of arguments return the value, or say what was expected and what came."""

import re
import sys
from unittest.mock import Mock

import numpy as np
import pytest

from keras_wsol.arguments import (
    check_bool,
    check_choice,
    check_integer,
    check_number,
    plain,
    shows_progress,
    with_progress,
)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (0, 0),
        (1, 1),
        (0.25, 0.25),
        (np.float32(0.5), 0.5),
        (np.int64(1), 1),
    ],
)
def test_numbers(given, expected):
    value = check_number("rate", given)
    assert value == expected
    assert type(value) is type(expected)


def test_limits_are_part_of_the_range():
    assert check_number("gain", 2.0, low=2.0, high=3.0) == 2.0
    assert check_number("gain", 3.0, low=2.0, high=3.0) == 3.0
    assert check_number("gain", 1e9, high=None) == 1e9
    assert check_integer("top_k", 1) == 1
    assert check_integer("top_k", 5, low=0, high=5) == 5


def test_integers_are_those_of_python():
    value = check_integer("size", np.int32(3))
    assert (value, type(value)) == (3, int)


def test_choices_and_booleans():
    assert check_choice("draw", "batch", ("batch", "sample")) == "batch"
    for given in (True, False, np.True_):
        assert type(check_bool("relu", given)) is bool
        assert check_bool("relu", given) == given


def test_scalars_of_numpy_become_plain():
    assert type(plain(np.float64(0.5))) is float
    assert plain("batch") == "batch"


@pytest.mark.parametrize(
    ("check", "error", "message"),
    [
        (
            lambda: check_number("rate", 1.5),
            ValueError,
            "`rate` must be a number in [0, 1]. Received: rate=1.5.",
        ),
        (
            lambda: check_number("rate", -0.1, high=None),
            ValueError,
            "`rate` must be a number >= 0. Received: rate=-0.1.",
        ),
        (
            lambda: check_number("rate", float("nan")),
            ValueError,
            "`rate` must be a number in [0, 1]. Received: rate=nan.",
        ),
        (
            lambda: check_number("rate", float("inf"), high=None),
            ValueError,
            "`rate` must be a number >= 0. Received: rate=inf.",
        ),
        (
            lambda: check_number("rate", "0.5"),
            TypeError,
            "`rate` must be a number in [0, 1]. Received: rate='0.5' (of type str).",
        ),
        (
            lambda: check_number("rate", True),
            TypeError,
            "`rate` must be a number in [0, 1]. Received: rate=True (of type bool).",
        ),
        (
            lambda: check_number("fill", None, expected="a colour"),
            TypeError,
            "`fill` must be a colour. Received: fill=None (of type NoneType).",
        ),
        (
            lambda: check_integer("size", 0),
            ValueError,
            "`size` must be an integer >= 1. Received: size=0.",
        ),
        (
            lambda: check_integer("size", 7, low=2, high=5),
            ValueError,
            "`size` must be an integer in [2, 5]. Received: size=7.",
        ),
        (
            lambda: check_integer("size", 2.0),
            TypeError,
            "`size` must be an integer >= 1. Received: size=2.0 (of type float).",
        ),
        (
            lambda: check_integer("size", True, expected="a size"),
            TypeError,
            "`size` must be a size. Received: size=True (of type bool).",
        ),
        (
            lambda: check_choice("draw", "image", ("batch", "sample")),
            ValueError,
            "`draw` must be one of ['batch', 'sample']. Received: draw='image'.",
        ),
        (
            lambda: check_choice("draw", "simple", ("batch", "sample")),
            ValueError,
            "`draw` must be one of ['batch', 'sample']. Received: draw='simple'. "
            "Did you mean 'sample'?",
        ),
        (
            lambda: check_choice("size", 9, (14, 28)),
            ValueError,
            "`size` must be one of [14, 28]. Received: size=9.",
        ),
        (
            lambda: check_bool("relu", 1),
            TypeError,
            "`relu` must be a boolean. Received: relu=1 (of type int).",
        ),
    ],
)
def test_errors_say_what_was_expected_and_what_came(check, error, message):
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        check()


def test_progress_is_shown_in_a_terminal_and_in_a_notebook(monkeypatch):
    assert [shows_progress(verbose) for verbose in (True, False, 1)] == [1, 0, 1]
    monkeypatch.delitem(sys.modules, "ipykernel", raising=False)
    for terminal in (True, False):
        monkeypatch.setattr(sys, "stdout", Mock(**{"isatty.return_value": terminal}))
        assert shows_progress("auto") == terminal
    monkeypatch.setitem(sys.modules, "ipykernel", None)
    assert shows_progress("auto") == 1


def test_items_pass_with_progress(capsys):
    assert list(with_progress("abc", 3, "letter", False)) == ["a", "b", "c"]
    assert capsys.readouterr().out == ""
    for total, said in ((3, "3/3"), (None, "3/Unknown"), (4, "3/4")):
        assert list(with_progress("abc", total, "letter", True)) == ["a", "b", "c"]
        shown = capsys.readouterr().out
        assert said in shown
        assert shown.endswith("\n")
