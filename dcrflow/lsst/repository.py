"""Make a Butler repository from dcrflow's coadds and detector-visits, for trials, teaching and tests.

    dcrflow lsst make-repository COADDS VISITS REPO

makes one with a sqlite registry. It has the instrument, skymap, visits and subfilters, one dataset ``dcrCoadd``
(DcrCoadd, with the PSF) per subfilter, and one ``calexp`` (VisitImage, with pixels of 0) per detector-visit. Its
``butler.yaml`` configures dcrflow's storage classes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from astropy import units as u
from astropy.coordinates import AltAz, Angle, EarthLocation, SkyCoord
from astropy.time import Time, TimeDelta

from dcrflow.base.errors import CoaddStoreError
from dcrflow.base.masks import merged_planes
from dcrflow.geometry import sphere
from dcrflow.geometry.box import Box
from dcrflow.geometry.skymap import Patch, Tract
from dcrflow.geometry.wcs import SkyWcs
from dcrflow.lsst.convert import lsst_box, masked_image, projection_of
from dcrflow.lsst.subfilter_coadd import Subfilters
from dcrflow.lsst.subfilters import (
    noise_to_metadata,
    refraction_to_metadata,
    register_subfilters,
    subfilters_to_metadata,
)
from dcrflow.model.visit import DetectorVisit
from dcrflow.stores.coadds.store import DcrCoadds, open_coadds

COADD_RUN, VISIT_RUN = "coadds", "calexps"
COADDS, VISITS = "dcrCoadd", "calexp"

_EXPOSURE = 30.0  # seconds
_DAY = 20260101
_MJD = 61000.0  # the day of visits without a time


def make_repository(
    root: str, coadds: DcrCoadds | Any, visits: Iterable[DetectorVisit], longitude: float = -70.749417,
    progress: Callable[[int, int], None] | None = None,
) -> Any:  # fmt: skip
    """Create a Butler repository and put coadds and detector-visits into it.

    Parameters
    ----------
    root : str
        Directory; must not be a repository yet.
    coadds : DcrCoadds, or anything that `open_coadds` takes
        Goes to the run ``coadds``.
    visits : iterable of DetectorVisit
        Go to the run ``calexps``.
    longitude : float
        Of the telescope, degrees, east positive. A visit without a time gets one at which its altitude and parallactic
        angle are about right.
    progress : callable, optional
        Called with the number of patches and detector-visits done and the number of all.

    Returns
    -------
    lsst.daf.butler.Butler
        Writeable.

    Raises
    ------
    CoaddStoreError
        If there are no coadds, or a repository cannot be made there. An existing one is not changed.
    """
    from lsst.daf.butler import Butler, DatasetType

    from dcrflow.lsst.storage import prepare

    coadds, visits = open_coadds(coadds), list(visits)
    most = most_subfilters(coadds)
    try:
        Butler.makeRepo(root)
    except OSError as error:
        raise CoaddStoreError(f"cannot make a Butler repository in {root}: {error}; name a new directory") from error
    prepare(root)
    butler = Butler.from_config(root, writeable=True)
    skymap = coadds.skymap or "skymap"
    _register_instrument(butler, visits)
    _register_skymap(butler, skymap, list(coadds.tracts.values()))
    register_subfilters(butler, most, coadds.bands)
    for name, storage, dimensions in (
        (COADDS, "DcrCoadd", ("skymap", "tract", "patch", "band", "subfilter")),
        (VISITS, "VisitImage", ("instrument", "visit", "detector")),
    ):
        butler.registry.registerDatasetType(DatasetType(name, dimensions, storage, universe=butler.dimensions))
    for run in (COADD_RUN, VISIT_RUN):
        butler.collections.register(run)
    tell, number = progress or (lambda *_: None), len(list(patches_of(coadds)))
    for done, (patch, band) in enumerate(patches_of(coadds), 1):
        put_patch(butler, coadds, skymap, patch, band)
        tell(done, number + len(visits))
    for done, visit in enumerate(visits, number + 1):
        put_visit(butler, visit, longitude)
        tell(done, number + len(visits))
    return butler


def patches_of(coadds: DcrCoadds) -> Iterable[tuple[Patch, str]]:
    """Every patch of a store, with its bands."""
    for band in coadds.bands:
        for tract in coadds.tracts:
            for patch in coadds.patches(tract, band):
                yield patch, band


def most_subfilters(coadds: DcrCoadds) -> int:
    """The largest number of subfilters of a patch.

    Raises
    ------
    CoaddStoreError
        If there is no patch.
    """
    numbers = [coadds.info(p.tract, p.patch, band).num_subfilters for p, band in patches_of(coadds)]
    if not numbers:
        raise CoaddStoreError(f"{coadds.url} has no patches; make them with dcrflow coadd or dcrflow ingest")
    return max(numbers)


def put_patch(
    butler: Any, coadds: DcrCoadds, skymap: str, patch: Patch, band: str, run: str = COADD_RUN, dataset: str = COADDS
) -> None:
    """Write a patch, one subfilter after the other, with pixels and mask bits unchanged."""
    from lsst.images import TractFrame

    from dcrflow.lsst.datasets import DcrCoadd

    info, tract = coadds.info(patch.tract, patch.patch, band), coadds.tracts[patch.tract]
    planes = merged_planes([info.planes])
    pixels = coadds.read(patch.tract, patch.patch, band, info.bbox, planes)
    frame = TractFrame(skymap=skymap, tract=patch.tract, bbox=lsst_box(tract.bbox))
    projection = projection_of(tract.wcs, frame, info.bbox)
    metadata = (
        subfilters_to_metadata(
            Subfilters(info.subfilter_edges, info.effective_wavelength, info.bandwidth, info.transmission)
        )
        | refraction_to_metadata(info.refraction)
        | noise_to_metadata(info.subfilter_noise)
    )
    psf = _psf(coadds, patch, band)
    for k in range(info.num_subfilters):
        variance = pixels.variance[k if len(pixels.variance) > 1 else 0]
        mask = pixels.mask[k if len(pixels.mask) > 1 else 0]
        made = masked_image(info.bbox, pixels.image[k], variance, mask, planes, projection, metadata)
        data_id = {"skymap": skymap, "tract": patch.tract, "patch": patch.patch, "band": band, "subfilter": k}
        butler.put(DcrCoadd.of(made, psf, band, info.physical_filter), dataset, data_id, run=run)


def _psf(coadds: DcrCoadds, patch: Any, band: str) -> Any:
    """The PSF of a patch with its nodes; None if it has no PSF."""
    if coadds.info(patch.tract, patch.patch, band).psf_shape is None:
        return None
    from dcrflow.lsst.node_psf import node_psf

    found = coadds.read_psf(patch.tract, patch.patch, band)
    return None if found is None else node_psf(found.kernels, found.x, found.y, patch.bbox)


def put_visit(butler: Any, visit: DetectorVisit, longitude: float) -> None:
    """Register a detector-visit and write its calexp: bounding box, projection and observation; pixels are zero."""
    from lsst.images import DetectorFrame, Image, MaskPlane, MaskSchema, VisitImage
    from lsst.images.psfs import GaussianPointSpreadFunction

    info = observation_info(visit, longitude)
    visit_record = {
        "instrument": visit.instrument, "id": visit.visit, "name": str(visit.visit), "day_obs": _DAY,
        "physical_filter": info.physical_filter,
    }  # fmt: skip
    butler.registry.syncDimensionData("visit", visit_record)
    region = {
        "instrument": visit.instrument, "visit": visit.visit, "detector": visit.detector,
        "region": _polygon(visit.wcs, visit.bbox.grown(32)),
    }  # fmt: skip
    butler.registry.syncDimensionData("visit_detector_region", region)
    bbox = lsst_box(visit.bbox)
    frame = DetectorFrame(instrument=visit.instrument, visit=visit.visit, detector=visit.detector, bbox=bbox)
    calexp = VisitImage(
        Image(0.0, bbox=bbox, dtype=np.float32, unit=u.nJy),
        mask_schema=MaskSchema([MaskPlane("NO_DATA", "No data was available for this pixel.")]),
        sky_projection=projection_of(visit.wcs, frame, visit.bbox),
        obs_info=info,
        psf=GaussianPointSpreadFunction(1.6, bbox, 25),
        detector=nominal_detector(visit.instrument, visit.visit, visit.detector, visit.bbox),
        band=visit.band,
    )
    data_id = {"instrument": visit.instrument, "visit": visit.visit, "detector": visit.detector}
    butler.put(calexp, VISITS, data_id, run=VISIT_RUN)


def observation_info(visit: DetectorVisit, longitude: float) -> Any:
    """The `astro_metadata_translator.ObservationInfo` of a detector-visit."""
    from astro_metadata_translator import ObservationInfo

    seen, weather = visit.observation, visit.observation.weather
    place = EarthLocation.from_geodetic(longitude * u.deg, seen.latitude * u.deg, seen.height * u.m)
    boresight = SkyCoord(seen.ra * u.deg, seen.dec * u.deg, frame="icrs")
    middle = Time(_MJD if visit.mjd is None else visit.mjd, format="mjd", scale="tai", location=place)
    if visit.mjd is None:
        middle = _when(boresight, seen.parallactic_angle, seen.altitude, middle, place)
    half = TimeDelta(_EXPOSURE / 2, format="sec")
    azimuth = boresight.transform_to(AltAz(obstime=middle, location=place)).az
    pointing = AltAz(az=azimuth, alt=seen.altitude * u.deg, obstime=middle, location=place)
    return ObservationInfo.makeObservationInfo(
        instrument=visit.instrument, physical_filter=visit.physical_filter or visit.band, exposure_id=visit.visit,
        location=place, datetime_begin=middle - half, datetime_end=middle + half, exposure_time=_EXPOSURE * u.s,
        tracking_radec=boresight, altaz_begin=pointing, altaz_end=pointing,
        boresight_rotation_angle=Angle((seen.rotation_angle or 0.0) * u.deg), boresight_rotation_coord="sky",
        temperature=weather.temperature * u.deg_C, pressure=weather.pressure * u.Pa, relative_humidity=weather.humidity,
        observation_type="science", detector_num=visit.detector,
    )  # fmt: skip


def nominal_observation(instrument: str, visit: int, detector: int, physical_filter: str) -> Any:
    """An `astro_metadata_translator.ObservationInfo` with the data ID only, without the pointing."""
    from astro_metadata_translator import ObservationInfo

    return ObservationInfo.makeObservationInfo(
        instrument=instrument, visit_id=visit, detector_num=detector, physical_filter=physical_filter,
        observation_type="science",
    )  # fmt: skip


def _when(boresight: SkyCoord, parallactic: float, altitude: float, start: Time, place: EarthLocation) -> Time:
    """The time of a day at which the zenith is nearest to its direction in the observation."""
    times = start + TimeDelta(np.linspace(0.0, 0.99727, 2881), format="jd")
    zenith = SkyCoord(az=0 * u.deg, alt=90 * u.deg, frame=AltAz(obstime=times, location=place)).icrs
    ra, dec = float(boresight.ra.deg), float(boresight.dec.deg)
    wanted = sphere.offset(ra, dec, parallactic, 90.0 - altitude)
    return times[int(np.argmin(sphere.separation(zenith.ra.deg, zenith.dec.deg, *wanted)))]


def _register_instrument(butler: Any, visits: Sequence[DetectorVisit]) -> None:
    registry = butler.registry
    for name in {v.instrument for v in visits}:
        ours = [v for v in visits if v.instrument == name]
        registry.syncDimensionData(
            "instrument",
            {"name": name, "class_name": "lsst.pipe.base.Instrument", "detector_max": 1000, "visit_max": 10**9,
             "exposure_max": 10**9},
        )  # fmt: skip
        registry.syncDimensionData("day_obs", {"instrument": name, "id": _DAY})
        for band, physical in {(v.band, v.physical_filter or v.band) for v in ours}:
            registry.syncDimensionData("physical_filter", {"instrument": name, "name": physical, "band": band})
        for detector in {v.detector for v in ours}:
            record = {"instrument": name, "id": detector, "full_name": f"D{detector:03d}", "purpose": "SCIENCE"}
            registry.syncDimensionData("detector", record)


def _register_skymap(butler: Any, skymap: str, tracts: Sequence[Tract]) -> None:
    registry = butler.registry
    nx, ny = (max(t.num_patches[axis] for t in tracts) for axis in (0, 1))
    registry.syncDimensionData(
        "skymap",
        {"name": skymap, "hash": skymap.encode()[:32].ljust(32, b"\0"), "tract_max": max(t.tract for t in tracts) + 1,
         "patch_nx_max": nx, "patch_ny_max": ny},
    )  # fmt: skip
    for tract in tracts:
        region = _polygon(tract.wcs, tract.bbox)
        registry.syncDimensionData("tract", {"skymap": skymap, "id": tract.tract, "region": region})
        for patch in tract.patches:
            iy, ix = divmod(patch.patch, tract.num_patches[0])
            registry.syncDimensionData(
                "patch",
                {"skymap": skymap, "tract": tract.tract, "id": patch.patch, "cell_x": ix, "cell_y": iy,
                 "region": _polygon(tract.wcs, patch.bbox)},
            )  # fmt: skip


def _polygon(wcs: SkyWcs, box: Box) -> Any:
    """The outline of a box's pixel areas as a `lsst.sphgeom.ConvexPolygon`."""
    from lsst.sphgeom import ConvexPolygon, LonLat, UnitVector3d

    ra, dec = wcs.pixel_to_sky(*box.outline(1))
    return ConvexPolygon([UnitVector3d(LonLat.fromDegrees(a % 360.0, d)) for a, d in zip(ra, dec, strict=True)])


def nominal_detector(instrument: str, visit: int, detector: int, bbox: Box) -> Any:
    """A detector in a camera without optics: 10 micron pixels, 10 m focal length."""
    import starlink.Ast
    from lsst.images.cameras import CameraFrameSetSerializationModel, Detector, DetectorAttributes, Orientation

    frames = starlink.Ast.FrameSet(starlink.Ast.Frame(2, "Ident=FOCAL_PLANE,Unit(1)=mm,Unit(2)=mm"))
    frames.addframe(1, starlink.Ast.ZoomMap(2, 1e-4), starlink.Ast.Frame(2, "Ident=FIELD_ANGLE"))
    frames.addframe(1, starlink.Ast.ZoomMap(2, 100.0), starlink.Ast.Frame(2, f"Ident=DETECTOR_{detector:03d}"))
    sink = _Lines()
    starlink.Ast.Channel(None, sink).write(frames)
    model = CameraFrameSetSerializationModel(instrument=instrument, ast="\n".join(sink.lines))
    attributes = DetectorAttributes(
        name=f"D{detector:03d}", id=detector, type="SCIENCE", serial="", bbox=lsst_box(bbox),
        orientation=Orientation(focal_plane_x=0.0, focal_plane_y=0.0, focal_plane_z=0.0), pixel_size=0.01,
        physical_type="simulated",
    )  # fmt: skip
    return Detector(attributes, [], model.deserialize(None), visit=visit)


class _Lines:
    """Collects the lines that an AST channel writes."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def astsink(self, line: str) -> None:
        self.lines.append(line)
