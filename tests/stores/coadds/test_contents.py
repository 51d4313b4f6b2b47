"""Changed pixels are other coadds: wherever links lead, and whatever the chunks' files are called."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from scenes import IMAGE, coadds

from dcrflow.stores.coadds.contents import inputs_digest
from dcrflow.stores.coadds.store import open_coadds

PATCH = "7/0/g"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("whole") / "coadds.zarr"
    coadds(IMAGE, store=str(path))
    return path


@pytest.fixture
def store(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "coadds.zarr"))


def digest(store: Path) -> str:
    return inputs_digest(open_coadds(store), [(7, 0)], "g")


def doubled(store: Path, name: str, patch: str = PATCH) -> None:
    array = zarr.open_group(store, path=patch, mode="r+")[name]
    assert isinstance(array, zarr.Array)
    array[...] = np.asarray(array[...]) * 2


@pytest.mark.parametrize("name", ["image", "variance", "mask"])
def test_each_variable_counts_and_no_other_patch(store: Path, name: str) -> None:
    before = digest(store)
    doubled(store, name, "7/1/g")
    assert digest(store) == before
    doubled(store, name)
    assert digest(store) != before


@pytest.mark.parametrize("linked", ["7", "7/0", PATCH, f"{PATCH}/image", f"{PATCH}/image/c"])
def test_folders_behind_links(store: Path, tmp_path: Path, linked: str) -> None:
    shutil.move(store / linked, tmp_path / "elsewhere")
    (store / linked).symlink_to(tmp_path / "elsewhere")
    before = digest(store)
    doubled(store, "image")
    assert digest(store) != before


def test_a_file_behind_a_link_and_a_link_to_the_folder_above(store: Path, tmp_path: Path) -> None:
    file = next(path for path in (store / PATCH / "image/c").rglob("*") if path.is_file())
    shutil.move(file, tmp_path / "elsewhere")
    file.symlink_to(tmp_path / "elsewhere")
    (store / PATCH / "loop").symlink_to("..")
    before = digest(store)
    (tmp_path / "elsewhere").write_bytes((tmp_path / "elsewhere").read_bytes() + b"x")
    assert digest(store) != before
    (tmp_path / "elsewhere").unlink()
    assert digest(store) != before


@pytest.mark.parametrize("keys", [{"name": "v2", "separator": "."}, {"name": "v2", "separator": "/"},
                                  {"name": "default", "separator": "."}])  # fmt: skip
def test_chunks_by_other_names(store: Path, keys: Any) -> None:
    """Other programs keep them in the variable's own folder."""
    group = zarr.open_group(store, path=PATCH, mode="r+")
    old = group["image"]
    assert isinstance(old, zarr.Array)
    values, about, dims = np.asarray(old[...]), old.attrs.asdict(), old.metadata.dimension_names
    new = group.create_array(
        "image", shape=values.shape, dtype="f4", chunks=(1, 64, 64), dimension_names=dims, fill_value=np.nan,
        chunk_key_encoding=keys, attributes=about, overwrite=True,
    )  # fmt: skip
    new[...] = values
    before = digest(store)
    doubled(store, "image")
    assert digest(store) != before
