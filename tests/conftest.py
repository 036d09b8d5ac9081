"""What every room's tests share: the folder of real images, and a seeded generator."""

from pathlib import Path

import numpy as np
import pytest

CUB40 = Path(__file__).parents[2] / "shared" / "data" / "cub40"


@pytest.fixture(scope="session")
def cub40():
    """Folder of CUB-40, for tests marked `data`."""
    if not CUB40.is_dir():
        pytest.skip(f"needs CUB-40 beside the checkout, at {CUB40}")
    return CUB40


@pytest.fixture
def rng():
    return np.random.default_rng(0)
