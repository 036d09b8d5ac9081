"""Two processes of JAX train what one does, on the same batches."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

pytestmark = pytest.mark.skipif(keras.backend.backend() != "jax", reason="JAX alone")
REPOSITORY = Path(__file__).parents[2]
LIMIT = 300  # seconds; a process whose fellow died would wait for as long itself


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """Of one process alone, and of each of two."""
    folder = tmp_path_factory.mktemp("processes")
    with socket.socket() as port:
        port.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{port.getsockname()[1]}"
    runs = {"alone": (1, 0), "first": (2, 0), "second": (2, 1)}
    command = [sys.executable, "-m", "tests.training.one_of_two_processes"]
    started = {
        name: subprocess.Popen(
            [*command, folder / f"{name}.npz", address, str(count), str(process)],
            cwd=REPOSITORY,
            env={**os.environ, "KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"},
            stderr=subprocess.PIPE,
            text=True,
        )
        for name, (count, process) in runs.items()
    }
    try:
        for process in started.values():
            errors = process.communicate(timeout=LIMIT)[1]
            assert process.returncode == 0, errors[-3000:]
    finally:
        for process in started.values():
            process.kill()
    return {name: dict(np.load(folder / f"{name}.npz")) for name in runs}


def test_both_processes_hold_the_same(found):
    first, second = found["first"], found["second"]
    assert first.keys() == second.keys()
    for name, value in first.items():
        np.testing.assert_array_equal(second[name], value, err_msg=name)


@pytest.mark.parametrize("case", ["cam", "adl"])
def test_they_train_what_one_process_does(found, case):
    # To JAX it is one program: draws and batch normalization are of the whole batch.
    # What remains is the order of sums: 1e-7 of the weights, in each of six steps.
    names = [name for name in found["alone"] if name.startswith(f"{case}/")]
    assert len(names) > 10
    for name in names:
        one, two = found["alone"][name], found["first"][name]
        np.testing.assert_allclose(two, one, rtol=1e-5, atol=2e-6, err_msg=name)
    kernels = [name for name in names if name.endswith("bn/moving_mean")]
    assert np.all(found["alone"][kernels[0]] == 0) == (case == "cam")
