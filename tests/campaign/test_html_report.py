"""The campaign report: what it says, and that a browser shows it, for a few detector-visits and for thousands."""

from __future__ import annotations

import copy
import re
import shutil
import subprocess
from base64 import b64decode, b64encode
from dataclasses import replace
from hashlib import sha256
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from scenes import IMAGE, TRACT, coadds, visit

import dcrflow
from dcrflow.base.attributes import objects
from dcrflow.campaign.html import campaign_facts, write_report
from dcrflow.campaign.html.page import ReportError, page
from dcrflow.view.thumbnails import CELLS, checked_thumbnail, preview


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> dcrflow.TemplateStore:
    """One complete template, one failure with an ill-mannered message, one missing."""
    place = tmp_path_factory.mktemp("campaign")
    made_from = coadds(IMAGE, store=str(place / "coadds.zarr"), skip=((7, 0),))
    out = dcrflow.TemplateStore.create_or_open(place / "out.zarr")
    with out.journal() as journal:
        journal.add("requested", detector_visits={"12": [3], "13": [0], "14": [0]})
    dcrflow.write_template(dcrflow.build_template(made_from, visit()), out)
    out.write_status(13, 0, "failed", {}, {"type": "OSError", "message": "</script><b>@@SCRIPT@@ disk on fire"})
    return out


@pytest.fixture
def browser() -> str:
    found = next((b for b in ("chromium", "chromium-browser", "google-chrome") if shutil.which(b)), None)
    if found is None:
        pytest.skip("no chromium on this machine")
    return found


def shown(browser: str, path: Path) -> str:
    """The page's DOM after its script has run, without network."""
    command = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=20000",
               "--host-resolver-rules=MAP * ~NOTFOUND", "--dump-dom", path.as_uri()]  # fmt: skip
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout


def test_preview(store: dcrflow.TemplateStore) -> None:
    template = store.read(12, 3).compute()
    seen = preview(template)
    assert seen == objects(template.attrs)["preview"]
    noise = np.array(seen["noise"], float)
    coverage = np.array(seen["coverage"])
    assert noise.shape == coverage.shape == (CELLS, CELLS)
    assert np.mean(coverage) == pytest.approx(100 * template.attrs["coverage"], abs=1)
    assert (coverage[np.isnan(noise)] == 0).all()
    assert np.isfinite(noise[coverage > 0]).all()
    own = template.sel(x=slice(0, 199), y=slice(0, 179))
    assert np.nanmedian(noise) == pytest.approx(float(np.sqrt(own.variance.median())), rel=0.1)
    ra, dec = visit().wcs.pixel_to_sky(-0.5, -0.5)
    np.testing.assert_allclose(seen["corners"][0], (ra, dec), atol=1e-6)


def test_facts(store: dcrflow.TemplateStore) -> None:
    assert store.url.endswith("out.zarr")
    facts = campaign_facts(store, coadds=store.url.replace("out.zarr", "coadds.zarr"))
    assert [(r["visit"], r["detector"], r["status"]) for r in facts["rows"]] == [
        (12, 3, "complete"), (13, 0, "failed"), (14, 0, "missing"),
    ]  # fmt: skip
    complete, failed, _ = facts["rows"]
    assert failed["error"].startswith("OSError: </script>")
    assert complete["zenith"] == pytest.approx(45, abs=0.1)
    attributes = store.read(12, 3).attrs
    assert complete["coverage"] == pytest.approx(attributes["coverage"], abs=1e-5)
    (tract,) = facts["tracts"]
    assert tract["tract"] == TRACT.tract
    assert [p["patch"] for p in tract["patches"]] == ["1", "2", "3"]
    assert facts["notes"] == []


def test_times_come_from_the_journal(store: dcrflow.TemplateStore, tmp_path: Path) -> None:
    out = dcrflow.TemplateStore.create_or_open(tmp_path / "out.zarr")
    out.write(store.read(12, 3).compute())
    with out.journal() as journal:
        journal.add("ended", visit=12, detector=3, status="complete", seconds=3.5)
    assert campaign_facts(out)["rows"][0]["seconds"] == {"begin to end": 3.5}
    assert campaign_facts(store)["rows"][0]["seconds"] == {}


def test_arrow_points_to_the_zenith(store: dcrflow.TemplateStore) -> None:
    row = campaign_facts(store)["rows"][0]
    one = visit()
    ra, dec = one.wcs.pixel_to_sky(99.5, 89.5)
    towards = np.deg2rad(one.observation.zenith_direction(ra, dec))
    x, y = one.wcs.sky_to_pixel(ra + np.sin(towards) / np.cos(np.deg2rad(dec)) / 3600, dec + np.cos(towards) / 3600)
    step = np.array([x - 99.5, y - 89.5])
    assert np.dot(step, row["arrow"]) / np.linalg.norm(step) == pytest.approx(row["spread"], rel=1e-3)


def test_nothing_is_opened_because_the_store_names_it(store: dcrflow.TemplateStore, tmp_path: Path) -> None:
    """Not even coadds that are there: a template store may be anybody's, and an address in it is text."""
    facts = campaign_facts(store)
    assert facts["tracts"] == []
    assert "give the coadds" in facts["notes"][0]
    with pytest.raises(dcrflow.CoaddStoreError, match="does not exist"):
        campaign_facts(store, coadds=tmp_path / "gone.zarr")
    elsewhere = coadds(IMAGE, tracts=(replace(TRACT, tract=9),))
    facts = campaign_facts(store, coadds=elsewhere)
    assert facts["tracts"] == []
    assert "no outline of tract 7" in facts["notes"][0]


def test_thumbnails_are_pictures_that_were_decoded_and_made_anew() -> None:
    image = Image.fromarray(np.arange(96 * 90, dtype=np.uint8).reshape(90, 96))
    for kind, more in (("PNG", {"pnginfo": _with_text("<script>")}), ("JPEG", {"comment": b"<script>"})):
        file = BytesIO()
        image.save(file, kind, **more)
        url = f"data:image/{kind.lower()};base64,{b64encode(file.getvalue()).decode()}"
        made = checked_thumbnail(url)
        assert made is not None
        assert made.startswith("data:image/png;base64,")
        content = b64decode(made.partition(",")[2])
        assert b"script" in file.getvalue()
        assert b"script" not in content
        shown = np.asarray(Image.open(BytesIO(content)).convert("L"), float)
        assert np.abs(shown - np.asarray(image)).mean() < 8  # of 255: 16 greys, and JPEG's own noise
    assert checked_thumbnail(made) == made


@pytest.mark.parametrize(
    "image",
    [
        "http://127.0.0.1/pixel.png", "data:image/svg+xml;base64,PHN2Zz4=", "data:text/html;base64,PGI+",
        "data:image/png;base64,AAAA", "data:image/png,abc", "data:image/png;base64,é", "javascript:alert(1)", 7, [1],
        "data:image/png;base64," + "A" * 1_000_000, None,
    ],
)  # fmt: skip
def test_what_is_no_picture_is_not_shown(image: object) -> None:
    assert checked_thumbnail(image) is None


def test_a_picture_of_many_pixels_is_not_shown() -> None:
    file = BytesIO()
    Image.new("L", (9000, 9000)).save(file, "PNG")
    assert len(file.getvalue()) < 150_000
    assert checked_thumbnail(f"data:image/png;base64,{b64encode(file.getvalue()).decode()}") is None


def _with_text(text: str) -> PngInfo:
    about = PngInfo()
    about.add_text("Comment", text)
    return about


def test_the_page_may_load_and_run_nothing_but_itself(store: dcrflow.TemplateStore) -> None:
    html = page(campaign_facts(store))
    policy = re.findall(r'<meta http-equiv="Content-Security-Policy" content="([^"]*)">', html)[0]
    assert policy.startswith("default-src 'none'")
    assert "unsafe" not in policy
    for tag in ("script", "style"):
        content = re.findall(rf"<{tag}>(.*?)</{tag}>", html, re.S)[0]
        digest = b64encode(sha256(content.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy
    assert not re.search(r"<[^>]*\s(?:style|on\w+)=", html.partition("<script")[0])


def test_page_needs_nothing_else_and_trusts_no_text(store: dcrflow.TemplateStore, tmp_path: Path) -> None:
    html = page(campaign_facts(store))
    assert html.count("</script>") == 2
    assert not re.search(r"""(?:src|href)=["']?(?:https?:)?//|@import|url\(""", html)
    assert "@@TITLE@@" not in html
    with pytest.raises(ReportError, match="cannot write the report"):
        write_report(campaign_facts(store), tmp_path)
    assert write_report(campaign_facts(store), tmp_path / "r.html") == tmp_path / "r.html"
    assert [path.name for path in tmp_path.iterdir()] == ["r.html"]  # written beside it, and put in its place


@pytest.mark.integration
def test_a_browser_shows_it(store: dcrflow.TemplateStore, browser: str, tmp_path: Path) -> None:
    dom = shown(browser, write_report(campaign_facts(store), tmp_path / "report.html"))
    assert 'data-ready="3"' in dom
    assert dom.count("<figure") == 1
    assert "&lt;/script&gt;&lt;b&gt;@@SCRIPT@@ disk on fire" in dom
    assert "requested, not made yet" in dom


@pytest.mark.integration
def test_a_cause_is_told_once(store: dcrflow.TemplateStore, browser: str, tmp_path: Path) -> None:
    """Failures and damage that differ in numbers only are one line, and tables are closed."""
    facts = campaign_facts(store)
    complete = facts["rows"][0]
    rows = [
        complete
        | {"detector": d, "damage": [f"tract 7 patch 1 band g: image at x {256 * k}: checksum" for k in (0, 1)]}
        for d in range(3)
    ]
    rows += [
        {"visit": 13, "detector": d, "status": "failed", "error": f"visit 13 detector {d}: disk {d}"} for d in range(9)
    ]
    rows.append({"visit": None, "detector": None, "status": "failed", "error": "row 4: no number"})
    dom = shown(browser, write_report(facts | {"rows": rows}, tmp_path / "report.html"))
    failures = dom.partition('id="failures"')[2].partition("<section")[0]
    assert [int(n) for n in re.findall(r"<b class=\"\w+\">(\d+) ", failures)] == [9, 1, 3]
    assert failures.count("checksum") == failures.count("disk 0") == 1
    assert "visit 13 detectors 0, 1, 2, 3, 4; ..." in failures
    assert "a row of the table" in failures
    assert "<details open" not in dom
    assert dom.count('class="badge"') == 4, "a legend, and a mark on each damaged template"


@pytest.mark.integration
def test_a_browser_shows_thousands(store: dcrflow.TemplateStore, browser: str, tmp_path: Path) -> None:
    facts = campaign_facts(store)
    complete, failed, _ = facts["rows"]
    rows = []
    for number in range(4000):
        row = copy.deepcopy(failed if number % 40 == 39 else complete)
        rows.append(row | {"visit": number // 20, "detector": number % 20})
    path = write_report(facts | {"rows": rows}, tmp_path / "report.html")
    assert path.stat().st_size < 40e6
    dom = shown(browser, path)
    assert 'data-ready="4000"' in dom
    assert dom.count("<figure") == 48
    assert "1–48 of 3900" in dom
    assert dom.count("disk on fire") < 110  # a reason is told once, and its table grows on demand
