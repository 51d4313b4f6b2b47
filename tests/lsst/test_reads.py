"""What is read of full-size coadds in a Butler: bytes of files and of an object store, counted, never timed."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("lsst.daf.butler", reason="the extra lsst is not installed")

from scenes import tan, visit

import dcrflow
from dcrflow.geometry.box import Box
from dcrflow.lsst.butler import ButlerCoadds, open_butler_coadds
from dcrflow.lsst.handles import _together
from dcrflow.lsst.repository import make_repository
from dcrflow.planning.template import plan_template
from dcrflow.steps.load import load_patch

SIDE = 4100
DETECTOR = Box(0, 0, 4072, 4000)
BUCKET = "dcrflow-reads"


@given(
    tile=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    corner=st.tuples(st.integers(-50, 50), st.integers(-50, 50)),
    strips=st.lists(
        st.tuples(st.integers(0, 90), st.integers(0, 90), st.integers(1, 60), st.integers(1, 20)), max_size=9
    ),
)
def test_regions_hold_the_strips_and_do_not_overlap(tile: Any, corner: Any, strips: Any) -> None:
    patch = Box(*corner, 100, 95)
    box = Box(patch.x0 + 5, patch.y0 + 3, 90, 85)
    wanted = [Box(patch.x0 + x, patch.y0 + y, width, height) for x, y, width, height in strips]
    held = np.zeros(box.shape, int)
    for region in _together(wanted, tile, patch, box):
        assert region.intersection(patch) == region
        inside = region.intersection(box)
        held[inside.slices(box)] += 1
    assert held.max(initial=0) <= 1
    for strip in wanted:
        inside = strip.intersection(box)
        if not inside.is_empty:
            assert held[inside.slices(box)].all()


@pytest.fixture(scope="module")
def full_size(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository of one patch with two subfilters, of pixels that compress as a survey's do."""
    root = tmp_path_factory.mktemp("full") / "repo"
    rng = np.random.default_rng(1)
    image = np.round(rng.normal(0, 11, (2, SIDE, SIDE)).astype(np.float32))  # in steps of sigma / 11
    variance = np.round(rng.normal(121, 5, (SIDE, SIDE)) * 2) / 2  # to 8 bits
    header = tan(SIDE / 2, SIDE / 2).header
    coadds = dcrflow.coadds_from_arrays(
        image, header, band="g", transmission="decam2014-g", unit="nJy", variance=variance
    )
    make_repository(str(root), coadds, [visit(box=DETECTOR, physical_filter="g_sim")])
    return root


def share_read(place: str, root: Path, rotation: float, counted: Callable[[], int]) -> float:
    """Bytes that are read for a detector, over those of the pixels under it."""
    known = open_butler_coadds(place)
    source = type(known)(known.place)
    wcs = tan((DETECTOR.width - 1) / 2, (DETECTOR.height - 1) / 2, rotation)
    plan = plan_template(source, visit(box=DETECTOR, wcs=wcs, physical_filter="g_sim"))
    part, bare = plan.part(0, plan.bbox), plan.part(0, DETECTOR)
    assert part is not None
    assert bare is not None
    ((patch, box),) = part.reads
    under = sum(strip.area for strip in bare.footprint.strips(patch.bbox, 1, 0)) / patch.bbox.area
    before = counted()
    load_patch(source, plan, patch, box, [part.footprint])
    return (counted() - before) / (under * sum(f.stat().st_size for f in root.glob("coadds/**/*.fits")))


def read_by_this_process() -> int:
    return int(Path("/proc/self/io").read_text().split()[1])  # rchar: of all system calls that read


@pytest.mark.slow
def test_bytes_of_files(full_size: Path) -> None:
    """At most 1.5 times those of the pixels under the detector, though it is turned by 45 degrees."""
    if not Path("/proc/self/io").exists():
        pytest.skip("bytes that a process reads are counted by Linux alone")
    share = share_read(f"butler:{full_size}?collections=coadds", full_size, 45.0, read_by_this_process)
    print(f"bytes of files that were read, over those of the pixels under the detector: {share:.2f}")
    assert share < 1.5


@pytest.fixture(scope="module")
def in_s3(full_size: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Callable[[], int]]]:
    """The same repository with its files in an object store; and the bytes that were fetched."""
    server = pytest.importorskip("moto.server", reason="moto is not installed")
    pytest.importorskip("s3fs", reason="the extra s3 is not installed")
    import boto3
    import lsst.resources.s3
    import s3fs.core

    fetched = [0]

    def counting(call: Callable[..., bytes]) -> Callable[..., bytes]:
        def counted(*given: Any, **more: Any) -> bytes:
            found = call(*given, **more)
            fetched[0] += len(found)
            return found

        return counted

    with pytest.MonkeyPatch.context() as patch:
        started = server.ThreadedMotoServer(port=0)
        started.start()
        host, port = started.get_host_and_port()
        for name in ("S3_ENDPOINT_URL", "AWS_ENDPOINT_URL"):
            patch.setenv(name, f"http://{host}:{port}")
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            patch.setenv(name, "nothing")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        patch.setattr(s3fs.core, "_fetch_range", counting(s3fs.core._fetch_range))
        patch.setattr(lsst.resources.s3.S3ResourcePath, "read", counting(lsst.resources.s3.S3ResourcePath.read))
        client = boto3.client("s3")
        client.create_bucket(Bucket=BUCKET)
        for file in full_size.rglob("*.fits"):
            client.upload_file(str(file), BUCKET, f"data/{file.relative_to(full_size)}")
        root = tmp_path_factory.mktemp("remote")
        shutil.copy(full_size / "gen3.sqlite3", root)
        configuration = yaml.safe_load((full_size / "butler.yaml").read_text())
        configuration.setdefault("datastore", {})["root"] = f"s3://{BUCKET}/data/"
        (root / "butler.yaml").write_text(yaml.safe_dump(configuration))
        yield f"butler:{root}?collections=coadds", lambda: fetched[0]
        started.stop()


@pytest.mark.slow
def test_bytes_of_an_object_store(full_size: Path, in_s3: Any) -> None:
    place, counted = in_s3
    share = share_read(place, full_size, 45.0, counted)
    print(f"bytes of objects that were fetched, over those of the pixels under the detector: {share:.2f}")
    assert 0.5 < share < 1.5


def test_a_source_of_strips(repo: Path) -> None:
    """What is read in strips is what is read at once, where the strips are."""
    source: ButlerCoadds = open_butler_coadds(f"butler:{repo}?collections=coadds")
    info = source.info(7, 0, "g")
    box = info.bbox.grown(-20)
    strips = [Box(box.x0 + 40, box.y0 + 10, 30, 20), Box(box.x0 + 80, box.y0 + 90, 16, 16)]
    whole = source.read(7, 0, "g", box, info.planes)
    some = source.read_strips(7, 0, "g", box, strips, info.planes)
    for strip in strips:
        where = strip.slices(box)
        for name in ("image", "variance", "mask"):
            ours, theirs = (getattr(s, name)[:, *where] for s in (some, whole))
            assert np.array_equal(ours, theirs, equal_nan=True), name
