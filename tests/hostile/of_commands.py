"""Configuration files, settings, names of files, and what is where the output shall be."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np

from hostile.spoil import Case, Spoil, config, nothing, text
from hostile.survey import Place

_CONFIG = ("--config", "SURVEY/config.yaml")


def _bomb() -> bytes:
    """A kilobyte of YAML that stands for 10^9 words."""
    lines = ["a0: &a0 [ha]"] + [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 10)]
    return "\n".join([*lines, "border: *a9"]).encode()


def _out(make: Callable[[Path], object]) -> Spoil:
    return lambda place: make(place.out)


def _somebodys(out: Path) -> None:
    out.mkdir()
    (out / "thesis.tex").write_text("mine")


def _moved(place: Place) -> None:
    (place.directory / "coadds.zarr").rename(place.coadds)
    (place.directory / "visits.ecsv").rename(place.visits)


def _of_config(name: str, content: bytes) -> Case:
    return Case(f"configuration: {name}", config(content), _CONFIG, everywhere=True)


def _of_setting(*words: str) -> Case:
    said = words[0] if len(words[0]) < 60 else f"{words[0][:30]}... of {len(words[0])} letters"
    return Case(f"--set {said}", nothing, ("--set", *words), everywhere=True)


def _of_output(name: str, make: Callable[[Path], object]) -> Case:
    return Case(f"the output is {name}", _out(make), everywhere=True)


CASES = (
    _of_config("it asks for an object, and a command", b"border: !!python/object/apply:os.system ['touch harmed']"),
    _of_config("a kilobyte that stands for 10^9 words", _bomb()),
    _of_config("nested 100,000 deep", b"[" * 100_000),
    _of_config("random bytes", np.random.default_rng(1).bytes(500)),
    _of_config("2 megabytes", b"#" * (2 << 20)),
    _of_config("a list", b"- border\n- 3\n"),
    _of_config("a number of 10,000 digits", b"border: 1" + b"0" * 10_000),
    _of_config("no such day", b"border: 2026-02-31"),
    _of_config("a key of many parts", b"? [a, b]\n: 3"),
    Case("configuration: a file without end", nothing, ("--config", "/dev/zero"), everywhere=True),
    Case("configuration: a directory", nothing, ("--config", "SURVEY"), everywhere=True),
    *map(_of_setting, (
        "bordr=3", "border=-1", "border", "tile=.nan", "tile=[", "border=1e400", "num_subfilters=5",
        "transmission=no/such.file", "transmission=", "transmission=/dev/zero", "transmission=SURVEY/visits.ecsv",
        "transmission=[1, 2]", "effective_wavelength=.inf", "bandwidth=1e9", "border=1000000000", "tile=1",
        "warp=" + "w" * 100_000, "band=z",
    )),
    Case("--where that would run a command", nothing, ("--where", "@__import__('os').system('touch harmed')"),
         everywhere=True),
    *(
        Case(f"--where {words}", nothing, ("--where", where), everywhere=True)
        for words, where in (
            ("that cannot be read", "visit =="), ("that is no comparison", "visit"),
            ("of a number without end", "9**9**9**9 > visit"), ("that is true of none", "visit == 99"),
        )
    ),
    Case("no table", text(lambda _: None), everywhere=True),
    Case("paths with blanks, quotes and Unicode", _moved,
         place={"coadds_name": "my 'co\"adds' ☂.zarr", "visits_name": "Ω; $(touch harmed) &.ecsv"}),
    Case("paths with a newline, %20, # and ;", _moved,
         place={"coadds_name": "co\nadds;%20#.zarr", "visits_name": "#\n%20;.ecsv", "out_name": "%20\n#;?.zarr"}),
    _of_output("a file", lambda out: out.write_text("mine")),
    _of_output("somebody's directory", _somebodys),
    Case("the output is within the coadds", nothing, place={"out_name": "coadds.zarr/out.zarr"}, everywhere=True),
    _of_output("the coadds", lambda out: shutil.copytree(out.parent / "coadds.zarr", out)),
)  # fmt: skip
