"""Compare dcrflow with the LSST pipeline's own output: the README's parity table.

python -m dcrflow.demo.parity DIRECTORY

The directory holds files that `lsst.ip.diffim.GetDcrTemplateTask` read and wrote: `dcrCoadd_*` and `calexp_*` FITS, its
templates as `expected_*.npz`, and `truth.json`, the set-up.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray
from zarr.storage import MemoryStore

from dcrflow.base.masks import NO_DATA
from dcrflow.geometry.box import Box
from dcrflow.geometry.skymap import Tract
from dcrflow.geometry.wcs import SkyWcs
from dcrflow.model.config import TemplateConfig
from dcrflow.model.pixels import Pixels
from dcrflow.planning.template import TemplatePlan, plan_template
from dcrflow.planning.zenith import vectors_on
from dcrflow.steps import flag_high_variance, load_patch, make_tile, map_variance
from dcrflow.steps.lsst_compat import match_patch
from dcrflow.stores.coadds.store import DcrCoadds, open_coadds
from dcrflow.stores.coadds.writer import create_coadds
from dcrflow.stores.visits.tables import read_visits

Float = NDArray[np.float64]

#: LSST's settings.
AS_LSST = TemplateConfig(dcr="split", rotation="boresight", warp="lanczos3", combine="variance", fill=0.0)

INTERPOLATION = 100  # detector pixels over which LSST interpolates coordinates linearly


@dataclass(frozen=True)
class Expected:
    """What LSST made of one detector-visit.

    Parameters
    ----------
    image, variance, mask : ndarray, shape (y, x)
        The template, border included.
    planes : mapping of str to int
        Mask planes, name to bit.
    shifts : mapping of int to ndarray of float64, shape (num_subfilters, 2, 2)
        By tract: (dy, dx) of the two nodes of each subfilter, tract pixels.
    matched : mapping of (int, int, int) to ndarray of float32
        DCR-matched coadds before the merge, by (tract, x0, y0).
    """

    image: NDArray[np.float32]
    variance: NDArray[np.float32]
    mask: NDArray[np.int32]
    planes: Mapping[str, int]
    shifts: Mapping[int, Float]
    matched: Mapping[tuple[int, int, int], NDArray[np.float32]]


@dataclass(frozen=True)
class Case:
    """One detector-visit: dcrflow's plan by LSST's method, and what LSST made of it."""

    plan: TemplatePlan
    expected: Expected

    def with_lsst_coordinates(self) -> Case:
        """The same with coordinates interpolated as LSST does, over 100 pixels, whatever the error."""
        tracts = tuple(
            replace(t, pixel_map=replace(t.pixel_map, step=INTERPOLATION, bbox=t.pixel_map.bbox.grown(1)))
            for t in self.plan.tracts
        )
        return replace(self, plan=replace(self.plan, tracts=tracts))


@dataclass(frozen=True)
class Parity:
    """Largest differences between two templates; `both` is where both have data.

    Parameters
    ----------
    shift : float
        Tract pixels.
    matched, image : float
        Of the DCR-matched coadds and the template, over their peak.
    variance : float
        Relative.
    mask : float
        Fraction of all pixels whose masks differ in any bit.
    no_data : int
        Pixels without data in one of them alone.
    image_map : ndarray of float64, shape (y, x)
        Absolute difference of the images over the peak; NaN where one has no data.
    """

    shift: float
    matched: float
    image: float
    variance: float
    mask: float
    no_data: int
    image_map: Float


def golden_coadds(directory: Path) -> DcrCoadds:
    """The coadds that LSST read, as a store in memory."""
    truth = json.loads((directory / "truth.json").read_text())
    setup = truth["config"]
    middle, half = setup["effective_wavelength"], setup["bandwidth"] / 2
    edges = np.linspace(middle - half, middle + half, setup["num_subfilters"] + 1)
    store = MemoryStore()
    writer = create_coadds(store, "golden")
    for number, tract in truth["tracts"].items():
        wcs, bbox = SkyWcs.from_header(tract["wcs"]), Box(*tract["bbox"])
        inner, patches = tuple(tract["inner"]), tuple(tract["num_patches"])
        writer.write_tract(Tract(int(number), wcs, bbox, inner, tract["border"], patches))
    psf = np.load(directory / "psf_kernels.npz")
    for patch in truth["patches"]:
        images, masks, variances = [], [], []
        for k in range(setup["num_subfilters"]):
            name = f"dcrCoadd_{patch['tract']}_{patch['patch']}_g_{k}.fits.gz"
            with fits.open(directory / name) as file:
                images.append(file["IMAGE"].data.astype(np.float32))
                masks.append(file["MASK"].data.astype(np.int32))
                variances.append(file["VARIANCE"].data.astype(np.float32))
                planes = {k[3:]: int(v) for k, v in file["MASK"].header.items() if k.startswith("MP_")}
        writer.write_patch(
            patch["tract"], patch["patch"], "g",
            image=np.stack(images), mask=np.stack(masks), variance=np.stack(variances), planes=planes,
            subfilter_edges=tuple(zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True)),
            effective_wavelength=setup["effective_wavelength"], bandwidth=setup["bandwidth"],
            psf=psf[f"{patch['tract']}_{patch['patch']}"][None],
        )  # fmt: skip
    return open_coadds(store)


def golden_cases(directory: Path, coadds: DcrCoadds) -> Iterator[Case]:
    """Every detector-visit of the directory, planned by LSST's method.

    The parallactic angle is the one that LSST used. It takes the boresight's ICRS coordinates for those of the date, so
    that its angle is off by 0.2 to 0.5 degrees from what the header's time and site give.
    """
    truth = json.loads((directory / "truth.json").read_text())
    for visit in read_visits(sorted(directory.glob("calexp_*.fits.gz"))):
        true = next(v for v in truth["visits"] if (v["visit"], v["detector"]) == (visit.visit, visit.detector))
        observation = replace(visit.observation, parallactic_angle=true["par_angle"])
        arrays = np.load(directory / f"expected_{visit.visit}_{visit.detector}.npz")
        matched = {}
        for name in arrays.files:
            if name.startswith("matched_"):
                tract, x0, y0 = (int(n) for n in name.split("_")[1:])
                matched[tract, x0, y0] = arrays[name]
        expected = Expected(
            arrays["image"], arrays["variance"], arrays["mask"], true["mask_planes"],
            {int(k): np.array(v) for k, v in true["shifts"].items()}, matched,
        )  # fmt: skip
        yield Case(plan_template(coadds, replace(visit, observation=observation), AS_LSST), expected)


def shifts_of(plan: TemplatePlan) -> dict[int, Float]:
    """(dy, dx) of the nodes of each subfilter by tract, as `Expected.shifts`."""
    found = {}
    for tract in plan.tracts:
        tan, dy, dx = (float(v[0]) for v in vectors_on(plan, tract.tract, np.zeros(1), np.zeros(1)))
        distance = plan.model.displacement(np.array(tan))
        found[tract.tract.tract] = (distance[:, None] * [dy, dx]).reshape(plan.model.num_subfilters, -1, 2)
    return found


def matched_of(coadds: DcrCoadds, plan: TemplatePlan) -> Iterator[tuple[tuple[int, int, int], Float]]:
    """Every DCR-matched patch before the merge, by (tract, x0, y0)."""
    for tract in plan.tracts:
        for patch in tract.patches:
            found = match_patch(plan, tract, load_patch(coadds, plan, patch, patch.bbox).pixels, patch.bbox)
            assert found is not None  # the whole patch is within the whole patch
            yield (patch.tract, patch.bbox.x0, patch.bbox.y0), found.pixels.image


def with_planes(mask: NDArray[np.int32], planes: Mapping[str, int], wanted: Mapping[str, int]) -> NDArray[np.int32]:
    """The mask with its planes moved to the bits that `wanted` gives them."""
    found = np.zeros_like(mask)
    for name, bit in planes.items():
        if name in wanted:
            found |= ((mask >> bit) & 1) << wanted[name]
    return found


def compare(coadds: DcrCoadds, case: Case, made: Pixels | None = None) -> Parity:
    """Compare dcrflow's template (made here unless given) with LSST's."""
    plan, expected = case.plan, case.expected
    if made is None:
        result = make_tile(coadds, plan, plan.bbox)
        made = replace(result.pixels, mask=flag_high_variance(plan, result, map_variance(plan, [result])))
    mask = with_planes(made.mask, plan.planes, expected.planes)
    ours, theirs = ((m >> expected.planes[NO_DATA]) & 1 == 1 for m in (mask, expected.mask))
    both = ~(ours | theirs)
    image = np.abs(made.image.astype(np.float64) - expected.image) / np.abs(expected.image).max()
    shifts = shifts_of(plan)
    matched = [np.abs(m - expected.matched[k]).max() / expected.matched[k].max() for k, m in matched_of(coadds, plan)]
    return Parity(
        shift=max(float(np.abs(shifts[t] - s).max()) for t, s in expected.shifts.items()),
        matched=float(max(matched)),
        image=float(image[both].max()),
        variance=float(np.abs(made.variance[both] / expected.variance[both] - 1).max()),
        mask=float(np.mean(mask != expected.mask)),
        no_data=int((ours != theirs).sum()),
        image_map=np.where(both, image, np.nan),
    )


def main() -> None:
    """Print the table."""
    directory = Path(sys.argv[1] if len(sys.argv) > 1 else ".")
    if not (directory / "truth.json").is_file():
        sys.exit(f"{directory} has no truth.json: give the directory with the LSST pipeline's output")
    coadds = golden_coadds(directory)
    print("| detector | shifts, px | matched coadds, peak | image, peak | variance | masks that differ |")
    print("|---|---|---|---|---|---|")
    for case in golden_cases(directory, coadds):
        visit, found = case.plan.visit, compare(coadds, case)
        kind = "TAN-SIP" if "SIP" in str(visit.wcs.header["CTYPE1"]) else "TAN"
        print(
            f"| {visit.visit}/{visit.detector}, {kind} | {found.shift:.1e} | {found.matched:.1e} | {found.image:.1e} | "
            f"{found.variance:.1e} | {100 * found.mask:.4f} % |"
        )


if __name__ == "__main__":
    main()
