"""How large DCR is without matching, against what is known of it."""

from dataclasses import replace

import pytest

from dcrflow.base.errors import ConfigError
from dcrflow.geometry.box import Box
from dcrflow.geometry.layout import PatchLayout
from dcrflow.model.coadd_config import CoaddConfig
from dcrflow.model.visit import DetectorVisit
from dcrflow.physics.observation import Observation
from dcrflow.physics.refraction import Weather
from dcrflow.planning.coadds import CoaddBand
from dcrflow.planning.need import by_band, by_visit, need_of, needs


def visit(zenith_angle: float, band: str = "g") -> DetectorVisit:
    observation = Observation(
        ra=53.0, dec=-28.0, altitude=90.0 - zenith_angle, parallactic_angle=20.0, weather=Weather(10.0, 74000.0, 20.0),
        latitude=-30.0, height=2663.0,
    )  # fmt: skip
    return DetectorVisit(
        "Cam", 1, 2, band, Box(0, 0, 100, 100), PatchLayout(0.2).wcs((53.0, -28.0), (50, 50)), observation
    )


def band(name: str) -> CoaddBand:
    return CoaddBand.of(name, CoaddConfig())


def test_none_at_the_zenith_and_as_tan_z_beyond() -> None:
    assert need_of(visit(0.0), band("g"), 0.8).residual == pytest.approx(0.0, abs=1e-9)
    low, high = (need_of(visit(z), band("g"), 0.8).shift for z in (30.0, 60.0))
    assert high / low == pytest.approx(3.0, rel=0.01)


def test_red_bands_need_less() -> None:
    found = needs([visit(45.0, name) for name in "riz"] + [visit(45.0)], {b: band(b) for b in "griz"}, 0.8)
    assert [n.band for n in found] == ["g", "r", "i", "z"]
    assert found[0].is_worth_it
    assert not found[-1].is_worth_it


def test_seeing_hides_it() -> None:
    sharp = needs([replace(visit(45.0), psf_fwhm=0.6)], {"g": band("g")}, 0.8)[0]
    assert sharp.residual > need_of(visit(45.0), band("g"), 1.2).residual


def test_sums_up_visits_and_bands() -> None:
    rows = [
        replace(visit(z, name), visit=v, detector=d) for name in "gr" for v, z in ((1, 30.0), (2, 50.0)) for d in (0, 1)
    ]
    rows[1] = replace(rows[1], observation=visit(31.0).observation)
    found = needs(rows, {b: band(b) for b in "gr"}, 0.8)
    assert [(n.band, n.visit) for n in by_visit(found)] == [("g", 2), ("g", 1), ("r", 2), ("r", 1)]
    assert by_visit(found)[1].zenith_angle == pytest.approx(31.0), "the worst of its detectors"
    green, red = by_band(found)
    assert (green.band, green.visits, red.visits) == ("g", 2, 2)
    assert (green.low, green.high) == (pytest.approx(31.0), pytest.approx(50.0))
    assert green.largest > green.median > red.median


@pytest.mark.parametrize(
    "settings",
    [
        {"bandwidth": 1e9},
        {"bandwidth": 700.0},
        {"effective_wavelength": 5000.0},
        {"bandwidth": 1.0, "effective_wavelength": 3.0},
    ],
)
def test_light_whose_refraction_is_unknown_is_refused(settings: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=r"band 'g': wavelength .* nm is outside 230 to 2058 nm"):
        CoaddBand.of("g", CoaddConfig(**settings))
