"""The tables of "Two generations of the interface" in the documentation are true of the code."""

from __future__ import annotations

import inspect
import re
from typing import Any

import pytest

pytest.importorskip("lsst.pipe.base", reason="the extra lsst is not installed")

from documentation import rows
from reference import BACKGROUND, CONFIG, CONNECTIONS, METHODS, PAGE, SCALE_VARIANCE

from dcrflow.lsst import GetDcrTemplateConfig, GetDcrTemplateConnections, GetDcrTemplateTask
from dcrflow.lsst.hooks import REFUSED

VERDICTS = ("same", "differs", "missing")


def verdicts(heading: str, column: int) -> dict[str, str]:
    """The verdict on each name of a table."""
    found: dict[str, str] = {}
    for cells in rows(heading):
        assert cells[column] in VERDICTS, cells
        for name in re.findall(r"`([\w.]+)`", cells[0]):
            assert name not in found, f"{name} is there twice"
            found[name] = cells[column]
    return found


def value_of(config: Any, path: str) -> Any:
    for part in path.split("."):
        config = getattr(config, part)
    return config


def test_every_name_of_the_page_is_in_a_table() -> None:
    if not PAGE.exists():
        pytest.skip("the documentation page of the reference task is not beside this checkout")
    text = PAGE.read_text()
    summary = text.split("Methods Summary")[1].split("Attributes Documentation")[0]
    names = set(re.findall(r"^(\w+)\(", summary, flags=re.M)) | {"canMultiprocess"}
    assert len(names) == 17
    assert names <= set(verdicts("method or attribute", 1))


def test_methods() -> None:
    found = verdicts("method or attribute", 1)
    assert set(found) == set(METHODS)
    for name, verdict in found.items():
        assert hasattr(GetDcrTemplateTask, name) == (verdict != "missing"), name
        if verdict == "missing" or not callable(getattr(GetDcrTemplateTask, name)):
            continue
        ours = [p for p in inspect.signature(getattr(GetDcrTemplateTask, name)).parameters if p != "self"]
        assert set(ours) == set(METHODS[name]), name
        if name != "run":  # which has both generations' names
            assert ours == list(METHODS[name]), name
    assert set(REFUSED) <= {n for n, v in found.items() if v == "missing"}


def test_fields() -> None:
    found, config = verdicts("field of the reference", 2), GetDcrTemplateConfig()
    assert set(found) == set(CONFIG)
    shown = {re.findall(r"`([\w.]+)`", cells[0])[0]: cells[1] for cells in rows("field of the reference")}
    for name, verdict in found.items():
        theirs = CONFIG[name]
        words = "none" if theirs in (None, "") else f"{theirs:g}" if isinstance(theirs, float) else str(theirs)
        assert shown[name] == words
        assert (value_of(config, name) == theirs) == (verdict == "same"), name


def test_fields_of_what_are_tasks_in_the_reference() -> None:
    """Each loads from a file of the reference, with its defaults."""
    config = GetDcrTemplateConfig()
    background, scale = config.varianceBackground, config.scaleVariance
    assert {name: value_of(background, name) for name in BACKGROUND} == BACKGROUND
    assert set(scale.background.toDict()) == set(background.toDict()) == set(BACKGROUND)
    assert {name: value_of(scale, name) for name in SCALE_VARIANCE} == SCALE_VARIANCE
    assert scale.background.ignoredPixelMask == SCALE_VARIANCE["maskPlanes"]
    scale.limit, scale.background.binSize, background.approxOrderX = 5.0, 64, 4
    config.validate()


def test_connections() -> None:
    config = GetDcrTemplateConfig()
    config.storage = "afw"
    made, found = GetDcrTemplateConnections(config=config), verdicts("connection", 1)
    assert set(found) == set(CONNECTIONS)
    for name, verdict in found.items():
        dataset, storage, dimensions, several = CONNECTIONS[name]
        ours = made.allConnections.get(name)
        same = ours is not None and (
            (ours.name, ours.storageClass, set(ours.dimensions)) == (dataset, storage, dimensions)
            and (getattr(ours, "multiple", False), getattr(ours, "deferLoad", False)) == (several, several)
        )
        assert same == (verdict == "same"), name
    assert not made.initInputs
    assert not made.initOutputs
    assert made.dimensions == {"instrument", "visit", "detector"}
