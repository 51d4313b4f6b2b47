"""Where pixels are on the sky: of detectors, patches and tracts."""

from __future__ import annotations

import re
import shutil
from typing import Any

import numpy as np
from astropy.table import Table
from scenes import EDGES, IMAGE, TRACT, tan

from dcrflow.geometry.skymap import Tract
from dcrflow.stores.coadds.writer import create_coadds
from dcrflow.stores.zarr.arrays import header_cards
from hostile.spoil import Case, Spoil, attributes, cards, cell, nothing, of_patch, table, variable
from hostile.survey import Place

_SIP = {"CTYPE1": "RA---TAN-SIP", "CTYPE2": "DEC--TAN-SIP", "A_ORDER": 2, "B_ORDER": 2, "A_2_0": 1.0, "B_0_2": 1.0}


def _moved(**changes: Any) -> dict[str, Any]:
    return header_cards(TRACT.wcs.header) | changes


def _second_tract(**changes: Any) -> Spoil:
    """Another tract over the same sky, with the same stars, in a frame that is turned by half."""

    def spoil(place: Place) -> None:
        wcs = tan(300.0, 300.0, 180.0)
        other = Tract(8, wcs, TRACT.bbox, TRACT.patch_inner, TRACT.patch_border, TRACT.num_patches)
        aside = place.directory / "aside.zarr"
        writer = create_coadds(str(aside), "test")
        writer.write_tract(other)
        turned = np.ascontiguousarray(IMAGE[:, ::-1, ::-1])
        for patch in other.patches:
            where = (..., *patch.bbox.slices(other.bbox))
            writer.write_patch(
                8, patch.patch, "g", image=turned[where], variance=np.full(patch.bbox.shape, 4.0, np.float32),
                mask=np.zeros(patch.bbox.shape, np.int32), planes={"NO_DATA": 8}, subfilter_edges=EDGES,
                effective_wavelength=475.0, bandwidth=150.0,
            )  # fmt: skip
        shutil.move(aside / "8", place.coadds / "8")
        shutil.rmtree(aside)
        attributes("8", **changes)(place)

    return spoil


def _longer_axis(place: Place) -> None:
    """x of the patch counts from another first pixel."""
    start = TRACT.patch(0).bbox
    variable("x", np.arange(start.x0 + 1, start.x1 + 1), ("x",))(place)


def _card_as_written(key: str, word: str) -> Spoil:
    """What another program wrote in the place of a number."""

    def change(found: Table) -> None:
        first, *rest = found["wcs"]
        found["wcs"] = [re.sub(rf"{key:8}= .{{70}}", f"{key:8}= {word:>20}".ljust(80), first), *rest]

    return table(change)


CASES = (
    Case("a detector's WCS is empty", cell("wcs", "")),
    Case("a detector's WCS is prose", cell("wcs", "north is up")),
    Case("a detector's WCS is 100,000 letters", cell("wcs", "W" * 100_000)),
    Case("a detector's WCS is singular", cards(CD1_1=0.0, CD1_2=0.0)),
    Case("a detector's WCS has a matrix of 0", cards(CD1_1=0.0, CD1_2=0.0, CD2_1=0.0, CD2_2=0.0)),
    Case("a detector's WCS has pixels of 10^-20°", cards(CD1_1=1e-20, CD1_2=0.0, CD2_1=0.0, CD2_2=1e-20)),
    Case("a detector's WCS has pixels of 10°", cards(CD1_1=-10.0, CD1_2=0.0, CD2_1=0.0, CD2_2=10.0)),
    Case("a detector's WCS has no CRVAL", cards(CRVAL1=None, CRVAL2=None)),
    Case("a detector's WCS has no CRPIX", cards(CRPIX1=None, CRPIX2=None)),
    Case("a detector's WCS has no CTYPE", cards(CTYPE1=None, CTYPE2=None)),
    Case("a detector's WCS has words for numbers", cards(CRVAL1="fifty-three")),
    Case("a detector's WCS has its reference pixel as a text", cards(CRPIX1="41.0")),
    Case("a detector's WCS is not a number", _card_as_written("CRPIX1", "NaN")),
    Case("a detector's WCS has a number of 60 digits", _card_as_written("CRVAL2", "9" * 60)),
    Case("a detector's WCS has a pole as a text", cards(LONPOLE="north")),
    Case("a detector's WCS says that its distortion has 10^10 terms", cards(**_SIP | {"A_ORDER": 10**5})),
    Case("a detector's WCS has an unknown projection", cards(CTYPE1="RA---XYZ", CTYPE2="DEC--XYZ")),
    Case("a detector's WCS is of the other hemisphere", cards(CRVAL2=28.0)),
    Case("a detector's WCS is of the antipode", cards(CRVAL1=233.0, CRVAL2=28.0)),
    Case("a detector's WCS is at declination -100", cards(CRVAL2=-100.0)),
    Case("a detector's WCS is mirrored", cards(CD1_1=5.0e-5, CD1_2=2.3e-5), changes=True),
    Case("a detector's distortion cannot be inverted", cards(**_SIP)),
    Case("all at the celestial pole", nothing, survey="pole"),
    Case("all across RA 0", nothing, survey="RA 0"),
    Case("the patch's own WCS is 1 px off its tract's", of_patch(wcs=_moved(CRPIX1=302.0))),
    Case("the patch's own WCS is of the other hemisphere", of_patch(wcs=_moved(CRVAL2=28.0))),
    Case("the patch's own WCS is singular", of_patch(wcs=_moved(CD1_1=0.0, CD1_2=0.0))),
    Case("the patch's own WCS is a list", of_patch(wcs=[1, 2])),
    Case("the patch's own WCS is not a number", of_patch(wcs=_moved(CRPIX1=float("nan")))),
    Case("the patch's own WCS has lists for numbers", of_patch(wcs=_moved(CD1_1=[1, 2]))),
    Case("the patch's x starts one pixel late", _longer_axis),
    Case("the patch's x decreases", variable("x", np.arange(330)[::-1].copy(), ("x",))),
    Case("the patch's number is another's: it is there twice",
         lambda place: shutil.copytree(place.coadds / "7/0", place.coadds / "7/1", dirs_exist_ok=True)),
    Case("more patches than the tract has", lambda place: shutil.copytree(place.coadds / "7/0", place.coadds / "7/9"),
         everywhere=True),
    *(
        Case(f"the tract's {words}", attributes("7", **changes), everywhere=True)
        for words, changes in (
            ("wcs is missing", {"wcs": None}), ("wcs is singular", {"wcs": _moved(CD1_1=0.0, CD1_2=0.0)}),
            ("wcs is not a number", {"wcs": _moved(CRVAL1=float("nan"))}), ("bbox is missing", {"bbox": None}),
            ("bbox is empty", {"bbox": [0, 0, 0, 600]}), ("bbox has three numbers", {"bbox": [0, 0, 600]}),
            ("patch_inner is 299", {"patch_inner": [299, 299]}), ("patch_inner is 0", {"patch_inner": [0, 300]}),
            ("patch_inner is missing", {"patch_inner": None}), ("patch_border is -30", {"patch_border": -30}),
            ("patch_border is a word", {"patch_border": "wide"}), ("num_patches is missing", {"num_patches": None}),
            ("num_patches is 10^9 x 10^9", {"num_patches": [10**9, 10**9]}),
        )
    ),
    Case("the tract's wcs is of the other hemisphere", attributes("7", wcs=_moved(CRVAL2=28.0)), everywhere=True),
    Case("a second tract, turned by 180°, on the same sky", _second_tract(), changes=True, everywhere=True),
    Case("a second tract on the same sky, whose wcs says otherwise", _second_tract(wcs=_moved(CRPIX1=306.0)),
         everywhere=True),
    Case("a second tract on the same sky, whose wcs is singular",
         _second_tract(wcs=_moved(CD1_1=0.0, CD1_2=0.0)), everywhere=True),
)  # fmt: skip
