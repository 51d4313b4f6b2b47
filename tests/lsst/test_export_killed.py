"""Exports that are killed, meet each other, or fill the disk: other programs find whole files alone."""

import errno
import json
import signal
import subprocess
import sys
from glob import glob
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from scenes import IMAGE, coadds, visit

import dcrflow
from dcrflow.base.errors import TemplateStoreError
from dcrflow.lsst.export import export
from dcrflow.lsst.fits_templates import read_fits
from dcrflow.stores.templates.store import TemplateStore

#: Exports, and is killed when half of the second file is written.
_KILLED = """
import io, os, signal, sys
from astropy.io import fits
from dcrflow.lsst.export import export
plain, done = fits.HDUList.writeto, []
def half(self, path, *a, **k):
    if not done:
        done.append(path)
        return plain(self, path, *a, **k)
    whole = io.BytesIO()
    plain(self, whole)
    with open(path, "wb") as file:
        file.write(whole.getvalue()[: len(whole.getvalue()) // 2])
        file.flush()
        os.kill(os.getpid(), signal.SIGKILL)
fits.HDUList.writeto = half
export(*sys.argv[1:])
"""


@pytest.fixture
def store(tmp_path: Path) -> TemplateStore:
    out = dcrflow.TemplateStore.create_or_open(tmp_path / "out.zarr")
    source = coadds(IMAGE)
    for number in (12, 13):
        dcrflow.write_template(dcrflow.build_template(source, visit(visit=number)), out)
    return out


def _shown(directory: Path) -> list[Path]:
    """The FITS files that a shell's ``*.fits`` finds; that of pathlib finds hidden files too."""
    return sorted(directory / name for name in glob("*.fits", root_dir=directory))


def _are_whole(store: TemplateStore, directory: Path) -> None:
    found = _shown(directory)
    assert [path.name for path in found] == ["template_12_3.fits", "template_13_3.fits"]
    for number, path in zip((12, 13), found, strict=True):
        np.testing.assert_array_equal(read_fits(path).image, store.read(number, 3).image)


@pytest.mark.slow
def test_one_that_is_killed_and_begun_again(store: TemplateStore, tmp_path: Path) -> None:
    words = [sys.executable, "-c", _KILLED, str(tmp_path / "out.zarr"), str(tmp_path / "fits")]
    assert subprocess.run(words, check=False, timeout=300).returncode == -signal.SIGKILL
    (first,) = _shown(tmp_path / "fits")
    before = first.stat().st_mtime_ns
    (hidden,) = set((tmp_path / "fits").iterdir()) - {first}
    assert hidden.name.startswith(".template_13_3.")
    assert hidden.name.endswith(".partial.fits")
    assert export(store, tmp_path / "fits") == 1
    assert first.stat().st_mtime_ns == before
    _are_whole(store, tmp_path / "fits")


def test_two_at_once(store: TemplateStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While one writes a file, another writes the same one, from the beginning to the end."""
    plain, inside = fits.HDUList.writeto, []

    def writeto(self: fits.HDUList, path: Path) -> None:
        plain(self, path)
        if not inside:
            inside.append(path)
            export(store, tmp_path / "fits", overwrite=True)

    monkeypatch.setattr(fits.HDUList, "writeto", writeto)
    export(store, tmp_path / "fits")
    _are_whole(store, tmp_path / "fits")
    assert len(list((tmp_path / "fits").iterdir())) == 2


def test_a_disk_that_is_full(store: TemplateStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    export(store, tmp_path / "fits")
    before = {path: path.read_bytes() for path in (tmp_path / "fits").iterdir()}

    def full(self: fits.HDUList, path: Path) -> None:
        Path(path).write_bytes(b"SIMPLE")
        raise OSError(errno.EDQUOT, "Disk quota exceeded")

    monkeypatch.setattr(fits.HDUList, "writeto", full)
    with pytest.raises(TemplateStoreError, match="Disk quota exceeded"):
        export(store, tmp_path / "fits", overwrite=True)
    assert {path: path.read_bytes() for path in (tmp_path / "fits").iterdir()} == before


@pytest.mark.parametrize("kind", ["lsst-images", "lsst-difference"])
def test_a_file_of_lsst_images_that_was_cut_off(
    store: TemplateStore, tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    serialization = pytest.importorskip("lsst.images.serialization")

    def cut_off(made: object, path: str) -> None:
        Path(path).write_text(json.dumps(str(type(made))))
        raise KeyboardInterrupt

    monkeypatch.setattr(serialization, "write_archive", cut_off)
    with pytest.raises(KeyboardInterrupt):
        export(store, tmp_path / "fits", kind)  # type: ignore[arg-type]
    assert list((tmp_path / "fits").iterdir()) == []
