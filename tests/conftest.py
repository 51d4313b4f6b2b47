"""Shared by all tests."""

import gc
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("dcrflow", deadline=None, derandomize=True)  # a first call compiles; CI must not flake
settings.load_profile("dcrflow")


def pytest_collection_finish() -> None:
    """Python need not look for garbage among the million objects that are imported by now."""
    gc.collect()
    gc.freeze()


GOLDEN = Path(__file__).parents[2] / "shared" / "golden" / "lsst"
GOLDEN_HERE = Path(__file__).parent / "data" / "lsst_high_variance"


@pytest.fixture
def golden_here() -> Path:
    """Files of the LSST pipeline that are part of the repository: one detector-visit over four patches."""
    return GOLDEN_HERE


@pytest.fixture
def golden() -> Path:
    """More files of the LSST pipeline, which lie beside a developer's checkout."""
    if not GOLDEN.is_dir():
        pytest.skip(f"the larger set of the LSST pipeline's files is not beside this checkout: {GOLDEN}")
    return GOLDEN
