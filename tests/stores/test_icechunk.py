"""Sessions of icechunk: coadds that workers read, and what is refused in one line."""

import pickle
from pathlib import Path
from typing import Any

import pytest
import zarr
from numpy.testing import assert_array_equal
from scenes import IMAGE, coadds, visit

import dcrflow
from dcrflow.stores.templates.store import TemplateStore

icechunk = pytest.importorskip("icechunk", reason="icechunk is not installed: its sessions are not tried")
distributed = pytest.importorskip("distributed")

# distributed leaves the socket open by which it looks for a free port
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning")


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Coadds, committed to a repository on disk."""
    folder = tmp_path_factory.mktemp("icechunk")
    made = icechunk.Repository.create(icechunk.local_filesystem_storage(str(folder)))
    session = made.writable_session("main")
    coadds(IMAGE, store=session.store)
    session.commit("coadds")
    return made


def test_workers_read_a_session_that_only_reads(repository: Any, tmp_path: Path) -> None:
    store = repository.readonly_session("main").store
    opened = pickle.loads(pickle.dumps(dcrflow.open_coadds(store)))
    assert opened.bands == ("g",)
    with distributed.Client(processes=False, dashboard_address=None, n_workers=1, threads_per_worker=1) as client:
        result = dcrflow.run_campaign(store, [visit()], tmp_path / "out.zarr", client=client)
    assert (result.complete, result.failures) == (1, ())
    expected = dcrflow.build_template(coadds(IMAGE), visit(), precision=None)["image"].values
    found = dcrflow.build_template(store, visit(), precision=None)["image"].values
    assert_array_equal(found, expected)


def test_a_session_that_may_write_is_refused_in_one_line(repository: Any, tmp_path: Path) -> None:
    store = repository.writable_session("main").store
    with (
        distributed.Client(processes=False, dashboard_address=None, n_workers=1, threads_per_worker=1) as client,
        pytest.raises(dcrflow.DcrflowError, match="readonly_session") as caught,
    ):
        dcrflow.run_campaign(store, [visit()], tmp_path / "out.zarr", client=client)
    assert "\n" not in str(caught.value)
    assert dcrflow.build_template(store, visit())["image"].compute(scheduler="threads").notnull().any()


def test_templates_are_not_written_to_a_session() -> None:
    session = icechunk.Repository.create(icechunk.in_memory_storage()).writable_session("main")
    for store in (session.store, zarr.storage.StorePath(session.store, "templates")):
        with pytest.raises(dcrflow.DcrflowError, match="session of icechunk"):
            TemplateStore.create_or_open(store)
    assert not session.has_uncommitted_changes
