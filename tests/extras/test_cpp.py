"""The C++ and C of `examples/serving` say what Python says, to the digit they print."""

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from tests.extras.saved_birds import encoded_images, expected, exported

EXAMPLES = Path(__file__).parents[2] / "examples" / "serving"


def built(source, target, compiler, *options):
    """Path of a program that links against the libraries of TensorFlow's wheel."""
    assert shutil.which("g++"), "this test needs g++ (Debian: apt-get install g++)"
    folder = Path(tf.__file__).parent
    libraries = ("libtensorflow_cc.so.2", "libtensorflow_framework.so.2")
    command = [compiler, "-w", *options, "-O1", EXAMPLES / source, "-o", target]
    command += [f"-I{folder}/include", f"-L{folder}", "-Wl,--no-as-needed"]
    command += [f"-l:{library}" for library in libraries]
    command += [f"-Wl,-rpath,{folder}"]
    subprocess.run(command, check=True)
    return target


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    target = tmp_path_factory.mktemp("cpp") / "localize"
    return built("localize.cc", target, "g++", "-std=c++17")


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


def test_boxes_by_the_c_api(tmp_path):
    program = built("boxes.c", tmp_path / "boxes", "gcc")
    _, saved = exported(tmp_path)
    message = saved_model_pb2.SavedModel()
    message.ParseFromString((saved / "saved_model.pb").read_bytes())
    signature = message.meta_graphs[0].signature_def["serve_bytes"]
    names = signature.inputs["image_bytes"].name, signature.outputs["boxes"].name
    files = encoded_images()
    paths = [tmp_path / name for name in files]
    for path in paths:
        path.write_bytes(files[path.name])
    command = [program, saved, *names, *paths]
    result = subprocess.run(command, check=True, capture_output=True, text=True)
    lines = [line.split("\t") for line in result.stdout.splitlines()]
    assert [line[0] for line in lines] == [str(path) for path in paths]
    found = np.array([line[1:] for line in lines], float)
    np.testing.assert_allclose(found, expected(saved, files)["boxes"][:, 0], atol=1e-3)
    assert not found[3].any()  # of a broken file
    command[2] = "none:0"
    result = subprocess.run(command, capture_output=True, text=True)
    assert (result.returncode, "none: is no operation" in result.stderr) == (1, True)
