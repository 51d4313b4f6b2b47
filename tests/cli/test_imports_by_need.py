"""Commands that only look begin at once: they import neither astropy nor xarray, dask, numba, pandas or scipy.

The client of a run leaves what steps need to the workers.
"""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = ("astropy", "dask", "distributed", "numba", "pandas", "pyarrow", "reproject", "scipy", "xarray")

STATUS = (
    "dcrflow.campaign.status", "dcrflow.campaign.as_json", "dcrflow.cli.show_campaign", "dcrflow.stores.coadds.kind",
)  # fmt: skip

REPORT = "dcrflow.campaign.html", "dcrflow.campaign.html.page", "dcrflow.stores.coadds.kind"
PLAN = (
    "dcrflow.campaign.plans", "dcrflow.campaign.as_json", "dcrflow.cli.show_campaign", "dcrflow.stores.coadds.store",
    "dcrflow.stores.visits.tables", "dcrflow.stores.visits.select",
)  # fmt: skip
RUN = (*PLAN, "dcrflow.campaign.nothing_left", "dcrflow.campaign.run", "dcrflow.cluster")
STEPS = ("dcrflow.graph", "dcrflow.campaign.batch")


@pytest.mark.parametrize(
    ("modules", "needed"),
    [
        (("dcrflow.cli.app",), ""), (STATUS, ""), (REPORT, ""), (PLAN, "astropy"),
        (RUN, "astropy dask distributed pandas pyarrow"),
        (STEPS, "astropy dask distributed numba pandas pyarrow scipy xarray"),
    ],
    ids=["help", "status", "report", "plan", "the client of a run", "a worker's steps"],
)  # fmt: skip
def test_what_a_command_imports(modules: tuple[str, ...], needed: str) -> None:
    script = f"import sys, {', '.join(modules)}; print(*sorted({set(HEAVY)} & set(sys.modules)))"
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert ended.stdout.split() == needed.split()


def test_how_many_modules_a_command_imports() -> None:
    """Each costs about a third of a millisecond; commands that only look begin after some hundreds."""
    counted = {}
    for name, modules in {"help": ("dcrflow.cli.app",), "status": STATUS, "report": REPORT}.items():
        script = f"import sys, {', '.join(modules)}; print(len(sys.modules))"
        ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
        counted[name] = int(ended.stdout)
    assert counted["help"] < 450
    assert max(counted["status"], counted["report"]) < 950
