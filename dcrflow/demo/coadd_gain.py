"""What DCR coadds gain by band, zenith angle and number of visits: the table of the documentation.

A held-out visit of stars without noise is subtracted with a template from DCR coadds, and with an image of the same
stars at the zenith, which stands for a perfect ordinary coadd of the same PSF. The visits that the coadds are built
from have noise of 1 a pixel; the stars have a flux of 1e4.

python -m dcrflow.demo.coadd_gain               every band, 4, 8 and 16 visits
python -m dcrflow.demo.coadd_gain g r --visits 8
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dcrflow.demo.coadd_scene import Pointing, coadd_scene
from dcrflow.demo.coadd_suppression import FWHM, ZENITH_ANGLES, Case, solved, suppression

BANDS, VISITS = "ugrizy", (4, 8, 16)
_KIND = "1e4"


@dataclass(frozen=True)
class Gain:
    """What matching gains for one band, number of visits and zenith angle of the held-out visit.

    Parameters
    ----------
    unmatched : float
        Rms of the residuals around the stars with a template that is not matched, over the stars' mean peak.
    gain : float
        The same rms over that of the matched template.
    """

    band: str
    visits: int
    zenith_angle: float
    unmatched: float
    gain: float


def gains(band: str, visits: int, seed: int = 11, size: int = 240) -> list[Gain]:
    """Build the DCR coadd of a band from some visits, and measure it at each of `ZENITH_ANGLES`."""
    scene = coadd_scene(seed, size, (_KIND,), band=band)
    case = Case(visits, noisy=True)
    image = solved(case, scene, seed).image
    peak = float(np.max(scene.draw(Pointing(0.0, 0.0, FWHM))))
    found = suppression(image, scene)
    return [
        Gain(band, visits, angle, found[_KIND, angle][0] / peak, found[_KIND, angle][0] / found[_KIND, angle][1])
        for angle in ZENITH_ANGLES
    ]


def table(bands: Sequence[str], visits: Sequence[int]) -> str:
    """The table in Markdown."""
    heads = ["band", "without matching", *(f"{n} visits" for n in visits)]
    angles = " / ".join(f"{a:.0f}" for a in ZENITH_ANGLES)
    lines = [
        f"| {' | '.join(heads)} |",
        "|" + "---|" * len(heads),
        f"| z = | {' | '.join([angles] * (len(heads) - 1))} |",
    ]
    for band in bands:
        rows = [gains(band, n) for n in visits]
        unmatched = " / ".join(f"{100 * g.unmatched:.2g} %" for g in rows[0])
        lines.append(
            f"| {band} | {unmatched} | {' | '.join(' / '.join(_short(g.gain) for g in row) for row in rows)} |"
        )
    return "\n".join(lines)


def _short(value: float) -> str:
    return f"{value:.0f}" if value >= 10 else f"{value:.1f}"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bands", nargs="*", help="of ugrizy")
    parser.add_argument("--visits", type=int, nargs="*", default=list(VISITS))
    given = parser.parse_args()
    print(table(given.bands or list(BANDS), given.visits))


if __name__ == "__main__":
    main()
