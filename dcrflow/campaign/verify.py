"""Check that every template in a store is what was written, and that its parts agree."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from dcrflow.base.attributes import decoded
from dcrflow.base.errors import DcrflowError
from dcrflow.base.masks import NO_DATA, planes_from_attributes
from dcrflow.geometry.wcs import SkyWcs
from dcrflow.steps.dataset import coverage
from dcrflow.stores.templates import presence
from dcrflow.stores.templates.ends import id_columns
from dcrflow.stores.templates.store import TemplateRecord, TemplateStore
from dcrflow.stores.zarr.checksums import IN_WORDS

#: Attributes that every complete template has.
ATTRIBUTES = (
    "instrument", "visit", "detector", "band", "physical_filter", "units", "bbox", "coverage", "patches", "dcr",
    "config", "config_hash", "software", "inputs", "status",
    "crc32",
)  # fmt: skip


@dataclass(frozen=True)
class Verdict:
    """Result of the verification of one template.

    Parameters
    ----------
    visit, detector : int
        The data ID.
    problems : tuple of str
        Descriptions of the problems; empty if there are none.
    """

    visit: int
    detector: int
    problems: tuple[str, ...]


_GONE = "it is not there, or its metadata cannot be read; the journal of a run says that it was written"
_CUT_SHORT = "files are missing, or are not as long as they were when they were written"


def verify(
    store: TemplateStore | Any, quick: bool = False, expect: Callable[[int], object] | None = None
) -> Iterator[Verdict]:
    """Read all pixels of every complete template and report problems.

    Parameters
    ----------
    store : TemplateStore, or anything that `TemplateStore.open` takes
        The store; it is not changed.
    quick : bool
        Read no pixels: compare the sizes of the files with those that were written. That finds files that are missing
        or emptied, and chunks that were cut short. Where the archive of a long run's journal has the bytes of a
        template, they are compared with those of all its chunks together, and of metadata it is only known that they
        are there and not empty. Otherwise the metadata are read, and compared with the chunks variable by variable.
        Damage that leaves the number of bytes as it was is not found. In a store that is no directory, only templates
        that are not there at all are found.
    expect : callable, optional
        Called with the number of templates that journals have as complete, before the first is looked at.

    Yields
    ------
    Verdict
        One per template; a template that cannot be read also gets one, and one that is gone although a journal says
        that it was written.

    Raises
    ------
    TemplateStoreError
        If there is no such store.
    """
    opened = TemplateStore.open(store)
    said = opened.columns.journalled()
    promised = presence.promised(said)
    if expect is not None:
        expect(len(promised[0]))
    if quick:
        problems = {"whole": (), "cut short": (_CUT_SHORT,), "gone": (_GONE,)}
        for visit, detector, state in presence.states(opened.columns.root, said):
            yield Verdict(visit, detector, problems[state])
        return
    found = []
    for record in opened.records():
        found.append((record.visit, record.detector))
        if record.status == "complete":
            yield Verdict(record.visit, record.detector, tuple(_problems(opened, record)))
    for visit, detector in presence.without(promised, id_columns(found)):
        yield Verdict(visit, detector, (_GONE,))


def _problems(store: TemplateStore, record: TemplateRecord) -> Iterator[str]:
    try:
        damaged = store.damaged(record.visit, record.detector)
        template = store.read(record.visit, record.detector)
    except Exception as error:  # a damaged store can cause any error in the libraries that read it
        yield f"it cannot be opened: {type(error).__name__}: {' '.join(str(error).split())}"
        return
    for name in damaged:
        which = IN_WORDS.get(name, name)
        yield f"{which} has changed since it was written (its checksum differs), or cannot be read"
    missing = [n for n in ATTRIBUTES if n not in template.attrs]
    if missing:
        yield f"it lacks the attributes {', '.join(missing)}"
    found = template.attrs.get("visit"), template.attrs.get("detector")
    if found != (record.visit, record.detector):
        yield f"it says that it is visit {found[0]} detector {found[1]}"
    lacking = [n for n in ("image", "variance", "mask", "x", "y") if n not in template.variables]
    if lacking:
        yield f"it lacks {', '.join(lacking)}"
    elif set(damaged) <= IN_WORDS.keys():
        try:
            yield from _of_pixels(template.compute())
        except Exception as error:  # of attributes that are no longer of their kind
            yield f"its attributes do not describe its pixels: {type(error).__name__}: {' '.join(str(error).split())}"
    yield from _of_wcs(template)


def _of_pixels(template: xr.Dataset) -> Iterator[str]:
    planes = planes_from_attributes(template["mask"].attrs)
    if NO_DATA not in planes:
        yield f"its mask has no plane {NO_DATA}"
        return
    for axis in ("y", "x"):
        steps = np.diff(template[axis].values)
        if not np.all(steps == 1):
            yield f"its {axis} does not count pixels one by one"
    gone = (template["mask"].values >> planes[NO_DATA]) & 1 == 1
    for name in ("image", "variance"):
        bad = int((~np.isfinite(template[name].values[~gone])).sum())
        if bad:
            yield f"{name} is not finite on {bad} pixels without {NO_DATA}"
    negative = int((template["variance"].values[~gone] < 0).sum())
    if negative:
        yield f"variance is negative on {negative} pixels"
    if "bbox" in template.attrs and "coverage" in template.attrs:
        measured = coverage(template)
        if abs(measured - float(template.attrs["coverage"])) > 1e-9:
            yield f"its coverage is {measured:.6f}, and it says {float(template.attrs['coverage']):.6f}"
    if "psf" in template:
        kernels = template["psf"].values
        sums = kernels[~np.isnan(kernels).all(axis=(1, 2))].sum(axis=(1, 2))  # of a node without PSF all is NaN
        if not np.allclose(sums, 1, atol=1e-4):
            yield f"its PSF sums to {sums.min():.4f} to {sums.max():.4f}, not to 1"


def _of_wcs(template: xr.Dataset) -> Iterator[str]:
    cards = decoded(template.attrs.get("wcs"))
    if cards is None:  # a detector's WCS that is no FITS header is not kept
        return
    try:
        wcs = SkyWcs.from_header(dict(cards))
        x0, y0, width, height = template.attrs["bbox"]
        corners = np.array([x0, x0 + width - 1.0]), np.array([y0, y0 + height - 1.0])
        back = wcs.sky_to_pixel(*wcs.pixel_to_sky(*corners))
        if not np.allclose(back, corners, atol=1e-3):
            yield "its WCS does not lead back to the pixels it came from"
    except (DcrflowError, ValueError, TypeError, KeyError) as error:
        yield f"its WCS is unusable: {' '.join(str(error).split())}"
