"""`dcrflow verify`: sound templates are sound, and each thing that can be wrong with one is found and named."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from scenes import IMAGE, coadds, visit
from zarr.storage import MemoryStore

import dcrflow
from dcrflow.campaign.verify import verify
from dcrflow.cli import main
from dcrflow.stores import journal
from dcrflow.stores.templates import layouts, listing, presence
from dcrflow.stores.templates.store import TemplateStore


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four templates and a failure."""
    path = tmp_path_factory.mktemp("made") / "out.zarr"
    opened = TemplateStore.create_or_open(path)
    for number in (1, 2, 4, 5):
        dcrflow.write_template(dcrflow.build_template(coadds(IMAGE), visit(visit=number)), opened)
    opened.write_status(3, 0, "failed", {"config_hash": "a", "inputs": "b"}, {"type": "A", "message": "b"})
    return path


@pytest.fixture
def four(made: Path, tmp_path: Path) -> TemplateStore:
    """A copy of these."""
    shutil.copytree(made, tmp_path / "out.zarr")
    return TemplateStore.create_or_open(tmp_path / "out.zarr")


@pytest.fixture
def store(four: TemplateStore, tmp_path: Path) -> TemplateStore:
    """Two templates and a failure."""
    for number in (4, 5):
        shutil.rmtree(tmp_path / "out.zarr" / str(number))
    return four


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


@pytest.fixture
def archived(four: TemplateStore, monkeypatch: pytest.MonkeyPatch) -> TemplateStore:
    """Four templates and a failure, and the archived journal of the run that made the templates."""
    store = four
    monkeypatch.setattr(journal, "MANY", 1)
    with store.journal() as lines:
        lines.add("requested", detector_visits={str(number): [3] for number in (1, 2, 4, 5)})
        for number in (1, 2, 4, 5):
            record = store.status(number, 3)
            assert record is not None
            lines.add(
                "ended", visit=number, detector=3, status="complete", coverage=1.0,
                written=sum(size or 0 for size in record.stored_bytes.values()),
            )  # fmt: skip
    assert len(store.columns.journalled().complete) == 4
    return store


def looked_up(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """The templates whose metadata are read, from now on."""
    found: list[tuple[int, int]] = []

    def entries_of(root: zarr.Group, ids: Iterable[tuple[int, int]]) -> Iterator[dict[str, Any]]:
        wanted = list(ids)
        found.extend(wanted)
        return listing.entries_of(root, wanted)

    monkeypatch.setattr(presence, "entries_of", entries_of)
    return found


def test_quick_reads_no_metadata_of_what_an_archive_tells(
    archived: TemplateStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = looked_up(monkeypatch)
    expected: list[int] = []
    assert [(v.visit, v.problems) for v in verify(archived, True, expected.append)] == [(n, ()) for n in (1, 2, 4, 5)]
    assert expected == [4]
    assert (1, 3) in found  # the names of its files are tried with the others
    assert not {(4, 3), (5, 3)} & set(found)


def cut(path: Path) -> None:
    """Half of a template's image, mask, or metadata."""
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def link_to_itself(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.name)


HARM: dict[str, tuple[Callable[[Path], object], str]] = {
    "cut short": (lambda folder: cut(folder / "image/c/0/0"), "files are missing"),
    "emptied": (lambda folder: (folder / "mask/c/0/0").write_bytes(b""), "files are missing"),
    "a lost chunk": (lambda folder: (folder / "variance/c/0/0").unlink(), "files are missing"),
    "a variable's metadata lost": (lambda folder: (folder / "image/zarr.json").unlink(), "files are missing"),
    "emptied metadata": (lambda folder: (folder / "zarr.json").write_bytes(b""), "it is not there"),
    "metadata that are a link to themselves": (lambda folder: link_to_itself(folder / "zarr.json"), "it is not there"),
    "all of it": (shutil.rmtree, "it is not there"),
}


@pytest.mark.parametrize("harm", HARM)
def test_quick_finds_what_has_changed_since_the_archive(archived: TemplateStore, tmp_path: Path, harm: str) -> None:
    spoil, message = HARM[harm]
    spoil(tmp_path / "out.zarr/4/3")
    found = {v.visit: v.problems for v in verify(tmp_path / "out.zarr", quick=True)}
    assert [visit for visit, problems in found.items() if problems] == [4]
    assert found[4][0].startswith(message)
    assert [v.visit for v in verify(tmp_path / "out.zarr") if v.problems] == [4]


def test_a_template_that_was_written_after_its_archive_is_looked_at_by_its_metadata(
    archived: TemplateStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    template = archived.read(5, 3).compute()
    template["image"] = template["image"] * 2
    archived.write(template)
    archived.write_status(4, 3, "no-overlap", {"config_hash": "a", "inputs": "b"})
    found = looked_up(monkeypatch)
    assert [(v.visit, v.problems) for v in verify(archived, quick=True)] == [(n, ()) for n in (1, 2, 5)]
    assert (5, 3) in found


@pytest.mark.parametrize("how", ["threads", "processes", "processes that fail"])
def test_quick_finds_the_same_with_help(
    archived: TemplateStore, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, how: str
) -> None:
    if how == "threads":
        monkeypatch.setattr(layouts, "_SLOW", 0.0)
        monkeypatch.setattr(layouts, "_WAITS", -1e9)
        monkeypatch.setattr(layouts, "_TOGETHER", 1)
    else:
        monkeypatch.setattr(layouts, "SHARE", 1)
        monkeypatch.setattr(layouts, "_cores", lambda: 2)
        begun: list[list[str]] = []
        run = subprocess.run
        python = "/bin/false" if how.endswith("fail") else sys.executable

        def begin(command: list[str], **more: Any) -> Any:
            begun.append(command)
            return run([python, *command[1:]], **more)

        monkeypatch.setattr(layouts.subprocess, "run", begin)
    cut(tmp_path / "out.zarr/5/3/image/c/0/0")
    found = looked_up(monkeypatch)
    assert [v.visit for v in verify(archived, quick=True) if v.problems] == [5]
    assert (4, 3) not in found
    assert how == "threads" or begun


def test_in_an_object_store_what_an_archive_tells_is_only_listed(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "MANY", 1)
    store, there = TemplateStore.create_or_open(MemoryStore()), TemplateStore.open(made)
    for number in (1, 2):
        store.write(there.read(number, 3).compute())
    with store.journal() as lines:
        for number in (1, 2, 9):
            lines.add("ended", visit=number, detector=3, status="complete", coverage=1.0, written=7)
    found = looked_up(monkeypatch)
    assert [(v.visit, bool(v.problems)) for v in verify(store, quick=True)] == [(1, False), (2, False), (9, True)]
    assert found == []


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
