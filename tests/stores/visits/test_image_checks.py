"""Visit images whose arrays, masks or units are not what they seem: refused, instead of taken for something else."""

import os
from pathlib import Path

import numpy as np
import pytest
import zarr
from astropy.io import fits
from scenes import visit

from dcrflow.base.errors import VisitImageError
from dcrflow.base.masks import TEMPLATE_PLANES, flag_attributes
from dcrflow.geometry.box import Box
from dcrflow.stores.visits.image_checks import template_mask
from dcrflow.stores.visits.images import read_visit_image

BOX = Box(0, 0, 12, 12)


def hdus() -> fits.HDUList:
    planes = [
        fits.ImageHDU(np.full(BOX.shape, value, kind), name=name)
        for name, kind, value in (("IMAGE", "f4", 2), ("MASK", "i4", 0), ("VARIANCE", "f4", 4))
    ]
    planes[0].header["BUNIT"] = "nJy"
    planes[1].header["MP_BAD"] = 0
    planes[1].header["MP_OURS"] = 20
    psf = fits.ImageHDU(np.full((1, 3, 3), 0.1, np.float32), name="PSF")
    return fits.HDUList([fits.PrimaryHDU(), *planes, psf])


def read_fits(path: Path, change) -> np.ndarray:
    file = hdus()
    change(file)
    file.writeto(path)
    return read_visit_image(visit(box=BOX, image=str(path))).pixels.mask


def larger(name: str):
    return lambda file: setattr(file[name], "data", np.pad(file[name].data, 2))


def card(name: str, key: str, value: object):
    return lambda file: file[name].header.__setitem__(key, value)


def flagged_without_names(file: fits.HDUList) -> None:
    file["MASK"].data[3] = 4
    del file["MASK"].header["MP_BAD"], file["MASK"].header["MP_OURS"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (larger("VARIANCE"), r"VARIANCE \(16, 16\); expected \(12, 12\)"),
        (larger("MASK"), r"MASK \(16, 16\)"),
        (lambda f: setattr(f["IMAGE"], "data", f["IMAGE"].data[None]), r"IMAGE \(1, 12, 12\)"),
        (card("MASK", "MP_BAD", 1000), "MP_BAD of its MASK is 1000, expected a bit's number"),
        (card("MASK", "MP_BAD", "first"), "MP_BAD of its MASK is 'first'"),
        (card("MASK", "MSKN0000", "BAD"), "MSKM0000 of its MASK is None"),
        (card("VARIANCE", "BUNIT", "uJy2"), "BUNIT of its VARIANCE is 'uJy2'"),
        (flagged_without_names, "flags on 12 pixels but names no plane"),
        (lambda f: setattr(f["MASK"], "data", np.full(BOX.shape, np.nan)), "expected integers"),
    ],
)
def test_an_image_that_would_be_misread_is_refused(change, said: str, tmp_path: Path) -> None:
    with pytest.raises(VisitImageError, match=said):
        read_fits(tmp_path / "a.fits", change)


def test_what_a_bit_without_a_name_flags_is_bad(tmp_path: Path) -> None:
    def flag(file: fits.HDUList) -> None:
        file["MASK"].data[2, 3] = 1 << 20 | 1 << 7
        file["MASK"].data[4, 5] = 1 << 20  # a plane that templates do not have

    found = read_fits(tmp_path / "a.fits", flag)
    assert found[2, 3] == 1 << TEMPLATE_PLANES["BAD"]
    assert np.count_nonzero(found) == 1


@pytest.mark.parametrize("kind", ["i1", "u1", "i4", "u4", "i8", ">i4", "f8"])
def test_planes_keep_their_meaning_in_masks_of_any_type(kind: str) -> None:
    top = 7 if kind in ("i1", "u1") else 31
    mask = np.array([[0, 1, (-1 << top) if kind in ("i1", "i4", ">i4") else 1 << top]]).astype(kind)
    found = template_mask(mask, {"SAT": 0, "CR": top})
    np.testing.assert_array_equal(found, [[0, 1 << TEMPLATE_PLANES["SAT"], 1 << TEMPLATE_PLANES["CR"]]])


@pytest.mark.parametrize("kind", ["pipe", "device", "directory"])
def test_only_regular_files_are_read(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "a.fits"
    {"pipe": os.mkfifo, "device": lambda p: p.symlink_to("/dev/zero"), "directory": Path.mkdir}[kind](path)
    with pytest.raises(VisitImageError, match="expected a FITS file"):
        read_visit_image(visit(box=BOX, image=str(path)))


def group_of(path: Path) -> zarr.Group:
    group = zarr.open_group(path, mode="w")
    for name, kind, value in (("image", "f4", 2), ("mask", "i4", 0), ("variance", "f4", 4)):
        array = group.create_array(name, shape=BOX.shape, dtype=kind, dimension_names=("y", "x"))
        array[...] = value
    group["mask"].attrs.update(flag_attributes(TEMPLATE_PLANES))
    for name, values in (("x", np.arange(12.0)), ("y", np.arange(12.0)), ("psf", np.full((1, 3, 3), 0.1)),
                         ("psf_node_x", np.zeros(1)), ("psf_node_y", np.zeros(1))):  # fmt: skip
        group.create_array(name, data=values)
    return group


def again(name: str, dims: tuple[str, ...] = ("y", "x"), shape: tuple[int, ...] = BOX.shape, kind: str = "f4"):
    return lambda group: group.create_array(name, shape=shape, dtype=kind, dimension_names=dims, overwrite=True)


def attribute(**values: object):
    return lambda group: group["image"].attrs.update(values)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (again("image", ("x", "y")), r"dimensions \('x', 'y'\), expected \(y, x\)"),
        (again("variance", shape=(16, 16)), r"variance \(16, 16\); expected \(12, 12\)"),
        (again("image", kind="c8"), "complex64 pixels"),
        (again("mask", kind="i4"), "names no plane"),
        (again("psf", ("n", "y", "x"), (10**6, 10**4, 10**4)), "too large to be read"),
        (lambda g: g.create_group("image", overwrite=True), "image is a group"),
        (attribute(scale_factor=2.0), "scale_factor = 2.0"),
        (attribute(_FillValue=-999.0), "_FillValue = -999.0"),
        (attribute(units="uJy"), "units = 'uJy', expected 'nJy'"),
        (lambda g: g["x"].__setitem__(..., np.arange(12) + 0.5), "x must be pixel indices"),
    ],
)
def test_a_group_that_would_be_misread_is_refused(change, said: str, tmp_path: Path) -> None:
    group = group_of(tmp_path / "a.zarr")
    if said == "names no plane":
        change = lambda g, make=change: make(g).__setitem__(..., 1)  # noqa: E731
    change(group)
    with pytest.raises(VisitImageError, match=said):
        read_visit_image(visit(box=BOX, image=str(tmp_path / "a.zarr")))


def test_the_group_is_read_where_nothing_is_wrong(tmp_path: Path) -> None:
    group = group_of(tmp_path / "a.zarr")
    group["image"].attrs.update(scale_factor=1.0, add_offset=0, _FillValue="AAAAAAAA+H8=", units="nJy")
    found = read_visit_image(visit(box=BOX, image=str(tmp_path / "a.zarr")))
    assert np.all(found.pixels.image == 2)
