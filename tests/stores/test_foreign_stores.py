"""Coadds as other programs write and serve them: without listings, without empty chunks, in odd chunks."""

import functools
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import zarr
from scenes import IMAGE, TRACT, coadds

from dcrflow.base.errors import CoaddStoreError
from dcrflow.base.masks import STANDARD_PLANES
from dcrflow.stores.coadds import missing_chunks
from dcrflow.stores.coadds.store import open_coadds

BOX = TRACT.patch(0).bbox


class _Unlisted(http.server.SimpleHTTPRequestHandler):
    status = 404

    def log_message(self, *_: object) -> None:
        pass

    def list_directory(self, path: str) -> None:  # type: ignore[override]
        self.send_error(self.status)


@pytest.fixture(params=[404, 403, 405])
def unlisted(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    coadds(IMAGE, store=str(tmp_path / "coadds.zarr"))
    kind = type("_Refuses", (_Unlisted,), {"status": request.param})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(kind, directory=str(tmp_path)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/coadds.zarr"
    server.shutdown()
    server.server_close()


@pytest.mark.filterwarnings("ignore")  # of aiohttp, and of consolidated metadata
def test_a_web_server_that_lists_nothing(unlisted: str, tmp_path: Path) -> None:
    with pytest.raises(CoaddStoreError, match=r"cannot be listed.*consolidate_metadata|cannot list.*40[35]"):
        _ = open_coadds(unlisted).bands
    zarr.consolidate_metadata(str(tmp_path / "coadds.zarr"))
    here, there = open_coadds(tmp_path / "coadds.zarr"), open_coadds(unlisted)
    assert there.bands == ("g",)
    assert there.patches(7, "g") == here.patches(7, "g")
    np.testing.assert_array_equal(
        there.read(7, 0, "g", BOX, STANDARD_PLANES).image, here.read(7, 0, "g", BOX, STANDARD_PLANES).image
    )
    assert there.contents(7, 0, "g") != there.contents(7, 1, "g")  # of their documents, where nothing is listed


def _rewritten(path: Path, keep: bool) -> None:
    """Image and variance as zarr writes them by itself, with half of them the fill value."""
    group = zarr.open_group(path, path="7/0/g", mode="r+")
    for name in ("image", "variance"):
        array = group[name]
        assert isinstance(array, zarr.Array)
        values, about, dims = np.asarray(array[...]), array.attrs.asdict(), array.metadata.dimension_names
        values[..., 128:] = np.nan
        new = group.create_array(
            name, shape=values.shape, dtype="f4", dimension_names=dims, fill_value=np.nan, attributes=about,
            overwrite=True, config={"write_empty_chunks": keep},
            chunks=(1,) * (values.ndim - 2) + (32, 32),
        )  # fmt: skip
        new[...] = values


def test_empty_chunks_that_are_left_out_cost_one_wait_a_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = {}
    slept: list[float] = []

    async def counted(seconds: float) -> None:
        slept.append(seconds)

    clock = iter(np.arange(0.0, 1e6, 0.5))
    monkeypatch.setattr(missing_chunks, "sleep", counted)
    monkeypatch.setattr(missing_chunks, "monotonic", lambda: float(next(clock)))
    for keep in (True, False):
        path = tmp_path / f"{keep}.zarr"
        coadds(IMAGE, store=str(path))
        _rewritten(path, keep)
        opened = open_coadds(path)
        found[keep] = [opened.read(7, 0, "g", BOX, STANDARD_PLANES).image for _ in range(4)]
    np.testing.assert_array_equal(found[True], found[False])
    assert 1 <= len(slept) <= 4


def test_chunks_of_different_sizes_are_refused(tmp_path: Path) -> None:
    coadds(IMAGE, store=str(tmp_path / "c.zarr"))
    size = BOX.width
    if "rectilinear_chunks" not in str(zarr.config.get("array", {})):
        pytest.skip("this zarr has no rectilinear chunks")
    with zarr.config.set({"array.rectilinear_chunks": True}):
        group = zarr.open_group(tmp_path / "c.zarr", path="7/0/g", mode="r+")
        values = np.asarray(group["image"][...])  # type: ignore[index]
        new = group.create_array(
            "image", shape=values.shape, dtype="f4", chunks=[[1, 1, 1], [100, size - 100], [120, size - 120]],
            dimension_names=("subfilter", "y", "x"), fill_value=np.nan, overwrite=True,
        )  # fmt: skip
        new[...] = values
        with pytest.raises(CoaddStoreError, match=r"variable 'image' has chunks of different sizes"):
            open_coadds(tmp_path / "c.zarr").info(7, 0, "g")
