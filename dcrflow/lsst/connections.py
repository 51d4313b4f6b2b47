"""What `GetDcrTemplateTask` reads and writes."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import lsst.pipe.base.connectionTypes as cT
from lsst.pex.config import FieldValidationError
from lsst.pipe.base import PipelineTaskConnections

from dcrflow.lsst import storage

if TYPE_CHECKING:
    from dcrflow.lsst.config import GetDcrTemplateConfig

storage.register()

_DETECTOR = ("instrument", "visit", "detector")
_COADDS = "{fakesType}dcrCoadd{warpTypeSuffix}"

#: For each family of classes: the components of the visit image that are read, and their storage classes.
_IMAGE: Mapping[str, Mapping[str, tuple[str, str]]] = {
    "lsst.images": {
        "bbox": ("bbox", "BoxV2"),
        "wcs": ("sky_projection", "SkyProjection"),
        "visitInfo": ("obs_info", "ObservationInfo"),
        "detector": ("detector", "DetectorV2"),
    },
    "afw": {
        "bbox": ("bbox", "Box2I"),
        "wcs": ("wcs", "Wcs"),
        "visitInfo": ("visitInfo", "VisitInfo"),
        "detector": ("detector", "Detector"),
    },
}
#: The name of a connection, and other names that the reference uses or has used for it.
_ALIASES: Mapping[str, tuple[str, ...]] = {
    "dcrCoadds": ("coaddExposures", "coaddExposureRefs"),
    "visitInfo": ("obs_info",),
}
#: Names that the reference's configuration may have together with the first one: it then reads the first one alone.
_PASSED_OVER = ("coaddExposures", "obs_info")


def _coadds(name: str) -> Any:
    return cT.Input(
        doc=f"Subfilter coadds that may overlap the detector; regions of them are read.{name}",
        name=_COADDS,
        storageClass="DcrCoadd",
        dimensions=("tract", "patch", "skymap", "band", "subfilter"),
        multiple=True,
        deferLoad=True,
    )


class GetDcrTemplateConnections(  # type: ignore[call-arg]
    PipelineTaskConnections,
    dimensions=_DETECTOR,
    defaultTemplates={"coaddName": "dcr", "warpTypeSuffix": "", "fakesType": ""},
):
    """Connections with storage classes that do not need afw, or with those of afw if ``config.storage = "afw"``.

    The geometry of tracts and patches is read from the coadds, so no skymap is needed. With the storage classes of afw
    it is read from the skymap, which needs `lsst.skymap`.

    If only some components of the detector's image are configured, the others are read from the same dataset:
    ``connections.wcs: visit_image.wcs`` is enough for bbox, detector and visitInfo. ``coaddExposures`` and
    ``coaddExposureRefs`` are other names of ``dcrCoadds``, and ``obs_info`` is another name of ``visitInfo``. The
    reference has both ``dcrCoadds`` and ``coaddExposures``, both ``visitInfo`` and ``obs_info``. If both are set,
    ``dcrCoadds`` is read, as there, and ``obs_info`` with the storage classes of lsst.images, ``visitInfo`` with afw's.
    """

    bbox = cT.Input(
        doc="Pixels of the detector.", name="{fakesType}calexp.bbox", storageClass="BoxV2", dimensions=_DETECTOR
    )
    wcs = cT.Input(
        doc="Projection of the detector.",
        name="{fakesType}calexp.sky_projection",
        storageClass="SkyProjection",
        dimensions=_DETECTOR,
    )
    visitInfo = cT.Input(  # noqa: N815
        doc="Where the telescope pointed, when, and in what weather.",
        name="{fakesType}calexp.obs_info",
        storageClass="ObservationInfo",
        dimensions=_DETECTOR,
    )
    obs_info = cT.Input(
        doc="Another name of visitInfo.",
        name="{fakesType}calexp.obs_info",
        storageClass="ObservationInfo",
        dimensions=_DETECTOR,
    )
    detector = cT.Input(
        doc="Geometry and electronics of the detector.",
        name="{fakesType}calexp.detector",
        storageClass="DetectorV2",
        dimensions=_DETECTOR,
    )
    skyMap = cT.Input(  # noqa: N815
        doc="Where tracts and patches are; read with afw's storage classes alone.",
        name="skyMap",
        storageClass="SkyMap",
        dimensions=("skymap",),
    )
    dcrCoadds = _coadds("")  # noqa: N815
    coaddExposures = _coadds(" Another name of dcrCoadds.")  # noqa: N815
    coaddExposureRefs = _coadds(" Another name of dcrCoadds.")  # noqa: N815
    template = cT.Output(
        doc="The reference as this observation would have seen it, on the detector's pixels and a border.",
        name="{fakesType}{coaddName}Diff_templateExp{warpTypeSuffix}",
        storageClass="DcrTemplate",
        dimensions=_DETECTOR,
    )

    def __init__(self, *, config: GetDcrTemplateConfig) -> None:
        super().__init__(config=config)
        check_names(config)
        for name, others in _ALIASES.items():
            names = (*others, name) if name == "visitInfo" and config.storage != "afw" else (name, *others)
            given = next((n for n in names if _is_set(config, n)), name)
            self._rename(name, getattr(self, given).name)
            for other in others:
                delattr(self, other)
        self._take_from_one_image(config)
        afw = config.storage == "afw"
        coadds = {"storageClass": "ExposureF"} if afw else {}
        self.dcrCoadds = dataclasses.replace(
            self.dcrCoadds, **coadds, deferGraphConstraint=not config.requireCoaddAtGraphBuild
        )
        self.template = dataclasses.replace(self.template, storageClass="ExposureF" if afw else config.output)
        if not afw:
            del self.skyMap
        if hasattr(self, "bbox") and (afw or config.output == "MaskedImage"):
            del self.detector
        if config.output == "MaskedImage" and not afw:
            self.template = dataclasses.replace(self.template, storageClass="MaskedImageV2")

    def __getattr__(self, name: str) -> Any:
        """Return a connection by another of its names, as pipelines' contracts use it."""
        for ours, others in _ALIASES.items():
            if name in others:
                return getattr(self, ours)
        raise AttributeError(f"{type(self).__name__} has no connection {name!r}, or its configuration removed it")

    def _rename(self, connection: str, name: str, **changes: Any) -> None:
        setattr(self, connection, dataclasses.replace(getattr(self, connection), name=name, **changes))

    def _take_from_one_image(self, config: GetDcrTemplateConfig) -> None:
        """Set the dataset names and storage classes of all components, from the image that was configured."""
        roles = _IMAGE[config.storage]
        known = {component for family in _IMAGE.values() for component, _ in family.values()}
        given = {r for r in roles if any(_is_set(config, n) for n in (r, *_ALIASES.get(r, ())))}
        images = {name.partition(".")[0] for r in given if "." in (name := getattr(self, r).name)}
        for role, (component, storage_class) in roles.items():
            image, dot, found = getattr(self, role).name.partition(".")
            if role not in given and len(images) == 1:
                image = next(iter(images))
            self._rename(role, f"{image}.{component}" if dot and found in known else getattr(self, role).name,
                         storageClass=storage_class)  # fmt: skip
        if "." not in self.detector.name and "bbox" not in given:
            del self.bbox  # taken from the detector, which is a separate dataset


def _is_set(config: Any, connection: str) -> bool:
    """Whether a connection's dataset was configured."""
    return bool(getattr(config.connections, connection) != config.connections._fields[connection].default)


def check_names(config: Any) -> None:
    """Make sure that no connection was given two datasets, by names of which the reference has only one.

    Raises
    ------
    lsst.pex.config.FieldValidationError
        Names the two.
    """
    for name, others in _ALIASES.items():
        names = [n for n in (name, *others) if _is_set(config, n)]
        if name in names:
            names = [n for n in names if n not in _PASSED_OVER]
        given = {n: getattr(config.connections, n) for n in names}
        if len(set(given.values())) > 1:
            (a, x), (b, y), *_ = given.items()
            raise FieldValidationError(
                config.connections._fields[b], config.connections,
                f"{a} and {b} are names of one connection, and are set to {x!r} and {y!r}; set one of them",
            )  # fmt: skip
