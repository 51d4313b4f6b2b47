"""A Butler repository of a small scene: three detector-visits, one of them just beyond the coadds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import fast_gzip  # noqa: F401
import numpy as np
import pytest
from scenes import DETECTOR, IMAGE, coadds, tan, visit

SKIP = "the extra lsst is not installed"


@pytest.fixture(scope="session")
def scene() -> tuple[Any, list[Any]]:
    """Coadds with a variance and a mask of every subfilter, and detector-visits."""
    rng = np.random.default_rng(5)
    variance = rng.uniform(3, 5, IMAGE.shape).astype(np.float32)
    mask = (rng.random(IMAGE.shape) < 1e-3).astype(np.int32) << 1
    visits = [
        visit(physical_filter="g_sim"),
        visit(visit=13, detector=1, parallactic_angle=-60.0, wcs=tan(290.0, 280.0), physical_filter="g_sim"),
        visit(visit=14, detector=2, wcs=outside_wcs(), physical_filter="g_sim"),
    ]
    return coadds(IMAGE, variance, mask), visits


def outside_wcs() -> Any:
    """A detector whose lowest row is 25 pixels above the tract: within the registry's reach, beyond the border."""
    return tan((DETECTOR.width - 1) / 2, -300.0 - 25.0)


@pytest.fixture(scope="session")
def repo(scene: tuple[Any, list[Any]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The repository."""
    pytest.importorskip("lsst.images", reason=SKIP)
    pytest.importorskip("lsst.daf.butler", reason=SKIP)
    from dcrflow.lsst.repository import make_repository

    root = tmp_path_factory.mktemp("butler") / "repo"
    make_repository(str(root), *scene)
    return root


@pytest.fixture(scope="session")
def butler(repo: Path) -> Any:
    """A Butler that reads it."""
    from lsst.daf.butler import Butler

    return Butler.from_config(str(repo), writeable=False)


@pytest.fixture(scope="module")
def inputs(butler: Any, scene: tuple[Any, list[Any]]) -> dict[str, Any]:
    """What a quantum is given, by the names that the page of the reference task has."""
    from rubin import inputs_of

    return inputs_of(butler, scene[1][0])
