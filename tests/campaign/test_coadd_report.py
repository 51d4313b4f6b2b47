"""The report of DCR coadds: what it says of a build, and that nothing in a store gets out of its text."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from base64 import b64encode
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
import zarr
from scenes import EDGES, IMAGE, TRACT, coadds

from dcrflow.base.errors import CoaddStoreError
from dcrflow.base.masks import TEMPLATE_PLANES
from dcrflow.campaign.coadd_report import coadd_facts, write_coadd_report
from dcrflow.campaign.coadd_report.drawing import sky_map
from dcrflow.campaign.coadd_report.page import coadd_page
from dcrflow.campaign.html.page import ReportError
from dcrflow.cli.app import app
from dcrflow.stores.coadds.builds import CoaddBuild
from dcrflow.view.thumbnails import CELLS, coadd_preview

NASTY = "</table><script>alert(1)</script> \x1b[31mred"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three patches: two are made, one failed with an ill-mannered message, the fourth is missing."""
    place = tmp_path_factory.mktemp("build") / "coadds.zarr"
    build = CoaddBuild.create_or_open(place, "test")
    build.require_tract(TRACT)
    for patch in (0, 1):
        where = TRACT.patch(patch).bbox.slices(TRACT.bbox)
        image = IMAGE[(..., *where)]
        variance = np.full(image.shape, 4.0, np.float32)
        count = np.full(image.shape[1:], 5 + patch, np.int16)
        missing = np.zeros(count.shape, np.bool_)
        missing[:, : count.shape[1] // 2] = patch == 1
        build.writer.write_patch(
            TRACT.tract, patch, "g", image=image, variance=variance, mask=missing * np.int32(1), planes=TEMPLATE_PLANES,
            subfilter_edges=EDGES, effective_wavelength=475.0, bandwidth=150.0, count=count,
            about={
                "visits": [[100 + n, d, "aa"] for n in range(5 + patch) for d in (0, 1)],
                "left_out": [[99, 0, NASTY, True], [98, 1, "it touches no patch of the sky map", False]],
                "suspects": [[100, 0, "its residual is 9.1 times the noise", True]], "residual": 0.04,
                "refraction": "ciddor1996", "config": {"num_subfilters": 3, "note": NASTY},
                "preview": coadd_preview(image, variance, missing, count),
            },
        )  # fmt: skip
    with build.journal() as journal:
        journal.add("requested", band="g", patches=[[7, 0], [7, 1], [7, 2], [7, 3]], left_out=[])
        journal.add("ended", status="failed", tract=7, patch=2, band="g", error={"type": "OSError", "message": NASTY})
        journal.add("finished", complete=2, failed=1)
    return place


def test_preview() -> None:
    count = np.zeros((60, 48), np.int16)
    count[:, 24:] = 7
    seen = coadd_preview(np.ones((3, 60, 48)), np.full((3, 60, 48), 3.0), count == 0, count)
    counts, noise = np.array(seen["count"], float), np.array(seen["noise"], float)
    assert counts.shape == (CELLS, CELLS)
    assert np.isnan(counts[:, :6]).all()
    assert (counts[:, 6:] == 7).all()
    assert (noise[:, 6:] == 3.0).all(), "of the sum of three subfilters"
    assert np.mean(seen["coverage"]) == 50


def test_facts(store: Path) -> None:
    facts = coadd_facts(store)
    assert [(p.patch, p.status) for p in facts.patches] == [
        (0, "complete"), (1, "complete"), (2, "failed"), (3, "missing"),
    ]  # fmt: skip
    one, other, failed, missing = facts.patches
    assert (one.visits, one.detector_visits, one.least, one.most) == (5, 10, 5, 5)
    assert one.noise == pytest.approx(np.sqrt(12.0), rel=1e-3)
    assert other.coverage == pytest.approx(0.5, abs=0.01)
    assert failed.error.startswith("</table><script>")
    ra, dec = TRACT.wcs.pixel_to_sky(*TRACT.inner(3).outline(2))
    np.testing.assert_allclose(missing.corners, np.stack([ra, dec], axis=1))
    assert [(v.visit, v.fault) for v in facts.left_out] == [(98, False), (99, True)]
    assert dict(facts.provenance)["refraction"] == (("ciddor1996", 2),)
    assert facts.runs[0][2] == "finished: 2 made, 1 failed"
    assert facts.notes == ()


def test_page(store: Path, tmp_path: Path) -> None:
    text = write_coadd_report(coadd_facts(store), tmp_path / "report.html").read_text()
    assert "<script" not in text
    assert "\x1b" not in text
    assert "&lt;script&gt;alert(1)" in text, "it is shown as the text that it is"
    (style,) = re.findall(r"<style>(.*?)</style>", text, flags=re.S)
    assert b64encode(sha256(style.encode()).digest()).decode() in text.split("<style>")[0], "its own policy allows it"
    for words in ("5–6", "visits a patch", "7/0", "5 visits", "its residual is 9.1", "detector-visits left out"):
        assert words in text, words
    assert not re.search(r"https?://", text), "it needs no network"
    drawing = ET.fromstring(re.search(r'<svg viewBox="0 0 900.*?</svg>', text, flags=re.S).group())
    assert len(drawing.findall("polygon")) == 5, "four patches and their tract"
    with pytest.raises(ReportError, match="nowhere"):
        write_coadd_report(coadd_facts(store), tmp_path / "nowhere" / "report.html")


def test_east_is_left_and_north_is_up(store: Path) -> None:
    facts = coadd_facts(store)
    drawing = ET.fromstring(sky_map(facts.patches, ()))
    middles = []
    for polygon in drawing.findall("polygon"):
        points = [tuple(map(float, p.split(","))) for p in polygon.get("points").split()]
        middles.append(np.mean(points, axis=0))
    sky = [np.mean(p.corners, axis=0) for p in facts.patches]
    (x0, _), (x1, _), (_, y2) = middles[0], middles[1], middles[2]
    assert (x0 - x1) * (sky[0][0] - sky[1][0]) < 0
    assert (middles[0][1] - y2) * (sky[0][1] - sky[2][1]) < 0


def test_a_store_that_says_nothing_or_nonsense(tmp_path: Path) -> None:
    foreign = tmp_path / "foreign.zarr"
    coadds(IMAGE, store=str(foreign), skip=((7, 3),))
    facts = coadd_facts(foreign)
    assert [p.visits for p in facts.patches] == [0, 0, 0]
    assert "none was left out" in coadd_page(facts)
    group = zarr.open_group(foreign, mode="r+")["7/0/g"]
    group.attrs.update({"visits": {"a": 1}, "preview": {"count": "many", "image": "javascript:1"}, "residual": "small"})
    facts = coadd_facts(foreign)
    assert len(facts.notes) == 2
    assert "javascript" not in coadd_page(facts)
    with pytest.raises(CoaddStoreError):
        coadd_facts(tmp_path / "none.zarr")


def test_command(store: Path, tmp_path: Path) -> None:
    from typer.testing import CliRunner

    done = CliRunner().invoke(app, ["report", str(store), "--to", str(tmp_path / "page.html")])
    assert done.exit_code == 0, done.output
    assert "4 patches in" in done.output
    assert "DCR coadds" in (tmp_path / "page.html").read_text()
