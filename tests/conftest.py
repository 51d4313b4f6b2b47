"""Shared by all tests."""

from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("dcrflow", deadline=None, derandomize=True)  # a first call compiles; CI must not flake
settings.load_profile("dcrflow")

GOLDEN = Path(__file__).parents[2] / "shared" / "golden" / "lsst"


@pytest.fixture
def golden() -> Path:
    """Files of the LSST pipeline, which lie beside a developer's checkout."""
    if not GOLDEN.is_dir():
        pytest.skip("the golden files of the LSST pipeline are not beside this checkout")
    return GOLDEN
