"""Sky-map configurations: dcrflow's YAML, and the Python text and JSON of the Rubin pipelines."""

import json
from pathlib import Path

import pytest
import yaml

import dcrflow
from dcrflow.base.errors import ConfigError
from dcrflow.geometry.layout import described
from dcrflow.stores.coadds.writer import create_coadds
from dcrflow.stores.skymaps.write import write_geometry

RINGS = {
    "kind": "rings", "num_rings": 120, "tract_overlap": 1 / 60, "pixel_scale": 0.2, "patch_inner": 4000,
    "patch_border": 100, "projection": "TAN",
}  # fmt: skip

PEX = """
# what the pipelines write beside a sky map
import lsst.skymap.ringsSkyMap
assert type(config) is lsst.skymap.ringsSkyMap.RingsSkyMapConfig, 'config is of another type'
config.skyMap['healpix'].log2NSide=0
config.skyMap['rings'].tractBuilder['legacy'].patchInnerDimensions=[4000, 4000]
config.skyMap['rings'].tractBuilder['legacy'].patchBorder=100
config.skyMap['rings'].tractBuilder['cells'].cellInnerDimensions=[150, 150]
config.skyMap['rings'].tractBuilder['cells'].cellBorder=50
config.skyMap['rings'].tractBuilder['cells'].numCellsPerPatchInner=20
config.skyMap['rings'].tractBuilder['cells'].numCellsInPatchBorder=1
config.skyMap['rings'].tractBuilder.name='legacy'
config.skyMap['rings'].tractOverlap=1.0/60  # Overlap between tracts (degrees)
config.skyMap['rings'].pixelScale=0.2
config.skyMap['rings'].projection='TAN'
config.skyMap['rings'].rotation=0.0
config.skyMap['rings'].numRings=120
config.skyMap['rings'].raStart=0.0
config.skyMap.name='rings'
config.name='DC2'
"""


def put(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_forms_of_one_sky_map_are_the_same(tmp_path: Path) -> None:
    nested = {
        "name": "DC2",
        "skyMap": {"name": "rings", "values": {"rings": {
            "numRings": 120, "tractOverlap": 1 / 60, "pixelScale": 0.2, "projection": "TAN",
            "tractBuilder": {"name": "legacy", "values": {"legacy": {"patchInnerDimensions": [4000, 4000]}}},
        }}},
    }  # fmt: skip
    flat = {"numRings": 120, "tractOverlap": 1 / 60, "pixelScale": 0.2, "projection": "TAN", "border": 100}
    written = PEX.replace("config.skyMap.name='rings'", "config.skyMap = 'rings'").replace("['rings']", '["rings"]')
    files = [
        put(tmp_path / "map.yaml", yaml.safe_dump(RINGS)),
        put(tmp_path / "skyMap.py", PEX),
        put(tmp_path / "written.txt", written),
        put(tmp_path / "nested.json", json.dumps(nested)),
        put(tmp_path / "flat.json", json.dumps(flat)),
    ]
    expected = described(dcrflow.read_skymap(RINGS).tract(9085))
    for file in files:
        skymap = dcrflow.read_skymap(file)
        assert described(skymap.tract(9085)) == expected, file
        assert skymap.find(150.1, -2.2) == (9085, 25)
    assert dcrflow.read_skymap(files[1]).name == "DC2"


def test_cells_of_lsst(tmp_path: Path) -> None:
    """`lsst_cells_v1`: patches of 20 x 20 cells of 150 px, with a border of one cell and 50 px."""
    text = PEX.replace("tractBuilder.name='legacy'", "tractBuilder = 'cells'")
    tract = dcrflow.read_skymap(put(tmp_path / "cells.py", text)).tract(1000)
    assert tract.patch_inner == (3000, 3000)
    assert tract.patch(0).bbox.as_list() == [-200, -200, 3400, 3400]


def test_discrete_as_lsst_ci_has_it(tmp_path: Path) -> None:
    """The field of ci_imsim, of which its own comments say that it has 7 x 7 patches of 4000 px."""
    text = """
config.skyMap["discrete"].projection = "TAN"
config.skyMap["discrete"].raList = [56.64971166122064]
config.skyMap["discrete"].decList = [-36.4462532139527947602893]
config.skyMap["discrete"].radiusList = [6.4/9]
config.skyMap["discrete"].patchBorder = 100
config.skyMap["discrete"].tractOverlap = 0.0
config.skyMap["discrete"].pixelScale = 0.2
config.skyMap["discrete"].patchInnerDimensions = [4000, 4000]
config.skyMap.name = "discrete"
"""
    skymap = dcrflow.read_skymap(put(tmp_path / "discrete.py", text))
    assert skymap.tract(0).num_patches == (7, 7)
    assert skymap.find(56.65, -36.45).patch == 24
    same = {"kind": "discrete", "ra": 56.64971166122064, "dec": -36.446253213952795, "radius": 6.4 / 9,
            "pixel_scale": 0.2, "tract_overlap": 0}  # fmt: skip
    assert described(dcrflow.read_skymap(same).tract(0)) == described(skymap.tract(0))


def test_geometry_is_written_and_read_again(tmp_path: Path) -> None:
    skymap = dcrflow.read_skymap({**RINGS, "layout": "cells"})
    assert write_geometry(skymap, [3, 7], tmp_path / "two.yaml") == 2 * 100
    again = dcrflow.read_skymap(tmp_path / "two.yaml")
    assert [described(again.tract(t)) for t in (3, 7)] == [described(skymap.tract(t)) for t in (3, 7)]
    write_geometry(skymap, [3], tmp_path / "one.json")
    assert json.loads((tmp_path / "one.json").read_text()) == [described(skymap.tract(3))]
    write_geometry(skymap, [3], tmp_path / "one.ecsv")
    with pytest.raises(ConfigError, match=r"\.json, \.yaml"):
        write_geometry(skymap, [3], tmp_path / "one.txt")


def test_a_store_has_a_sky_map_too(tmp_path: Path) -> None:
    tract = dcrflow.read_skymap({**RINGS, "layout": "cells"}).tract(7)
    create_coadds(tmp_path / "coadds.zarr", "cells").write_tract(tract)
    skymap = dcrflow.read_skymap(tmp_path / "coadds.zarr")
    assert (skymap.name, skymap.tract_ids) == ("cells", (7,))
    assert described(skymap.tract(7)) == described(tract)


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("a.yaml", "kind: rings\nnum_rings: 120\nnumber: 3", "unknown key 'number' of kind rings"),
        ("a.yaml", "kind: rings", "num_rings is missing"),
        ("a.yaml", "kind: healpix", "kind is 'healpix', expected rings"),
        ("a.yaml", "kind: discrete\nra: [1, 2]\ndec: 3\nradius: 1", "as many of each"),
        ("a.yaml", "kind: rings\nnum_rings: -3", "num_rings = -3"),
        ("a.yaml", "kind: discrete\nra: 1\ndec: 2\nradius: 89.9\npixel_scale: 0.1", "smaller radius"),
        ("a.yaml", "kind: auto", "made around visits"),
        ("a.yaml", "- 3", "`key: value` lines"),
        ("a.json", '{"skyMap": {"name": "dodeca"}}', "'dodeca' are not known"),
        ("a.json", '{"width": 3}', "does not say which sky map"),
        ("a.py", "config.skyMap.name = 'rings'\nimport os\nos.system('true')", "line 3: expected `config.key = value`"),
        ("a.py", "config.skyMap['rings'].numRings = len('abc')", "line 1: len.'abc'. is no plain value"),
        ("a.py", "config.skyMap['rings'].numRings = 1e300 * 1e300", "is not a number"),
        ("a.py", "config.skyMap['rings'].numRings = 1 / 0", "line 1: .* by zero"),
        ("a.py", "config.skyMap['rings'].numRings = 'a' * 3", "is not a number"),
        ("a.py", "other.skyMap = 'rings'", "expected a key of `config`"),
        ("a.py", "config.skyMap = ", "no Python text"),
        ("a.py", "config.skyMap='rings'\nconfig.skyMap['rings'].numRing = 3", "unknown key 'numRing'"),
        ("a.py", "config.skyMap='rings'\nconfig.skyMap['rings'].numRings = float('nan')", "num_rings = nan"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, name: str, text: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        dcrflow.read_skymap(put(tmp_path / name, text))
    assert name in str(caught.value)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot read the sky map"):
        dcrflow.read_skymap(tmp_path / "none.yaml")
