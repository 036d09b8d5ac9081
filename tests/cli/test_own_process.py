"""The command line in a process of its own, as the console script calls it."""

import subprocess
import sys

import pytest

import keras_wsol

CODE = (
    "import sys; sys.argv[0] = {name!r}; from keras_wsol.cli import main; "
    "raise SystemExit(main())"
)


def run(*words, name="/bin/keras-wsol"):
    called = ["-m", name] if name == "keras_wsol" else ["-c", CODE.format(name=name)]
    command = [sys.executable, *called, *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.slow  # it loads TensorFlow once more
def test_nothing_of_tensorflow_is_on_stderr(model, pets, tmp_path):
    out = tmp_path / "boxes.csv"
    words = ("localize", "--model", model, "--images", pets.images, "--out", out)
    done = run(*words)
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines() == ["Finding boxes in 22 images ..."]
    assert out.is_file()
    # Or else the line above would show nothing.
    assert "I0000" in run("--version", name="python").stderr


@pytest.mark.slow
def test_as_a_module_it_is_the_same():
    done = run("--version", name="keras_wsol")
    assert done.stdout == f"keras-wsol {keras_wsol.__version__}\n"
    assert (done.returncode, done.stderr) == (0, "")
    assert run("no-command", name="keras_wsol").returncode == 2


@pytest.mark.slow
def test_an_error_is_one_line(tmp_path):
    done = run("export", "--model", __file__, "--out", tmp_path / "1")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("keras-wsol: error: ")
    assert done.stderr.count("\n") == 1
