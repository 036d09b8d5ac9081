"""The command line of examples/train_cub.py."""

import importlib
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
def parsed(monkeypatch):
    monkeypatch.syspath_prepend(EXAMPLES)
    example = importlib.import_module("train_cub")

    def parse(*words):
        monkeypatch.setattr(sys, "argv", ["train_cub.py", "--smoke", *words])
        return example.parse_options()

    yield parse
    for name in ("train_cub", "smoke_data"):
        sys.modules.pop(name, None)


def test_the_multiplier_of_the_head_is_the_recipes_own(parsed, capsys):
    assert parsed().head_multiplier == 10.0
    assert parsed("--head-multiplier", "3").head_multiplier == 3.0
    assert parsed("--recipe", "adl-vgg16-cub").head_multiplier is None
    with pytest.raises(SystemExit):
        parsed("--recipe", "adl-vgg16-cub", "--head-multiplier", "10")
    assert "--head-multiplier: a recipe has its own" in capsys.readouterr().err
