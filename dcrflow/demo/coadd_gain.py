"""What DCR coadds gain by band, zenith angle and number of visits: the table of the documentation.

A held-out visit of stars without noise is subtracted with a template from DCR coadds, and with an image of the same
stars at the zenith, which stands for a perfect ordinary coadd of the same PSF. The stars have a flux of 1e4. The coadds
are built for noise of 1 a pixel and visit, but the images have none, so that small residuals can be seen.

python -m dcrflow.demo.coadd_gain               every band, 4, 8 and 16 visits
python -m dcrflow.demo.coadd_gain g r --visits 8
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from dcrflow.demo.coadd_scene import Pointing, coadd_scene
from dcrflow.demo.coadd_suppression import FWHM, HELD_OUT, ZENITH_ANGLES, Case, solved, suppression

BANDS, VISITS = "ugrizy", (4, 8, 16)
_KIND = "1e4"


@dataclass(frozen=True)
class Gain:
    """What matching gains for one band, number of visits and zenith angle of the held-out visit.

    Parameters
    ----------
    unmatched : float
        Largest residual of any star with a template that is not matched, over the star's peak.
    gain : float
        Rms of the residuals around the stars with a template that is not matched, over that with the matched one.
    """

    band: str
    visits: int
    zenith_angle: float
    unmatched: float
    gain: float


def gains(band: str, visits: int, seed: int = 11, size: int = 200) -> list[Gain]:
    """Build the DCR coadd of a band from some visits, and measure it at each of `ZENITH_ANGLES`."""
    scene = coadd_scene(seed, size, (_KIND,), band=band)
    case = Case(visits)
    image = solved(case, scene, seed).image
    zenith = scene.draw(Pointing(0.0, 0.0, FWHM))
    left = [np.max(np.abs(scene.draw(Pointing(a, HELD_OUT, FWHM)) - zenith)) / np.max(zenith) for a in ZENITH_ANGLES]
    found = suppression(image, scene)
    return [
        Gain(band, visits, angle, float(most), found[_KIND, angle][0] / found[_KIND, angle][1])
        for angle, most in zip(ZENITH_ANGLES, left, strict=True)
    ]


def table(bands: Sequence[str], visits: Sequence[int]) -> Iterator[str]:
    """The lines of the table in Markdown."""
    heads = ["band", "without matching", *(f"{n} visits" for n in visits)]
    angles = " / ".join(f"{a:.0f}" for a in ZENITH_ANGLES)
    yield f"| {' | '.join(heads)} |"
    yield "|" + "---|" * len(heads)
    yield f"| z = | {' | '.join([angles] * (len(heads) - 1))} |"
    for band in bands:
        rows = [gains(band, n) for n in visits]
        unmatched = " / ".join(f"{100 * g.unmatched:.2g} %" for g in rows[0])
        yield f"| {band} | {unmatched} | {' | '.join(' / '.join(_short(g.gain) for g in row) for row in rows)} |"


def _short(value: float) -> str:
    return f"{value:.0f}" if value >= 10 else f"{value:.1f}"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "bands", nargs="*", choices=list(BANDS), metavar="band", help="of %(choices)s; all if none is given"
    )
    parser.add_argument("--visits", type=int, nargs="*", default=list(VISITS))
    given = parser.parse_args()
    for line in table(given.bands or list(BANDS), given.visits):
        print(line, flush=True)


if __name__ == "__main__":
    main()
