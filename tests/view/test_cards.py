"""What stores, plans and visits look like at a prompt and in a notebook."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

import pytest
from scenes import IMAGE, coadds, tan, visit

import dcrflow
from dcrflow.view.cards import Shape, card, sky_svg


def polygons(html: str) -> list[ElementTree.Element]:
    """The polygons of a card's sketch; the card must be well-formed."""
    root = ElementTree.fromstring(html)
    return root.findall(".//{http://www.w3.org/2000/svg}polygon")


def corners(polygon: ElementTree.Element) -> list[tuple[float, float]]:
    return [tuple(map(float, pair.split(","))) for pair in polygon.attrib["points"].split()]


def test_east_is_left_and_north_is_up() -> None:
    svg = sky_svg([Shape("tract", [9, 11, 11, 9], [-1, -1, 1, 1]), Shape("detector", [10.9, 11, 11], [0.9, 0.9, 1])])
    tract, detector = (corners(p) for p in polygons(f"<div>{svg}</div>"))
    assert max(x for x, _ in detector) < sum(x for x, _ in tract) / 4
    assert max(y for _, y in detector) < sum(y for _, y in tract) / 4


def test_the_sketch_crosses_zero_hours_and_the_pole() -> None:
    assert "nan" not in sky_svg([Shape("tract", [359, 1, 1, 359], [-1, -1, 1, 1])])
    width, height = (
        float(v)
        for v in re.findall(r'(?:width|height)="(\d+)"', sky_svg([Shape("tract", [0, 90, 180, 270], [89.5] * 4)]))
    )
    assert width == pytest.approx(height, abs=2)
    assert sky_svg([]) == sky_svg([Shape("tract", [float("nan")], [0.0])]) == ""


def test_text_is_escaped() -> None:
    assert "<script>" not in card("<script>", {"<script>": "<script>"}, [Shape("tract", [1, 2], [1, 2], "<script>")])


def test_detector_visit() -> None:
    one = visit(tan(99.5, 89.5, ra=359.99, dec=-28))
    assert repr(one) == (
        "<DetectorVisit TestCam visit 12 detector 3, band g: 200 x 180 px at RA 359.9900, Dec -28.0000 deg, "
        "45.0 deg from the zenith>"
    )
    assert len(polygons(one._repr_html_())) == 1


def test_plan_and_coadds() -> None:
    store = dcrflow.open_coadds(coadds(IMAGE, skip=((7, 3),)))
    assert len(polygons(store._repr_html_())) == 4
    assert "3 of 4 patches" in store._repr_html_()
    plan = dcrflow.plan_template(store, visit())
    assert repr(plan) == str(plan)
    assert len(polygons(plan._repr_html_())) == 1 + 3 + 1


def test_template_store(tmp_path: Path) -> None:
    store = dcrflow.TemplateStore.create_or_open(tmp_path / "out.zarr")
    assert polygons(store._repr_html_()) == []
    with store.journal() as journal:
        journal.add("requested", detector_visits={"12": [3, 4, 5]})
    dcrflow.write_template(dcrflow.build_template(coadds(IMAGE), visit()), store)
    store.write_status(12, 4, "failed", {}, {"type": "OSError", "message": "disk on fire"})
    html = store._repr_html_()
    assert len(polygons(html)) == 1
    assert "1 complete, 1 failed" in html
    assert "3 detector-visits" in html
