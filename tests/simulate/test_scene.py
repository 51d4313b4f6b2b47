"""The acceptance tests' field of stars."""

import numpy as np
import pytest
import xarray as xr

from dcrflow.geometry.skymap import Outline
from dcrflow.simulate.scene import ALL_SPECTRA, star_field

pytest.importorskip("galsim")


@pytest.mark.parametrize("options", [{}, {"flipped": True, "sip": 1.0, "boresight_offset": 1.7, "zenith_angle": 60.0}])
def test_tract_covers_the_detector_and_stars_are_where_they_should_be(options: dict[str, float]) -> None:
    field = star_field(**options)  # type: ignore[arg-type]
    x, y = Outline.of(field.visit.wcs, field.visit.bbox.grown(20)).on(field.tract)
    box = field.tract.bbox
    assert x.min() > box.x0 + 20
    assert y.min() > box.y0 + 20
    assert x.max() < box.x1 - 21
    assert y.max() < box.y1 - 21
    assert len(field.stars) == 36
    assert field.science.shape == field.visit.bbox.shape
    assert field.science.sum() == pytest.approx(field.stars.flux.sum(), rel=1e-3)
    plain = field.draw(dcr=False)
    for sx, sy in zip(*field.star_pixels, strict=True):
        i, j = round(sy) - field.visit.bbox.y0, round(sx) - field.visit.bbox.x0
        assert plain[i, j] == plain[i - 15 : i + 16, j - 15 : j + 16].max()
    assert np.max(np.abs(field.science - plain)) > 0.1 * plain.max()


def test_boresight_is_as_far_as_asked() -> None:
    field = star_field(boresight_offset=1.7, size=300, stars_per_side=2)
    x, y = field.visit.bbox.x0 + 149.5, field.visit.bbox.y0 + 149.5
    ra, dec = (float(v) for v in field.visit.wcs.pixel_to_sky(x, y))
    np.testing.assert_allclose((ra, dec), (53.0, -28.0), atol=1e-7)
    observation = field.visit.observation
    z = observation.zenith_angle(ra, dec)
    assert abs(float(z) - 45.0) > 0.5


def test_coadds_open_with_xarray() -> None:
    field = star_field(size=300, stars_per_side=3, spectra=ALL_SPECTRA, num_subfilters=4)
    for patch, pixels in field.patches.items():
        data = xr.open_zarr(
            field.coadds, group=f"{field.tract.tract}/{patch}/g", consolidated=False, zarr_format=3, chunks=None
        )
        np.testing.assert_array_equal(data.image.values, pixels.image)
        assert data.sizes["subfilter"] == 4
        assert float(data.psf.sum()) == pytest.approx(1, abs=1e-5)
        assert data.attrs["effective_wavelength"] == field.band.effective_wavelength
