"""What the reference task has, by LSST's documentation page and by getTemplate.py of ip_diffim, July 2026."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

PAGE = Path(__file__).parents[3] / "shared" / "spec" / "reference_task_api.txt"

_TASK = ("emptyMetadata", "getAllSchemaCatalogs", "getFullMetadata", "getFullName", "getName", "getResourceConfig",
         "getSchemaCatalogs", "getTaskDict", "canMultiprocess")  # fmt: skip

#: Names of the arguments of each method, without self; of attributes none.
METHODS: Mapping[str, tuple[str, ...]] = dict.fromkeys(_TASK, ()) | {
    "makeField": ("doc",),
    "makeSubtask": ("name", "keyArgs"),
    "timer": ("name", "logLevel"),
    "runQuantum": ("butlerQC", "inputRefs", "outputRefs"),
    "checkPatchList": ("patchList",),
    "getDcrModel": ("patchList", "coaddRefs", "visitInfo"),
    "getOverlappingExposures": ("inputs",),
    "getExposures": ("dcrCoaddExposureHandles", "bbox", "skymap", "wcs", "visitInfo"),
    "run": ("coaddExposures", "coaddExposureHandles", "bbox", "wcs", "dataIds", "physical_filter", "visit", "kwargs"),
    "checkHighVariance": ("template",),
    "_checkInputs": ("dataIds", "coaddExposures"),
    "_makePsf": ("template", "catalog", "wcs"),
    "_merge": ("maskedImages", "bbox", "wcs"),
    "_makeExposureCatalog": ("exposureRefs", "dataIds"),
    "_correctVariance": ("template", "plateScaleFactor"),
    "_plateScaleFactor": ("coaddHandle", "wcs", "bbox"),
    "_templatePsfSigma": ("templateInfo",),
    "convert_outputs_to_future": ("template", "coadd_refs", "detector", "exposureRecord"),
    "schema": (), "warper": (), "varianceBackground": (), "scaleVariance": (),
}  # fmt: skip

#: Defaults, as `setDefaults` leaves them.
CONFIG: Mapping[str, Any] = {
    "templateBorderSize": 20,
    "warp.warpingKernelName": "lanczos3",
    "warp.maskWarpingKernelName": "bilinear",
    "warp.interpLength": 100,
    "warp.cacheSize": 100000,
    "warp.growFullMask": "EDGE",
    "coaddPsf.warpingKernelName": "lanczos3",
    "coaddPsf.cacheSize": 100000,
    "varianceBackground": "a task",
    "highVarianceThreshold": 4.0,
    "highVarianceMaskFraction": 0.1,
    "doScaleVariance": True,
    "scaleVariance": "a task",
    "doCorrectVariancePlateScale": False,
    "requireCoaddAtGraphBuild": False,
    "output_image_type": "legacy",
    "numSubfilters": 3,
    "effectiveWavelength": None,
    "bandwidth": None,
    "connections.coaddName": "dcr",
    "connections.warpTypeSuffix": "",
    "connections.fakesType": "",
}

#: Of `varianceBackground` and of `scaleVariance`: SubtractBackgroundConfig and ScaleVarianceConfig of meas_algorithms.
BACKGROUND: Mapping[str, Any] = {
    "statisticsProperty": "MEDIAN", "undersampleStyle": "REDUCE_INTERP_ORDER", "binSize": 32, "binSizeX": 0,
    "binSizeY": 0, "algorithm": "LINEAR", "isNanSafe": False, "useApprox": False, "approxOrderX": 6,
    "approxOrderY": -1, "weighting": True, "doApplyFlatBackgroundRatio": False, "doFilterSuperPixels": True,
    "ignoredPixelMask": ["BAD", "EDGE", "DETECTED", "DETECTED_NEGATIVE", "NO_DATA"],
}  # fmt: skip
SCALE_VARIANCE: Mapping[str, Any] = {
    "limit": 10.0, "maskPlanes": ["DETECTED", "DETECTED_NEGATIVE", "BAD", "SAT", "NO_DATA", "INTRP"],
}  # fmt: skip

_DETECTOR = {"instrument", "visit", "detector"}
_PATCH = {"tract", "patch", "skymap", "band"}
#: Dataset, storage class, dimensions, and whether there are several, which are read later.
CONNECTIONS: Mapping[str, tuple[str, str, set[str], bool]] = {
    "bbox": ("calexp.bbox", "Box2I", _DETECTOR, False),
    "detector": ("calexp.detector", "Detector", _DETECTOR, False),
    "obs_info": ("calexp.obs_info", "ObservationInfo", _DETECTOR, False),
    "wcs": ("calexp.wcs", "Wcs", _DETECTOR, False),
    "visitInfo": ("calexp.visitInfo", "VisitInfo", _DETECTOR, False),
    "skyMap": ("skyMap", "SkyMap", {"skymap"}, False),
    "coaddExposures": ("dcrCoadd", "ExposureF", _PATCH, True),
    "coaddExposureRefs": ("dcrCoadd", "ExposureF", _PATCH, True),
    "dcrCoadds": ("dcrCoadd", "ExposureF", _PATCH | {"subfilter"}, True),
    "template": ("dcrDiff_templateExp", "ExposureF", _DETECTOR, False),
}
