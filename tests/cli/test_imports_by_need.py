"""Commands that only look begin at once: they import neither astropy nor xarray, dask, numba, pandas or scipy."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = ("astropy", "dask", "distributed", "numba", "pandas", "pyarrow", "reproject", "scipy", "xarray")

STATUS = (
    "dcrflow.campaign.status", "dcrflow.campaign.as_json", "dcrflow.cli.show_campaign", "dcrflow.stores.coadds.kind",
)  # fmt: skip


@pytest.mark.parametrize("modules", [("dcrflow.cli",), STATUS], ids=["help", "status"])
def test_what_a_command_imports(modules: tuple[str, ...]) -> None:
    script = f"import sys, {', '.join(modules)}; print(*sorted({set(HEAVY)} & set(sys.modules)))"
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert ended.stdout.split() == []
