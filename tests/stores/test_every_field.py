"""Every field of every input, wrong in every way: refused by its name, or one of the few ways that are right."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from astropy.io import fits
from scenes import IMAGE, coadds, visit
from zarr.storage import MemoryStore

import dcrflow
from dcrflow.base.errors import DcrflowError
from dcrflow.stores.coadds.store import open_coadds
from dcrflow.stores.visits.rows import detector_visit

NAN, INFINITE = float("nan"), float("inf")
ABSENT = object()
WRONG: dict[str, object] = {
    "absent": ABSENT, "null": None, "a word": "word", "empty": "", "nan": NAN, "inf": INFINITE, "-inf": -INFINITE,
    "huge": 1e30, "-huge": -1e30, "a long integer": 10**400, "a fraction": 0.5, "a list": [1, 2], "a mapping": {},
}  # fmt: skip

ROW: dict[str, Any] = {
    "instrument": "TestCam", "visit": 12, "detector": 3, "band": "g", "x0": 0, "y0": 0, "width": 80, "height": 70,
    "wcs": visit().wcs.cards, "ra": 53.0, "dec": -28.0, "altitude": 45.0, "parallactic_angle": 33.0,
    "rotation_angle": 0.0, "longitude": -70.7, "latitude": -30.2, "height_m": 2663.0, "temperature": 10.0,
    "pressure": 74000.0, "humidity": 10.0, "physical_filter": "g_sim",
}  # fmt: skip
NUMBERS = set(ROW) - {"instrument", "band", "physical_filter", "wcs"}
OPTIONAL = {"rotation_angle", "longitude", "latitude", "height_m", "temperature", "pressure", "humidity"}

#: What of a row is taken as it is, beside numbers within their range.
TAKEN = {
    **{(name, how): "missing" for name in OPTIONAL for how in ("absent", "null", "nan")},
    **{("longitude", how): "not needed, the altitude being there" for how in ("huge", "-huge")},
    **{(name, how): "a name like any other" for name in ("instrument", "band", "physical_filter") for how in WRONG},
    ("physical_filter", "absent"): "missing",
    **{(name, "a fraction"): "a number like any other" for name in NUMBERS - {"visit", "detector", "width", "height"}},
}  # fmt: skip


@pytest.mark.parametrize("name", ROW)
def test_of_a_row(name: str) -> None:
    for how, value in WRONG.items():
        row = {k: v for k, v in ROW.items() if k != name} | ({} if value is ABSENT else {name: value})
        try:
            found = detector_visit(row)
        except (DcrflowError, ValueError) as error:
            said = str(error).lower()
            words = {name, "altitude", "celestial", "cards"} if name in ("wcs", "parallactic_angle") else {name}
            assert any(word.removesuffix("_m") in said for word in words), (how, said)
            assert len(said) < 400
        else:
            assert (name, how) in TAKEN, (how, found)
            assert np.isfinite(found.observation.altitude)


OF_A_TRACT = ("wcs", "bbox", "patch_inner", "patch_border", "num_patches")
OF_A_PATCH = (
    "band", "units", "photometric_zero_point", "effective_wavelength", "bandwidth", "wcs", "tract", "patch",
    "transmission", "physical_filter",
)  # fmt: skip
#: What of the metadata may be missing, and is read as if it were.
NOT_NEEDED = {"physical_filter", "transmission", "tract", "patch", "wcs"}
ANY_NUMBER = {"effective_wavelength", "bandwidth"}  # which another patch is compared with


@pytest.fixture(scope="module")
def sound() -> dict[str, Any]:
    store = coadds(IMAGE, store=MemoryStore(), skip=((7, 1), (7, 2), (7, 3)))
    assert isinstance(store, MemoryStore)
    return dict(store._store_dict)


@pytest.mark.parametrize(
    ("key", "name"),
    [("7/zarr.json", name) for name in OF_A_TRACT] + [("7/0/g/zarr.json", name) for name in OF_A_PATCH],
)
def test_of_the_coadds(sound: dict[str, Any], key: str, name: str) -> None:
    before = open_coadds(MemoryStore(dict(sound))).info(7, 0, "g")
    for how, value in WRONG.items():
        metadata = json.loads(sound[key].to_bytes())
        metadata["attributes"].pop(name, None)
        if value is not ABSENT:
            metadata["attributes"][name] = value
        objects = dict(sound) | {key: type(sound[key]).from_bytes(json.dumps(metadata).encode())}
        try:
            found = open_coadds(MemoryStore(objects)).info(7, 0, "g")
        except DcrflowError as error:
            said = str(error)
            assert name in said, (how, said)
            assert len(said) < 600
            continue
        missing = name in NOT_NEEDED and how in ("absent", "null")
        positive = name in ANY_NUMBER and how in ("huge", "a fraction")
        assert missing or positive or name == "physical_filter", (how, found)
        assert found == before or positive or name == "physical_filter", how


@pytest.mark.parametrize("name", ["CRVAL1", "CRPIX2", "CD1_1", "CTYPE1", "RADESYS"])
def test_of_a_wcs(name: str) -> None:
    """Through text, as tables have it: what FITS cannot have is there as somebody's program wrote it."""
    cards = fits.Header.fromstring(ROW["wcs"], sep="")
    for word in ("NaN", "Infinity", "'word'", "", "T", "1,5", "(1, 2)", "9" * 60):
        lines = [f"{name:8}= {word}".ljust(80) if card.keyword == name else str(card).ljust(80) for card in cards.cards]
        try:
            with np.errstate(all="ignore"):
                detector_visit(ROW | {"wcs": "".join(line[:80] for line in lines)})
        except DcrflowError as error:
            said = str(error)
            assert name in said or "celestial" in said, (word, said)
        else:
            assert name == "RADESYS", word


def test_what_is_right_is_taken(sound: dict[str, Any]) -> None:
    assert detector_visit(ROW).visit == 12
    assert dcrflow.open_coadds(MemoryStore(dict(sound))).info(7, 0, "g").band == "g"
