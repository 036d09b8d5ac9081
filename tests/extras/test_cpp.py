"""`examples/serving/localize.cc` says what Python says, to the digit it prints."""

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from tests.extras.saved_birds import encoded_images, expected, exported

SOURCE = Path(__file__).parents[2] / "examples" / "serving" / "localize.cc"


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    assert shutil.which("g++"), "this test needs g++ (Debian: apt-get install g++)"
    folder = Path(tf.__file__).parent
    target = tmp_path_factory.mktemp("cpp") / "localize"
    libraries = ("libtensorflow_cc.so.2", "libtensorflow_framework.so.2")
    command = ["g++", "-w", "-std=c++17", "-O1", SOURCE, "-o", target]
    command += [f"-I{folder}/include", f"-L{folder}", "-Wl,--no-as-needed"]
    command += [f"-l:{library}" for library in libraries]
    command += [f"-Wl,-rpath,{folder}"]
    subprocess.run(command, check=True)
    return target


def test_boxes_are_those_of_python(program, tmp_path):
    _, saved = exported(tmp_path)
    files = encoded_images()
    paths = []
    for name, content in files.items():
        paths.append(tmp_path / name)
        paths[-1].write_bytes(content)
    result = subprocess.run(
        [program, saved, *paths], check=True, capture_output=True, text=True
    )
    lines = [line.split("\t") for line in result.stdout.splitlines()]
    reference = expected(saved, files)
    assert [line[0] for line in lines] == [str(path) for path in paths]
    assert lines[3][1:] == ["unreadable"]
    for index, line in enumerate(lines[:3]):
        assert int(line[1]) == reference["class_ids"][index, 0]
        figures = np.array(line[2:], float)
        np.testing.assert_allclose(figures[0], reference["scores"][index, 0], atol=1e-6)
        np.testing.assert_allclose(figures[1:], reference["boxes"][index, 0], atol=1e-3)


def test_a_missing_model_is_an_error(program, tmp_path):
    image = tmp_path / "image.jpg"
    image.write_bytes(b"")
    result = subprocess.run(
        [program, tmp_path / "none", image], capture_output=True, text=True
    )
    assert result.returncode == 1
    assert "none" in result.stderr
