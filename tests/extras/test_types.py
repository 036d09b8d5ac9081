"""Pyright finds the types of the package, and no fault in what the README shows."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
PYRIGHT = Path(sys.prefix, "node_modules", ".bin", "pyright")
pytestmark = pytest.mark.skipif(not PYRIGHT.exists(), reason="needs npm's pyright")
(README,) = re.findall(
    r"```python\n(.*?)```", (PROJECT / "README.md").read_text(), re.S
)


def errors(code, folder):
    (folder / "user.py").write_text(code)
    paths = {"venvPath": str(Path(sys.prefix).parent), "venv": Path(sys.prefix).name}
    # As installed, so that `py.typed` counts; the checkout stands for the wheel.
    (folder / "pyrightconfig.json").write_text(
        json.dumps({**paths, "extraPaths": [str(PROJECT)], "include": ["user.py"]})
    )
    done = subprocess.run(
        [PYRIGHT, "--outputjson"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    return [each["message"] for each in json.loads(done.stdout)["generalDiagnostics"]]


def test_the_readme_has_no_fault(tmp_path):
    assert errors(README, tmp_path) == []


@pytest.mark.parametrize(
    ("code", "fault"),
    [
        ('wsol.build_classifier("vgg16", num_classes="ten")', "\"Literal['ten']\""),
        ("wsol.fit_localizer()", "Arguments missing"),
        ("wsol.evaluate(1, 2).gt_known", "unknown"),
    ],
)
def test_a_fault_is_found(code, fault, tmp_path):
    found = errors(f"import keras_wsol as wsol\n{code}\n", tmp_path)
    assert any(fault in each for each in found), found
