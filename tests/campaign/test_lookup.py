"""What is made again, and why."""

import os
from dataclasses import replace
from pathlib import Path

import dask
import numpy as np
import pytest
import zarr
from scenes import IMAGE, coadds, visit

import dcrflow
from dcrflow.base.attributes import objects
from dcrflow.campaign import lookup
from dcrflow.campaign.causes import causes
from dcrflow.campaign.lookup import Lookup
from dcrflow.campaign.status import CampaignStatus
from dcrflow.geometry.box import Box
from dcrflow.model.config import TemplateConfig
from dcrflow.stores.coadds.store import open_coadds
from dcrflow.stores.templates.store import TemplateStore

SMALL = visit(box=Box(0, 0, 60, 50))


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """A directory with coadds.zarr, and in out.zarr a template of them, with a transmission from curve.txt."""
    coadds(IMAGE, store=str(tmp_path / "coadds.zarr"))
    (tmp_path / "curve.txt").write_text("390 0.1\n480 1\n560 0.1\n")
    template = dcrflow.build_template(tmp_path / "coadds.zarr", SMALL, config(tmp_path))
    with dask.config.set(scheduler="synchronous"):
        dcrflow.write_template(template, tmp_path / "out.zarr")
    return tmp_path


def config(place: Path) -> TemplateConfig:
    return TemplateConfig(transmission=str(place / "curve.txt"))


def reason(place: Path, chosen: TemplateConfig | None = None, **how: bool) -> str:
    store = TemplateStore.create_or_open(place / "out.zarr")
    found, why = Lookup(store, open_coadds(place / "coadds.zarr"), chosen or config(place), **how).of(SMALL)
    assert found is not None
    return why


def test_what_is_the_same_is_left_alone(made: Path) -> None:
    assert reason(made) == ""
    assert reason(made, overwrite=True) == lookup.OVERWRITE
    assert reason(made, TemplateConfig(border=3)) == lookup.CONFIG


def test_pixels_that_change_in_place_are_other_coadds(made: Path) -> None:
    array = zarr.open_array(made / "coadds.zarr", path="7/0/g/image", mode="r+")
    array[...] = np.asarray(array[...]) * 2
    assert reason(made) == lookup.CONTENTS


def test_metadata_that_change_are_other_coadds(made: Path) -> None:
    zarr.open_group(made / "coadds.zarr", path="7/3/g", mode="r+").update_attributes({"bandwidth": 151.0})
    assert reason(made) == lookup.CONTENTS


def test_a_patch_that_the_template_was_not_made_of_may_change(made: Path) -> None:
    used = {tuple(p) for p in objects(TemplateStore.open(made / "out.zarr").read(12, 3).attrs)["patches"]}
    others = [p for p in range(4) if (7, p) not in used]
    for patch in others:
        os.utime(next((made / f"coadds.zarr/7/{patch}/g/image/c").rglob("*")))
    assert reason(made) == ""


def test_a_transmission_files_content_is_part_of_the_configuration(made: Path) -> None:
    (made / "curve.txt").write_text("390 0.2\n480 1\n560 0.1\n")
    assert reason(made) == lookup.CONFIG


def test_a_file_that_is_emptied_or_gone(made: Path) -> None:
    for damage in (lambda p: p.write_bytes(b""), lambda p: p.write_bytes(b"x"), lambda p: p.unlink()):
        shard = made / "out.zarr/12/3/variance/c/0/0"
        before = shard.read_bytes()
        damage(shard)
        assert reason(made) == lookup.FILES
        shard.write_bytes(before)
        assert reason(made) == ""


def test_a_template_that_does_not_say_what_its_coadds_contained(made: Path) -> None:
    group = zarr.open_group(made / "out.zarr", path="12/3", mode="r+")
    about = group.attrs.asdict()
    del about["inputs_digest"], about["stored_bytes"]
    group.attrs.put(about)
    assert reason(made) == lookup.UNKNOWN
    assert TemplateStore.open(made / "out.zarr").read(12, 3).load().image.notnull().any()


def test_to_look_costs_few_reads(made: Path) -> None:
    """Of the same patches no template after the first looks at the coadds."""
    opened = open_coadds(made / "coadds.zarr")
    store = TemplateStore.create_or_open(made / "out.zarr")
    look = Lookup(store, opened, config(made))
    assert look.of(SMALL)[1] == ""
    os.rename(made / "coadds.zarr", made / "elsewhere.zarr")
    assert look.of(SMALL)[1] == ""


def test_a_copy_of_a_config_with_changes_has_another_digest() -> None:
    plain = TemplateConfig()
    assert plain.model_copy(update={"border": 3}).digest == TemplateConfig(border=3).digest != plain.digest
    assert TemplateConfig(sync=False).digest == plain.digest


def test_causes() -> None:
    found = causes([
        ("A", "visit 1 detector 3: 4 is no 5", (1, 3)), ("B", "other", (1, 4)),
        ("A", "visit 2 detector 3: 6.5 is no 5", (2, 3)),
    ])  # fmt: skip
    assert [(c.number, c.where, c.kind, c.message) for c in found] == [
        (2, ((1, 3), (2, 3)), "A", "visit 1 detector 3: 4 is no 5"), (1, ((1, 4),), "B", "other"),
    ]  # fmt: skip


def test_exit_statuses(made: Path) -> None:
    record = TemplateStore.open(made / "out.zarr").status(12, 3)
    assert record is not None
    damaged = replace(record, damage=("a chunk",))
    failed = replace(record, status="failed")
    for records, missing, expected in (
        ((record,), (), 0), ((record, failed, damaged), ((1, 1),), 1), ((record, damaged), ((1, 1),), 3),
        ((record, damaged), (), 4),
    ):  # fmt: skip
        assert CampaignStatus("x", records, missing).exit_status == expected
