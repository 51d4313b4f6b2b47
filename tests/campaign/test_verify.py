"""`dcrflow verify`: sound templates are sound, and each thing that can be wrong with one is found and named."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import zarr
from scenes import IMAGE, coadds, visit

import dcrflow
from dcrflow.campaign.verify import verify
from dcrflow.cli import main
from dcrflow.stores.templates.store import TemplateStore


@pytest.fixture
def store(tmp_path: Path) -> TemplateStore:
    """Two templates and a failure."""
    opened = TemplateStore.create_or_open(tmp_path / "out.zarr")
    for number in (1, 2):
        dcrflow.write_template(dcrflow.build_template(coadds(IMAGE), visit(visit=number)), opened)
    opened.write_status(3, 0, "failed", {"config_hash": "a", "inputs": "b"}, {"type": "A", "message": "b"})
    return opened


def template(tmp_path: Path) -> zarr.Group:
    return zarr.open_group(tmp_path / "out.zarr", path="1/3", mode="r+")


def flip(tmp_path: Path) -> None:
    chunk = next(p for p in (tmp_path / "out.zarr/1/3/image/c").rglob("*") if p.is_file())
    content = bytearray(chunk.read_bytes())
    content[len(content) // 2] ^= 1
    chunk.write_bytes(content)


def lose(tmp_path: Path) -> None:
    next(p for p in (tmp_path / "out.zarr/1/3/variance/c").rglob("*") if p.is_file()).unlink()


def written(name: str, change: Callable[[np.ndarray], object]) -> Callable[[Path], None]:
    """A template that was written so, its checksums right."""

    def spoil(tmp_path: Path) -> None:
        opened = TemplateStore.create_or_open(tmp_path / "out.zarr")
        found = opened.read(1, 3).compute()
        values = found[name].values.copy()
        change(values)
        found[name] = found[name].dims, values, found[name].attrs
        opened.write(found)

    return spoil


def attribute(name: str, value: object) -> Callable[[Path], None]:
    def spoil(tmp_path: Path) -> None:
        group = template(tmp_path)
        kept = {k: v for k, v in group.attrs.asdict().items() if k != name}
        group.attrs.put(kept if value is None else kept | {name: value})

    return spoil


def digit(tmp_path: Path) -> None:
    """The WCS still leads there and back."""
    group = template(tmp_path)
    group.attrs["wcs"] = group.attrs["wcs"] | {"CRVAL1": 57.0}


def plane(tmp_path: Path) -> None:
    mask = template(tmp_path)["mask"]
    mask.attrs["flag_meanings"] = mask.attrs["flag_meanings"].replace("SAT", "SAD")


def planes_of_words(tmp_path: Path) -> None:
    mask = template(tmp_path)["mask"]
    mask.attrs["flag_masks"] = ["a"] * len(mask.attrs["flag_masks"])


CASES = {
    "a flipped bit": (flip, "image has changed since it was written (its checksum differs), or cannot be read"),
    "a lost chunk": (lose, "variance has changed since it was written"),
    "a NaN that is not masked": (
        written("image", lambda a: a.__setitem__((50, 50), np.nan)), "image is not finite on 1 pixels without NO_DATA",
    ),
    "negative variance": (
        written("variance", lambda a: a.__setitem__((50, 50), -1)), "variance is negative on 1 pixels",
    ),
    "another coverage": (attribute("coverage", 0.5), "its coverage is 1.000000, and it says 0.500000"),
    "no provenance": (attribute("inputs", None), "it lacks the attributes inputs"),
    "no checksums": (attribute("crc32", None), "it lacks the attributes crc32"),
    "a digit of the WCS": (digit, "one of its attributes has changed since it was written"),
    "a plane of another name": (plane, "one of its attributes has changed since it was written"),
    "planes that are none": (planes_of_words, "its attributes do not describe its pixels: ValueError"),
    "another's pixels": (attribute("visit", 7), "it says that it is visit 7 detector 3"),
    "no WCS to speak of": (attribute("wcs", {"CTYPE1": "RA---TAN"}), "its WCS is unusable"),
    "columns out of order": (written("x", lambda a: a.__setitem__(3, 77)), "its x does not count pixels one by one"),
}  # fmt: skip


def test_sound(store: TemplateStore) -> None:
    assert [(v.visit, v.detector, v.problems) for v in verify(store)] == [(1, 3, ()), (2, 3, ())]


@pytest.mark.parametrize("case", CASES)
def test_each_problem_is_found_in_its_template_alone(store: TemplateStore, tmp_path: Path, case: str) -> None:
    spoil, message = CASES[case]
    spoil(tmp_path)
    first, second = verify(tmp_path / "out.zarr")
    assert any(p.startswith(message) for p in first.problems), first
    assert second.problems == ()


def test_quick_looks_at_sizes_alone(store: TemplateStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TemplateStore, "read", None)
    flip(tmp_path)
    assert [v.problems for v in verify(store, quick=True)] == [(), ()]
    lose(tmp_path)
    first, second = verify(store, quick=True)
    assert first.problems[0].startswith("files are missing")
    assert second.problems == ()


def test_command(
    store: TemplateStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["dcrflow", "verify", str(tmp_path / "out.zarr")])
    with pytest.raises(SystemExit) as ended:
        main()
    assert not ended.value.code
    assert "2 of 2 templates are sound" in capfd.readouterr().out
    flip(tmp_path)
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 1
    said = capfd.readouterr().out
    assert "visit 1 detector 3: image has changed since it was written" in said
    assert "1 of 2 templates are sound" in said
