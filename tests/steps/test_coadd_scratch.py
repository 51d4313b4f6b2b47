"""What steps leave for each other is read back, or refused.

A cell whose sums are gone is not made of new visits alone, and a warped visit that is damaged goes into none.
"""

import os
from pathlib import Path

import numpy as np
import pytest

from dcrflow.base.errors import CoaddStoreError
from dcrflow.coadding.cells import CellGrid
from dcrflow.coadding.sums import CellSums
from dcrflow.geometry.box import Box
from dcrflow.steps.coadd_scratch import StoredVisit, load_sums, store_sums, store_visit, stored_visit
from dcrflow.stores.coadds.builds import CoaddBuild, Made, _made
from dcrflow.stores.coadds.writer import create_coadds

CELL = CellGrid((100, 100), 64, 32, 16, 20).cells[0]


def kept(path: Path) -> Path:
    store_sums(path, CELL, CellSums.empty(3, CELL.box.width))
    return path


def test_sums_are_read_as_they_were_written(tmp_path: Path) -> None:
    found = load_sums(kept(tmp_path / "0.npz"), CELL)
    assert found.visits == ()
    np.testing.assert_array_equal(found.count, CellSums.empty(3, CELL.box.width).count)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-200])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 16
    path.write_bytes(content)


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


@pytest.mark.parametrize(
    "spoil", [Path.unlink, cut, flip, pipe, lambda p: p.write_bytes(b""), lambda p: p.write_text("x")]
)
def test_lost_or_damaged_sums_are_refused(spoil, tmp_path: Path) -> None:
    path = kept(tmp_path / "0.npz")
    spoil(path)
    with pytest.raises(CoaddStoreError, match="gone or damaged, and nothing can be added"):
        load_sums(path, CELL)


def test_one_bit_of_the_sums(tmp_path: Path) -> None:
    """Whichever it is: an error, or the sums as they were; of the directory at the end, whose damage has many faces."""
    cell = CellGrid((16, 16), 12, 4, 2, 2).cells[0]
    store_sums(tmp_path / "0.npz", cell, CellSums.empty(3, cell.box.width))
    content, before = (tmp_path / "0.npz").read_bytes(), load_sums(tmp_path / "0.npz", cell)
    bits = np.random.default_rng(5).choice(8 * len(content), 300, replace=False).tolist()
    refused = 0
    for bit in bits + list(range(8 * (len(content) - 900), 8 * len(content), 31)):
        changed = bytearray(content)
        changed[bit // 8] ^= 1 << bit % 8
        (tmp_path / "1.npz").write_bytes(changed)
        try:
            found = load_sums(tmp_path / "1.npz", cell)
        except CoaddStoreError:
            refused += 1
            continue
        for name in ("normal", "right", "data", "weight", "count", "flags", "window"):
            np.testing.assert_array_equal(getattr(found, name), getattr(before, name), err_msg=f"bit {bit}")
        assert (found.total, found.visits) == (before.total, before.visits), f"bit {bit}"
    assert refused > 300


def test_one_bit_of_what_sums_were_made_of(tmp_path: Path) -> None:
    create_coadds(tmp_path / "c.zarr", "test")
    build = CoaddBuild.open(tmp_path / "c.zarr")
    folder = build.sums_folder(7, 0, "g")
    assert folder is not None
    made = Made("0" * 32, ((1, 2, "ab"),), ((1, 2, "cd"),), "0123456789abcdef")
    (folder / made.sums).mkdir(parents=True)
    build.complete_sums(7, 0, "g", made)
    about = folder / made.sums / "about.json"
    content = about.read_bytes()
    assert build.known_by_sums(7, 0, "g") == made
    for bit in range(8 * len(content)):
        changed = bytearray(content)
        changed[bit // 8] ^= 1 << bit % 8
        about.write_bytes(changed)
        assert build.known_by_sums(7, 0, "g") in (None, made), f"bit {bit}"


@pytest.mark.parametrize("name", ["../../..", "/etc", ["a"], 5, None])
def test_an_attribute_names_no_other_place(name: object) -> None:
    assert _made({"sums": name}).sums == ""
    assert _made({"sums": "0123456789abcdef"}).sums == "0123456789abcdef"


def warped(folder: Path) -> StoredVisit:
    random = np.random.default_rng(2)
    image = random.normal(size=(150, 201)).astype(np.float32)
    image[20:30, 50] = np.nan
    arrays = {
        "image": image,
        "valid": np.isfinite(image),
        "edges": random.random(image.shape) < 0.1,
        "psf": random.random((1, 5, 5)).astype(np.float32),
        "displacement": random.random((4, 3, 2)),
    }
    return store_visit(StoredVisit(str(folder), 7, 3, 1.25, 0.5, "abc", 30000), arrays)


def pixels(stored: StoredVisit) -> list[np.ndarray]:
    visit, check = stored.opened()
    check.check([Box(-10, -10, 300, 300)])
    return [np.array(a) for a in (visit.image, visit.valid, visit.edges, visit.psf, visit.displacement)]


def test_one_bit_of_a_warped_visit(tmp_path: Path) -> None:
    """Whichever it is: an error that names the visit, or the pixels as they were."""
    stored = warped(tmp_path / "7.3")
    before, random, said, tried = pixels(stored), np.random.default_rng(8), [], 0
    for path in sorted((tmp_path / "7.3").glob("*.npy")):
        content = path.read_bytes()
        for bit in random.choice(8 * len(content), min(100, 2 * len(content)), replace=False).tolist():
            changed = bytearray(content)
            changed[bit // 8] ^= 1 << bit % 8
            path.write_bytes(changed)
            tried += 1
            try:
                found = pixels(stored)
            except CoaddStoreError as error:
                said.append(str(error))
            else:
                for a, b in zip(found, before, strict=True):
                    np.testing.assert_array_equal(a, b, err_msg=f"{path.name}, bit {bit}")
        path.write_bytes(content)
    assert len(said) > 0.9 * tried  # the others, if any, are of padding in headers
    assert all("visit 7 detector 3" in text for text in said)
    assert stored.intact()


def test_only_what_is_asked_for_is_compared(tmp_path: Path) -> None:
    stored = warped(tmp_path / "7.3")
    path = tmp_path / "7.3" / "edges.npy"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1  # of the last pixel
    path.write_bytes(content)
    check = stored.opened()[1]
    check.check([Box(0, 0, 128, 100), Box(0, 100, 100, 28)])
    with pytest.raises(CoaddStoreError, match="gone or damaged"):
        check.check([Box(0, 0, 9, 9), Box(120, 120, 20, 20)])


@pytest.mark.parametrize("name", ["image.npy", "psf.npy", "about.json"])
def test_a_damaged_visit_makes_room_for_another(name: str, tmp_path: Path) -> None:
    stored = warped(tmp_path / "7.3")
    before = pixels(stored)
    if name == "about.json":
        path = tmp_path / "7.3" / name
        path.write_text(path.read_text().replace("1.25", "1.75"))
        stored = stored_visit(tmp_path / "7.3") or stored
    else:
        flip(tmp_path / "7.3" / name)
    assert not stored.intact()
    assert stored_visit(tmp_path / "7.3") is None
    for a, b in zip(pixels(warped(tmp_path / "7.3")), before, strict=True):
        np.testing.assert_array_equal(a, b)


def test_what_an_earlier_version_warped_is_warped_anew(tmp_path: Path) -> None:
    about = tmp_path / "7.3" / "about.json"
    warped(tmp_path / "7.3")
    about.write_text(about.read_text().replace('"check"', '"other"'))
    assert stored_visit(tmp_path / "7.3") is None
    warped(tmp_path / "7.3")
    assert stored_visit(tmp_path / "7.3") is not None
