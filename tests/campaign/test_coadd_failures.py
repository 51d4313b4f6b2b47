"""Builds of coadds that are cut off: nothing is lost, and the same command gives the bytes of an undisturbed run."""

from __future__ import annotations

import errno
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import zarr
from distributed import Client, LocalCluster

import dcrflow
from dcrflow.campaign.coadd_status import build_status, verify_coadds
from dcrflow.simulate.run import SimulatedSurvey, simulate_survey
from dcrflow.simulate.survey import SurveyConfig
from dcrflow.simulate.visits import varied_visits
from dcrflow.steps import coadd as steps
from dcrflow.stores.coadds.writer import CoaddWriter

pytest.importorskip("galsim")
pytestmark = [pytest.mark.slow, pytest.mark.integration]


@pytest.fixture(scope="module")
def survey(tmp_path_factory: pytest.TempPathFactory) -> SimulatedSurvey:
    config = SurveyConfig.demo(
        seed=11, num_tracts=1, num_patches=(1, 1), patch_inner=128, detector_width=130, detector_height=120,
        detectors=(1, 1), sip=0.0, star_density=40, star_magnitudes=(18.5, 21.0), galaxy_density=0, science_defects=0,
        visits=varied_visits(4, 5, seeing=(0.7, 0.95), dither=1.0),
    )  # fmt: skip
    return simulate_survey(config, tmp_path_factory.mktemp("survey"), workers=1, coadds=False)


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    cluster = LocalCluster(n_workers=1, threads_per_worker=2, processes=False, dashboard_address=None)
    with cluster, Client(cluster) as connected:
        yield connected


def build(survey: SimulatedSurvey, out: Path, client: Client, **changes: Any) -> Any:
    settings = {"psf_fwhm": 0.85, "transmission": str(survey.transmission), "cell": 128, "margin": 8, "halo": 32,
                "taper": 16, "self_calibrate": False}  # fmt: skip
    skymap = {"kind": "auto", "patch_inner": 64, "patch_border": 8}  # several patches
    return dcrflow.build_coadds(survey.visits, out, skymap=skymap, client=client, **(settings | changes))


def contents(store: Path) -> dict[str, bytes]:
    """All files but those of the runs."""
    files = (p for p in store.rglob("*") if p.is_file() and ".dcrflow" not in p.parts)
    return {str(p.relative_to(store)): p.read_bytes() for p in files}


@pytest.fixture(scope="module")
def whole(survey: SimulatedSurvey, client: Client, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The coadds of a build that nothing disturbed."""
    out = tmp_path_factory.mktemp("whole") / "coadds.zarr"
    assert build(survey, out, client).ok
    found = contents(out)
    assert sum(name.endswith("count/zarr.json") for name in found) >= 4
    return found


@pytest.mark.parametrize("place", ["store_visit", "store_cell", "store_sums", "write_patch"])
def test_a_disk_that_is_full_in_the_middle(
    place: str, survey: SimulatedSurvey, client: Client, whole: dict[str, bytes], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """From the third write on there is no room; then there is again."""
    calls = 0

    def full(real: Any) -> Any:
        def write(*arguments: Any, **keywords: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls > 2:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "coadds.zarr")
            return real(*arguments, **keywords)

        return write

    out = tmp_path / "coadds.zarr"
    with monkeypatch.context() as patched:
        if place == "write_patch":
            patched.setattr(CoaddWriter, place, full(CoaddWriter.write_patch))
        else:
            patched.setattr(steps, place, full(getattr(steps, place)))
        stopped = build(survey, out, client, retries=0)
    assert not stopped.ok
    assert all("No space left on device" in f.message for f in stopped.failures)
    status = build_status(out)
    assert status.exit_code == 1
    assert len(status.failed) == len(stopped.failures)
    again = build(survey, out, client)
    assert again.ok
    assert again.complete == len(stopped.failures), "what was complete is not made again"
    assert contents(out) == whole
    assert build_status(out).exit_code == 0
    assert all(problems == () for _, problems in verify_coadds(out))


def test_what_is_half_written_is_no_coadd(survey: SimulatedSurvey, client: Client, whole: dict[str, bytes],
                                          tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    """The store fails between the variables of a patch."""
    real, calls = zarr.storage.LocalStore.set, 0

    async def set(self: Any, key: str, *arguments: Any, **keywords: Any) -> None:
        nonlocal calls
        calls += "variance/c" in key
        if calls == 2 and "variance/c" in key:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), key)
        await real(self, key, *arguments, **keywords)

    out = tmp_path / "coadds.zarr"
    with monkeypatch.context() as patched:
        patched.setattr(zarr.storage.LocalStore, "set", set)
        stopped = build(survey, out, client, retries=0)
    assert len(stopped.failures) == 1
    assert len(build_status(out).complete) == stopped.complete, "the one that was cut off is not counted"
    assert build(survey, out, client).ok
    assert contents(out) == whole


def test_workers_that_are_killed(survey: SimulatedSurvey, whole: dict[str, bytes], tmp_path: Path) -> None:
    """As soon as visits are warped all workers die; others go on, with what is there."""
    out = tmp_path / "coadds.zarr"
    killed: list[int] = []
    with LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None) as cluster, Client(cluster) as client:
        pids = list(client.run(os.getpid).values())

        def kill() -> None:
            end = time.monotonic() + 120
            while time.monotonic() < end and not any(out.glob(".dcrflow/warped/*/*/about.json")):
                time.sleep(0.02)
            for pid in pids:
                os.kill(pid, signal.SIGKILL)
                killed.append(pid)

        killer = threading.Thread(target=kill)
        killer.start()
        done = build(survey, out, client)
        killer.join()
    assert killed
    assert done.ok
    assert contents(out) == whole
    assert not (out / ".dcrflow/warped").exists()
