"""Files of the coadds that are damaged or not there."""

from __future__ import annotations

import threading
import time

import numpy as np

from hostile.spoil import Case, Spoil, files, flipped, gone, half
from hostile.survey import PATCH, Place

_SHARDS = {"image": "c/0/0/0", "variance": "c/0/0", "mask": "c/0/0"}
_SMALL = {"x": "c/0", "y": "c/0", "subfilter_edges": "c/0/0", "psf": "c/0/0/0", "psf_node_x": "c/0"}
_FOREIGN = {"image": "c/1/1/1", "variance": "c/1/1", "mask": "c/1/1"}  # in the middle of what the detectors see


def _late(place: Place) -> None:
    """A shard that is there a little later: some object stores list and give what was written with delay."""
    file = place.coadds / PATCH / "image/c/1/0/0"
    content = file.read_bytes()
    file.unlink()

    def write() -> None:
        time.sleep(0.3)
        file.write_bytes(content)

    threading.Thread(target=write).start()


def _longest(place: Place) -> None:
    """A chunk of raw pixels with a page of zeros in it: nothing says that this is wrong but the pixels."""
    file = place.coadds / PATCH / "image/c/1/1/1"
    values = np.frombuffer(file.read_bytes(), "<f4").copy()
    values[:1024] = np.nan
    file.write_bytes(values.tobytes())


def _stranger(name: str, what: str, change: object) -> Case:
    spoil: Spoil = files(name, _FOREIGN[name], change)  # type: ignore[arg-type]
    return Case(f"foreign coadds: a chunk of {name} {what}", spoil, survey="foreign")


CASES = (
    *(
        Case(f"a bit is flipped in {name}, at {100 * place:.0f} % of the file", files(name, key, flipped(place)))
        for name, key in _SHARDS.items()
        for place in (0.1, 0.5, 1.0)
    ),
    *(Case(f"a bit is flipped in {name}", files(name, key, flipped(0.5))) for name, key in _SMALL.items()),
    *(Case(f"{name} is cut off", files(name, key, half)) for name, key in {**_SHARDS, "x": "c/0"}.items()),
    *(Case(f"{name} is an empty file", files(name, key, lambda _: b"")) for name, key in _SHARDS.items()),
    *(Case(f"{name} is gone", files(name, key, gone)) for name, key in {**_SHARDS, **_SMALL}.items()),
    Case("image appears 0.3 s late", _late),
    *(_stranger(name, "is gone", gone) for name in ("image", "variance")),
    *(_stranger(name, "is cut off", half) for name in _FOREIGN),
    Case("foreign coadds: a page of an image became not a number", _longest, survey="foreign"),
)
