"""Pixels of detector-visits in a Butler, the input of DCR coadds: `visit_image` and `calexp` datasets.

A detector-visit names its pixels by ``butler:REPO?collections=A,B&dataset=NAME#ID``, where ID is the dataset's UUID. So
any worker that reaches the repository can read them.
"""

from __future__ import annotations

from typing import Any
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from dcrflow.base.errors import VisitImageError
from dcrflow.geometry.box import Box
from dcrflow.lsst.butler import SCHEME, Handle, Place, butler_of
from dcrflow.lsst.convert import afw_box, arrays_of, box_of, kernel_of, lsst_box
from dcrflow.model.visit import DetectorVisit
from dcrflow.model.visit_image import VisitImage, VisitPsf
from dcrflow.stores.visits.images import check_extent, checked_psf, visit_image

Float = NDArray[np.float64]

_NODE_SPACING = 800  # pixels, at most, between places where the PSF is evaluated
_CONSTANT = 1e-6  # of a kernel's peak, by which the kernels of a PSF that does not vary may differ


class ButlerSource:
    """The pixels and the PSF of one detector-visit, read by region.

    Parameters
    ----------
    visit : DetectorVisit
        Its `image` is an address as `Place.image_of` makes it.

    Raises
    ------
    VisitImageError
        If the dataset is not in the repository.
    """

    def __init__(self, visit: DetectorVisit) -> None:
        text, _, dataset_id = visit.image.partition("#")
        place = Place.parse(text, "visit_image", VisitImageError)
        try:
            ref = butler_of(place.repo).get_dataset(UUID(dataset_id))
        except ValueError:
            raise VisitImageError(
                f"{dataset_id or 'nothing'!r} after '#' is no dataset's UUID; give the Butler itself as the table: "
                f"{SCHEME}REPO?collections=A,B&dataset=visit_image"
            ) from None
        if ref is None:
            raise VisitImageError(f"the repository {place.repo} has no dataset {dataset_id}; was it removed?")
        self.visit, self._handle = visit, Handle(place.repo, ref)
        self._is_afw = "wcs" in ref.datasetType.storageClass.allComponents()

    def image(self, box: Box) -> VisitImage:
        """Its pixels in a box, and the PSF."""
        check_extent(box_of(self._handle.get(component="bbox")), self.visit)
        found = self._handle.get(parameters={"bbox": afw_box(box) if self._is_afw else lsst_box(box)})
        pixels = arrays_of(found)
        psf = found.getPsf() if hasattr(found, "getPsf") else getattr(found, "psf", None)
        return visit_image(
            self.visit, box, pixels.image, pixels.variance, pixels.mask, pixels.planes, self._sampled(psf)
        )

    def psf(self) -> VisitPsf:
        """The PSF alone."""
        return self._sampled(self._handle.get(component="psf"))

    def _sampled(self, psf: Any) -> VisitPsf:
        """Kernels on a grid of nodes, the outermost at the corners; one node for a PSF that does not vary.

        LSST's kernels sum to 1, whatever lies outside their stamp.
        """
        if psf is None:
            raise VisitImageError("it has no PSF")
        box = self.visit.bbox
        x, y = (_nodes(low, n) for low, n in ((box.x0, box.width), (box.y0, box.height)))
        places = [(a, b) for b in y for a in x]
        kernels = [kernel_of(psf, *place) for place in places]
        good = [(k, p) for k, p in zip(kernels, places, strict=True) if k is not None]
        if not good:
            raise VisitImageError("its PSF has no kernel anywhere on the detector")
        size = max(max(k.shape) for k, _ in good)
        stack = np.stack([np.pad(k, [((size - n) // 2,) * 2 for n in k.shape]) for k, _ in good])
        if len(good) == len(places) and np.max(np.abs(stack - stack[0])) < _CONSTANT * float(stack[0].max()):
            middle = box.x0 + (box.width - 1) / 2, box.y0 + (box.height - 1) / 2
            return checked_psf(stack[:1], np.array([middle[0]]), np.array([middle[1]]))
        at = np.array([p for _, p in good], np.float64)
        return checked_psf(stack, at[:, 0], at[:, 1])


def _nodes(low: int, size: int) -> list[float]:
    number = 2 + size // _NODE_SPACING
    return [float(v) for v in np.linspace(low, low + size - 1, number)]
