"""What a patch of the coadds says of itself."""

from __future__ import annotations

import os
import shutil

import numpy as np
from scenes import EDGES

from hostile.spoil import (
    Case,
    Spoil,
    at,
    attributes,
    gone,
    half,
    metadata,
    of_all_patches,
    of_patch,
    one_chunk,
    variable,
)
from hostile.survey import PATCH, Place

_NAN, _INFINITE = float("nan"), float("inf")
_NEEDED = ("band", "units", "photometric_zero_point", "effective_wavelength", "bandwidth")
_VARIABLES = ("image", "variance", "mask", "x", "y", "subfilter_edges")


def _without(path: str) -> Spoil:
    return lambda place: shutil.rmtree(place.coadds / path)


def _link(name: str, to: str) -> Spoil:
    def spoil(place: Place) -> None:
        path = place.coadds / name
        path.unlink(missing_ok=True)
        path.symlink_to(to)

    return spoil


def _pipe(name: str) -> Spoil:
    def spoil(place: Place) -> None:
        (place.coadds / name).unlink()
        os.mkfifo(place.coadds / name)

    return spoil


def _edges(*edges: tuple[float, float]) -> Spoil:
    return variable("subfilter_edges", np.array(edges, np.float64), ("subfilter", "edge"))


def _curve(*throughput: float) -> Spoil:
    return of_all_patches(transmission={"wavelength": [390.0, 475.0, 560.0], "throughput": list(throughput)})


_BOX = 330, 330

CASES = (
    Case("the coadds are not there", _without("."), everywhere=True),
    Case("the coadds say another layout version", attributes(".", dcrflow={"kind": "dcr-coadds", "version": 9}),
         everywhere=True),
    Case("the coadds are a store of templates", attributes(".", dcrflow={"kind": "templates", "version": 1}),
         everywhere=True),
    Case("the coadds' metadata are cut off", at("zarr.json", half), everywhere=True),
    Case("the patch is not there", _without("7/0")),
    Case("the patch's metadata are not there", at(f"{PATCH}/zarr.json", gone)),
    Case("the patch's metadata are cut off", at(f"{PATCH}/zarr.json", half)),
    Case("the patch's metadata are a list", at(f"{PATCH}/zarr.json", lambda _: b"[]")),
    Case("the patch's metadata are nested 100,000 deep", at(f"{PATCH}/zarr.json", lambda _: b"[" * 100_000)),
    *(Case(f"the patch's {name} is missing", of_patch(**{name: None})) for name in _NEEDED),
    Case("the patch's effective_wavelength is 480, the others' 475", of_patch(effective_wavelength=480.0),
         changes=True),
    Case("the patch's transmission is of this patch alone",
         of_patch(transmission={"wavelength": [400.0, 550.0], "throughput": [1.0, 0.5]}), changes=True),
    *(
        Case(f"the patch's {name} is {words}", of_patch(**{name: value}))
        for name, words, value in (
            ("band", "another", "r"), ("band", "a number", 3), ("units", "adu", "adu"), ("units", "a list", ["nJy"]),
            ("photometric_zero_point", "27", 27.0), ("photometric_zero_point", "a word", "high"),
            ("photometric_zero_point", "not a number", _NAN), ("effective_wavelength", "0", 0.0),
            ("effective_wavelength", "infinite", _INFINITE),
            ("bandwidth", "-150", -150.0), ("bandwidth", "true", True), ("tract", "8", 8), ("patch", "3", 3),
            ("transmission", "a list", [1, 2]),
        )
    ),
    Case("all transmissions are not a number", _curve(1.0, _NAN, 1.0), everywhere=True),
    Case("all transmissions are negative", _curve(1.0, -1.0, 1.0), everywhere=True),
    Case("all transmissions are 0", _curve(0.0, 0.0, 0.0), everywhere=True),
    Case("all effective wavelengths are in ångström", of_all_patches(effective_wavelength=4750.0), everywhere=True),
    *(Case(f"variable {name} is missing", _without(f"{PATCH}/{name}")) for name in _VARIABLES),
    *(Case(f"the metadata of {name} are cut off", at(f"{PATCH}/{name}/zarr.json", half)) for name in ("image", "x")),
    Case("x says that it is 10^11 numbers", metadata("x", **one_chunk([10**11]))),
    Case("subfilter_edges say that they are 10^11", metadata("subfilter_edges", **one_chunk([10**11, 2]))),
    Case("the image says that it has 10^12 pixels", metadata("image", **one_chunk([3, 10**6, 10**6]))),
    Case("the psf says that it has 10^12 numbers", metadata("psf", **one_chunk([10**6, 1001, 1001]))),
    Case("image of two subfilters", variable("image", np.zeros((2, *_BOX), "f4"), ("subfilter", "y", "x"))),
    Case("image of another size", variable("image", np.zeros((3, 300, 300), "f4"), ("subfilter", "y", "x"))),
    Case("image of integers", variable("image", np.zeros((3, *_BOX), "i4"), ("subfilter", "y", "x"))),
    Case("image without names of dimensions", metadata("image", dimension_names=None)),
    Case("variance of four subfilters", variable("variance", np.ones((4, *_BOX), "f4"), ("subfilter", "y", "x"))),
    Case("mask of floats", variable("mask", np.zeros(_BOX, "f4"), ("y", "x"))),
    Case("mask transposed", variable("mask", np.zeros(_BOX, "i4"), ("x", "y"))),
    Case("two subfilters' edges", _edges(*EDGES[:2])),
    Case("edges of integers", variable("subfilter_edges", np.array(EDGES, np.int64), ("subfilter", "edge"))),
    Case("edges with a gap between two subfilters", _edges((400, 450), (460, 500), (500, 550))),
    Case("edges that decrease", _edges((500, 550), (450, 500), (400, 450))),
    Case("edges that are not a number", _edges((400, _NAN), (_NAN, 500), (500, 550))),
    Case("edges 10^-10 nm apart", _edges((400, 400 + 1e-10), (400 + 1e-10, 400 + 2e-10), (400 + 2e-10, 550))),
    Case("edges negative", _edges((-550, -500), (-500, -450), (-450, -400))),
    Case("edges in metres", _edges(*((low * 1e-9, high * 1e-9) for low, high in EDGES))),
    Case("an even psf", variable("psf", np.ones((1, 14, 14), "f4"), ("psf_node", "psf_y", "psf_x"))),
    Case("psf_node_x of another length", variable("psf_node_x", np.arange(3.0), ("psf_node",))),
    Case("psf_node_x is missing", _without(f"{PATCH}/psf_node_x")),
    Case("flag_masks of words", attributes(f"{PATCH}/mask", flag_masks=["a"])),
    Case("flag_masks of two bits each", attributes(f"{PATCH}/mask", flag_masks=[3], flag_meanings="BAD")),
    Case("flag_masks without flag_meanings", attributes(f"{PATCH}/mask", flag_meanings=None)),
    Case("two planes with one bit", attributes(f"{PATCH}/mask", flag_masks=[1, 1], flag_meanings="BAD SAT")),
    Case("names of planes in quotes", attributes(f"{PATCH}/mask", flag_masks=[1, 2], flag_meanings="'BAD' 'SAT'")),
    Case("flag_values beside flag_masks", attributes(f"{PATCH}/mask", flag_values=[1, 2, 3])),
    Case("the image's file is a link to /dev/zero", _link(f"{PATCH}/image/c/0/0/0", "/dev/zero")),
    Case("the image's file is a pipe", _pipe(f"{PATCH}/image/c/0/0/0")),
    Case("the image's metadata are a link to /dev/zero", _link(f"{PATCH}/image/zarr.json", "/dev/zero")),
    Case("x is a pipe", _pipe(f"{PATCH}/x/c/0")),
    Case("the patch is a link to itself", lambda place: [_without("7/0")(place), _link("7/0", "0")(place)]),
    Case("the patch is a link to a disk that is not there",
         lambda place: [_without("7/0")(place), _link("7/0", "/no/such/disk/7/0")(place)]),
    Case("more planes than a mask has bits", attributes(f"{PATCH}/mask", flag_masks=[1 << n for n in range(31)],
                                 flag_meanings=" ".join(f"P{n}" for n in range(31)))),
)  # fmt: skip
