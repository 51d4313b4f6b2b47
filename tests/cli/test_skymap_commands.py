"""``dcrflow skymap`` on the command line."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from dcrflow.base.errors import NoOverlapError
from dcrflow.cli.app import app

MAP = "kind: rings\nnum_rings: 120\ntract_overlap: 0.0166666666666667\npixel_scale: 0.2\n"


@pytest.fixture
def skymap(tmp_path: Path) -> str:
    (tmp_path / "map.yaml").write_text(MAP)
    return str(tmp_path / "map.yaml")


def run(*arguments: str) -> str:
    result = CliRunner().invoke(app, ["skymap", *arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.stdout


def test_find(skymap: str) -> None:
    assert json.loads(run("find", skymap, "150.1", "-2.2", "--json")) == {"tract": 9085, "patch": 25}
    assert "tract 9085 patch 25" in run("find", skymap, "150.1", "-2.2")


def test_show(skymap: str) -> None:
    about = json.loads(run("show", skymap, "--tract", "12107", "--json"))
    assert {"tract", "center", "bbox", "num_patches", "wcs", "patches"} <= set(about)
    assert about["patches"][8] == {"patch": 8, "inner": [4000, 4000, 4000, 4000], "outer": [3900, 3900, 4200, 4200]}
    assert "7 x 7 patches" in run("show", skymap, "--tract", "12107")
    assert json.loads(run("show", skymap, "--json")) == {"skymap": "rings", "num_tracts": 18938}
    with pytest.raises(NoOverlapError, match="0 to 18937"):
        run("show", skymap, "--tract", "18938")


def test_export(skymap: str, tmp_path: Path) -> None:
    assert "1 tracts, 49 patches" in run("export", skymap, str(tmp_path / "one.json"), "--tract", "3")
    assert json.loads((tmp_path / "one.json").read_text())[0]["tract"] == 3
