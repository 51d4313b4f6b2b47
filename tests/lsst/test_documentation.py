"""What the page for Rubin users shows works as shown, and its tables are those of the code."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import warm

pytest.importorskip("lsst.ctrl.mpexec", reason="the extra lsst is not installed")

from documentation import RUBIN, blocks, commands, files, rows
from lsst.daf.butler import Butler

import dcrflow
from dcrflow.lsst import GetDcrTemplateConfig, GetDcrTemplateConnections
from dcrflow.lsst.butler import read_butler_visits
from dcrflow.lsst.convert import arrays_of
from dcrflow.lsst.subfilters import BANDS
from dcrflow.steps.dataset import rounded
from dcrflow.stores.coadds.store import open_coadds
from dcrflow.stores.templates.store import TemplateStore

ELSEWHERE = {
    "bps ": "test_bps plays a whole run",
    "export BPS_WMS": "test_bps",
    "dcrflow ingest dcrCoadd_": "test_fits, on files of that kind",
}


def test_the_table_of_fields_has_all_of_them_with_their_defaults() -> None:
    config = GetDcrTemplateConfig()
    shown = [(re.findall(r"`([\w.]+)`", cells[0]), cells[1]) for cells in rows("field")]
    names = [name for names, _ in shown for name in names]
    nested = {f"{name}.{field}" for name in ("warp", "coaddPsf") for field in getattr(config, name)._fields}
    fields = {*GetDcrTemplateConfig._fields} - {"saveLogOutput", "saveMetadata", "connections", "warp", "coaddPsf"}
    templates = {f"connections.{name}" for name in GetDcrTemplateConnections.defaultTemplates}
    assert sorted(names) == sorted(fields | templates | nested)
    for each, defaults in shown:
        if defaults.startswith("as "):
            continue
        values = defaults.split(", ") if ", " in defaults else [defaults] * len(each)
        for name, value in zip(each, values, strict=True):
            owner = config
            for part in name.split("."):
                owner = getattr(owner, part)
            assert value == (
                "none" if owner in (None, "") else f"{owner:g}" if isinstance(owner, float) else str(owner)
            )


def test_the_table_of_bands() -> None:
    found = {band: tuple(float(v) for v in values) for band, *values in rows("band")}
    assert found == dict(BANDS)


@pytest.mark.integration
def test_the_page_works(tmp_path: Path) -> None:
    """All of it in order, in one directory; and what dcrflow makes is what pipetask makes, but for the rounding."""
    for name, text in files(RUBIN).items():
        (tmp_path / name).write_text(text)
    for command in commands(RUBIN):
        if not any(command.startswith(words) for words in ELSEWHERE):
            done = warm.run(shlex.split(command), tmp_path)
            assert done.returncode == 0, f"{command}\n{done.stdout[-2000:]}{done.stderr[-4000:]}"
            assert "Traceback" not in done.stdout + done.stderr, command
    program = "\n".join(blocks(RUBIN, "python"))
    done = warm.run(["python", "-c", program], tmp_path)
    assert done.returncode == 0, done.stderr

    stored = TemplateStore.open(tmp_path / "templates.zarr")
    butler = Butler.from_config(str(tmp_path / "repo"))
    refs = butler.query_datasets("dcrDiff_templateExp", collections="templates")
    assert len(refs) == 4
    for ref in refs:
        ours = stored.read(ref.dataId["visit"], ref.dataId["detector"])
        for run in ("templates", "on-dask"):
            theirs = arrays_of(butler.get(ref.datasetType.name, ref.dataId, collections=run))
            planes = {name: (("y", "x"), getattr(theirs, name)) for name in ("image", "variance", "mask")}
            kept = rounded(ours.assign(planes))  # a store's pixels are rounded, a Butler's are not
            for name in planes:
                assert np.array_equal(kept[name], ours[name]), (ref.dataId, run, name)
    survey, copy = (open_coadds(tmp_path / place) for place in ("survey/coadds.zarr", "copy.zarr"))
    for number, tract in survey.tracts.items():
        for patch in tract.patches:
            infos = [s.info(number, patch.patch, "g") for s in (survey, copy)]
            pixels = [
                s.read(number, patch.patch, "g", infos[0].bbox, i.planes)
                for s, i in zip((survey, copy), infos, strict=True)
            ]
            assert np.array_equal(pixels[0].image, pixels[1].image, equal_nan=True)
    visit = next(iter(read_butler_visits(f"butler:{tmp_path / 'repo'}?collections=calexps")))
    made = rounded(dcrflow.build_template(copy, visit, dcrflow.TemplateConfig(fill=0.0)).compute())
    assert np.array_equal(made.image, stored.read(visit.visit, visit.detector).image), "of an ingested copy as well"
    assert len(list((tmp_path / "fits").glob("*.fits"))) == len(list((tmp_path / "images").glob("*.fits"))) == 4
    assert len(list((tmp_path / "differences").glob("*.fits"))) == 2
