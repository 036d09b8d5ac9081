"""What every room's tests share: real images, a seeded generator, what a run cost."""

import gc
import itertools
import os
import resource
import sys
from pathlib import Path

import numpy as np
import pytest

CUB40 = Path(__file__).parents[2] / "shared" / "data" / "cub40"
COSTS = []


@pytest.fixture(scope="session")
def cub40():
    """Folder of CUB-40, for tests marked `data`."""
    if not CUB40.is_dir():
        pytest.skip(f"needs CUB-40 beside the checkout, at {CUB40}")
    return CUB40


@pytest.fixture
def rng():
    return np.random.default_rng(0)


MODULES = itertools.count(1)


@pytest.fixture(autouse=True, scope="module")
def _forget_models():
    """Frees the graphs and models of a module, which Keras keeps."""
    yield
    if "keras" in sys.modules:
        sys.modules["keras"].utils.clear_session()
        if next(MODULES) % 8 == 0:  # a collection takes up to a second
            gc.collect()


def pytest_collection_finish():
    """Lets the collections between modules pass over what was loaded before."""
    gc.collect()
    gc.freeze()


def cost():
    """CPU seconds of this process and its children, and its peak memory in MB."""
    times = os.times()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return sum(times[:4]), peak


def pytest_sessionfinish(session):
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["cost"] = cost()


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node):
    COSTS.append(node.workeroutput["cost"])


def pytest_terminal_summary(terminalreporter):
    seconds, peaks = zip(*(COSTS or [cost()]), strict=True)
    terminalreporter.write_line(
        f"{sum(seconds):.0f} CPU seconds; at most {max(peaks):.0f} MB in a process"
    )
