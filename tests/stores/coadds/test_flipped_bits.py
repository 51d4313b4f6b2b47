"""One bit of a store is another: whichever it is, nobody is told something else than what was written, unawares."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import zarr
from scenes import IMAGE, coadds, visit
from zarr.storage import MemoryStore

import dcrflow
from dcrflow.base.errors import DcrflowError, TemplateStoreError
from dcrflow.base.masks import STANDARD_PLANES
from dcrflow.campaign.coadd_status import verify_coadds
from dcrflow.campaign.verify import verify
from dcrflow.geometry.box import Box
from dcrflow.stores.coadds.store import open_coadds
from dcrflow.stores.templates.store import TemplateStore

pytestmark = pytest.mark.slow

FLIPS = 12  # of each object, about

Objects = dict[str, Any]


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    logging.disable(logging.WARNING)  # what is damaged is what this is about
    yield
    logging.disable(logging.NOTSET)


@pytest.fixture(scope="module")
def sound() -> Objects:
    """The coadds, object by object."""
    rng = np.random.default_rng(1)
    mask = rng.integers(0, 2, IMAGE.shape[1:], np.int32) << 5
    psf = rng.random((1, 5, 5)).astype(np.float32)
    store = coadds(IMAGE, mask=mask, store=MemoryStore(), psf=psf)
    assert isinstance(store, MemoryStore)
    return dict(store._store_dict)


def flipped(objects: Objects, wanted: Callable[[str], bool], number: int) -> Iterator[tuple[str, Objects]]:
    """The same objects, one bit of one of them another; some bits of each object that is wanted."""
    rng = np.random.default_rng(7)
    for key in sorted(filter(wanted, objects)):
        content = objects[key].to_bytes()
        for bit in rng.choice(8 * len(content), min(8 * len(content), number), replace=False).tolist():
            changed = bytearray(content)
            changed[bit // 8] ^= 1 << bit % 8
            yield f"{key}, bit {bit}", objects | {key: type(objects[key]).from_bytes(bytes(changed))}


def told(objects: Objects) -> tuple[dict[str, Any], frozenset[str]]:
    """All that a reader is told of the patch and its tract, and what of it is damaged."""
    opened = open_coadds(MemoryStore(objects))
    (patch,) = (p for p in opened.patches(7, "g") if p.patch == 0)
    info = opened.info(7, 0, "g")
    spare = {name: 9 + n for n, name in enumerate(sorted(set(info.planes) - set(STANDARD_PLANES)))}
    pixels = opened.read(7, 0, "g", Box(*info.bbox.as_list()), {**STANDARD_PLANES, **spare})
    psf = opened.read_psf(7, 0, "g")
    said = {
        "tract": opened.tracts[7], "patch": patch, "info": info, "image": pixels.image.tobytes(),
        "variance": pixels.variance.tobytes(), "mask": pixels.mask.tobytes(),
        "psf": None if psf is None else (psf.kernels.tobytes(), psf.x.tobytes(), psf.y.tobytes()),
    }  # fmt: skip
    return said, pixels.damage | (frozenset({"psf"}) if psf is None else frozenset())


def test_of_the_pixels(sound: Objects) -> None:
    """A flipped bit of a chunk, or of the index of a shard, is an error or damage, or in nothing that is read."""
    before, _ = told(sound)
    detected = 0
    for where, objects in flipped(sound, lambda key: key.startswith("7/0/") and "/c/" in key, FLIPS):
        try:
            found, damage = told(objects)
        except DcrflowError:
            detected += 1
            continue
        detected += bool(damage)
        assert damage or found == before, where
    assert detected > 70


@pytest.mark.parametrize("group", ["zarr.json", "7/zarr.json", "7/0/"])
def test_of_the_metadata(sound: Objects, group: str) -> None:
    """An error, or damage, or nothing; or what another patch is asked for: their checksums are for `verify`."""
    before, _ = told(sound)
    plain: Any = None
    for where, objects in flipped(sound, lambda key: key.startswith(group) and "/c/" not in key, FLIPS):
        try:
            found, damage = told(objects)
            if damage or found == before:
                continue
            template = dcrflow.build_template(MemoryStore(objects), visit()).compute(scheduler="synchronous")
        except DcrflowError:
            continue
        if plain is None:
            plain = dcrflow.build_template(MemoryStore(sound), visit()).compute(scheduler="synchronous")
        assert {k for k in found if found[k] != before[k]} <= {"info"}, where
        for name in ("image", "variance"):
            np.testing.assert_array_equal(template[name], plain[name], err_msg=where)
        assert sorted(template.mask.attrs["flag_meanings"]) != sorted(plain.mask.attrs["flag_meanings"]), where


def template_of(objects: Objects) -> MemoryStore:
    """A store with one template, the same bytes in every run: no place in memory is named, whose digits vary."""
    store = MemoryStore()
    template = dcrflow.build_template(MemoryStore(objects), visit(box=Box(0, 0, 60, 50)))
    template = template.compute(scheduler="synchronous").assign_attrs(inputs="memory")
    dcrflow.write_template(template, TemplateStore.create_or_open(store))
    return store


def test_of_a_template(sound: Objects) -> None:
    """`verify` finds a flipped bit wherever it matters: of chunks, and of any attribute."""
    store = template_of(sound)
    objects = dict(store._store_dict)
    before = TemplateStore.open(store).read(12, 3).load()
    found = 0
    for where, changed in flipped(objects, lambda key: key.startswith("12/3/"), FLIPS // 2):
        verdicts = list(verify(MemoryStore(changed)))
        if not verdicts or any(v.problems for v in verdicts):  # it has no status any more, and will be made again
            found += 1
            continue
        after = TemplateStore.open(MemoryStore(changed)).read(12, 3).load()
        assert after.identical(before), where
    assert found > 60


@pytest.mark.parametrize("said", ["consolidated", "own"])
@pytest.mark.parametrize(
    ("variable", "name", "value"),
    [("image", "dimension_names", ["y", "h"]), ("y", "shape", [81]), ("mask", "fill_value", 0), ("x", "codecs", None)],
)
def test_the_layout_of_a_template(sound: Objects, said: str, variable: str, name: str, value: Any) -> None:
    """What metadata say of variables has a checksum, in both places; who reads them gets an error."""
    store = template_of(sound)
    key = "12/3/zarr.json" if said == "consolidated" else f"12/3/{variable}/zarr.json"
    document = json.loads(store._store_dict[key].to_bytes())
    about = document["consolidated_metadata"]["metadata"][variable] if said == "consolidated" else document
    assert about[name] != value
    about[name] = about[name][:1] if value is None else value
    store._store_dict[key] = type(store._store_dict[key]).from_bytes(json.dumps(document).encode())
    (verdict,) = verify(store)
    assert verdict.problems
    if said == "consolidated":
        with pytest.raises(TemplateStoreError, match="make it again with `dcrflow run`"):
            TemplateStore.open(store).read(12, 3)


def test_verify_knows_the_metadata_of_coadds(sound: Objects) -> None:
    """Of any bit of a patch that changes what a reader is told, though reading it may notice nothing."""
    assert not any(problems for _, problems in verify_coadds(MemoryStore(sound)))
    before, _ = told(sound)
    noticed = 0
    for where, objects in flipped(sound, lambda key: key.startswith("7/0/g/") and key.endswith("zarr.json"), FLIPS):
        try:
            found = dict(verify_coadds(MemoryStore(objects)))
        except DcrflowError:
            noticed += 1
            continue
        if found.get((7, 0, "g"), ("it is no patch any more",)):
            noticed += 1
        else:
            assert told(objects)[0] == before, where
    assert noticed > 100


@pytest.mark.parametrize("changed", ["a plane's name", "a unit", "a dimension of a variable that is not read"])
def test_a_change_that_readers_cannot_see_is_named(sound: Objects, changed: str) -> None:
    name, old, new = {
        "a plane's name": ("mask", b'"flag_meanings": "', b'"flag_meanings": "X'),
        "a unit": ("subfilter", b'"nm"', b'"um"'),
        "a dimension of a variable that is not read": ("subfilter", b'"subfilter"', b'"subfilteR"'),
    }[changed]
    key = f"7/0/g/{name}/zarr.json"
    content = sound[key].to_bytes()
    assert old in content
    objects = sound | {key: type(sound[key]).from_bytes(content.replace(old, new, 1))}
    (line,) = dict(verify_coadds(MemoryStore(objects)))[7, 0, "g"]
    assert "has changed since it was written (its checksum differs)" in line


def test_what_others_add_to_a_patch_is_no_damage(sound: Objects) -> None:
    store = MemoryStore(dict(sound))
    zarr.open_group(store, path="7/0/g").create_array("depth", shape=(3,), dtype="f4")
    assert not any(problems for _, problems in verify_coadds(store))
